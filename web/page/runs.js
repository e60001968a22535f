// The recordings of this page: one is translated, others wait behind it. Each has its card.
//
// A run is an event of Gradio: #run begins one with what `request` returns, and `hear` gets its news.
// What this page works on is kept from the beginning, and held until it is over: other tabs wait for it.

import { onAbout } from "./about.js";
import { Card, OVER } from "./card.js";
import { find } from "./dom.js";
import { hold, released } from "./held.js";
import { ask } from "./question.js";
import { forget, forgetAll, keep, keptResults } from "./shelf.js";
import { upload } from "./upload.js";
import { onLanguage } from "./words.js";

const STOPPED_WITHIN = 10_000; // milliseconds; then the server is taken to be gone

const HOPELESS = ["too_large", "file_changed"]; // to send again

const cards = new Map();
const line = []; // cards that wait for this page's own run
let active = null;

const acts = {
  stop(card) {
    const waiting = line.indexOf(card);
    if (waiting >= 0) {
      line.splice(waiting, 1);
      finish(card, { state: "refused", message: { key: "cancelled" } });
    } else if (active === card) {
      card.stopped = true;
      if (card.sending) card.sending.abort();
      else {
        find("stop-run").click();
        setTimeout(() => { if (active === card && card.stopped) failed(); }, STOPPED_WITHIN);
      }
    }
  },
  async again(card, direction) {
    if (card.data.edited && !await ask("lose_corrections", "again")) return;
    if (active === card || !cards.has(card.data.id)) return;
    card.data.direction = direction;
    card.clear();
    take(card);
    begin(card);
  },
  async remove(card) {
    if (!card.data.edited || await ask("lose_corrections", "remove")) drop(card);
  },
  changed(card) { keep(kept(card)); },
};

function drop(card) {
  acts.stop(card);
  cards.delete(card.data.id);
  card.close();
  forget(card.data.id);
  showShelf();
}

const kept = (card) => ({ ...card.data, growing: [] });

const held = (id) => `speech-run-${id}`;

/** From now on this page works on a card. */
function take(card) {
  card.hear({ state: "queued" });
  hold(held(card.data.id), new Promise((resolve) => { card.release = resolve; }));
  keep(kept(card)); // with its recording, for a page that is left before it is translated
}

/** Translate recordings, `[{blob, name}]`. The first one ends the run that is under way. */
export function translate(recordings) {
  // The newest are kept, also where the clock was wrong when others were made.
  const now = Math.max(Date.now(), ...[...cards.values()].map((card) => card.data.made));
  const fresh = recordings.map(({ blob, name }, i) => {
    const data = {
      id: crypto.randomUUID?.() ?? String(Math.random()).slice(2), made: now + recordings.length - i, name, blob,
      direction: document.querySelector("[name=direction]:checked").value, state: "queued", segments: [],
    };
    const card = new Card(data, acts);
    cards.set(data.id, card);
    return card;
  });
  for (const card of [...fresh].reverse()) find("cards").prepend(card.element);
  showShelf();
  for (const card of fresh) take(card);
  for (const card of fresh.slice(1)) line.push(card);
  if (fresh.length) begin(fresh[0]);
  if (fresh.length) show(fresh[0]);
}

/** Nobody should have to look for a result: on a phone it stands below all choices. */
function show(card) {
  const narrow = matchMedia("(max-width: 760px)").matches;
  card.element.scrollIntoView({ block: narrow ? "start" : "nearest", behavior: "smooth" });
}

/** Begin a card's run; the one that is under way ends first. */
function begin(card) {
  line.unshift(card);
  if (active) acts.stop(active);
  else next();
}

