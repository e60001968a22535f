// Small tools for the page's elements.

export const find = (id) => document.getElementById(id);

/** A new element. Properties beginning with data- or aria- are attributes; on* are listeners. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A button with the text `key`. */
export function button(key, onclick, className = "plain") {
  return make("button", { type: "button", className, "data-text": key, onclick });
}

/** The path below which a proxy serves the page. */
export const root = () => (window.gradio_config?.root ?? "").replace(/\/$/, "");

/** What JSON says, or null: a proxy or the login page of a network answers in the server's place. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Give the visitor a file. */
export function download(name, content, type = "text/plain;charset=utf-8") {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = make("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Wait for milliseconds. */
export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Show on `button` for a moment that something was done. */
export function confirm(element, key) {
  const before = element.dataset.text;
  element.dataset.text = key;
  element.textContent = window.speechTexts[window.speechLanguage][key];
  setTimeout(() => {
    element.dataset.text = before;
    element.textContent = window.speechTexts[window.speechLanguage][before];
  }, 1500);
}
