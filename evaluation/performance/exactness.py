"""Whether exact mode says what qwen-asr says, token by token, with any set of instructions.

    python -m evaluation.performance.exactness --instructions native avx512 avx2

Both compute in float32 on this CPU, clip by clip: the embedded checkpoint the whole test set, the
full size with random weights noise of five seconds. The encoder's window is off, since qwen-asr
has none on a CPU. Exits with 1 where a token differs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evaluation.performance.full_size import FOLDER, build
from evaluation.performance.gpu_variants import Loaded, agreement
from evaluation.performance.instructions import LEVELS, require, run_again
from evaluation.performance.machine import processor
from evaluation.samples import read_samples
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.process import own_process
from speech_translation.types import SAMPLE_RATE, Direction

TEST_SET = Path(__file__).resolve().parents[1] / "data" / "phrasebook.jsonl"
CLIPS, CLIP, TOKENS = 5, 5, 24  # of the full size: clips, seconds of each, tokens of each reply

Asked = tuple[np.ndarray, Direction, int | None]
"""A clip, the direction, and how many tokens the reply has; None where it ends by itself."""


def spoken(limit: int | None) -> Iterator[Asked]:
    """The test set's clips, or `limit` of them from all over it."""
    samples = list(read_samples(TEST_SET))
    step = max(1, len(samples) // limit) if limit else 1
    for sample in samples[::step][:limit]:
        yield sample.load(), sample.direction, None


def noise() -> Iterator[Asked]:
    """What random weights say of noise."""
    random = np.random.default_rng(0)
    for _ in range(CLIPS):
        clip = random.normal(0, 0.1, CLIP * SAMPLE_RATE).astype(np.float32)
        yield clip, Direction.EN_JA, TOKENS


def report(name: str, folder: Path, asked: Sequence[Asked]) -> bool:
    """Print a line of the table; whether all is the same."""
    sides = list[list[list[int]]]()
    for published in (True, False):  # one after the other: together they take 13 GB
        model = Loaded(published, folder, "cpu", "float32", windowed=False)
        sides.append([model.reply([clip], tokens, to)[0] for clip, to, tokens in asked])
        del model
    found = agreement(list(zip(*sides, strict=True)))
    print(
        f"| {' '.join(processor().instructions)} | {name} "
        f"| {found['same_replies']} of {found['replies']} "
        f"| {found['same_tokens']} of {found['tokens']} |",
        flush=True,
    )
    return found["same_replies"] == found["replies"]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.performance.exactness", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the random weights")
    parser.add_argument("--limit", type=int, help="clips of the test set, all if not given")
    parser.add_argument("--without-full-size", action="store_true")
    parser.add_argument("--instructions", nargs="+", choices=LEVELS, default=["native"])
    parser.add_argument("--here", choices=LEVELS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.here:
        require(options.here)
        same = report("embedded", PHRASEBOOK_FOLDER, list(spoken(options.limit)))
        if not options.without_full_size:
            same &= report("full size", options.folder, list(noise()))
        return 0 if same else 1
    if not options.without_full_size:
        build(options.folder)
    print(f"{processor().name}\n\n| instructions | checkpoint | the same replies | tokens |")
    print("|---|---|---|---|", flush=True)
    done = []
    for level in options.instructions:
        try:
            done.append(run_again("evaluation.performance.exactness", level, argv).returncode)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
    return max(done)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    own_process()
    raise SystemExit(main())
