// What the page does by itself: languages, playing a segment, reading aloud, live captions.
// The texts come from texts.toml as window.speechTexts (see server.py).
(() => {
  "use strict";
  const locale = (navigator.language || "en").toLowerCase().startsWith("ja") ? "ja" : "en";
  const texts = window.speechTexts[locale];
  const find = (id) => document.getElementById(id);
  document.documentElement.lang = locale;
  document.title = texts.title;

  // --- Gradio's private parts ------------------------------------------------------------------

  // All that is used of what Gradio 6.17.3 does not promise to keep, here and nowhere else. When an
  // upgrade changes one of them, the test of its feature in tests/web/test_browser.py fails.
  const GRADIO = {
    picker: "#audio input[type=file]", // where a recording is chosen
    stopRecording: "#audio .stop-button",
    result: "#result textarea",
    terms: "#terms textarea",
    recordingLink: "#player a[download]", // has the address of the recording
    subtitlesButton: "#player .cc-button", // without a name
    tabCopies: ".tab-container.visually-hidden button", // copies of the tabs that only Tab reaches
    liveDirection: "#live-direction input:checked",
    uploadAddress: /\/upload(\?|$)/, // of the requests that bring a recording
  };
  /** The path below which a proxy serves the page. */
  const root = () => (window.gradio_config?.root ?? "").replace(/\/$/, "");

  // --- Languages -------------------------------------------------------------------------------

  const japanese = /[\u3041-\u30ff\u3400-\u9fff]/;
  const langOf = (text) => (japanese.test(text) ? "ja" : "en");

  const ACCEPTED = "audio/*,video/*,.amr,.3gp,.mkv,.opus"; // Gradio offers audio alone

  /** Fill what the server left for this language, and mark the language of the result. */
  function dress() {
    for (const element of document.querySelectorAll("[data-text]")) {
      const text = texts[element.dataset.text];
      if (element.textContent !== text) element.textContent = text;
    }
    const area = document.querySelector(GRADIO.result);
    if (area && area.value && area.lang !== langOf(area.value)) area.lang = langOf(area.value);
    const speak = find("speak");
    if (speak) speak.hidden = !("speechSynthesis" in window);
    const picker = document.querySelector(GRADIO.picker);
    if (picker && picker.accept !== ACCEPTED) picker.accept = ACCEPTED;
    document.querySelector(GRADIO.subtitlesButton)?.setAttribute("aria-label", texts.subtitles);
    for (const copy of document.querySelectorAll(GRADIO.tabCopies)) {
      copy.tabIndex = -1;
    }
  }
  let waiting = false;
  new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; dress(); });
  }).observe(document.documentElement, {
    childList: true, subtree: true, attributeFilter: ["accept"],
  });

  // --- Videos ----------------------------------------------------------------------------------

  // Gradio's recording takes only what the browser calls audio; the server hears videos as well.
  const isAudio = (file) => file.type.startsWith("audio/");

  function takeAsAudio(event, picker, files) {
    if (!picker || [...files].every(isAudio)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(new File([file], file.name, { type: "audio/mpeg" }));
    picker.files = transfer.files;
    picker.dispatchEvent(new Event("change", { bubbles: true }));
  }
  document.addEventListener("change", (event) => {
    if (event.target.matches(GRADIO.picker)) {
      takeAsAudio(event, event.target, event.target.files);
    }
  }, true);
  document.addEventListener("drop", (event) => {
    if (!event.target.closest?.("#audio")) return;
    const picker = document.querySelector(GRADIO.picker);
    takeAsAudio(event, picker, event.dataTransfer?.files ?? []);
  }, true);

  // --- A click that comes before its recording --------------------------------------------------

  // Gradio takes a recording over a moment after Stop: encoded, uploaded, then set. A click on
  // Translate waits for that, or it would be told that there is no recording yet.
  const TAKEN_OVER = 300; // milliseconds from the upload's end
  const ENCODED = 5_000; // milliseconds from Stop, at most, to the upload's begin
  let uploads = 0, uploaded = -Infinity, stopped = -Infinity, held = false;
  const plainFetch = window.fetch;
  window.fetch = async (...request) => {
    const address = String(request[0]?.url ?? request[0]);
    if (!GRADIO.uploadAddress.test(address)) return plainFetch(...request);
    uploads += 1;
    stopped = -Infinity;
    try {
      return await plainFetch(...request);
    } finally {
      uploads -= 1;
      uploaded = performance.now();
    }
  };
  const arriving = () => {
    const now = performance.now();
    return uploads > 0 || now - uploaded < TAKEN_OVER || now - stopped < ENCODED;
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest?.(GRADIO.stopRecording)) stopped = performance.now();
    if (!event.target.closest?.("#translate") || !arriving()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (held) return;
    held = true;
    const timer = setInterval(() => {
      if (arriving()) return;
      clearInterval(timer);
      held = false;
      find("translate")?.click();
    }, 50);
  }, true);

  // --- Play a segment --------------------------------------------------------------------------

  let segmentPlayed = null;

  /** Play a row's part of the recording; Gradio's player lets nobody else seek in it. */
  function playSegment(row) {
    const recording = document.querySelector(GRADIO.recordingLink)?.href;
    if (!recording) return;
    segmentPlayed?.pause();
    segmentPlayed = new Audio(`${recording}#t=${row.dataset.start},${row.dataset.end}`);
    const ended = () => row.classList.remove("playing");
    segmentPlayed.addEventListener("pause", ended);
    row.classList.add("playing");
    segmentPlayed.play().catch(ended);
  }

  function readAloud() {
    const text = document.querySelector(GRADIO.result)?.value;
    if (!text) return;
    speechSynthesis.cancel();
    const speech = new SpeechSynthesisUtterance(text);
    speech.lang = langOf(text) === "ja" ? "ja-JP" : "en-US";
    speechSynthesis.speak(speech);
  }

  // --- Live captions ---------------------------------------------------------------------------

  const SEND_EVERY = 500; // milliseconds
  const LONGEST = 2_000_000; // samples in one request

  const worklet = URL.createObjectURL(new Blob([`
    registerProcessor("capture", class extends AudioWorkletProcessor {
      constructor() {
        super();
        this.parts = []; this.length = 0; this.done = false;
        this.port.onmessage = () => { this.flush(); this.port.postMessage(null); this.done = true; };
      }
      flush() {
        const all = new Int16Array(this.length);
        let at = 0;
        for (const part of this.parts) for (const x of part) {
          all[at++] = Math.max(-32768, Math.min(32767, Math.round(x * 32768)));
        }
        this.parts = []; this.length = 0;
        this.port.postMessage(all, [all.buffer]);
      }
      process(inputs) {
        if (this.done) return false;
        if (inputs[0].length) {
          this.parts.push(inputs[0][0].slice()); this.length += inputs[0][0].length;
          if (this.length >= 4096) this.flush();
        }
        return true;
      }
    });`], { type: "text/javascript" }));

  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  let talk = null; // the talk that is going on, or the last one

  function note(text) {
    const element = find("live-note");
    if (element) element.textContent = text ?? texts.live_info;
  }

  function showCaptions(answer) {
    const list = find("live-fixed");
    const atEnd = find("live-captions");
    while (list.children.length > answer.from) list.lastElementChild.remove();
    for (const segment of answer.segments) {
      const line = document.createElement("p");
      for (const [name, text] of [["time", segment.time], ["text", segment.text], ["flags", segment.flags]]) {
        const part = document.createElement("span");
        part.className = name;
        part.textContent = text;
        if (name === "text" && segment.lang) part.lang = segment.lang;
        line.append(part);
      }
      list.append(line);
    }
    const line = find("live-line");
    line.querySelector(".settled").textContent = answer.settled;
    line.querySelector(".tentative").textContent = answer.tentative;
    line.lang = langOf(answer.settled + answer.tentative);
    find("live-empty").hidden = list.children.length > 0 || line.textContent.trim() !== "";
    atEnd.scrollTop = atEnd.scrollHeight;
  }

  /** Send what was heard, in order, each chunk until it is answered. */
  async function send(current) {
    for (;;) {
      if (!current.heard.length && !current.ended) { await pause(SEND_EVERY); continue; }
      const parts = [];
      let length = 0;
      while (current.heard.length && length < LONGEST) {
        parts.push(current.heard.shift());
        length += parts.at(-1).length;
      }
      const last = current.ended && !current.heard.length;
      const body = new Blob(parts);
      for (let failures = 0; ;) {
        if (current !== talk) return;
        const url = `${root()}/live/${current.id}?seq=${current.seq}&rate=${current.rate}` +
          `&known=${find("live-fixed").children.length}${last ? "&last=1" : ""}`;
        let reply = null;
        try { reply = await fetch(url, { method: "POST", body }); } catch { /* tried again below */ }
        if (current !== talk) return;
        if (reply?.ok) { showCaptions(await reply.json()); note(); break; }
        if (reply) {
          const words = await reply.json().catch(() => ({}));
          note(words.error ?? texts.broken);
          // The server has what was said, and translates it with the next chunk.
          if (reply.status === 500 && !last) break;
          if (reply.status === 500 && ++failures < 3) { await pause(2 * SEND_EVERY); continue; }
          await release(current); // it would say no again
          return;
        }
        note(texts.live_lost);
        await pause(2 * SEND_EVERY);
      }
      current.seq += 1;
      if (last) { current.sent = true; return; }
      await pause(SEND_EVERY);
    }
  }

  async function release(current) {
    current.stream?.getTracks().forEach((track) => track.stop());
    if (current.context && current.context.state !== "closed") await current.context.close();
    current.ended = true;
    const button = find("live-audio");
    if (button) button.dataset.text = "live_start";
    button?.setAttribute("aria-pressed", "false");
    dress();
  }

  async function startTalk() {
    const current = { heard: [], seq: 0, ended: false };
    clearTalk();
    talk = current;
    try {
      current.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
      current.context = new AudioContext();
      current.rate = current.context.sampleRate;
      await current.context.audioWorklet.addModule(worklet);
    } catch (error) {
      note(texts.live_error.replace("{reason}", error.message));
      return release(current);
    }
    const direction = document.querySelector(GRADIO.liveDirection)?.value ?? "auto";
    const terms = document.querySelector(GRADIO.terms)?.value ?? "";
    const query = new URLSearchParams({ direction, terms });
    const node = new AudioWorkletNode(current.context, "capture");
    current.flushed = new Promise((resolve) => {
      node.port.onmessage = ({ data }) => (data ? current.heard.push(data) : resolve());
    });
    current.node = node;
    current.context.createMediaStreamSource(current.stream).connect(node);
    const button = find("live-audio");
    button.dataset.text = "live_stop";
    button.setAttribute("aria-pressed", "true");
    dress();
    const reply = await fetch(`${root()}/live?${query}`, { method: "POST" }).catch(() => null);
    const words = await reply?.json().catch(() => ({}));
    if (!reply?.ok) {
      note(words?.error ?? texts.broken);
      return release(current);
    }
    current.id = words.id;
    note();
    return send(current);
  }

  async function stopTalk(current) {
    current.node?.port.postMessage("stop");
    await Promise.race([current.flushed, pause(1000)]);
    await release(current);
  }

  function clearTalk() {
    if (talk?.id) fetch(`${root()}/live/${talk.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
    talk = null;
    showCaptions({ from: 0, segments: [], settled: "", tentative: "" });
    note();
  }

  // --- Clicks ----------------------------------------------------------------------------------

  document.addEventListener("click", (event) => {
    const target = event.target;
    if (!(target instanceof Element)) return;
    const row = target.closest("tr[data-start]");
    if (row) playSegment(row);
    if (target.closest("#speak")) readAloud();
    if (target.closest("#live-audio")) {
      if (talk && !talk.ended) stopTalk(talk);
      else startTalk();
    }
    if (target.closest("#live-clear")) {
      const current = talk;
      if (current && !current.ended) stopTalk(current).then(clearTalk);
      else clearTalk();
    }
    const format = target.closest("[data-live-format]")?.dataset.liveFormat;
    if (format && talk?.id) {
      const link = document.createElement("a");
      link.href = `${root()}/live/${talk.id}/captions.${format}`;
      link.download = `captions.${format}`;
      link.click();
    }
  });
  dress();
})();
