"""Live translation: how late its words are, how good, and how often they change.

    python -m evaluation.live --join evaluation/data/phrasebook.jsonl --limit 3
    python -m evaluation.live --segment-list ACL.6060.dev.yaml --direction en2ja \\
        --transcripts ... --references ... --model CHECKPOINT

Recordings are played to the live translator, once where computing takes no time and once by the
clock, and what OmniSTEval reads and says is written to a folder: the quality of the text that
stays (chrF) and LongYAAL, how far its words are behind the speaker, without and with computing. The
settings are a curve: how often the growing line is renewed, and how much of it is shown, all of it,
the words that have settled, or captions only. What is shown earlier is taken back more often:
normalised erasure says how many words are, for each that stays.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.bootstrap import MEASURED, RESAMPLES, interval, of_mean, of_metric
from evaluation.console import counted, shown_command, status
from evaluation.document_scores import drawn
from evaluation.emissions import (
    Emissions,
    Resegmented,
    Shown,
    emissions,
    omnisteval,
    resegmented,
    write_log,
)
from evaluation.live_curve import draw, table
from evaluation.long_data import data_options, recordings_of
from evaluation.long_recordings import Recording
from evaluation.playing import CHUNK, Clock, IdealClock, RealClock, play
from evaluation.provenance import circumstances, revision
from evaluation.samples import DataError
from evaluation.segmentation import document
from speech_translation.engine import PHRASEBOOK, Engine, Request, load_engine
from speech_translation.files import replace_file
from speech_translation.levels import Samples
from speech_translation.live import LiveTranslator
from speech_translation.types import SAMPLE_RATE, Direction, Seconds

EVERY = (0.5, 1.0, 2.0, 4.0)
"""Seconds after which the growing line is renewed."""

CAPTIONS, SETTLED, ALL = "captions", "settled", "all"
"""What is shown: fixed captions; with the settled words of the line; with the whole line."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One point of the curve. `every` is infinite for captions only."""

    every: Seconds
    shown: str


SETTINGS = [Setting(x, shown) for x in EVERY for shown in (ALL, SETTLED)] + [
    Setting(math.inf, CAPTIONS)
]


def follow(
    samples: Samples, direction: Direction, engine: Engine, clock: Clock, every: Seconds
) -> dict[str, list[Shown]]:
    """Play `samples`, float32 (n,) at 16 kHz; what was to be read when, by what is shown."""
    talk = LiveTranslator(engine, direction, partial_every=every, clock=clock)
    history: dict[str, list[Shown]] = {CAPTIONS: [], SETTLED: [], ALL: []}

    def note(heard: Seconds) -> None:
        fixed = [segment.text for segment in talk.segments]
        lines = {CAPTIONS: "", SETTLED: talk.settled, ALL: talk.settled + talk.tentative}
        for name, line in lines.items():
            text = document([*fixed, line] if line else fixed, direction)
            history[name].append(Shown(heard, clock(), text))

    for heard in play(samples, talk, clock):
        note(heard)
    talk.finish()
    note(len(samples) / SAMPLE_RATE)
    return history


def measure(
    recordings: Sequence[Recording], engine: Engine, settings: Sequence[Setting], folder: Path
) -> list[dict[str, Any]]:
    """The figures of recordings of one direction for each setting; logs go to `folder`."""
    direction = recordings[0].direction
    target = direction.target
    assert target is not None
    sizes = [len(recording.sentences) for recording in recordings]
    # As of other documents: recordings, and then sentences in them.
    draws = drawn(sizes, RESAMPLES) if sum(sizes) >= MEASURED else None
    sounds = [recording.load() for recording in recordings]
    seconds = [len(sound) / SAMPLE_RATE for sound in sounds]
    points = list[dict[str, Any]]()
    for every in counted(sorted({x.every for x in settings}), "settings"):
        found: dict[str, dict[str, list[Emissions]]] = {"ideal": {}, "real": {}}
        for name, clocks in (("ideal", IdealClock), ("real", RealClock)):
            for sound in sounds:
                history = follow(sound, direction, engine, clocks(), every)
                for shown, some in history.items():
                    found[name].setdefault(shown, []).append(emissions(some, target))
        for setting in settings:
            if setting.every != every:
                continue
            scores, lines = {}, {}
            for name, by_shown in found.items():
                to = folder / f"{direction.value}-{every:g}-{setting.shown}-{name}"
                write_log(to, recordings, by_shown[setting.shown], seconds)
                scores[name] = omnisteval(to, target)
                lines[name] = resegmented(to, target)
            ideal, real = scores["ideal"], scores["real"]
            points.append(
                {
                    "every": None if math.isinf(every) else every,
                    "shown": setting.shown,
                    "chrf": round(ideal["chrF"], 1),
                    "longyaal": round(ideal["LongYAAL (CU)"] / 1000, 3),
                    "longyaal_clock": round(real["LongYAAL (CA)"] / 1000, 3),
                    "erased": round(
                        float(np.mean([x.erased for x in found["ideal"][setting.shown]])), 3
                    ),
                    **intervals(lines["ideal"], lines["real"], draws),
                }
            )
    return points


