// One talk on its way to the server: chunks in order, each sent again until it is answered, and to a
// restarted server all that no final caption says yet.

import { pause, root } from "./dom.js";
import { Problem } from "./words.js";

const CHUNK = 0.5; // seconds
const AGAIN = 1000; // milliseconds until what failed is tried again
const SLOW = 15_000; // milliseconds without an answer until that is said
const GONE = 120_000; // milliseconds without an answer until the chunk is sent again
const KEPT = 60; // seconds of sound behind the last final caption; a caption says 30 s at most
const LONGEST = 500_000; // samples in one request: many a proxy lets no more than 1 MB through
const TRIES = { refused: 3, failed: 60 }; // for a chunk, and for the end of a talk while the model fails

/**
 * A talk, which goes on after the `former` one.
 * `hears.captions(answer)`, `hears.note(key or words in both languages)`, `hears.opened(talk)`, and
 * `hears.lost()` for what is missing from the captions are called.
 */
export class Talk {
  constructor(options, former, hears) {
    Object.assign(this, { options, former, hears, heard: [], unfixed: [], fixed: 0, begun: 0, seq: 0, known: 0,
      ended: false, sent: false, left: false, waiting: 0, growing: "", awaken: () => {} });
  }

  /** A talk whose page was left, as `kept` says: the server has its last words. */
  static resumed(kept, hears) {
    return Object.assign(new Talk({}, null, hears), kept, { rate: 16_000, ended: true });
  }

  /** What `resumed` needs. */
  get kept() { return { id: this.id, seq: this.seq, growing: this.growing }; }

  /** Open a talk on the server; throws a Problem. */
  async open() {
    const query = new URLSearchParams(this.options);
    const after = this.id ?? this.former?.id;
    if (after) query.set("after", after);
    const slow = setTimeout(() => this.#note("live_slow"), SLOW);
    const reply = await fetch(`${root()}/live?${query}`, { method: "POST" }).catch(() => null);
    const answer = await reply?.json().catch(() => null);
    clearTimeout(slow);
    if (!answer?.id) throw new Problem("live_no_server", {}, answer?.words);
    // Another server process knows nothing of the line under way: it hears that again.
    this.heard.unshift(...this.unfixed);
    this.waiting += count(this.unfixed);
    Object.assign(this, { id: answer.id, watch: answer.watch, seq: 0, known: 0, unfixed: [], begun: this.fixed });
    if (this.left) this.leave();
    else this.hears.opened(this);
  }

  push(samples) {
    this.heard.push(samples);
    this.waiting += samples.length;
    if (this.waiting >= CHUNK * this.rate) this.awaken();
  }

  /** Nothing more will be heard. */
  end() {
    this.ended = true;
    this.awaken();
  }

  /** Wait for a chunk. By the sound, not by the clock: a tab that nobody looks at has its timers once a minute. */
  async #enough() {
    while (!this.left && !this.ended && !(this.waiting >= CHUNK * this.rate)) {
      await new Promise((resolve) => { this.awaken = resolve; });
    }
  }

  /** Send what is heard, after the last words of the former talk, until this one has ended and all is answered. */
  async send() {
    await Promise.allSettled([this.former?.sending]);
    while (!this.id && !this.left) {
      await this.open().catch((problem) => this.#note(problem.said));
      if (!this.id) await pause(AGAIN);
    }
    this.former = null;
    for (await this.#enough(); !this.left; await this.#enough()) {
      const parts = [];
      let length = 0;
      while (this.heard.length && length < LONGEST) {
        parts.push(this.heard.shift());
        length += parts.at(-1).length;
      }
      this.waiting -= length;
      this.unfixed.push(...parts);
      const last = this.ended && !this.heard.length;
      if (await this.#deliver(new Blob(parts), last) && last) { this.sent = true; return; }
    }
  }

  /** Whether a chunk has had its time; else it is among what a new talk is to hear. */
  async #deliver(body, last) {
    for (let failures = 0; !this.left; await pause(AGAIN)) {
      const url = `${root()}/live/${this.id}?seq=${this.seq}&rate=${this.rate}&known=${this.known}` +
        (last ? "&last=1" : "");
      const slow = setTimeout(() => this.#note("live_slow"), SLOW);
      const asking = this.asking = new AbortController();
      const gone = setTimeout(() => asking.abort(), GONE);
      const reply = await fetch(url, { method: "POST", body, signal: asking.signal }).catch(() => null);
      const answer = await reply?.json().catch(() => null) ?? {};
      for (const timer of [slow, gone]) clearTimeout(timer);
      if (this.left) return false;
      const fate = fateOf(reply, answer);
      if (fate === "taken") {
        this.seq += 1;
        this.known = answer.from + answer.segments.length;
        this.growing = (answer.settled + answer.tentative).trim();
        this.#fix(answer.segments.at(-1)?.data.end ?? 0);
        this.hears.captions(answer);
        break;
      }
      this.#note(fate === "forgotten" ? "live_lost" : answer.words ?? "live_lost");
      if (fate === "forgotten") {
        if (!this.unfixed.length) { // nothing is left that a new talk could hear
          if (this.growing) this.hears.lost();
          break;
        }
        const opened = await this.open().then(() => true, (problem) => this.#note(problem.said));
        if (opened) return false;
      } else if (fate === "missing") { // a chunk before this one never came, and is here no more
        this.seq = answer.next;
        this.hears.lost();
      } else if (fate === "refused" || (last && fate === "failed")) { // after 500 the server has what was said
        if (++failures < TRIES[fate]) continue;
        this.hears.lost();
        break;
      }
    }
    this.#note("");
    return true;
  }

  /** The captions are final up to `end`, in seconds: what was heard before will not be sent again. */
  #fix(end) {
    const until = Math.max(this.begun + Math.round(end * this.rate),
      this.fixed + count(this.unfixed) - KEPT * this.rate);
    while (this.unfixed.length && this.fixed < until) {
      const part = this.unfixed.shift();
      const rest = part.subarray(until - this.fixed);
      this.fixed += part.length - rest.length;
      if (rest.length) this.unfixed.unshift(rest);
    }
  }

  /** Nothing is said of a talk that was left. */
  #note(words) {
    if (!this.left) this.hears.note(words);
  }

  /** Forget the talk, here and on the server, and wait for no answer. */
  leave() {
    this.left = true;
    this.asking?.abort();
    this.awaken();
    if (this.id) fetch(`${root()}/live/${this.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
  }
}

/** How many samples some arrays have. */
const count = (parts) => parts.reduce((sum, part) => sum + part.length, 0);

/** What became of a chunk. "lost": somebody else answered, like a proxy or the login page of a network. */
function fateOf(reply, { segments, next }) {
  const captions = Array.isArray(segments) && Number.isInteger(next);
  if (captions && (reply.ok || reply.status === 409)) return reply.ok ? "taken" : "missing";
  return { 400: "refused", 404: "forgotten", 413: "refused", 500: "failed" }[reply?.status] ?? "lost";
}