async function next() {
  if (active || !line.length) return;
  const card = active = line.shift();
  card.stopped = false;
  card.run = (card.run ?? 0) + 1;
  try {
    card.hear({ state: "sending", sent: 0 });
    card.sending = upload(card.data, (sent) => card.hear({ sent }));
    card.data.upload = await card.sending.done;
  } catch (error) {
    card.sending = null;
    if (active === card) finish(card, { state: "refused", ...(card.stopped ? { message: { key: "cancelled" } } : { message: error.said, hopeless: HOPELESS.some((key) => error.said?.key?.startsWith(key)) }) });
    return;
  }
  card.sending = null;
  if (card.stopped) return finish(card, { state: "refused", message: { key: "cancelled" } });
  card.hear({ state: "waiting", place: 0 });
  find("run").click();
}

function finish(card, news) {
  card.hear({ ...news, growing: [] });
  if (active === card) active = null;
  if (card.element.getBoundingClientRect().top > 0.6 * innerHeight) show(card);
  const { release } = card;
  if (cards.has(card.data.id)) keep(kept(card)).then(release);
  else release();
  next();
}

/** What a run needs, for Gradio's event: recording, direction, terms, and whose run it is. */
function request() {
  const { data } = active;
  const file = { path: data.upload, orig_name: data.name, meta: { _type: "gradio.FileData" } };
  return [file, data.direction, find("terms").value, find("transcript").checked, `${data.id} ${active.run}`];
}

function hear(value) {
  if (!value) return;
  const { id: owner, ...news } = JSON.parse(value);
  const [id, run] = owner.split(" ");
  const card = cards.get(id);
  if (Number(run) !== card?.run) return; // the end of a run that the page has given up
  if (card !== active) { // its run is over; whether another direction would fit is told last
    if (!news.other || card.data.edited || !card.over) return;
    card.hear({ other: news.other });
    keep(kept(card));
    return;
  }
  if (news.state === "refused") return finish(card, { ...news, ...part(card.data, news.message) });
  if (OVER.includes(news.state)) return finish(card, news);
  const finished = card.data.segments.length;
  card.hear(news);
  if (card.data.segments.length > finished) keep(kept(card));
}

/** Gradio's event failed, and nothing more will be heard of it. */
function failed() {
  if (active) finish(active, part(active.data, { key: active.stopped ? "cancelled" : "broken" }));
}

window.speechPage = { request, hear, failed };

function showShelf() {
  find("shelf").hidden = !cards.size;
  find("cards-empty").hidden = Boolean(cards.size);
}

/** The end of a run that is broken off: what was finished stays, as after Stop. */
function part({ segments, total }, message) {
  if (!segments.length) return { state: "refused", message };
  const rest = { kind: "untranslated", start: segments.at(-1).end, end: total };
  return { state: "partial", message, duration: total, figures: { raw: { remarks: [rest] } } };
}

/** Put back a kept result. */
function restore(data) {
  if (cards.has(data.id)) return;
  if (!OVER.includes(data.state)) Object.assign(data, part(data, { key: "interrupted" }));
  const card = new Card(data, acts);
  const [older] = [...cards.values()].filter((other) => other.data.made < data.made).sort((a, b) => b.data.made - a.data.made);
  cards.set(data.id, card);
  find("cards").insertBefore(card.element, older?.element ?? null);
  showShelf();
}

/** Put back a result whose run was going on when this page came, once no other tab has it. */
async function restoreLater({ id }) {
  await released(held(id));
  const data = (await keptResults()).find((result) => result.id === id);
  if (data) restore(data);
}

/** Put back what this browser has kept. */
export async function setUpRuns() {
  find("shelf-clear").addEventListener("click", async () => {
    if (!await ask("lose_results", "shelf_clear")) return;
    for (const card of [...cards.values()]) drop(card);
    await forgetAll();
  });
  const showAll = () => cards.forEach((card) => card.show());
  onLanguage(showAll);
  onAbout(showAll); // a card that was kept may be there before what this Space can do is known
  for (const data of await keptResults()) (OVER.includes(data.state) ? restore : restoreLater)(data);
  showShelf();
}