def intervals(
    ideal: Sequence[Resegmented], real: Sequence[Resegmented], draws: np.ndarray | None
) -> dict[str, list[float] | None]:
    """The 95 % intervals of a point's scores; None where there are no `draws`.

    Not of erasure, which is counted for whole recordings: there are too few of them.
    """
    from sacrebleu.metrics import CHRF

    texts, references = [x.text for x in ideal], [x.reference for x in ideal]
    of = {
        "chrf": of_metric(CHRF(), texts, references),
        "longyaal": of_mean([x.lag for x in ideal]),
        "longyaal_clock": of_mean([x.lag_by_clock for x in real]),
    }
    found = {f"{name}_interval": interval(one, draws) for name, one in of.items()}
    return {name: ends and [round(x, 3) for x in ends] for name, ends in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.live", description=__doc__)
    data_options(parser)
    parser.add_argument("--model", default=PHRASEBOOK, help="as in inference.py (%(default)s)")
    parser.add_argument("--device", default="auto", help="as in inference.py (%(default)s)")
    parser.add_argument("--logs", type=Path, default=Path("out/live"), help="folder of the logs")
    parser.add_argument("--output", type=Path, help="where to keep the figures (JSON)")
    parser.add_argument("--chart", type=Path, help="where to draw the curve (SVG)")
    options = parser.parse_args(argv)
    return status(lambda: _run(options, sys.argv[1:] if argv is None else argv))


def _run(options: argparse.Namespace, command: Sequence[str]) -> None:
    engine = load_engine(options.model, options.device)
    engine.generate(Request([np.zeros(SAMPLE_RATE, np.float32)], Direction.EN_JA))  # is slower
    title, found = recordings_of(options)
    results: dict[str, Any] = {"directions": []}
    if options.output and options.output.exists():
        results = json.loads(options.output.read_text("utf-8"))
    kept = {entry["direction"]: entry for entry in results["directions"]}
    by_direction: dict[Direction, list[Recording]] = {}
    for recording in found:
        some = by_direction.setdefault(recording.direction, [])
        if options.limit is None or len(some) < options.limit:
            some.append(recording)
    if not by_direction:
        raise DataError(f"There is no recording in {title}.")
    for direction, recordings in by_direction.items():
        if not all(recording.scored for recording in recordings):
            raise DataError(f"{title} has sentences without a reference: name other data.")
        kept[direction.value] = {
            "direction": direction.value,
            "data": options.title or title,
            "recordings": len(recordings),
            "sentences": sum(len(recording.sentences) for recording in recordings),
            "seconds": round(sum(len(x.load()) for x in recordings) / SAMPLE_RATE, 1),
            "engine": engine.description,
            "revision": revision(options.model),
            "chunk": CHUNK,
            **circumstances(engine),
            "date": time.strftime("%Y-%m-%d"),
            "command": shown_command("evaluation.live", command),
            "points": measure(recordings, engine, SETTINGS, options.logs),
        }
    results = {"directions": [kept[name] for name in sorted(kept)]}
    print(table(results))
    if options.output:
        replace_file(options.output, json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    if options.chart:
        replace_file(options.chart, draw(results))


if __name__ == "__main__":
    raise SystemExit(main())
