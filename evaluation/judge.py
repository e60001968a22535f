"""Quality from 1 to 5, judged by a language model behind an OpenAI-compatible endpoint.

    python -m evaluation.judge --url http://localhost:8000/v1 --model NAME --output judged.json \\
        whisper.jsonl qwen3-asr.jsonl

Accuracy and fluency are judged separately, as on the model card. The judge sees one hypothesis at a
time, in shuffled order, and is not told the system. Each is judged in several passes; how far the
passes agree is reported. An answer that does not parse is asked for again, then counted as missing.
Verdicts are kept beside the output, in judged.part.jsonl, until all are there: a run that was
stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from evaluation.hypotheses import Line, by_direction, read
from evaluation.samples import DataError
from evaluation.verdicts import Verdict, human_scores, parse, summarise
from speech_translation.errors import EngineError, SpeechTranslationError
from speech_translation.files import replace_file

RUBRIC = """You judge translations of speech between English and Japanese.

Accuracy: 5 all of the meaning, nothing added; 4 a detail is off; 3 the gist, with errors; \
2 little of it; 1 wrong, empty or in the wrong language.
Fluency: 5 as a native speaker would write; 4 a small slip; 3 understandable but unnatural; \
2 hard to understand; 1 not language.

Answer with one line of JSON and nothing else: {"accuracy": 1-5, "fluency": 1-5}"""

ASKED_AT_MOST = 3
TIMEOUT = 60.0
PAUSES = (2.0, 8.0)
"""Seconds before a busy or silent server is tried again."""


class Judge:
    """A model that judges, over HTTP. The key comes from the environment, OPENAI_API_KEY."""

    def __init__(self, url: str, model: str) -> None:
        self.model = model
        self._url = url.rstrip("/") + "/chat/completions"
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        headers = {b"Authorization": f"Bearer {key}".encode()} if key else {}
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT)

    def verdict(self, line: Line, seed: int) -> tuple[int, int] | None:
        """Accuracy and fluency of one hypothesis; None when no answer parses."""
        for attempt in range(ASKED_AT_MOST):
            scores = parse(self._ask(prompt(line), seed + attempt))
            if scores is not None:
                return scores
        return None

    def _ask(self, question: str, seed: int) -> str:
        body = {
            "model": self.model,
            "seed": seed,
            "messages": [
                {"role": "system", "content": RUBRIC},
                {"role": "user", "content": question},
            ],
        }
        try:
            return str(self._post(body).json()["choices"][0]["message"]["content"])
        except (ValueError, KeyError, IndexError, TypeError):
            return ""  # not a chat completion: asked again

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        pauses = iter(PAUSES)
        while True:
            try:
                return self._client.post(self._url, json=body).raise_for_status()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                pause = next(pauses, None) if _may_pass(error) else None
                if pause is None:
                    cause = str(error).partition("\n")[0]
                    raise EngineError(
                        f"The judge at {self._url} does not answer ({cause}): check --url, "
                        "--model and OPENAI_API_KEY."
                    ) from error
            time.sleep(pause)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == 429 or error.response.is_server_error
    return isinstance(
        error, httpx.NetworkError | httpx.TimeoutException | httpx.RemoteProtocolError
    )


def prompt(line: Line) -> str:
    """What the judge is shown of one hypothesis."""
    source = f"Speech: {line.source}\n" if line.source else ""
    return f"{source}Reference translation: {line.reference}\nTranslation: {line.text or '(empty)'}"


def judge_all(
    systems: dict[str, Sequence[Line]], judge: Judge, passes: int, seed: int, part: Path
) -> Iterator[tuple[str, str, Verdict | None]]:
    """System, direction and verdict for every hypothesis in every pass, in shuffled order.

    Verdicts are added to `part`; those there already are not asked for again. Raises DataError when
    it is of another run, EngineError when the judge does not answer.
    """
    order = list(_shuffled(systems, passes, seed))
    asked = [(number, system, line.id, prompt(line)) for number, system, line in order]
    digest = hashlib.sha256(json.dumps([RUBRIC, judge.model, seed, asked]).encode()).hexdigest()
    given = _given(part, digest)
    with part.open("ab") as file:
        if file.tell() == 0:
            file.write(f"{json.dumps(digest)}\n".encode())
        for i, (number, system, line) in enumerate(order):
            if i < len(given):
                verdict = given[i]
            else:
                scores = judge.verdict(line, seed + number * ASKED_AT_MOST)
                name = f"{judge.model} #{number + 1}"
                verdict = Verdict(system, line.id, name, *scores) if scores else None
                file.write(f"{json.dumps(verdict and asdict(verdict))}\n".encode())
                file.flush()
            yield system, line.direction.value, verdict


def _shuffled(
    systems: dict[str, Sequence[Line]], passes: int, seed: int
) -> Iterator[tuple[int, str, Line]]:
    for number in range(passes):
        waiting = [(number, system, line) for system, lines in systems.items() for line in lines]
        random.Random(f"{seed} {number}").shuffle(waiting)
        yield from waiting


def _given(part: Path, digest: str) -> list[Verdict | None]:
    """The verdicts in `part`; what a stopped run left of a line is cut off."""
    part.parent.mkdir(parents=True, exist_ok=True)
    kept = part.read_bytes() if part.exists() else b""
    kept = kept[: kept.rfind(b"\n") + 1]
    if not kept:
        part.unlink(missing_ok=True)
        return []
    head, *rows = map(json.loads, kept.splitlines())
    if head != digest:
        raise DataError(f"{part} is of another run: remove it or choose another --output.")
    os.truncate(part, len(kept))
    return [Verdict(**row) if row else None for row in rows]


def read_systems(paths: Sequence[Path]) -> dict[str, Sequence[Line]]:
    """The hypotheses in files, by the name of their system. Raises DataError."""
    systems = dict[str, Sequence[Line]]()
    for path in paths:
        header, lines = read(path)
        if header["system"] in systems:
            raise DataError(f"{path} is of {header['system']} again: name each system once.")
        systems[header["system"]] = lines
    return systems


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.judge", description=__doc__)
    parser.add_argument("hypotheses", nargs="+", type=Path)
    parser.add_argument("--url", help="an OpenAI-compatible API, with /v1")
    parser.add_argument("--model", help="the judge")
    parser.add_argument("--human", type=Path, help="scores of people, a CSV, instead of a judge")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(argv)
    if not options.human and not (options.url and options.model):
        parser.error("name a judge with --url and --model, or scores with --human")
    if options.passes < 1:
        parser.error("--passes must be at least 1")
    part = options.output.with_suffix(".part.jsonl")
    try:
        systems = read_systems(options.hypotheses)
        verdicts: dict[tuple[str, str], list[Verdict | None]] = {
            (system, direction.value): []
            for system, lines in systems.items()
            for direction, _ in by_direction(lines)
        }
        if options.human:
            direction_of = {
                (s, x.id): x.direction.value for s, lines in systems.items() for x in lines
            }
            for verdict in human_scores(options.human):
                key = verdict.system, verdict.id
                if key not in direction_of:
                    raise DataError(f"{options.human} scores {key}, which no file holds.")
                verdicts[verdict.system, direction_of[key]].append(verdict)
        else:
            judge = Judge(options.url, options.model)
            for system, direction, given in judge_all(
                systems, judge, options.passes, options.seed, part
            ):
                verdicts[system, direction].append(given)
        judged = [summarise(*key, given) for key, given in verdicts.items()]
        record = {
            "judge": str(options.human or options.model),
            "rubric": None if options.human else RUBRIC,
            "passes": None if options.human else options.passes,
            "seed": None if options.human else options.seed,
            "scores": [asdict(row) for row in judged],
            "verdicts": [asdict(v) for given in verdicts.values() for v in given if v is not None],
        }
        replace_file(options.output, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    except (SpeechTranslationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not options.human:
        part.unlink()
    for row in judged:
        print(
            f"{row.system} {row.direction}: accuracy {_shown(row.accuracy)}, fluency "
            f"{_shown(row.fluency)}, n {row.n}, missing {row.missing}, agreement "
            f"{_shown(row.agreement)}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
