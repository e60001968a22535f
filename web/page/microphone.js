// The big button: press, speak, press, and what was said is translated.

import { Capture, close, loudest, openSource, reasonKey, wav } from "./capture.js";
import { find } from "./dom.js";
import { clock, onLanguage, say } from "./words.js";

const RATE = 16_000; // Hz: what the model hears
const BARS = 48;

let session = null; // from the press that opens the microphone until it is let go
let problem = "";

/** Open and close the microphone with the big button; `onRecording(blob, name)` gets what it heard. */
export function setUpMicrophone(onRecording) {
  find("microphone").addEventListener("click", () => (session ? finish(onRecording) : begin(onRecording)));
  find("microphone-cancel").addEventListener("click", () => discard());
  addEventListener("pagehide", () => discard());
  addEventListener("beforeunload", (event) => { if (session?.began) event.preventDefault(); }); // it would be lost
  onLanguage(show);
  show();
}

async function begin(onRecording) {
  const own = { parts: [], levels: [], began: 0, over: false };
  session = own;
  problem = "";
  show();
  let stream = null;
  try {
    stream = await openSource("microphone");
    if (own.over) return close(stream); // the second press came before the microphone
    own.capture = await Capture.of(stream, (samples) => hear(own, samples), RATE);
    if (own.over) return own.capture.stop();
    own.began = performance.now();
    stream.getAudioTracks()[0].addEventListener("ended", () => {
      if (own.over) return;
      problem = "microphone_lost";
      finish(onRecording);
    });
    own.timer = setInterval(show, 200);
    show();
  } catch (error) {
    close(stream);
    if (session === own) session = null;
    problem = reasonKey(error);
    show();
  }
}

function hear(own, samples) {
  own.parts.push(samples);
  own.levels.push(loudest(samples));
  if (own.levels.length > BARS) own.levels.shift();
  draw(own.levels);
}

async function finish(onRecording) {
  const own = session;
  if (own.over) return;
  own.over = true;
  if (!own.capture) { // not open yet: this press takes the first one back
    session = null;
    show();
    return;
  }
  clearInterval(own.timer);
  await own.capture.stop();
  if (session === own) session = null;
  show();
  if (own.parts.length) onRecording(wav(own.parts, own.capture.rate), say("recording_name", { time: now() }));
}

async function discard() {
  const own = session;
  if (!own || own.over) return;
  own.over = true;
  clearInterval(own.timer);
  session = null;
  show();
  await own.capture?.stop();
}

function now() {
  const pad = (number) => String(number).padStart(2, "0");
  const time = new Date();
  return `${pad(time.getHours())}.${pad(time.getMinutes())}.${pad(time.getSeconds())}`;
}

function show() {
  const hearing = Boolean(session?.capture && session.began);
  const state = hearing ? "hearing" : session ? "opening" : "idle";
  const place = find("speak");
  place.dataset.state = state;
  const key = { hearing: "microphone_stop", opening: "microphone_opening", idle: "microphone_start" }[state];
  const mic = find("microphone");
  mic.setAttribute("aria-pressed", String(hearing));
  mic.setAttribute("aria-label", say(key));
  find("microphone-words").textContent = say(key);
  find("microphone-time").textContent = hearing ? clock((performance.now() - session.began) / 1000) : "";
  find("microphone-cancel").hidden = !hearing;
  find("microphone-problem").textContent = problem ? say(problem) : "";
  if (!hearing) draw([]);
}

function draw(levels) {
  const canvas = find("microphone-level");
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = getComputedStyle(canvas).color;
  const width = canvas.width / BARS;
  levels.forEach((level, i) => {
    const height = Math.max(2, Math.sqrt(level) * canvas.height);
    context.fillRect((BARS - levels.length + i) * width, (canvas.height - height) / 2, width - 2, height);
  });
}
