"""What judges say of hypotheses: how an answer is read, what people scored, and the means."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from evaluation.samples import DataError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one hypothesis; `judge` is a model and pass, or a person."""

    system: str
    id: str
    judge: str
    accuracy: int
    fluency: int


@dataclass(frozen=True, slots=True)
class Judged:
    """Means over all verdicts of a system in one direction; `missing` is what did not parse."""

    system: str
    direction: str
    n: int
    missing: int
    accuracy: float | None
    fluency: float | None
    agreement: float | None
    """Share of pairs of judges' scores for one hypothesis that differ by at most 1, if any."""


def parse(answer: str) -> tuple[int, int] | None:
    """Accuracy and fluency, or None if the answer is not exactly what was asked for."""
    found = re.findall(r"\{[^{}]*\}", answer)
    if len(found) != 1:
        return None
    try:
        scores = json.loads(found[0])
    except ValueError:
        return None
    values = [scores.get(name) for name in ("accuracy", "fluency")]
    if any(type(value) is not int or not 1 <= value <= 5 for value in values):
        return None
    return values[0], values[1]


def human_scores(path: Path) -> list[Verdict]:
    """Verdicts from a CSV with the columns system, id, judge, accuracy, fluency."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            verdicts = [
                Verdict(r["system"], r["id"], r["judge"], int(r["accuracy"]), int(r["fluency"]))
                for r in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path} holds no scores ({error}): it needs the columns system, id, judge, accuracy, "
            "fluency, the last two whole numbers from 1 to 5."
        ) from error
    if any(not 1 <= score <= 5 for v in verdicts for score in (v.accuracy, v.fluency)):
        raise DataError(f"{path} has a score that is not from 1 to 5.")
    return verdicts


def summarise(system: str, direction: str, verdicts: Sequence[Verdict | None]) -> Judged:
    """The means of one system and direction."""
    given = [verdict for verdict in verdicts if verdict is not None]
    by_id: dict[str, list[Verdict]] = {}
    for verdict in given:
        by_id.setdefault(verdict.id, []).append(verdict)
    close = [
        abs(getattr(a, name) - getattr(b, name)) <= 1
        for same in by_id.values()
        for i, a in enumerate(same)
        for b in same[i + 1 :]
        for name in ("accuracy", "fluency")
    ]
    return Judged(
        system,
        direction,
        n=len(by_id),
        missing=len(verdicts) - len(given),
        accuracy=fmean(verdict.accuracy for verdict in given) if given else None,
        fluency=fmean(verdict.fluency for verdict in given) if given else None,
        agreement=fmean(close) if close else None,
    )
