// Runs before everything else on the page. One decision about the language, for all who ask:
// Gradio asks `navigator`, the server reads Accept-Language; both get what the visitor chose.
(() => {
  "use strict";
  // Links of Hugging Face to the API end in ?view=api, at which Gradio 6.17.3 takes its panel for open
  // and shows nothing. Here they lead to the part of the page for programs.
  const address = new URL(location.href);
  if (address.searchParams.get("view") === "api") {
    address.searchParams.delete("view");
    address.hash = "programs";
    history.replaceState(null, "", address);
  }
  const known = ["en", "ja"];
  const short = (tag) => String(tag).toLowerCase().split("-")[0];
  let chosen = null;
  try { chosen = localStorage.getItem("speech-language"); } catch { /* storage is forbidden */ }
  if (!known.includes(chosen)) {
    const wanted = navigator.languages?.length ? navigator.languages : [navigator.language];
    chosen = wanted.map(short).find((tag) => known.includes(tag)) ?? "en";
  }
  window.speechLanguage = chosen;
  document.documentElement.lang = chosen;
  Object.defineProperty(navigator, "language", { configurable: true, get: () => window.speechLanguage });
  Object.defineProperty(navigator, "languages", { configurable: true, get: () => [window.speechLanguage] });
  const plainFetch = window.fetch;
  window.fetch = (target, options = {}) => {
    if (target instanceof Request || new URL(target, location.href).origin !== location.origin) {
      return plainFetch(target, options);
    }
    const headers = new Headers(options.headers);
    headers.set("Accept-Language", window.speechLanguage);
    return plainFetch(target, { ...options, headers });
  };
})();
