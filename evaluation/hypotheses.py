"""Hypotheses in a file: a header, then a line for each sample. Writing goes on where it stopped.

A line has the sample's id, direction, reference and source, and the text, named direction, token
count and flags of the hypothesis; or `error`, what was wrong with the recording. Times differ from
run to run and are kept in a file beside it, NAME.times.jsonl: a line for each call of the engine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.samples import DataError
from speech_translation.engine import Engine, Request
from speech_translation.errors import AudioError
from speech_translation.manifest import Sample
from speech_translation.segments import cut, find_segments, span_of
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Hypothesis,
    Seconds,
    Segment,
    Span,
    Translation,
)

_LONGEST = 30 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Line:
    """What one system said to one sample."""

    id: str
    direction: Direction
    reference: str
    source: str = ""
    text: str = ""
    named: Direction = Direction.AUTO
    tokens: int = 0
    flags: Sequence[str] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """What one call of the engine took."""

    batch: int
    samples: int
    audio_seconds: Seconds
    seconds: Seconds
    tokens: int


def times_path(path: Path) -> Path:
    """Where the times of the hypotheses in `path` are."""
    return path.with_suffix(".times.jsonl")


def read(path: Path) -> tuple[dict[str, Any], list[Line]]:
    """The header and the lines of a file. Raises DataError."""
    try:
        header, *rows = map(json.loads, path.read_bytes().splitlines())
        header["system"]
        lines = [
            Line(**row | {name: Direction(row[name]) for name in ("direction", "named")})
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} holds no hypotheses ({error}): make it with evaluation.run generate."
        ) from error
    return header, lines


def read_times(path: Path) -> list[Call]:
    """The times of the hypotheses in `path`; none if they were not kept."""
    times = times_path(path)
    if not times.exists():
        return []
    rows = times.read_bytes().splitlines(keepends=True)
    return [Call(**json.loads(row)) for row in rows if row.endswith(b"\n")]


def generate(
    samples: Iterable[Sample],
    engine: Engine,
    header: dict[str, Any],
    path: Path,
    batch_size: int,
    direction: Direction | None = None,
) -> None:
    """Write what `engine` says to `samples` into `path`; what is there already is not done again.

    Batches are always the same samples, so a run that was stopped ends in the same file as one that
    was not. `direction` replaces that of the samples, as AUTO does. Raises DataError when the file
    is of another run, EngineError when the engine fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    finished = _finished(path, header, batch_size)
    ids = [json.loads(row)["id"] for row in finished[1:]]
    stream = iter(samples)
    if [sample.id for sample in islice(stream, len(ids))] != ids:
        raise DataError(f"{path} was made from other data: remove it or choose another --output.")
    batches = len(ids) // batch_size
    known = [call for call in read_times(path) if call.batch < batches] if finished else []
    with path.open("ab") as lines, times_path(path).open("wb") as times:
        lines.truncate(sum(map(len, finished)))
        if not finished:
            _append(lines, [header])
        _append(times, map(asdict, known))
        while batch := list(islice(stream, batch_size)):
            results, calls = _translate(batch, engine, direction, batches)
            _append(times, map(asdict, calls))
            _append(lines, map(asdict, results))
            batches += 1


def _finished(path: Path, header: dict[str, Any], batch_size: int) -> list[bytes]:
    """The header and the lines of whole batches in `path`; nothing if there is no header yet."""
    rows = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if rows and not rows[-1].endswith(b"\n"):
        rows.pop()  # a run was stopped while writing it
    if rows and rows[0] != _encoded(header):
        raise DataError(
            f"{path} was made by another system or another version: remove it or choose another "
            "--output."
        )
    return rows[: 1 + (len(rows) - 1) // batch_size * batch_size] if rows else []


def _append(file: Any, rows: Iterable[dict[str, Any]]) -> None:
    file.write(b"".join(map(_encoded, rows)))
    file.flush()


def _encoded(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _translate(
    batch: Sequence[Sample], engine: Engine, direction: Direction | None, number: int
) -> tuple[list[Line], list[Call]]:
    """A line for each sample, in order, and the calls that batch `number` took."""
    lines = dict[int, Line]()
    pieces: dict[Direction, list[tuple[int, Span, np.ndarray]]] = {}
    for i, sample in enumerate(batch):
        lines[i] = Line(sample.id, sample.direction, sample.text, sample.transcript)
        try:
            sound = sample.load()
        except AudioError as error:
            lines[i] = Line(**asdict(lines[i]) | {"error": str(error)})
            continue
        asked = direction or sample.direction
        pieces.setdefault(asked, []).extend((i, span, cut(sound, [span])) for span in spans(sound))
    calls = []
    for asked, waiting in pieces.items():
        start = time.perf_counter()
        hypotheses = engine.generate(Request([sound for _, _, sound in waiting], asked))
        seconds = time.perf_counter() - start
        calls.append(
            Call(
                number,
                len({i for i, _, _ in waiting}),
                sum(len(sound) for _, _, sound in waiting) / SAMPLE_RATE,
                seconds,
                sum(hypothesis.tokens for hypothesis in hypotheses),
            )
        )
        said: dict[int, list[tuple[Span, Hypothesis]]] = {}
        for (i, span, _), hypothesis in zip(waiting, hypotheses, strict=True):
            said.setdefault(i, []).append((span, hypothesis))
        for i, parts in said.items():
            lines[i] = _line(lines[i], parts)
    return [lines[i] for i in range(len(batch))], calls


def spans(sound: np.ndarray) -> list[Span]:
    """The whole of a recording, or its speech in parts if it is too long for the model."""
    whole = Span(0, len(sound))
    if len(sound) <= _LONGEST:
        return [whole]
    return [span_of(regions) for regions in find_segments(sound)] or [Span(0, _LONGEST)]


def _line(line: Line, parts: Sequence[tuple[Span, Hypothesis]]) -> Line:
    segments = [Segment(*span.seconds, h.text, h.direction, h.flags) for span, h in parts]
    named = parts[0][1].direction
    translation = Translation(segments, named, 0.0)
    return Line(
        line.id,
        line.direction,
        line.reference,
        line.source,
        text=translation.text,
        named=named,
        tokens=sum(hypothesis.tokens for _, hypothesis in parts),
        flags=sorted(translation.flags),
    )


def by_direction(lines: Iterable[Line]) -> Iterator[tuple[Direction, list[Line]]]:
    """The lines of each direction that occurs."""
    every = list(lines)
    for direction in (Direction.EN_JA, Direction.JA_EN):
        chosen = [line for line in every if line.direction is direction]
        if chosen:
            yield direction, chosen
