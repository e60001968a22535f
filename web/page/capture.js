// Sound from a microphone or another source, as int16 samples. Whoever opens a source closes it.

const worklet = URL.createObjectURL(new Blob([`
  registerProcessor("capture", class extends AudioWorkletProcessor {
    constructor(options) {
      super();
      this.size = options.processorOptions.size;
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
      const channels = inputs[0];
      if (channels.length) {
        const mono = channels[0].slice();
        for (const other of channels.slice(1)) for (let i = 0; i < mono.length; i++) mono[i] += other[i];
        if (channels.length > 1) for (let i = 0; i < mono.length; i++) mono[i] /= channels.length;
        this.parts.push(mono); this.length += mono.length;
        if (this.length >= this.size) this.flush();
      }
      return true;
    }
  });`], { type: "text/javascript" }));

const FLUSHED_WITHIN = 1000; // milliseconds

/** The stream of a source: "microphone", or "screen" for the sound of a tab or the whole computer. */
export async function openSource(source) {
  if (source !== "screen") {
    if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("", "NotSupportedError");
    return navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  }
  if (!navigator.mediaDevices?.getDisplayMedia) throw new DOMException("", "NotSupportedError");
  const stream = await navigator.mediaDevices.getDisplayMedia({
    video: true, audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    systemAudio: "include",
  });
  if (!stream.getAudioTracks().length) {
    close(stream);
    throw new DOMException("", "NoSoundError");
  }
  return stream;
}

/** The key of the sentence that says why a source could not be opened. */
export function reasonKey(error) {
  return {
    NotAllowedError: "no_permission", SecurityError: "no_permission",
    NotFoundError: "no_microphone", OverconstrainedError: "no_microphone",
    NotReadableError: "microphone_busy", NotSupportedError: "no_recording_here",
    NoSoundError: "no_shared_sound",
  }[error?.name] ?? "microphone_broken";
}

export const close = (stream) => stream?.getTracks().forEach((track) => track.stop());

/** Hears a stream until `stop`; `onSamples` gets int16 arrays, about ten a second. */
export class Capture {
  static async of(stream, onSamples, wanted) {
    const capture = new Capture();
    capture.stream = stream;
    try {
      await capture.#begin(onSamples, wanted);
    } catch (error) {
      await capture.stop();
      throw error;
    }
    return capture;
  }

  async #begin(onSamples, wanted) {
    const sound = new MediaStream(this.stream.getAudioTracks());
    let source = null;
    try { // Firefox takes a microphone only at its own rate
      this.context = new AudioContext(wanted ? { sampleRate: wanted } : {});
      source = this.context.createMediaStreamSource(sound);
    } catch {
      await this.context?.close();
      this.context = new AudioContext();
      source = this.context.createMediaStreamSource(sound);
    }
    this.rate = this.context.sampleRate;
    await this.context.audioWorklet.addModule(worklet);
    const size = Math.round(this.rate / 12);
    this.node = new AudioWorkletNode(this.context, "capture", { processorOptions: { size } });
    this.flushed = new Promise((resolve) => {
      this.node.port.onmessage = ({ data }) => (data ? onSamples(data) : resolve());
    });
    source.connect(this.node);
    // A telephone call or a computer that slept suspends it, too.
    this.context.onstatechange = () => this.#resume();
    await this.#resume();
  }

  async #resume() {
    if (!["running", "closed"].includes(this.context.state)) await this.context.resume().catch(() => {});
  }

  /** Let the source go. What was heard until now still reaches `onSamples`. */
  async stop() {
    if (this.node) {
      this.node.port.postMessage("stop");
      await Promise.race([this.flushed, new Promise((resolve) => setTimeout(resolve, FLUSHED_WITHIN))]);
    }
    close(this.stream);
    if (this.context && this.context.state !== "closed") await this.context.close();
  }
}

/** The loudest of some samples, from 0 to 1. */
export function loudest(samples) {
  let most = 0;
  for (const x of samples) most = Math.max(most, Math.abs(x));
  return most / 32768;
}

/** A wav file of int16 arrays. */
export function wav(parts, rate) {
  const bytes = 2 * parts.reduce((sum, part) => sum + part.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); head.setUint32(4, 36 + bytes, true); text(8, "WAVEfmt ");
  head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);
  head.setUint32(24, rate, true); head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true); head.setUint16(34, 16, true);
  text(36, "data"); head.setUint32(40, bytes, true);
  return new Blob([head, ...parts], { type: "audio/wav" });
}
