// A question that must be answered before something is lost.

import { button, make } from "./dom.js";
import { dress } from "./words.js";

/** Ask `question`; true if the visitor presses the button with the text `yes`. */
export function ask(question, yes) {
  // Not `confirm()`: Chrome answers it with no in a frame of another site, as on Hugging Face.
  const words = make("p", { id: "question", "data-text": question });
  const dialog = make("dialog", { className: "question", "aria-labelledby": "question" }, words,
    make("div", { className: "actions" },
      button(yes, () => dialog.close("yes")), button("keep", () => dialog.close(""))));
  dress(dialog);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
