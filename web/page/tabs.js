// The parts of the page: one is shown, its name is in the address, the arrow keys go round.

import { find } from "./dom.js";

export function setUpTabs() {
  const tabs = [...document.querySelectorAll("#tabs [role=tab]")];
  const choose = (tab, focus) => {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      find(other.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (focus) tab.focus();
  };
  for (const [i, tab] of tabs.entries()) {
    tab.addEventListener("click", () => {
      choose(tab);
      history.replaceState(null, "", `${location.pathname}${location.search}#${tab.dataset.name}`);
    });
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(tabs[(to + tabs.length) % tabs.length], true);
    });
  }
  choose(tabs.find((tab) => `#${tab.dataset.name}` === location.hash) ?? tabs[0]);
}
