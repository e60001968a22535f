"""How fast the 1.7B model is on a GPU, beside qwen-asr as published and with CUDA graphs.

    make gpu-wheels        # with a network: what it needs beside torch, for another machine
    make gpu               # with a GPU: evaluation/results/gpu.json, within 8 minutes
    python -m evaluation.performance.gpu --dry-run      # the same on a CPU, with a small model

Everything is in bfloat16 and in this process. The full-size checkpoint has random weights, which
are made on the GPU. Each stage has its own time limit, and each figure is printed and kept as soon
as it is there, the surest first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from evaluation.performance.full_size import FOLDER, build, build_small
from evaluation.performance.gpu_variants import (
    GRAPHS,
    OURS,
    PUBLISHED,
    VARIANTS,
    Loaded,
    agreement,
)
from evaluation.performance.stages import Figures, Stages
from evaluation.samples import read_samples
from speech_translation.engine import WINDOW
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.types import SAMPLE_RATE, Direction, Seconds

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "results" / "gpu.json"
CLIPS = ROOT / "data" / "phrasebook.jsonl"
TOTAL: Seconds = 420
"""For all stages together, so that installing and starting fit into 8 minutes too."""

TOKENS_A_SECOND = 4
SPAN, TOGETHER = 30, 8  # this project's spans of a long recording, seconds, and how many at a time


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    batches: Sequence[int] = (1, 8, 32)
    clip: int = 10
    """Seconds of the clips in a batch."""
    tokens: int = 64
    """Of the replies whose decode steps are timed."""
    short: Sequence[int] = (10, 30)
    """Seconds of recordings that are one segment."""
    long: int = 600
    """Seconds of the long recording: spans for this project, one piece for qwen-asr."""
    checked: int = 20
    """Clips of each direction whose tokens are compared."""
    repeats: int = 3
    patience: float = 1
    """What the time limits are multiplied by."""


FULL = Plan()
DRY = Plan((1, 3), clip=2, tokens=6, short=(2,), long=6, checked=2, repeats=1, patience=10)


class Measurement:
    """The stages, and the models that they share."""

    def __init__(self, stages: Stages, plan: Plan, device: str, folder: Path | None) -> None:
        self._stages = stages
        self._plan = plan
        self._device = device
        self._folder = folder  # None: a small checkpoint, for a dry run
        self._noise = np.random.default_rng(0)
        self._models = dict[bool, Loaded]()  # by whether qwen-asr runs it

    def run(self) -> None:
        """All stages; what a stage lacks because of another one is left out."""

        def run(name: str, limit: Seconds, work: Callable[[], Iterator[Figures]]) -> bool:
            return self._stages.run(name, limit * self._plan.patience, work)

        run("machine", 60, self._machine)
        run("tokens of the embedded checkpoint", 90, self._embedded)
        with tempfile.TemporaryDirectory() as scratch:
            if not run("checkpoint", 120, partial(self._build, Path(scratch))):
                return
            ours = run("load, ours", 60, partial(self._load, False))
            published = run("load, qwen-asr", 60, partial(self._load, True))
        variants = [
            x for x, there in ((OURS, ours), (GRAPHS, ours), (PUBLISHED, published)) if there
        ]
        for name in variants:
            run(f"decode steps, {name}", 45, partial(self._steps, name))
        for name in variants:
            run(f"short recordings, {name}", 30, partial(self._short, name))
        if ours and published:
            run("tokens at full size", 40, self._full_size)
        for name in variants:
            run(f"long recording, {name}", 120, partial(self._long, name))

    def _machine(self) -> Iterator[Figures]:
        name = "a CPU"
        if self._device.startswith("cuda"):
            name = torch.cuda.get_device_name(self._device)
            torch.ones(1, device=self._device)  # the driver's start is no part of a load
        yield {
            "device": name,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "date": time.strftime("%Y-%m-%d"),
        }

    def _embedded(self) -> Iterator[Figures]:
        """On clips of one window: qwen-asr applies no window without FlashAttention 2."""
        clips = dict[Direction, list[np.ndarray]]()
        for sample in read_samples(CLIPS):
            known = clips.setdefault(sample.direction, [])
            if len(known) < self._plan.checked:
                clip = sample.load()
                known += [clip] if len(clip) < WINDOW * SAMPLE_RATE else []
        theirs = Loaded(True, PHRASEBOOK_FOLDER, self._device)
        ours = Loaded(False, PHRASEBOOK_FOLDER, self._device)
        said = {to: self._alone(theirs, to, None, known) for to, known in clips.items()}
        yield from _agreement("embedded", "ours", said, self._all(ours, clips))
        with ours.graphs():
            yield from _agreement("embedded", "graphs", said, self._all(ours, clips))

    def _all(self, model: Loaded, clips: dict[Direction, list[np.ndarray]]) -> dict[Any, Any]:
        return {to: self._alone(model, to, None, known) for to, known in clips.items()}

    @staticmethod
    def _alone(
        model: Loaded, to: Direction, tokens: int | None, clips: Sequence[np.ndarray]
    ) -> list[list[int]]:
        return [model.reply([clip], tokens, to)[0] for clip in clips]

    def _build(self, scratch: Path) -> Iterator[Figures]:
        if self._folder is None:
            self._folder = build_small(scratch / "small")
        else:
            build(self._folder, self._device)
        yield {}

    def _load(self, published: bool) -> Iterator[Figures]:
        assert self._folder is not None
        model = self._models[published] = Loaded(published, self._folder, self._device)
        figures = {"load_seconds": model.load_seconds, "weights_gb": model.bytes / 1e9}
        yield {"variants": {PUBLISHED if published else OURS: figures}}

    def _with(self, name: str) -> tuple[Loaded, Any]:
        """The model of a variant, and the context that it runs in."""
        model = self._models[name == PUBLISHED]
        return model, model.graphs() if name == GRAPHS else nullcontext()

    def _steps(self, name: str) -> Iterator[Figures]:
        """Encoder, prefill and decode steps of batches, in milliseconds."""
        plan = self._plan
        model, context = self._with(name)
        with context:
            for rows in plan.batches:
                self._run(model, rows, plan.clip, plan.tokens)  # captures, and warms up
                runs = [self._run(model, rows, plan.clip, plan.tokens) for _ in range(plan.repeats)]
                parts = {
                    f"{part}_ms": 1000 * statistics.median(run[part] for run in runs)
                    for part in ("encoder", "prefill", "token")
                }
                yield {"variants": {name: {f"batch {rows}": parts | self._peak(model)}}}

    def _short(self, name: str) -> Iterator[Figures]:
        """Recordings of one segment: time for each second of sound."""
        model, context = self._with(name)
        with context:
            for seconds in self._plan.short:
                self._run(model, 1, seconds)
                took = [self._run(model, 1, seconds)["whole"] for _ in range(self._plan.repeats)]
                yield self._factor(name, model, seconds, statistics.median(took))

    def _long(self, name: str) -> Iterator[Figures]:
        """A long recording, by spans that are translated together, or whole as qwen-asr does."""
        seconds = self._plan.long
        model, context = self._with(name)
        with context:
            if name == PUBLISHED:
                yield self._factor(name, model, seconds, self._run(model, 1, seconds)["whole"])
                return
            span = min(SPAN, seconds // 2)
            groups = [
                min(TOGETHER, seconds // span - at) for at in range(0, seconds // span, TOGETHER)
            ]
            for rows in sorted(set(groups)):
                self._run(model, rows, span)
            took = sum(self._run(model, rows, span)["whole"] for rows in groups)
            yield self._factor(name, model, seconds, took)

    def _factor(self, name: str, model: Loaded, seconds: int, took: Seconds) -> Figures:
        figures = {"seconds": took, "real_time_factor": took / seconds}
        return {"variants": {name: {f"{seconds} s": figures | self._peak(model)}}}

    def _full_size(self) -> Iterator[Figures]:
        """Random weights have close calls, so a reply is compared up to its first difference."""
        ours, theirs = self._models[False], self._models[True]
        clips = [self._sound(1, 5)[0] for _ in range(3)]
        to, tokens = Direction.EN_JA, self._plan.tokens

        def replies(model: Loaded) -> dict[Any, Any]:
            return {to: self._alone(model, to, tokens, clips)}

        said, ordinary = replies(theirs), replies(ours)
        yield from _agreement("full size", "ours", said, ordinary)
        with ours.graphs():
            replayed = replies(ours)
        yield from _agreement("full size", "graphs", said, replayed)
        yield from _agreement("full size", "graphs and ours", ordinary, replayed)

    def _sound(self, rows: int, seconds: int) -> list[np.ndarray]:
        """Noise, never the same twice: what is known already would not be worked on."""
        return list(self._noise.normal(0, 0.1, (rows, seconds * SAMPLE_RATE)).astype(np.float32))

    def _run(
        self, model: Loaded, rows: int, seconds: int, tokens: int | None = None
    ) -> dict[str, Seconds]:
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(model.device)
        clips = self._sound(rows, seconds)
        return model.run(clips, tokens or TOKENS_A_SECOND * seconds, Direction.EN_JA)

    def _peak(self, model: Loaded) -> dict[str, float]:
        """The memory that the last run took at most, without the other model's weights."""
        if model.device.type != "cuda":
            return {}
        others = sum(x.bytes for x in self._models.values() if x is not model)
        return {"peak_gb": (torch.cuda.max_memory_allocated(model.device) - others) / 1e9}


