// Results that survive a reload, in this browser's own database. Nothing of it leaves the machine.

const KEPT = 20; // results
const HEAVIEST = 100 << 20; // bytes of a recording that is kept beside its text

// A result is written again with each line and each correction, its recording once.
const STORES = ["results", "recordings"];

let opening = null;

function database() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("speech-translation", 2);
    request.onupgradeneeded = ({ oldVersion }) => {
      for (const name of STORES.slice(oldVersion)) request.result.createObjectStore(name, { keyPath: "id" });
    };
    request.onsuccess = () => {
      request.result.onversionchange = () => { // a newer page, in another tab, changes the stores
        request.result.close();
        opening = null;
      };
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
  return opening;
}

/** What `work(results, recordings)` asks of the stores; null where the browser keeps nothing. */
async function ask(mode, work) {
  try {
    const transaction = (await database()).transaction(STORES, mode);
    const request = work(...STORES.map((name) => transaction.objectStore(name)));
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } catch {
    return null;
  }
}

/** All that is kept, the newest first. */
export async function keptResults() {
  const all = (await ask("readonly", (results) => results.getAll())) ?? [];
  const recordings = (await ask("readonly", (_, recordings) => recordings.getAll())) ?? [];
  const blobs = new Map(recordings.map(({ id, blob }) => [id, blob]));
  all.sort((a, b) => b.made - a.made);
  for (const old of all.slice(KEPT)) await forget(old.id);
  // The first version of the database had the recording in its result.
  return all.slice(0, KEPT).map((result) => ({ ...result, blob: blobs.get(result.id) ?? result.blob ?? null }));
}

export async function keep({ blob, ...result }) {
  const put = (recording) => ask("readwrite", (results, recordings) => {
    const known = recordings.getKey(result.id);
    known.onsuccess = () => { if (recording && !known.result) recordings.put({ id: result.id, blob: recording }); };
    return results.put(result);
  });
  const light = !blob || blob.size > HEAVIEST;
  if (await put(light ? null : blob) === null) await put(null); // the browser's room is full
}

export const forget = (id) => ask("readwrite", (results, recordings) => {
  recordings.delete(id);
  return results.delete(id);
});

export const forgetAll = () => ask("readwrite", (results, recordings) => {
  recordings.clear();
  return results.clear();
});
