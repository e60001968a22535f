// The audience's page: it reads a talk's captions and can do nothing else.

import { pause } from "./dom.js";
import { dress, langOf, language, chooseLanguage, say } from "./words.js";

const ASK_EVERY = 700; // milliseconds
const ASK_AFTERWARDS = 5000; // milliseconds, once the talk is over or its speaker has no network
const TRIES_AFTERWARDS = 720; // an hour
const OVERLAID = 2; // captions over a picture

const place = document.getElementById("watched");
const segments = [];
let earlier = 0; // how many of them a restarted server knows nothing of
const overlay = new URLSearchParams(location.search).has("overlay");

async function watch() {
  document.documentElement.classList.toggle("overlay", overlay);
  chooseLanguage(language());
  const address = location.pathname.replace(/\/$/, "");
  for (let over = 0; over < TRIES_AFTERWARDS; await pause(over ? ASK_AFTERWARDS : ASK_EVERY)) {
    const reply = await fetch(`${address}/captions?known=${segments.length - earlier}`).catch(() => null);
    const answer = reply?.ok ? await reply.json().catch(() => null) : null;
    if (answer?.segments) {
      over = 0;
      show(answer);
    } else if (reply?.status === 404 && !over++) {
      if (!overlay) place.append(line(say("watch_over"), "over"));
      else place.replaceChildren();
    }
  }
}

function show(answer) {
  if (answer.from < segments.length - earlier) earlier = segments.length;
  segments.splice(earlier + answer.from, Infinity, ...answer.segments);
  const growing = (answer.settled + answer.tentative).trim();
  const texts = segments.map((segment) => line(segment.text, "fixed"));
  if (growing) texts.push(line(growing, "growing"));
  if (!texts.length && !overlay) texts.push(line(say("watch_waiting"), "over"));
  const atEnd = innerHeight + scrollY > document.body.scrollHeight - 80;
  place.replaceChildren(...(overlay ? texts.slice(-OVERLAID) : texts));
  if (atEnd) scrollTo(0, document.body.scrollHeight);
}

function line(text, className) {
  const element = document.createElement("p");
  Object.assign(element, { className, textContent: text, lang: langOf(text) });
  return element;
}

dress();
watch();
