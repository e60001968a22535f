// One card for one recording: its state, its text by segments, its files. A run owns it.

import { about } from "./about.js";
import { enter, writable, written } from "./correct.js";
import { button, confirm, make, root } from "./dom.js";
import { Player, canSpeak, readAloud } from "./player.js";
import { asText, save, saveFilm } from "./save.js";
import { clock, dress, langOf, say, told } from "./words.js";

const UP_FRONT = ["srt", "txt"];
const FURTHER = ["vtt", "tsv", "json"];
export const NAMES = { en2ja: "English → 日本語", ja2en: "日本語 → English" };
export const OVER = ["done", "partial", "refused"];

export class Card {
  /** `data` is the result as it is kept; `acts` are stop, again(card, direction), remove, changed. */
  constructor(data, acts) {
    this.data = data;
    this.acts = acts;
    this.#build();
    this.show();
  }

  get over() { return OVER.includes(this.data.state); }

  #build() {
    this.title = make("h3", { className: "name" });
    this.taken = make("span", { className: "taken" });
    this.length = make("span", { className: "length" });
    this.state = make("span", { className: "state", role: "status" });
    this.bar = make("progress", { max: 1, value: 0 });
    this.stop = button("stop", () => this.acts.stop(this), "plain stop");
    this.remove = make("button", {
      type: "button", className: "icon remove", "data-label": "remove", onclick: () => this.acts.remove(this),
    }, "×");
    this.message = make("div", { className: "message", role: "alert" });
    this.place = make("div", { className: "sound" });
    this.lines = make("ol", { className: "lines", "aria-live": "polite", tabIndex: 0 });
    this.lines.addEventListener("click", (event) => this.#click(event));
    this.lines.addEventListener("input", (event) => this.#edited(event.target));
    this.lines.addEventListener("keydown", (event) => enter(event, this.lines, () => {
      this.#editing();
      this.edit.focus();
    }));
    const saves = (formats) => formats.map((format) => make("button", {
      type: "button", className: "plain", "data-format": format, onclick: () => this.#try(() => save(this.data, format)),
    }, format.toUpperCase()));
    this.copy = button("copy", () => this.#copy());
    this.speak = button("speak", () => readAloud(this.#texts(), (on) => {
      this.speak.dataset.text = on ? "speak_stop" : "speak";
      dress(this.actions);
    }));
    this.speak.hidden = !canSpeak();
    this.edit = button("edit", () => this.#editing());
    this.edit.setAttribute("aria-pressed", "false");
    this.kana = button("furigana", () => this.#furigana());
    this.kana.setAttribute("aria-pressed", "false");
    this.film = button("film", () => this.#saveFilm(), "plain film");
    this.actions = make("div", { className: "actions" },
      this.copy, this.speak, ...saves(UP_FRONT), this.film, this.edit, this.kana);
    this.figures = make("p", { className: "figures" });
    this.details = make("details", { className: "details" },
      make("summary", { "data-text": "details" }), make("div", { className: "actions" }, ...saves(FURTHER)),
      this.figures);
    this.element = make("article", { className: "card", id: `card-${this.data.id}` },
      make("header", {}, make("div", { className: "titles" }, this.title,
        make("p", { className: "facts" }, this.taken, this.length, this.state)), this.stop, this.remove),
      this.bar, this.message, this.place, this.lines, this.actions, this.details);
  }

  /** Take what the server says of the run. */
  hear(news) {
    Object.assign(this.data, news);
    this.show();
  }

  /** Show the data as it is now. */
  show() {
    const data = this.data;
    const working = !this.over;
    const segments = data.segments ?? [];
    this.element.dataset.state = data.state;
    this.title.textContent = data.name;
    this.taken.textContent = this.#direction();
    this.length.textContent = data.duration ? clock(data.duration) : "";
    this.state.textContent = this.#stateWords();
    this.bar.hidden = data.state !== "working";
    this.bar.max = Math.max(data.total || 0, 0.1);
    this.bar.value = data.done || 0;
    this.stop.hidden = !working;
    this.stop.dataset.text = data.state === "working" ? "stop" : "cancel";
    this.lines.setAttribute("aria-busy", String(working));
    this.#showLines(segments, data.growing ?? []);
    this.#showMessage();
    this.#showPlayer();
    const some = this.#some();
    this.lines.hidden = !some && !(data.growing ?? []).length;
    this.actions.hidden = !some || working;
    this.kana.hidden = !about().readings || !segments.some((segment) => langOf(segment.text + (segment.source_text ?? "")) === "ja");
    this.film.hidden = !data.film || !(data.blob || data.upload);
    this.details.hidden = !segments.length || working;
    if (data.figures?.compute) this.figures.textContent = say("cost", data.figures);
    dress(this.element);
  }

  /** Whether there is something to show, or was, before all of it was deleted by hand. */
  #some() { return this.data.edited || (this.data.segments ?? []).some((segment) => segment.text); }

  #direction() {
    const taken = new Set((this.data.segments ?? []).filter((x) => x.text || this.data.edited).map((x) => x.direction));
    taken.delete("auto");
    return taken.size > 1 ? say("both_directions") : NAMES[[...taken][0]] ?? "";
  }

  #stateWords() {
    const data = this.data;
    if (data.state === "waiting" && data.place) return say("place", { place: data.place });
    if (data.state === "partial") {
      if (!data.segments?.length) return say("cancelled");
      const end = (data.segments ?? []).at(-1)?.end ?? 0;
      return say("partial", { end: clock(end), total: clock(data.duration || 0) });
    }
    if (data.state === "working" && data.total) {
      const words = say("working", { done: clock(data.done), total: clock(data.total) });
      return data.left === null ? words : `${words} · ${say("left", { left: clock(data.left + 0.5) })}`;
    }
    if (data.state === "sending" && data.sent) return say("sending_part", { percent: data.sent });
    if (data.state !== "done") return say(`state_${data.state}`);
    return say(data.edited ? "edited" : this.#some() ? "done" : data.segments?.length ? "unclear" : "silent");
  }

  #showLines(segments, growing) {
    const all = [...segments.map((segment) => [segment, false]), ...growing.map((segment) => [segment, true])];
    const mixed = new Set(segments.map((segment) => segment.direction)).size > 1;
    while (this.lines.children.length > all.length) this.lines.lastElementChild.remove();
    all.forEach(([segment, grows], i) => {
      const line = this.lines.children[i] ?? this.lines.appendChild(emptyLine());
      line.dataset.start = segment.start;
      line.dataset.end = segment.end;
      line.classList.toggle("growing", grows);
      const [time, words, source, marks] = line.children;
      time.textContent = clock(segment.start);
      time.setAttribute("aria-label", say("play", { time: clock(segment.start) }));
      const read = this.readings?.[i];
      const inWords = langOf(segment.text) === "ja";
      if (read && inWords) words.replaceChildren(...ruby(read));
      else if (words.textContent !== segment.text || words.querySelector("rt")) words.textContent = segment.text;
      words.lang = segment.direction === "ja2en" ? "en" : segment.direction === "en2ja" ? "ja" : langOf(segment.text);
      if (read && !inWords && segment.source_text) source.replaceChildren(...ruby(read));
      else source.textContent = segment.source_text ?? "";
      source.hidden = !segment.source_text;
      source.lang = words.lang === "en" ? "ja" : "en";
      const notes = [...(mixed && NAMES[segment.direction] ? [["way", NAMES[segment.direction]]] : []),
        ...(segment.flags ?? []).map((flag) => ["flag", say(flag)])];
      marks.replaceChildren(...notes.map(([className, text]) => make("span", { className }, text)));
    });
  }

  #showMessage() {
    const data = this.data;
    const parts = [];
    const nothing = data.state === "done" && !this.#some();
    const why = data.segments?.length ? "nothing_understood" : "nothing"; // a segment is where speech was found
    const words = [nothing ? say(why) : told(data.message), told(data.remarks), told(this.trouble)].filter(Boolean);
    parts.push(...words.map((sentence) => make("p", {}, sentence)));
    if (data.other) {
      parts.push(make("p", { "data-text": "other_direction", "data-values": JSON.stringify({ direction: NAMES[data.other] }) }));
      parts.push(make("button", {
        type: "button", className: "primary switch", "data-text": "switch",
        onclick: () => this.acts.again(this, data.other),
      }));
    } else if (this.over && data.state !== "done" && data.blob && !data.hopeless) {
      parts.push(button("again", () => this.acts.again(this, data.direction), "plain again"));
    }
    const all = JSON.stringify([words, data.other, data.state]);
    if (this.message.dataset.words !== all) { // an alert is read again only when it is another
      this.message.dataset.words = all;
      this.message.replaceChildren(...parts);
    }
    this.message.hidden = !parts.length;
  }

  #showPlayer() {
    const data = this.data;
    const server = data.sound ? `${root()}/gradio_api/file=${data.sound}` : "";
    if (!this.player && this.over && data.state !== "refused" && (data.blob || server)) {
      this.player = new Player(data.blob, data.name, () => this.lines.children, server);
      this.place.append(this.player.element);
    }
    this.player?.offer(server);
    if (this.player?.media.tagName === "VIDEO" && this.over) this.#subtitles();
  }

