// What this Space says of itself: its model, its limits, its examples.

import { find, make, parsed, pause, root } from "./dom.js";
import { dress, onLanguage, say } from "./words.js";

let known = {};
let heard = "";
const listeners = [];

export const about = () => known;

/** Call `listener` whenever there is something new to know. */
export const onAbout = (listener) => listeners.push(listener);

/** Ask until the model is there, and show what there is to know. */
export async function setUpAbout(ready) {
  onLanguage(ask);
  for (let told = false; ;) {
    await ask();
    if (known.model && !told) ready(known);
    told = Boolean(known.model);
    if (known.model === "ready" || known.model === "failed") return;
    await pause(1000);
  }
}

async function ask() {
  const reply = await fetch(`${root()}/about`).catch(() => null);
  const text = reply?.ok ? await reply.text().catch(() => "") : "";
  const told = parsed(text);
  if (!told?.model) return;
  known = told;
  show(); // in another language, too
  if (text !== heard) for (const listener of listeners) listener();
  heard = text;
}

function show() {
  const banner = find("banner");
  const words = known.words ? [make("p", { className: known.model === "loading" ? "" : "warning", role: "status" }, known.words)] : [];
  if (known.phrasebook) {
    words.push(make("details", { className: "phrasebook" }, make("summary", { "data-text": "phrasebook" }),
      make("p", { "data-text": "phrasebook_more" })));
  }
  const open = banner.querySelector("details")?.open;
  banner.replaceChildren(...words);
  if (open) banner.querySelector("details").open = true;
  for (const id of ["transcript-choice", "live-transcript-choice"]) {
    if (find(id)) find(id).hidden = !known.transcript;
  }
  const { megabytes, seconds } = known;
  find("limits").textContent = seconds ? say("limits", { megabytes, length: length(seconds) }) : say("limit", { megabytes });
  find("model").hidden = !known.description;
  find("model-description").textContent = known.description;
  dress(banner);
}

/** 2 hours, or 10 minutes. */
function length(seconds) {
  const hours = seconds / 3600;
  return hours >= 1 ? say("hours", { number: Math.round(10 * hours) / 10 }) : say("minutes", { number: Math.round(seconds / 60) });
}
