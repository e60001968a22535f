"""Ten minutes of hostile recordings: the whole corpus, then new damage until the time is up.

    make fuzz

Prints what became of them; a file that breaks a promise is kept in `--keep`, and the exit status
is 1. Each worker decodes in a process of its own, so that a crash of a decoder is seen and counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from hostile import Case, Verdict, boundaries, corpus, damaged, judge, sound_files  # noqa: E402

from speech_translation.audio import load_audio  # noqa: E402

WORKERS = 2
BATCH = 16  # cases given to a worker at a time
STUCK = 300.0  # seconds without an answer


def judge_all(cases: list[Case]) -> list[Verdict]:
    """In a worker."""
    return [judge(case.data) for case in cases]


def batches(cases: Iterator[Case]) -> Iterator[list[Case]]:
    """`BATCH` at a time."""
    batch = list[Case]()
    for case in cases:
        batch.append(case)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def endless(speech: np.ndarray, seed: int) -> Iterator[Case]:
    """New damage for ever."""
    files = [(name, data, sorted(boundaries(data))) for name, data in sound_files(speech).items()]
    rng = random.Random(f"more {seed}")
    while True:
        name, data, ends = rng.choice(files)
        yield Case(f"{name}, more damage", damaged(data, ends, rng))


def run(cases: Iterator[Case], until: float, keep: Path, found: Counter[str]) -> list[str]:
    """Judge `cases` until the clock says `until`; returns what went wrong."""
    faults = list[str]()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(WORKERS, context)
    waiting = []

    def settle(batch: list[Case], future) -> None:  # type: ignore[no-untyped-def]
        nonlocal pool
        try:
            verdicts = future.result(STUCK)
        except (BrokenProcessPool, TimeoutError) as error:
            pool.shutdown(wait=False, cancel_futures=True)
            pool = ProcessPoolExecutor(WORKERS, context)
            verdicts = [Verdict("crashed", 0, 0, f"the process: {error!r}")] * len(batch)
        for case, verdict in zip(batch, verdicts, strict=True):
            found[verdict.outcome] += 1
            if verdict.fault:
                keep.mkdir(parents=True, exist_ok=True)
                path = keep / f"{len(faults)}.bin"
                path.write_bytes(case.data)
                faults.append(f"{case.name}: {verdict.fault} ({path})")
                print(faults[-1], file=sys.stderr, flush=True)

    for batch in batches(cases):
        if time.monotonic() > until:
            break
        waiting.append((batch, pool.submit(judge_all, batch)))
        if len(waiting) > 2 * WORKERS:
            settle(*waiting.pop(0))
    for batch, future in waiting:
        settle(batch, future)
    pool.shutdown()
    return faults


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=ROOT / "out" / "fuzz")
    options = parser.parse_args()
    began = time.monotonic()
    until = began + 60 * options.minutes
    speech = load_audio(ROOT / "examples" / "en_1.flac")
    found = Counter[str]()
    faults = run(corpus(speech, options.seed), until, options.keep, found)
    whole = found.total()
    faults += run(endless(speech, options.seed), until, options.keep, found)
    print(
        f"{found.total()} files ({whole} of the corpus) in {time.monotonic() - began:.0f} s: "
        f"{found['sound']} with speech, {found['silence']} without, {found['refused']} refused, "
        f"{len(faults)} broken promises"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