  async #subtitles() {
    const vtt = await asText(this.data, "vtt").catch(() => null);
    if (vtt) this.player.subtitles(vtt, this.#texts()[0]?.lang ?? "en", say("subtitles"));
  }

  #click(event) {
    const line = event.target.closest("li");
    if (!line || !this.player || line.querySelector("[contenteditable]")) return;
    if (event.target.closest(".time") || getSelection().isCollapsed) this.player.toggle(line);
  }

  #texts() {
    return (this.data.segments ?? []).filter((segment) => segment.text).map((segment) => (
      { text: segment.text, lang: segment.direction === "ja2en" ? "en" : segment.direction === "en2ja" ? "ja" : langOf(segment.text) }));
  }

  async #copy() {
    const text = this.#texts().map((line) => line.text).join("\n");
    try {
      await navigator.clipboard.writeText(text);
    } catch { // no permission, or a page without https
      const area = make("textarea", { value: text });
      this.element.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    confirm(this.copy, "copied");
  }

  /** Do what the server may fail at, and say on the card why. */
  async #try(work) {
    this.trouble = null;
    try {
      await work();
    } catch (error) {
      this.trouble = error.said ?? { key: "no_file" };
    }
    this.show();
  }

  async #saveFilm() {
    this.film.disabled = true;
    this.film.dataset.text = "film_making";
    dress(this.actions);
    await this.#try(() => saveFilm(this.data));
    this.film.disabled = false;
    this.film.dataset.text = "film";
    dress(this.actions);
    this.acts.changed(this); // where the recording is on the server now
  }

  /** Show how the Japanese is read, or no longer. */
  async #furigana() {
    if (this.readings) this.readings = null;
    else {
      await this.#try(async () => {
        const data = JSON.parse(await asText(this.data, "json", "&readings=1"));
        this.readings = data.segments.map((segment) => segment.readings);
      });
    }
    this.kana.setAttribute("aria-pressed", String(Boolean(this.readings)));
    this.show();
  }

  #editing() {
    if (this.readings) this.#furigana();
    const on = this.edit.getAttribute("aria-pressed") !== "true";
    this.edit.setAttribute("aria-pressed", String(on));
    this.edit.dataset.text = on ? "edit_done" : "edit";
    writable(this.lines, on);
    if (!on) this.acts.changed(this);
    this.show();
  }

  #edited(words) {
    const index = [...this.lines.children].indexOf(words.closest("li"));
    this.data.segments[index].text = written(words);
    this.data.edited = true;
    this.acts.changed(this);
  }

  /** Forget the sound of the run before; the same recording is translated again. */
  clear() {
    this.readings = this.trouble = null;
    this.kana.setAttribute("aria-pressed", "false");
    for (const name of ["message", "remarks", "hopeless", "other", "figures", "sound", "film", "edited"]) delete this.data[name];
    Object.assign(this.data, { segments: [], growing: [], done: 0, total: 0, left: null });
  }

  /** Take the card off the page. */
  close() {
    this.player?.close();
    this.element.remove();
  }
}

/** Pieces of a Japanese text with their kana above them. */
function ruby(pieces) {
  return pieces.map(([text, kana]) => (kana ? make("ruby", {}, text, make("rt", {}, kana)) : text));
}

function emptyLine() {
  const parts = ["words", "source", "marks"].map((className) => make("span", { className }));
  return make("li", {},
    make("button", { type: "button", className: "time", "aria-pressed": "false" }), ...parts);
}
