"""Quality from 1 to 5, judged by a language model behind an OpenAI-compatible endpoint.

    python -m evaluation.judge --url http://localhost:8000/v1 --model NAME --output judged.json \\
        whisper.jsonl qwen3-asr.jsonl

Accuracy and fluency are judged separately. The judge is shown the words spoken and one hypothesis,
in shuffled order; not the system, and not the reference, whose wording it would reward. It answers
at temperature 0, in structured output where the server has it. Empty text and text in another
language get 1 without being asked about. An answer that does not parse is asked for again, then
counted as missing; the record has the share of missing ones.

The passes of a judge show how steady it is. `--also` names records of other judges, `--human` a CSV
with people's scores: the record then has how far judges agree (Krippendorff's alpha) and how the
judge follows people (Kendall's tau). Verdicts are kept beside the output, in judged.part.jsonl,
until all are there: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from evaluation.bootstrap import in_brackets
from evaluation.console import status
from evaluation.hypotheses import Line, read_all
from evaluation.metrics import off_target
from evaluation.samples import DataError
from evaluation.verdicts import (
    SCHEMA,
    Judged,
    Verdict,
    agreements,
    earlier,
    human_scores,
    parse,
    summarise,
    with_people,
)
from speech_translation.engine.chat import IN_FLIGHT, Chat
from speech_translation.files import replace_file

RUBRIC = """You judge translations of speech between English and Japanese. You are shown the words \
that were spoken and a translation of them.

Accuracy: 5 all of the meaning, nothing added; 4 a detail is off; 3 the gist, with errors; \
2 little of it; 1 wrong, empty or in the wrong language.
Fluency: 5 as a native speaker would write; 4 a small slip; 3 understandable but unnatural; \
2 hard to understand; 1 not language.

