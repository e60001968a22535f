// Results that survive a reload, in this browser's own database. Nothing of it leaves the machine.

const KEPT = 20; // results
const HEAVIEST = 100 << 20; // bytes of a recording that is kept beside its text

let opening = null;

function database() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("speech-translation", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("results", { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

/** What `work(store)` asks of the store; null where the browser keeps nothing. */
async function ask(mode, work) {
  try {
    const store = (await database()).transaction("results", mode).objectStore("results");
    const request = work(store);
    return await new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } catch {
    return null;
  }
}

/** All that is kept, the newest first. */
export async function keptResults() {
  const all = (await ask("readonly", (store) => store.getAll())) ?? [];
  all.sort((a, b) => b.made - a.made);
  for (const old of all.slice(KEPT)) await forget(old.id);
  return all.slice(0, KEPT);
}

export async function keep(result) {
  const light = { ...result, blob: null };
  const heavy = (result.blob?.size ?? 0) > HEAVIEST;
  const put = (what) => ask("readwrite", (store) => store.put(what));
  if (await put(heavy ? light : result) === null) await put(light); // the browser's room is full
}

export const forget = (id) => ask("readwrite", (store) => store.delete(id));
export const forgetAll = () => ask("readwrite", (store) => store.clear());
