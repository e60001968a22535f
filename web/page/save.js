// Results as files, which the server writes: a page has corrections that the server never saw.

import { download, root } from "./dom.js";
import { upload } from "./upload.js";
import { Problem } from "./words.js";

/** A result as a file in a format: the text of the file. Throws a Problem. */
export async function asText(data, format, more = "") {
  const both = (data.segments ?? []).some((segment) => segment.source_text);
  const reply = await ask(`captions/${format}?show=${both ? "both" : "translation"}${more}`, body(data));
  if (!reply?.ok) throw await problem(reply);
  return reply.text();
}

/** Give the visitor a result as a file. Throws a Problem. */
export async function save(data, format) {
  download(`${stem(data)}.${format}`, await asText(data, format));
}

/** Give the visitor the own video back, with captions in it. Throws a Problem. */
export async function saveFilm(data) {
  let format = data.film;
  for (let tries = 0; ; tries++) {
    data.upload ??= await upload(data).done;
    const reply = await ask(`film/${format}`, { ...body(data), upload: data.upload });
    if (reply?.ok) return download(`${stem(data)}.captions.${format}`, await reply.blob());
    if (reply?.status === 404 && data.blob && !tries) data.upload = null; // uploads are kept for an hour
    else if (reply?.status === 400 && format === "mp4") format = "mkv"; // it holds more
    else throw await problem(reply);
  }
}

/** The server's answer; null when there is none, or the login page of a network in its place. */
async function ask(path, content) {
  const reply = await fetch(`${root()}/${path}`, { method: "POST", body: JSON.stringify(content) }).catch(() => null);
  return reply?.headers.get("content-type")?.startsWith("text/html") ? null : reply;
}

const body = ({ figures, duration, direction, segments }) => ({ ...figures?.raw, duration, direction, segments });

async function problem(reply) {
  const answer = await reply?.json().catch(() => null);
  return new Problem("no_file", {}, answer?.words);
}

/** The name of a file without its ending. Of subtitles nothing but the name can say that their end is missing. */
const stem = ({ name, state }) => name.replace(/\.[^.]{1,5}$/, "").slice(0, 100) + (state === "partial" ? ".partial" : "");
