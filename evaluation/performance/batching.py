"""What an engine gains by translating segments together.

    python -m evaluation.performance.batching --model phrasebook examples/en_long.flac

Times `generate` on the segments of a recording, one at a time and 2, 4, 8 together, in turn, and
prints the medians. Reading, speech detection and loading are not in the times.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speech_translation.audio import load_audio
from speech_translation.engine import PHRASEBOOK, Engine, Request, load_engine
from speech_translation.segments import POLICIES, cut, find_segments
from speech_translation.types import Direction, Seconds

SIZES = (1, 2, 4, 8)


def seconds_per_segment(engine: Engine, segments: Sequence[np.ndarray], size: int) -> Seconds:
    """Time to translate `segments`, each float32 (n,) at 16 kHz, `size` at a time, for each."""
    start = time.perf_counter()
    for first in range(0, len(segments), size):
        engine.generate(Request(segments[first : first + size], Direction.AUTO))
    return (time.perf_counter() - start) / len(segments)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.performance.batching", description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--model", default=PHRASEBOOK)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    samples = load_audio(options.recording)
    segments = [cut(samples, x) for x in find_segments(samples, POLICIES["pause"])]
    engine = load_engine(options.model, options.device, precision=options.precision)
    print(f"{engine.description}, {len(segments)} segments", file=sys.stderr)
    engine.generate(Request(segments[:1], Direction.AUTO))  # warm
    times: dict[int, list[Seconds]] = {size: [] for size in SIZES}
    for _ in range(options.rounds):
        for size in SIZES:
            times[size].append(seconds_per_segment(engine, segments, size))
    alone = statistics.median(times[1])
    for size in SIZES:
        median = statistics.median(times[size])
        print(f"{size} together: {median * 1000:.0f} ms a segment, {alone / median:.2f} x")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
