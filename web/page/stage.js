// The captions of a talk as they are shown: lines that are final, and the one that grows.

import { find, make } from "./dom.js";
import { clock, langOf, say } from "./words.js";

const NEAR = 40; // pixels from the end that still count as the end

let follows = true;
let shown = [];
let growth = { settled: "", tentative: "" };

/** The stage follows the newest line until the visitor scrolls away from it. */
export function setUpStage() {
  const place = find("live-captions");
  place.addEventListener("scroll", () => {
    const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < NEAR;
    if (atEnd !== follows) {
      follows = atEnd;
      find("live-newest").hidden = follows;
    }
  });
  find("live-newest").addEventListener("click", () => {
    follows = true;
    find("live-newest").hidden = true;
    toEnd();
  });
}

function toEnd() {
  if (!follows) return;
  for (const id of ["live-captions", "half-en", "half-ja"]) find(id).scrollTop = find(id).scrollHeight;
}

/** Show segments, and the growing line behind them. */
export function showCaptions(segments, line) {
  shown = segments;
  growth = line;
  redraw();
}

/** Draw all again, as after a change of the language. */
export function redraw() {
  fill(find("live-fixed"), shown, true);
  const settled = find("live-line").querySelector(".settled");
  settled.textContent = growth.settled;
  find("live-line").querySelector(".tentative").textContent = growth.tentative;
  const text = growth.settled + growth.tentative;
  find("live-line").lang = langOf(text);
  find("live-empty").hidden = shown.length > 0 || text.trim() !== "";
  for (const lang of ["en", "ja"]) {
    // Each reads the other's words translated, and their own as they were heard.
    const own = shown.flatMap((segment) => [segment.text, segment.source_text].filter((text) => text && langOf(text) === lang)
      .map((text) => ({ ...segment, text, source_text: "" })));
    fill(find(`half-${lang}`).firstElementChild, own, false);
    find(`half-${lang}`).lastElementChild.textContent = text && langOf(text) === lang ? text : "";
  }
  toEnd();
}

function fill(list, segments, whole) {
  while (list.children.length > segments.length) list.lastElementChild.remove();
  segments.forEach((segment, i) => {
    const line = list.children[i] ?? list.appendChild(make("p", {}, ...["time", "text", "flags", "source"].map(
      (className) => make("span", { className }))));
    const [time, text, flags, source] = line.children;
    time.textContent = whole ? clock(segment.start) : "";
    if (text.textContent !== segment.text) text.textContent = segment.text;
    text.lang = langOf(segment.text);
    source.textContent = segment.source_text ?? "";
    source.hidden = !segment.source_text;
    source.lang = text.lang === "en" ? "ja" : "en";
    flags.textContent = whole ? (segment.flags ?? []).map((flag) => say(flag)).join(" · ") : "";
  });
}
