// Begins everything once Gradio has put the page's parts in place.

import { setUpAbout } from "./about.js";
import { find } from "./dom.js";
import { setUpFiles, showExamples } from "./files.js";
import { setUpLive } from "./live.js";
import { setUpMicrophone } from "./microphone.js";
import { setUpPrograms } from "./programs.js";
import { setUpRuns, translate } from "./runs.js";
import { setUpTabs } from "./tabs.js";
import { chooseLanguage, dress, language } from "./words.js";

const PARTS = ["top", "panel-translate", "panel-live", "panel-programs", "run", "answer"];

function begin() {
  for (const choice of document.querySelectorAll("[data-language]")) {
    choice.addEventListener("click", () => chooseLanguage(choice.dataset.language));
  }
  chooseLanguage(language());
  setUpTabs();
  setUpMicrophone((blob, name) => translate([{ blob, name }]));
  setUpFiles(translate);
  setUpRuns();
  setUpLive();
  setUpPrograms();
  setUpAbout((known) => {
    const wanted = document.querySelector(`[name=direction][value=${known.direction}]`);
    if (wanted && !document.querySelector("[name=direction]:checked")) wanted.checked = true;
    showExamples(known.examples, translate);
  });
  document.documentElement.dataset.speech = "ready";
}

function whenThere() {
  if (!PARTS.every(find)) return false;
  dress();
  begin();
  return true;
}

if (!whenThere()) {
  const observer = new MutationObserver(() => { if (whenThere()) observer.disconnect(); });
  observer.observe(document.documentElement, { childList: true, subtree: true });
}