Answer with one line of JSON and nothing else: {"accuracy": 1-5, "fluency": 1-5}"""

ASKED_AT_MOST = 3
LEAST = (1, 1)
"""Accuracy and fluency of what is no translation: no judge is needed for it."""

Asked = tuple[int, str, Line]
"""The number of a pass, a system and one of its hypotheses."""


def verdict(judge: Chat, line: Line, seed: int, *, reference: bool) -> tuple[int, int] | None:
    """Accuracy and fluency of one hypothesis; None when no answer parses."""
    assert line.direction.target is not None
    if not line.text or off_target(line.text, line.direction.target):
        return LEAST
    for attempt in range(ASKED_AT_MOST):
        question = prompt(line, reference=reference)
        scores = parse(judge.ask(RUBRIC, question, seed=seed + attempt, schema=SCHEMA))
        if scores is not None:
            return scores
    return None


def prompt(line: Line, *, reference: bool) -> str:
    """What the judge is shown of one hypothesis."""
    shown = f"Reference translation: {line.reference}\n" if reference else ""
    return f"Speech: {line.source}\n{shown}Translation: {line.text}"


def judge_all(
    systems: dict[str, Sequence[Line]],
    judge: Chat,
    passes: int,
    seed: int,
    part: Path,
    *,
    reference: bool = False,
) -> Iterator[Verdict | None]:
    """A verdict for every hypothesis in every pass, in shuffled order; IN_FLIGHT at a time.

    Verdicts are added to `part`; those there already are not asked for again. Raises DataError when
    it is of another run, EngineError when the judge does not answer.
    """
    order = list(_shuffled(systems, passes, seed))
    asked = [(n, system, line.id, prompt(line, reference=reference)) for n, system, line in order]
    digest = hashlib.sha256(json.dumps([RUBRIC, judge.model, seed, asked]).encode()).hexdigest()
    given = _given(part, digest)
    with part.open("ab") as file:
        if file.tell() == 0:
            _keep(file, digest)
        left = [i for i in range(len(order)) if i not in given]
        for i, found in _asked(order, left, judge, seed, reference=reference):
            given[i] = found
            _keep(file, [i, found and asdict(found)])
    yield from (given[i] for i in range(len(order)))


def _asked(
    order: Sequence[Asked], left: Sequence[int], judge: Chat, seed: int, *, reference: bool
) -> Iterator[tuple[int, Verdict | None]]:
    """Verdicts as they come. When one fails, those under way are waited for, the rest is not."""

    over = threading.Event()

    def ask(i: int) -> Verdict | None:
        number, system, line = order[i]
        if over.is_set():
            raise CancelledError
        scores = verdict(judge, line, seed + number * ASKED_AT_MOST, reference=reference)
        return Verdict(system, line.id, f"{judge.model} #{number + 1}", *scores) if scores else None

    failed: BaseException | None = None
    with ThreadPoolExecutor(IN_FLIGHT, "judge") as pool:
        futures = {pool.submit(ask, i): i for i in left}
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is None:
                    yield futures[future], future.result()
                elif failed is None:
                    failed = error
                    over.set()
        finally:
            over.set()
    if failed is not None:
        raise failed


def _keep(file: BinaryIO, row: Any) -> None:
    file.write(f"{json.dumps(row)}\n".encode())
    file.flush()


def _shuffled(systems: dict[str, Sequence[Line]], passes: int, seed: int) -> Iterator[Asked]:
    for number in range(passes):
        waiting = [(number, system, line) for system, lines in systems.items() for line in lines]
        random.Random(f"{seed} {number}").shuffle(waiting)
        yield from waiting


def _given(part: Path, digest: str) -> dict[int, Verdict | None]:
    """The verdicts in `part`, by their place; what a stopped run left of a line is cut off."""
    part.parent.mkdir(parents=True, exist_ok=True)
    kept = part.read_bytes() if part.exists() else b""
    kept = kept[: kept.rfind(b"\n") + 1]
    if not kept:
        part.unlink(missing_ok=True)
        return {}
    head, *rows = map(json.loads, kept.splitlines())
    if head != digest:
        raise DataError(f"{part} is of another run: remove it or choose another --output.")
    os.truncate(part, len(kept))
    return {i: Verdict(**row) if row else None for i, row in rows}


def _people(path: Path, systems: dict[str, Sequence[Line]]) -> list[Verdict]:
    known = {(system, line.id) for system, lines in systems.items() for line in lines}
    found = human_scores(path)
    for one in found:
        if (one.system, one.id) not in known:
            raise DataError(f"{path} scores {(one.system, one.id)}, which no file holds.")
    return found


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="evaluation.judge", description=__doc__)
    parser.add_argument("hypotheses", nargs="+", type=Path)
    parser.add_argument("--url", help="an OpenAI-compatible API, with /v1")
    parser.add_argument("--model", help="the judge")
    parser.add_argument("--human", type=Path, help="scores of people, a CSV, instead or beside it")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="what other judges said")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--reference", action="store_true", help="show it to the judge: needed without a transcript"
    )
    parser.add_argument("--partial", action="store_true", help="judge files that are not whole")
    parser.add_argument("--output", type=Path, required=True)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    options = parser().parse_args(argv)
    if not options.human and not (options.url and options.model):
        parser().error("name a judge with --url and --model, or scores with --human")
    if options.passes < 1:
        parser().error("--passes must be at least 1")
    return status(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    part = options.output.with_suffix(".part.jsonl")
    found = read_all(options.hypotheses, partial=options.partial)
    systems: dict[str, Sequence[Line]] = {header["system"]: lines for header, lines in found}
    people = _people(options.human, systems) if options.human else []
    others = [earlier(path) for path in options.also]
    by_model = bool(options.url and options.model)
    verdicts, passes, agreement = people, 0, list[Any]()
    if by_model:
        unheard = [x.id for lines in systems.values() for x in lines if not x.source]
        if unheard and not options.reference:
            raise DataError(
                f"The judge is shown the words spoken, and sample {unheard[0]} has none: use data "
                "with transcripts, or show it the reference translation (--reference)."
            )
        passes = options.passes
        chat = Chat(options.url, options.model)
        every = judge_all(systems, chat, passes, options.seed, part, reference=options.reference)
        verdicts = [x for x in every if x is not None]
        agreement += agreements(f"passes of {options.model}", verdicts)
    judges = [*([(options.model, verdicts)] if by_model else []), *others]
    agreement += agreements(
        "judges", [Verdict(x.system, x.id, n, x.accuracy, x.fluency) for n, v in judges for x in v]
    )
    agreement += agreements("people", people)
    judged = summarise(systems, verdicts, passes)
    record = {
        "partial": {x["system"]: x["missing"] for x, _ in found if x["missing"]},
        "judge": options.model if by_model else str(options.human),
        "rubric": RUBRIC if by_model else None,
        "shown": ["source", *(["reference"] if options.reference else [])] if by_model else None,
        "temperature": 0 if by_model else None,
        "passes": passes or None,
        "seed": options.seed if by_model else None,
        "scores": [asdict(row) for row in judged],
        "agreement": [asdict(row) for row in agreement],
        "with_people": {
            name: {x: asdict(y) for x, y in with_people(said, people).items()}
            for name, said in judges
            if people
        },
        "verdicts": [asdict(one) for one in verdicts],
    }
    replace_file(options.output, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    if by_model:
        part.unlink()
    print(summary(judged, record))


def summary(judged: Sequence[Judged], record: dict[str, Any]) -> str:
    """What the record says, as text."""
    lines = [
        f"{row.system} {row.direction}: accuracy {_shown(row.accuracy)}, fluency "
        f"{_shown(row.fluency)}, quality {_shown(row.quality)}{in_brackets(row.interval, 2)}, "
        f"n {row.n}, missing {100 * row.missing:.1f} %, p {_shown(row.p)}"
        for row in judged
    ]
    for row in record["agreement"]:
        lines.append(
            f"{row['between']}, {row['field']}: alpha {_shown(row['alpha'])}, n {row['n']}"
        )
    for name, found in record["with_people"].items():
        for field, x in found.items():
            lines.append(
                f"{name} with people, {field}: Kendall's tau {_shown(x['kendall'])}, Pearson's r "
                f"{_shown(x['pearson'])}, n {x['n']}"
            )
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
