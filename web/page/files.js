// Recordings from files: chosen, dropped, pasted, or one of the examples.

import { find, make, root } from "./dom.js";
import { say } from "./words.js";

/** Let the visitor give files; `onRecordings([{blob, name}])` gets them. */
export function setUpFiles(onRecordings) {
  const picker = find("picker");
  const take = (files) => {
    const recordings = [...files].map((file) => ({ blob: file, name: file.name }));
    if (recordings.length) onRecordings(recordings);
  };
  find("choose").addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    take(picker.files);
    picker.value = "";
  });
  const zone = find("panel-translate");
  let over = 0;
  const mark = (change) => {
    over = Math.max(0, over + change);
    zone.classList.toggle("dropping", over > 0);
  };
  zone.addEventListener("dragenter", (event) => { event.preventDefault(); mark(1); });
  zone.addEventListener("dragleave", () => mark(-1));
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-over);
    take(event.dataTransfer?.files ?? []);
  });
}

/** Offer the examples of the Space. A click translates one; the direction stays as it is. */
export function showExamples(examples, onRecordings) {
  find("examples").replaceChildren(...examples.map(({ name, spoken, language }) => make("button", {
    type: "button", className: "chip", id: `example-${name}`, lang: language,
    onclick: async (event) => {
      const pressed = event.currentTarget;
      pressed.disabled = true;
      const reply = await fetch(`${root()}/examples/${name}.flac`).catch(() => null);
      pressed.disabled = false;
      if (reply?.ok) {
        const blob = new Blob([await reply.arrayBuffer()], { type: "audio/flac" });
        onRecordings([{ blob, name: `${name}.flac` }]);
      } else find("microphone-problem").textContent = say("upload_failed");
    },
  }, spoken)));
}
