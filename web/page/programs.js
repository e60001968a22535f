// How programs use this Space: snippets with its address.

import { confirm, find, root } from "./dom.js";

/** Fill in the address, and let each snippet be copied. */
export function setUpPrograms() {
  const address = new URL(`${root()}/`, location.href).href.replace(/\/$/, "");
  for (const code of document.querySelectorAll("#panel-programs code")) {
    code.textContent = code.textContent.replaceAll("http://127.0.0.1:7860", address);
  }
  find("endpoints").addEventListener("click", openPanel);
  for (const copy of document.querySelectorAll("[data-copy]")) {
    copy.addEventListener("click", async () => {
      await navigator.clipboard?.writeText(find(copy.dataset.copy).textContent).catch(() => {});
      confirm(copy, "copied");
    });
  }
}

/** Gradio's panel of the endpoints. Gradio 6.17.3 opens it by its own button alone, and no key closes it. */
function openPanel() {
  const address = location.href;
  // The panel begins with the language of the address; otherwise it begins with MCP.
  const begun = new URL(address);
  begun.searchParams.set("lang", "python");
  history.replaceState(null, "", begun);
  let open = false;
  const observer = new MutationObserver(() => {
    if (open === Boolean(document.querySelector(".api-docs"))) return;
    open = !open;
    history.replaceState(null, "", address); // Gradio leaves its parameters, and drops the part
    if (open) return;
    observer.disconnect();
    removeEventListener("keydown", close);
    find("endpoints").focus();
  });
  const close = ({ key }) => { if (key === "Escape") document.querySelector(".api-docs .backdrop")?.click(); };
  addEventListener("keydown", close);
  observer.observe(document.body, { childList: true, subtree: true });
  document.querySelector("footer .show-api")?.click();
}
