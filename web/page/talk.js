// One talk on its way to the server: chunks in order, each sent again until it is answered.

import { pause, root } from "./dom.js";
import { Problem } from "./words.js";

const SEND_EVERY = 500; // milliseconds
const LONGEST = 2_000_000; // samples in one request
const TRIES = 3; // for a chunk that is refused, and for the end of a talk while the model fails

/** A talk. `hears.captions(answer)`, `hears.note(key or words in both languages)` and `hears.opened(talk)` are called. */
export class Talk {
  constructor(options, hears) {
    Object.assign(this, { options, hears, heard: [], seq: 0, known: 0, ended: false, sent: false, samples: 0,
      growing: "", gap: false });
  }

  /** Open a talk on the server; throws a Problem. It goes on after one before it. */
  async open() {
    const query = new URLSearchParams(this.options);
    if (this.id || this.after) query.set("after", this.id ?? this.after);
    const reply = await fetch(`${root()}/live?${query}`, { method: "POST" }).catch(() => null);
    const words = await reply?.json().catch(() => ({}));
    if (!reply?.ok) throw new Problem("live_no_server", {}, words?.words);
    this.gap ||= Boolean(this.growing); // another server process knows nothing of the line under way
    Object.assign(this, { id: words.id, watch: words.watch, seq: 0, known: 0 });
    this.hears.opened(this);
  }

  push(samples) {
    this.heard.push(samples);
    this.samples += samples.length;
  }

  /** Send what is heard until the talk has ended and all of it has been answered. */
  async send() {
    while (!this.left) {
      if (!this.heard.length && !this.ended) { await pause(SEND_EVERY); continue; }
      const parts = [];
      for (let length = 0; this.heard.length && length < LONGEST;) {
        parts.push(this.heard.shift());
        length += parts.at(-1).length;
      }
      const last = this.ended && !this.heard.length;
      await this.#deliver(new Blob(parts), last);
      if (last) { this.sent = true; return; }
      await pause(SEND_EVERY);
    }
  }

  async #deliver(body, last) {
    for (let failures = 0; !this.left;) {
      const url = `${root()}/live/${this.id}?seq=${this.seq}&rate=${this.rate}&known=${this.known}` +
        (last ? "&last=1" : "");
      const reply = await fetch(url, { method: "POST", body }).catch(() => null);
      if (this.left) return;
      const answer = await reply?.json().catch(() => ({})) ?? {};
      if (reply?.ok) {
        this.seq += 1;
        this.known = answer.from + answer.segments.length;
        this.growing = (answer.settled + answer.tentative).trim();
        this.hears.captions(answer);
        this.hears.note(this.gap ? "live_gap" : "");
        return;
      }
      const { status } = reply ?? {};
      if (status === 404) { // the server was restarted: the talk goes on in a new one
        this.hears.note("live_lost");
        await this.open().catch((problem) => this.hears.note(problem.said));
      } else this.hears.note(answer.words ?? "live_lost");
      if (status === 409) { // a chunk before this one never came, and is here no more
        this.seq = answer.next;
        this.gap = true;
      } else if ((status < 500 && status !== 404) || (last && status === 500)) {
        // Above 500 a proxy answers while the server is away. After 500 the server has what was said.
        if (++failures >= TRIES) {
          this.gap = true;
          return this.hears.note("live_gap");
        }
      }
      await pause(2 * SEND_EVERY);
    }
  }

  /** Forget the talk, here and on the server. */
  leave() {
    this.left = true;
    if (this.id) fetch(`${root()}/live/${this.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
  }
}

/** What became of a talk whose page was left: its last captions, or null if it is forgotten. */
export async function lastWords({ id, next }) {
  for (let seq = next, tries = 0; tries < TRIES; tries++) {
    const reply = await fetch(`${root()}/live/${id}?seq=${seq}&rate=16000&known=0&last=1`, { method: "POST" })
      .catch(() => null);
    const answer = await reply?.json().catch(() => null);
    if (reply?.ok) return answer.segments;
    if (reply?.status !== 409) return null;
    seq = answer.next;
  }
  return null;
}
