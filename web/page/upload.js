// A recording on its way to the server.

import { about } from "./about.js";
import { parsed, root } from "./dom.js";
import { Problem } from "./words.js";

/** Upload a recording as Gradio's clients do. Returns a request: `done` gives its path on the server
    or throws a Problem, `abort()` ends it, and `onSent` hears how many percent have gone. */
export function upload({ name, blob }, onSent = () => {}) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    const { megabytes } = about();
    if (megabytes && blob.size > megabytes * 2 ** 20) return reject(new Problem("too_large", { megabytes }));
    const form = new FormData();
    form.append("files", blob, fileName(name, blob));
    request.open("POST", `${root()}/gradio_api/upload`);
    request.upload.onprogress = ({ loaded, total }) => onSent(Math.floor(100 * loaded / total));
    request.onload = () => {
      const path = request.status === 200 && parsed(request.responseText)?.[0];
      if (path) resolve(path);
      else if (request.status === 413) reject(new Problem("too_large_between")); // for a proxy
      else reject(new Problem("upload_failed"));
    };
    request.onerror = async () => reject(new Problem(await readable(blob) ? "upload_failed" : "file_changed"));
    request.onabort = () => reject(new Problem("upload_failed"));
    request.send(form);
  });
  return { done, abort: () => request.abort() };
}

/** Whether a file is still there as it was chosen: browsers do not read one that is written to. */
const readable = (blob) => blob.slice(0, 1).arrayBuffer().then(() => true, () => false);

const fileName = (name, blob) => (/\.\w{1,5}$/.test(name) ? name : `${name}${blob.type === "audio/wav" ? ".wav" : ""}`);
