// One sound at a time. A recording plays in its card, and the line that is heard is marked.

document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio, video")) if (other !== event.target) other.pause();
  window.speechSynthesis?.cancel();
}, true);

/** The recording of a card, with its lines. */
export class Player {
  /** `lines()` gives the elements of the lines; each has data-start and data-end in seconds. */
  constructor(blob, name, lines, server) {
    this.lines = lines;
    this.own = blob ? URL.createObjectURL(blob) : "";
    this.server = server;
    this.element = document.createElement("div");
    this.element.className = "player";
    this.#load(blob?.type.startsWith("video/") ? "video" : "audio", this.own || server);
    this.element.setAttribute("aria-label", name);
    this.element.setAttribute("role", "group");
  }

  /** What the browser cannot play, it may play as the wav file that the server made of it. */
  offer(server) {
    this.server = server;
    if (this.failed && server) this.#load("audio", server);
  }

  #load(kind, address) {
    this.failed = false;
    this.media = document.createElement(kind);
    Object.assign(this.media, { controls: true, preload: "metadata", src: address, playsInline: true });
    this.media.addEventListener("timeupdate", () => this.#mark());
    this.media.addEventListener("pause", () => this.#mark());
    this.media.addEventListener("play", () => this.#mark());
    this.media.addEventListener("loadedmetadata", () => {
      if (kind === "video" && !this.media.videoWidth) this.#load("audio", address);
    });
    this.media.addEventListener("error", () => {
      this.failed = true;
      this.element.hidden = true;
      if (this.server && address !== this.server) this.#load("audio", this.server);
    });
    this.element.hidden = false;
    this.element.replaceChildren(this.media);
    if (this.captions) this.subtitles(...this.captions);
  }

  /** Show subtitles, a VTT file, over a video. */
  subtitles(vtt, language, label) {
    this.captions = [vtt, language, label];
    if (this.media.tagName !== "VIDEO") return;
    this.media.querySelector("track")?.remove();
    const track = document.createElement("track");
    const src = URL.createObjectURL(new Blob([vtt], { type: "text/vtt" }));
    Object.assign(track, { kind: "subtitles", default: true, srclang: language, label, src });
    this.media.append(track);
  }

  /** Play from a line on; pause if it is just that line that is heard. */
  toggle(line) {
    const begin = Number(line.dataset.start);
    if (!this.media.paused && line.classList.contains("playing")) {
      this.media.pause();
      return;
    }
    const within = this.media.currentTime >= begin && this.media.currentTime < Number(line.dataset.end);
    if (!within || !line.classList.contains("paused")) this.media.currentTime = begin;
    this.media.play().catch(() => {});
  }

  #mark() {
    const now = this.media.currentTime + 0.05;
    for (const line of this.lines()) {
      const here = Number(line.dataset.start) <= now && now < Number(line.dataset.end);
      const playing = here && !this.media.paused;
      if (playing && !line.classList.contains("playing")) line.scrollIntoView({ block: "nearest" });
      line.classList.toggle("playing", playing);
      line.classList.toggle("paused", here && this.media.paused && now > 0.1);
      line.querySelector(".time")?.setAttribute("aria-pressed", String(playing));
    }
  }

  /** Let the recording go. */
  close() {
    this.media.pause();
    this.media.removeAttribute("src");
    if (this.own) URL.revokeObjectURL(this.own);
  }
}

/** Read texts aloud, `[{text, lang}]`, one after the other; a second call ends it. */
export function readAloud(texts, changed) {
  if (speechSynthesis.speaking || speechSynthesis.pending) {
    speechSynthesis.cancel();
    return;
  }
  for (const media of document.querySelectorAll("audio, video")) media.pause();
  texts.forEach(({ text, lang }, i) => {
    const speech = new SpeechSynthesisUtterance(text);
    speech.lang = lang === "ja" ? "ja-JP" : "en-US";
    if (i === 0) speech.onstart = () => changed(true);
    if (i === texts.length - 1) speech.onend = speech.onerror = () => changed(false);
    speechSynthesis.speak(speech);
  });
}

export const canSpeak = () => "speechSynthesis" in window;
