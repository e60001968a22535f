"""How long after a sentence its live caption is fixed.

    python -m evaluation.performance.live_delay examples/en_long.flac examples/ja_long.flac

A recording is played to a `LiveTranslator` in chunks, as a browser's microphone sends them. The
time between chunks is not waited for but counted; the computing is measured as it happens, and a
chunk that arrives while the one before is still being worked on waits its turn. The delay runs from
the end of the sound of a sentence to the moment when its caption is there: the half second of
silence that ends a sentence, the rest of the chunk, the detector and the model. The network and the
page are not in it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.playing import CHUNK, MICROPHONE_RATE, RealClock, play
from speech_translation.audio import load_audio
from speech_translation.engine import PHRASEBOOK, Engine, Request, load_engine
from speech_translation.levels import Samples
from speech_translation.live import LiveTranslator
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Seconds, Segment

_SILENCE = 4 * SAMPLE_RATE  # enough for the last sentence to be over


@dataclass(frozen=True, slots=True)
class LiveDelays:
    """What one recording gave."""

    delays: Sequence[Seconds]
    """From the end of each sentence to its fixed caption, in order."""
    first_words: Sequence[Seconds]
    """From the beginning of each sentence to the first words of its line."""
    listening: float
    """Resampling and speech detection, in seconds of computing per second of audio."""


def measure(samples: Samples, engine: Engine, chunk: Seconds = CHUNK) -> LiveDelays:
    """Play `samples`, float32 (n,) at 16 kHz, and silence, in chunks of `chunk` s."""
    samples = np.pad(samples, (0, _SILENCE))
    timed = _TimedEngine(engine)
    clock = RealClock()
    translator = LiveTranslator(timed, clock=clock)
    delays: list[Seconds] = []
    first_words: list[Seconds] = []
    shown: Seconds | None = None  # when the line under way first had words
    for _ in play(samples, translator, clock, chunk):
        now = clock()
        for segment in translator.segments[len(delays) :]:
            delays.append(now - _sound_end(segment, samples))
            first_words.append((shown or now) - segment.start)
            shown = None
        if shown is None and translator.settled + translator.tentative:
            shown = now
    figures = translator.translation()
    return LiveDelays(
        delays, first_words, (figures.compute_seconds - timed.seconds) / figures.duration
    )


class _TimedEngine:
    """An engine and how long it was at work."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.description = engine.description
        self.batch_size = engine.batch_size
        self.seconds: Seconds = 0.0

    def generate(self, request: Request) -> list[Hypothesis]:
        began = time.perf_counter()
        try:
            return self._engine.generate(request)
        finally:
            self.seconds += time.perf_counter() - began


def _sound_end(segment: Segment, samples: Samples) -> Seconds:
    """The end of the last 20 ms in a segment that are louder than 2 % of the recording's peak."""
    frame = SAMPLE_RATE // 50
    first, last = round(segment.start * SAMPLE_RATE), round(segment.end * SAMPLE_RATE)
    frames = samples[first : first + (last - first) // frame * frame].reshape(-1, frame)
    loud = np.flatnonzero(np.sqrt((frames**2).mean(axis=1)) > 0.02 * np.abs(samples).max())
    return (first + (int(loud[-1]) + 1) * frame) / SAMPLE_RATE


def main(argv: Sequence[str] | None = None) -> int:
    """Print the delays of each recording named."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.performance.live_delay",
        description="How long after a sentence its live caption is fixed.",
    )
    parser.add_argument("recordings", nargs="+", help="audio files")
    parser.add_argument("--model", default=PHRASEBOOK, help="as in inference.py (%(default)s)")
    parser.add_argument("--device", default="auto", help="as in inference.py (%(default)s)")
    parser.add_argument("--chunk", type=float, default=CHUNK, help="seconds (%(default)s)")
    options = parser.parse_args(argv)
    engine = load_engine(options.model, options.device)
    engine.generate(
        Request([np.zeros(SAMPLE_RATE, np.float32)], Direction.AUTO)
    )  # the first is slower
    print(f"{engine.description}, chunks of {options.chunk:g} s at {MICROPHONE_RATE} Hz")
    print("recording  captions  fixed: median  max  first words: median  max  listening")
    for recording in options.recordings:
        result = measure(load_audio(recording), engine, options.chunk)
        print(
            f"{recording}  {len(result.delays)}  {statistics.median(result.delays):.2f} s  "
            f"{max(result.delays):.2f} s  {statistics.median(result.first_words):.2f} s  "
            f"{max(result.first_words):.2f} s  {result.listening:.2%} of real time"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
