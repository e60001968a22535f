"""What judges say of hypotheses: how an answer is read, what people scored, and the scores."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluation.agreement import Correlation, by_rater, correlation, krippendorff
from evaluation.bootstrap import Interval, draws, interval, of_mean, p_value, sentences
from evaluation.hypotheses import Line
from evaluation.samples import DataError

FIELDS = ("accuracy", "fluency")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "integer", "minimum": 1, "maximum": 5} for name in FIELDS},
    "required": list(FIELDS),
    "additionalProperties": False,
}
"""Of an answer, for servers that hold a model to one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one hypothesis; `judge` is a model and pass, or a person."""

    system: str
    id: str
    judge: str
    accuracy: int
    fluency: int

    @property
    def quality(self) -> float:
        """The mean of both."""
        return (self.accuracy + self.fluency) / 2


@dataclass(frozen=True, slots=True)
class Judged:
    """Means over the hypotheses of a system in one direction.

    `n` of them have verdicts; `missing` is the share of answers that did not parse. `interval` is
    the 95 % interval of `quality`, the mean of accuracy and fluency, by bootstrap over sentences;
    `p` is that of its difference from the first system. Both are None for an example.
    """

    system: str
    direction: str
    n: int
    missing: float
    accuracy: float | None
    fluency: float | None
    quality: float | None
    interval: Interval | None
    p: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Krippendorff's alpha (ordinal) between raters, over the `n` hypotheses that two of them had.

    `between` says who they are: passes of a judge, judges, people.
    """

    between: str
    field: str
    n: int
    alpha: float | None


def parse(answer: str) -> tuple[int, int] | None:
    """Accuracy and fluency, or None if the answer is not exactly what was asked for."""
    found = re.findall(r"\{[^{}]*\}", answer)
    if len(found) != 1:
        return None
    try:
        scores = json.loads(found[0])
    except ValueError:
        return None
    values = [scores.get(name) for name in FIELDS]
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


def earlier(path: Path) -> tuple[str, list[Verdict]]:
    """The name of another judge, and its verdicts, from what evaluation.judge wrote of it."""
    try:
        record = json.loads(path.read_text("utf-8"))
        return record["judge"], [Verdict(**row) for row in record["verdicts"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no verdicts ({error}): evaluation.judge writes it.") from (
            error
        )


def summarise(
    systems: dict[str, Sequence[Line]], verdicts: Sequence[Verdict], asked: int
) -> list[Judged]:
    """The scores of each system and direction; of `asked` answers for a hypothesis some miss."""
    given: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        given.setdefault((verdict.system, verdict.id), []).append(verdict)
    directions = dict.fromkeys(line.direction for lines in systems.values() for line in lines)
    rows = []
    for system, lines in systems.items():
        for direction in sorted(directions):
            chosen = [line for line in lines if line.direction is direction]
            if chosen:
                first = next(iter(systems.items()))
                rows.append(_judged(system, chosen, first, given, asked))
    return rows


def _judged(
    system: str,
    lines: Sequence[Line],
    first: tuple[str, Sequence[Line]],
    given: dict[tuple[str, str], list[Verdict]],
    asked: int,
) -> Judged:
    found = [given.get((system, line.id), []) for line in lines]
    scored = [fmean(v.quality for v in some) if some else None for some in found]
    every = [verdict for some in found for verdict in some]
    rated = [(line, value) for line, value in zip(lines, scored, strict=True) if value is not None]
    counts = draws(sentences([line.reference for line, _ in rated]))
    of_first = [
        fmean(v.quality for v in some) if (some := given.get((first[0], line.id))) else None
        for line, _ in rated
    ]
    both = [i for i, value in enumerate(of_first) if value is not None]
    p = None
    if system != first[0] and both:
        references = [rated[i][0].reference for i in both]
        p = p_value(
            of_mean([rated[i][1] for i in both]),
            of_mean([of_first[i] for i in both]),
            draws(sentences(references)),
        )
    return Judged(
        system,
        lines[0].direction.value,
        n=len(rated),
        missing=max(0.0, 1 - len(every) / (asked * len(lines))) if asked else 0.0,
        accuracy=fmean(v.accuracy for v in every) if every else None,
        fluency=fmean(v.fluency for v in every) if every else None,
        quality=fmean(value for _, value in rated) if rated else None,
        interval=interval(of_mean([value for _, value in rated]), counts) if rated else None,
        p=p,
    )


def agreements(between: str, verdicts: Sequence[Verdict]) -> list[Agreement]:
    """Alpha of accuracy and of fluency between the judges that `verdicts` name."""
    found = []
    for field in FIELDS:
        ratings = by_rater(((v.system, v.id), v.judge, getattr(v, field)) for v in verdicts)
        twice = sum(len(raters) > 1 for raters in ratings.values())
        if twice:
            found.append(Agreement(between, field, twice, krippendorff(ratings)))
    return found


def with_people(judge: Sequence[Verdict], people: Sequence[Verdict]) -> dict[str, Correlation]:
    """How a judge's quality follows that of people, for hypotheses that both scored."""
    ours = by_rater(((v.system, v.id), "", v.quality) for v in judge)
    theirs = by_rater(((v.system, v.id), "", v.quality) for v in people)
    common = [thing for thing in ours if thing in theirs]
    return {"quality": correlation([(ours[x][""], theirs[x][""]) for x in common])}