def _agreement(checkpoint: str, name: str, expected: Any, found: Any) -> Iterator[Figures]:
    pairs = [pair for to in expected for pair in zip(expected[to], found[to], strict=True)]
    yield {"tokens": {checkpoint: {name: agreement(pairs)}}}


def table(figures: Figures) -> str:
    """The figures as Markdown; what was not measured is a dash."""
    variants = figures.get("variants", {})
    keys = list[tuple[str, ...]]([("load_seconds",)])
    for known in variants.values():
        for name, parts in known.items():
            if isinstance(parts, dict):
                keys += [(name, part) for part in parts if (name, part) not in keys]
    lines = [f"| {figures.get('device', '')} | {' | '.join(VARIANTS)} |", "|---" * 4 + "|"]
    for key in keys:
        cells = list[str]()
        for variant in VARIANTS:
            value: Any = variants.get(variant, {})
            for part in key:
                value = value.get(part, {})
            cells.append(f"{value:.4g}" if isinstance(value, int | float) else "–")
        lines.append(f"| {', '.join(key)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.performance.gpu", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="a small model on the CPU")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the random weights")
    parser.add_argument(
        "--output", type=Path, help="JSON file; on a GPU evaluation/results/gpu.json"
    )
    options = parser.parse_args(argv)
    if options.dry_run:
        stages = Stages(options.output, TOTAL * DRY.patience)
        Measurement(stages, DRY, "cpu", None).run()
    elif torch.cuda.is_available():
        stages = Stages(options.output or OUTPUT, TOTAL)
        Measurement(stages, FULL, "cuda:0", options.folder).run()
    else:
        print("There is no GPU that this torch can use: --dry-run runs on a CPU.", file=sys.stderr)
        return 1
    print(table(stages.figures))
    return 1 if stages.figures["stopped"] else 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    raise SystemExit(main())
