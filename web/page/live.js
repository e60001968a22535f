// The Live part: captions of what is being said, for the speaker, a partner and an audience.

import { Capture, close, loudest, openSource, reasonKey } from "./capture.js";
import { confirm, download, find, root } from "./dom.js";
import { hold, released } from "./held.js";
import { canSpeak } from "./player.js";
import { ask } from "./question.js";
import { asText } from "./save.js";
import { redraw, setUpStage, showCaptions } from "./stage.js";
import { Talk } from "./talk.js";
import { clock, langOf, onLanguage, say, told } from "./words.js";

const KEPT = "speech-live"; // in this browser's storage; a tab that has talked holds it
const NOTHING = { settled: "", tentative: "" };

let segments = []; // of all talks since the last Clear
let gap = false; // whether a part of what was said is missing there
let talk = null; // the one that goes on, or the last one
let opening = null; // from the press until a talk goes on; a second press takes it back
let current = null; // the talk that the server hears; the next one waits for its last words
let before = 0; // how many segments are from talks before the current one
let offset = 0; // where the current talk begins, in seconds
let line = NOTHING;
let note = "";
let timer = 0;
let wake = null;

const running = () => Boolean(talk && !talk.ended);
const pressed = (id) => find(id).getAttribute("aria-pressed") === "true";

export function setUpLive() {
  if (!find("live-audio")) return; // a Space without live captions
  setUpStage();
  find("live-audio").addEventListener("click", () => {
    if (opening) takeBack();
    else if (running()) stop();
    else start();
    show();
  });
  find("live-clear").addEventListener("click", clear);
  find("live-copy").addEventListener("click", copy);
  for (const save of document.querySelectorAll("[data-live-format]")) {
    save.addEventListener("click", () => saveAs(save.dataset.liveFormat));
  }
  for (const id of ["live-large", "live-talks", "live-aloud"]) {
    find(id).addEventListener("click", () => {
      find(id).setAttribute("aria-pressed", String(!pressed(id)));
      find("live-stage").classList.toggle("large", pressed("live-large"));
      find("live-stage").classList.toggle("halves", pressed("live-talks"));
      redraw();
    });
  }
  find("live-aloud").hidden = !canSpeak();
  find("live-full").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else find("live-stage").requestFullscreen?.();
  });
  find("live-full").hidden = !document.fullscreenEnabled;
  find("live-link-copy").addEventListener("click", () => copyText(find("live-link").href, "live-link-copy"));
  find("live-overlay-copy").addEventListener("click", () => copyText(`${find("live-link").href}?overlay`, "live-overlay-copy"));
  document.addEventListener("visibilitychange", () => { if (!document.hidden && running()) stayAwake(); });
  addEventListener("pagehide", () => { if (busy()) keep(); });
  addEventListener("storage", ({ key }) => { if (key === KEPT && !talk) showKept(); });
  onLanguage(() => { show(); redraw(); });
  takeUp();
  show();
}

const hears = { captions: hear, note: (words) => { note = words; show(); }, opened, lost: () => { gap = true; } };

/** Whether this tab has a talk that goes on, or waits for the last words of one. */
const busy = () => Boolean(talk && !talk.sent);

async function start() {
  const own = opening = { over: false, stream: null, talk: null };
  note = "";
  show();
  let capture = null;
  const source = document.querySelector("[name=live-source]:checked").value;
  try {
    own.stream = await openSource(source);
    if (own.over) return;
    const options = { direction: document.querySelector("[name=live-direction]:checked").value, terms: find("live-terms").value,
      ...(find("live-transcript").checked ? { transcript: 1 } : {}) };
    const fresh = own.talk = new Talk(options, talk, hears);
    capture = await Capture.of(own.stream, (samples) => listen(fresh, samples));
    fresh.rate = capture.rate;
    if (own.over) return;
    if (!talk || talk.sent) await fresh.open(); // else it opens itself, behind the last words of the former
    if (own.over) return;
    begin(fresh, capture);
  } catch (error) {
    if (!own.over) note = error.said ?? reasonKey(error);
  } finally {
    if (!running() || talk.capture !== capture) {
      close(own.stream);
      await capture?.stop();
    }
    if (opening === own) opening = null;
    show();
  }
}

/** Undo the press that opens a talk. */
function takeBack() {
  opening.over = true;
  opening.talk?.leave();
  close(opening.stream);
  opening = null;
  note = "";
}

function begin(fresh, capture) {
  fresh.capture = capture;
  talk = fresh;
  talk.began = performance.now();
  capture.stream.getAudioTracks()[0].addEventListener("ended", () => {
    if (talk === fresh && !fresh.ended) breakOff(fresh);
  });
  timer = setInterval(show, 500);
  stayAwake();
  talk.sending = talk.send();
  hold(KEPT);
}

/** The talk has a place on the server, at first or again after a restart of it. */
function opened(fresh) {
  current = fresh;
  before = segments.length;
  fresh.start ??= segments.at(-1)?.end ?? 0;
  offset = fresh.start + fresh.begun / fresh.rate;
  find("live-link").href = new URL(`${root()}/watch/${fresh.watch}`, location.href).href;
}

