// The words of the page in the visitor's language. They come from texts.toml as window.speechTexts.

export const language = () => window.speechLanguage;

/** The text `key`, with its {names} filled in. */
export function say(key, values = {}) {
  const text = window.speechTexts[language()][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** What is said, in the language of now: a key with its values, or {en, ja} of the server. */
export function told(said) {
  if (!said || typeof said === "string") return said ?? "";
  return said.key ? say(said.key, said.values) : said[language()];
}

/** An error with a sentence for the visitor, `said`: the server's `words`, or else the text `key`. */
export class Problem extends Error {
  constructor(key, values = {}, words = null) {
    super(key);
    this.said = words ?? { key, values };
  }
}

const japanese = /[\u3041-\u30ff\u3400-\u9fff]/;
export const langOf = (text) => (japanese.test(text) ? "ja" : "en");

/** 1:05 or 1:02:03, the same in both languages. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const padded = String(rest).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${padded}` : `${minutes}:${padded}`;
}

/** Write the words where they belong: data-text is a key, data-label one for an aria-label. */
export function dress(root = document) {
  for (const element of root.querySelectorAll("[data-text]")) {
    const values = element.dataset.values ? JSON.parse(element.dataset.values) : {};
    const text = say(element.dataset.text, values);
    if (element.textContent !== text) element.textContent = text;
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", say(element.dataset.label));
    element.title = say(element.dataset.label);
  }
  for (const element of root.querySelectorAll("[data-hint]")) {
    element.placeholder = say(element.dataset.hint);
  }
}

const listeners = [];

/** Call `listener` whenever the visitor changes the language. */
export const onLanguage = (listener) => listeners.push(listener);

export function chooseLanguage(wanted) {
  window.speechLanguage = wanted;
  try { localStorage.setItem("speech-language", wanted); } catch { /* it holds until the reload */ }
  document.documentElement.lang = wanted;
  document.title = say("title");
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === wanted));
  }
  dress();
  for (const listener of listeners) listener();
}
