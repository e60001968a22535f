"""Hypotheses in a file: a header, a line for each sample, and a last line that says it is whole.

A line has the sample's id, direction, reference and source, and the text, named direction, token
count and flags of the hypothesis; or `error`, what was wrong with the recording. Writing goes on
where it stopped, with the same code on the same machine. The last line has the number of samples;
a file without it was stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.provenance import CIRCUMSTANCES
from evaluation.samples import DataError
from speech_translation.engine import Engine, Request
from speech_translation.errors import AudioError
from speech_translation.manifest import Sample
from speech_translation.segments import cut, find_segments, span_of
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Hypothesis,
    Segment,
    Span,
    Translation,
)

_LONGEST = 30 * SAMPLE_RATE

UNNAMED = {
    "parameters": "size not named",
    "engine": "engine not named",
    "data": "data not named",
    "attention": "not named",
    "machine": "machine not named",
    "gpu": None,
    "commit": "not named",
}
"""What a header says where another program wrote it without these keys."""

SAME = ("system", "data", "limit", "direction")
"""Keys of a header in which a file that is made anew agrees with the one it replaces."""


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


def read(path: Path) -> tuple[dict[str, Any], list[Line]]:
    """The header and the lines of a file, which needs `system`, and `id`, `direction`, `reference`.

    The header's `missing` says what a file that is not whole lacks; it is "" for a whole one.
    Raises DataError, for a sample that comes twice too.
    """
    try:
        header, *rows = map(json.loads, path.read_bytes().splitlines())
        header = {"title": header["system"], **UNNAMED, **header}
        ended = bool(rows) and "samples" in rows[-1]
        lines = [
            Line(
                **row
                | {
                    "direction": Direction(row["direction"]),
                    "named": Direction(row.get("named", row["direction"])),
                }
            )
            for row in (rows[:-1] if ended else rows)
        ]
        if ended and rows[-1]["samples"] != len(lines):
            raise ValueError(f"{len(lines)} lines instead of {rows[-1]['samples']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        fault = f"no {error}" if isinstance(error, KeyError) else error
        raise DataError(
            f"{path} holds no hypotheses ({fault}): make it with evaluation.run generate, or in "
            "the form that docs/results.md shows."
        ) from error
    if not lines:
        raise DataError(f"{path} has no samples: let evaluation.run generate finish it.")
    seen = set[tuple[str, Direction]]()
    for line in lines:
        if (line.id, line.direction) in seen:
            raise DataError(f"{path} has the sample {line.id} twice: give each an id of its own.")
        seen.add((line.id, line.direction))
    header["missing"] = ""
    if not ended:
        header["missing"] = f"stopped after {len(lines)} samples"
    elif header.get("limit"):
        header["missing"] = f"only the first {header['limit']} of each direction"
    return header, lines


def read_all(
    paths: Sequence[Path], *, partial: bool = False
) -> list[tuple[dict[str, Any], list[Line]]]:
    """The headers and lines of several systems.

    Raises DataError for a system that comes twice, for a sample with two references, and for a file
    that is not whole unless `partial` says that it may be.
    """
    found: list[tuple[dict[str, Any], list[Line]]] = []
    references: dict[tuple[str, Direction], tuple[str, Path]] = {}
    for path in paths:
        header, lines = read(path)
        if any(header["system"] == other["system"] for other, _ in found):
            raise DataError(
                f"{path} is of {header['system']} again: generate it with another --name."
            )
        if header["missing"] and not partial:
            raise DataError(
                f"{path} is not whole ({header['missing']}): let evaluation.run generate finish "
                "it, or score what is there with --partial."
            )
        for line in lines:
            first = references.setdefault((line.id, line.direction), (line.reference, path))
            if first[0] != line.reference:
                raise DataError(
                    f"{first[1]} and {path} have different references for the sample {line.id}: "
                    "they are of other data and cannot be compared."
                )
        found.append((header, lines))
    return found


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
    ended = bool(finished) and "samples" in json.loads(finished[-1])
    ids = [json.loads(row)["id"] for row in finished[1 : len(finished) - ended]]
    stream = iter(samples)
    found = [sample.id for sample in islice(stream, len(ids) + ended)]
    if found != ids:
        raise DataError(f"{path} was made from other data: remove it or choose another --output.")
    if ended:
        return
    with path.open("ab") as lines:
        lines.truncate(sum(map(len, finished)))
        if not finished:
            _append(lines, [header])
        count = len(ids)
        while batch := list(islice(stream, batch_size)):
            _append(lines, map(asdict, _translate(batch, engine, direction)))
            count += len(batch)
        _append(lines, [{"samples": count}])


def require_same(path: Path, header: dict[str, Any], directions: Sequence[Direction]) -> None:
    """Raise DataError where a file is there that is of another system or other data.

    Also where it has lines of other `directions`, which would be lost.
    """
    if not path.exists():
        return
    try:
        first, *rows = path.read_bytes().splitlines(keepends=True) or [b"{}"]
        before = json.loads(first)
        before.get("system")
        lines = [json.loads(row) for row in rows if row.endswith(b"\n")]
        known = {line["direction"] for line in lines if "direction" in line}
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{path} holds no hypotheses, so it is not replaced: choose another --output."
        ) from error
    if before:
        _require(path, before, header, SAME)
    if lost := sorted(known - {direction.value for direction in directions}):
        raise DataError(
            f"{path} also has {' and '.join(lost)}, which would be lost: make all of it anew, or "
            "choose another --output."
        )


def renew(made: Path, path: Path) -> None:
    """Put `made`, a whole file, in the place of `path`, unless it says the same.

    A file that was made again by other code on another machine and says the same stays as it was,
    with the header of the first time.
    """
    if path.exists() and _said(made) == _said(path):
        made.unlink()
    else:
        os.replace(made, path)


def _said(path: Path) -> list[dict[str, Any]]:
    """What a file says, but for the circumstances in which it was made.

    Flags are left out: a confidence at its limit falls on the other side with another rounding.
    """
    rows = map(json.loads, path.read_bytes().splitlines())
    return [{k: v for k, v in row.items() if k not in (*CIRCUMSTANCES, "flags")} for row in rows]


def _finished(path: Path, header: dict[str, Any], batch_size: int) -> list[bytes]:
    """The header and the lines of whole batches in `path`; nothing if there is no header yet."""
    rows = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if rows and not rows[-1].endswith(b"\n"):
        rows.pop()  # a run was stopped while writing it
    if not rows:
        return []
    before = json.loads(rows[0])
    _require(path, before, header, {**before, **header})
    if len(rows) > 1 and "samples" in json.loads(rows[-1]):
        return rows
    return rows[: 1 + (len(rows) - 1) // batch_size * batch_size]


def _require(
    path: Path, before: dict[str, Any], header: dict[str, Any], names: Iterable[str]
) -> None:
    """Raise DataError, with the first difference, unless two headers agree in these keys."""
    for name in names:
        if before.get(name) != header.get(name):
            raise DataError(
                f"{path} was made by another run ({name} {before.get(name)!r}, now "
                f"{header.get(name)!r}): remove it or choose another --output."
            )


def _append(file: Any, rows: Iterable[dict[str, Any]]) -> None:
    file.write(b"".join(map(_encoded, rows)))
    file.flush()


def _encoded(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _translate(batch: Sequence[Sample], engine: Engine, direction: Direction | None) -> list[Line]:
    """A line for each sample, in order."""
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
    for asked, waiting in pieces.items():
        hypotheses = engine.generate(Request([sound for _, _, sound in waiting], asked))
        said: dict[int, list[tuple[Span, Hypothesis]]] = {}
        for (i, span, _), hypothesis in zip(waiting, hypotheses, strict=True):
            said.setdefault(i, []).append((span, hypothesis))
        for i, parts in said.items():
            lines[i] = _line(lines[i], parts)
    return [lines[i] for i in range(len(batch))]


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
