// Lines that are corrected by hand.

import { say } from "./words.js";

/** Let the words of each line be written, or no longer. */
export function writable(lines, on) {
  for (const words of lines.querySelectorAll(".words")) {
    if (on) {
      words.setAttribute("contenteditable", "plaintext-only");
      words.setAttribute("role", "textbox");
      words.setAttribute("aria-label", say("edit"));
    } else for (const name of ["contenteditable", "role", "aria-label"]) words.removeAttribute(name);
  }
  if (on) lines.querySelector(".words")?.focus();
}

/** Enter ends a line: the next one is at hand, and after the last `done` is called. */
export function enter(event, lines, done) {
  const all = [...lines.querySelectorAll("[contenteditable]")];
  const index = all.indexOf(event.target);
  const composing = event.isComposing || event.keyCode === 229; // an IME has its own Enter; Safari tells by 229
  if (index < 0 || event.key !== "Enter" || composing) return;
  event.preventDefault();
  if (all[index + 1]) all[index + 1].focus();
  else done();
}

/** What is written in a line. Pasted lines are one. */
export function written(words) {
  return words.innerText.trim().replace(/\s*\n\s*/g, words.lang === "ja" ? "" : " ");
}