function listen(fresh, samples) {
  find("live-level").value = Math.sqrt(loudest(samples));
  // What the page itself reads aloud is not said by anybody.
  fresh.push(canSpeak() && speechSynthesis.speaking ? new Int16Array(samples.length) : samples);
}

function hear(answer) {
  const fresh = answer.segments.map(({ data }) => ({ ...data, start: data.start + offset, end: data.end + offset,
    regions: data.regions.map(([a, b]) => [a + offset, b + offset]) }));
  segments = [...segments.slice(0, before + answer.from), ...fresh];
  line = answer;
  showCaptions(segments, line);
  if (fresh.length) {
    keep();
    if (pressed("live-aloud")) {
      for (const { text } of fresh) {
        const speech = new SpeechSynthesisUtterance(text);
        speech.lang = langOf(text) === "ja" ? "ja-JP" : "en-US";
        speechSynthesis.speak(speech);
      }
    }
  }
  show();
}

async function stop() {
  const own = talk;
  await hush(own);
  show();
  await lastWords(own);
}

/** The source of a talk has ended by itself. Whoever shared a screen has stopped that by hand. */
async function breakOff(own) {
  const [track] = own.capture.stream.getVideoTracks();
  await stop();
  if (talk !== own || track) return;
  note = "live_microphone_lost";
  show();
}

/** Hear no more of a talk. */
async function hush(own) {
  clearInterval(timer);
  wake?.release?.().catch(() => {});
  await own.capture.stop();
  own.end();
}

/** Wait for the last captions of a talk. */
async function lastWords(own) {
  await own.sending;
  if (own.left) return;
  if (own === talk) line = NOTHING;
  keep();
  showCaptions(segments, line);
  show();
}

async function clear() {
  if (!await ask("lose_captions", "live_clear")) return;
  if (opening) takeBack();
  const [last, on] = [talk, running()];
  [segments, gap, talk, current, before, offset, line, note] = [[], false, null, null, 0, 0, NOTHING, ""];
  try { for (const storage of [localStorage, sessionStorage]) storage.removeItem(KEPT); } catch { /* nothing was kept */ }
  showCaptions(segments, line);
  show();
  for (let own = last; own; own = own.former) own.leave();
  if (on) await hush(last);
}

function keep() {
  if (!talk) return;
  const rest = current && !current.sent && !current.left ? { talk: current.kept, before, offset } : null;
  try {
    const kept = JSON.stringify({ segments, gap, current: rest });
    localStorage.setItem(KEPT, kept);
    // Whatever another tab keeps there later, a reload shows this one's. Last words may go to any tab.
    if (rest) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, kept);
  } catch { /* storage is full or forbidden: the page still has all */ }
}

/** Show what this tab has kept, or else this browser, and return it. */
function showKept() {
  let kept = null;
  try { kept = JSON.parse(sessionStorage.getItem(KEPT) ?? localStorage.getItem(KEPT)); } catch { /* nothing is kept */ }
  segments = kept?.segments ?? [];
  gap = Boolean(kept?.gap);
  showCaptions(segments, NOTHING);
  show();
  return kept;
}

/** Go on with what was there before a reload. A talk of another tab goes on there. */
async function takeUp() {
  if (!showKept()?.current?.talk) return;
  await released(KEPT);
  if (talk || opening) return;
  const kept = showKept();
  if (!kept?.current?.talk) return;
  ({ before, offset } = kept.current);
  talk = current = Talk.resumed(kept.current.talk, hears);
  talk.sending = talk.send();
  hold(KEPT);
  lastWords(talk);
}

async function stayAwake() {
  wake = await navigator.wakeLock?.request("screen").catch(() => null);
}

const copy = () => copyText(segments.map((segment) => segment.text).join("\n"), "live-copy");

async function copyText(text, id) {
  await navigator.clipboard?.writeText(text).catch(() => {});
  confirm(find(id), "copied");
}

async function saveAs(format) {
  const data = { segments, duration: segments.at(-1).end, direction: "auto" };
  await asText(data, format).then((text) => download(`captions.${format}`, text), (problem) => hears.note(problem.said));
}

function show() {
  const on = running();
  const start = find("live-audio");
  start.dataset.text = opening ? "microphone_opening" : on ? "live_stop" : segments.length ? "live_continue" : "live_start";
  start.textContent = say(start.dataset.text);
  start.setAttribute("aria-pressed", String(on));
  find("live-state").hidden = !on;
  find("live-time").textContent = on ? clock((performance.now() - talk.began) / 1000) : "";
  const warning = note || (gap && "live_gap");
  find("live-note").textContent = typeof warning === "object" ? told(warning) : warning ? say(warning) : on ? say("live_info") : "";
  find("live-note").classList.toggle("warning", Boolean(warning));
  find("live-keep").hidden = !segments.length;
  find("live-audience").hidden = !(talk?.watch && !talk.left && on);
  for (const choice of document.querySelectorAll("[name=live-direction], [name=live-source], #live-transcript")) choice.disabled = on;
  find("live-screen-choice").hidden = !navigator.mediaDevices?.getDisplayMedia;
}
