"""The benchmark: hypotheses of a system, and scores of hypotheses.

    python -m evaluation.run generate --system qwen3-asr --data fleurs --output out/qwen3-asr.jsonl
    python -m evaluation.run score out/*.jsonl --output out/results.json

`generate` goes on where it was stopped. `score` reads the files only: no model, no audio.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from evaluation.cascade import Cascade
from evaluation.console import counted, status
from evaluation.hypotheses import (
    Line,
    by_direction,
    generate,
    read_all,
    renew,
    require_same,
)
from evaluation.metrics import (
    Neural,
    compare,
    direction_title,
    number,
    p_text,
    read_neural,
    scores,
)
from evaluation.noise import BABBLE, KINDS, noisy
from evaluation.provenance import attention, circumstances, revision
from evaluation.rivals import Rival
from evaluation.samples import DataError, read_samples
from evaluation.systems import CASCADE, LOCAL_PACKAGES, SYSTEMS
from speech_translation.bounds import bounded
from speech_translation.engine import Engine
from speech_translation.engine.chat import Chat
from speech_translation.files import replace_file
from speech_translation.hub_sets import covost2, fleurs
from speech_translation.manifest import Sample
from speech_translation.types import Direction

HUB = {"fleurs": fleurs, "covost2": covost2}
BOTH = (Direction.EN_JA, Direction.JA_EN)


def load_data(
    name: str, directions: Sequence[Direction], limit: int | None = None
) -> Iterator[Sample]:
    """The samples of a data set on the Hub, or of a manifest, in the directions asked for.

    Of each direction the first `limit`.
    """
    if name in HUB:
        for direction in directions:
            yield from islice(HUB[name](direction), limit)
        return
    taken = dict.fromkeys(directions, 0)
    for sample in read_samples(Path(name)):
        direction = sample.direction
        if direction in taken and (limit is None or taken[direction] < limit):
            taken[direction] += 1
            yield sample


def header(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """What the hypotheses were made with; the first line of their file."""
    system = SYSTEMS[options.system]
    packages, limit = LOCAL_PACKAGES, "12 a second + 24"
    noise = getattr(options, "noise", None)
    decoding = "greedy"  # which is what Qwen3-ASR's authors recommend
    if isinstance(engine, Rival):
        packages, limit = engine.packages, str(engine.max_new_tokens or "the library's own")
        decoding = options.decoding
        if engine.recommended:
            decoding += f" {json.dumps(engine.decoding)}"
    return {
        "system": options.name or options.system,
        "title": options.title or system.title,
        "parameters": system.parameters,
        "engine": engine.description,
        "revision": revision(options.model or system.checkpoint),
        "data": options.data + (f", {noise} at {options.ratio:g} dB" if noise else ""),
        **({"noise": noise, "ratio": options.ratio} if noise else {}),
        "direction": "auto" if options.auto else "forced",
        "batch_size": options.batch_size or engine.batch_size,
        "decoding": decoding,
        "max_new_tokens": limit,
        "limit": options.limit,
        "attention": attention(engine),
        **circumstances(engine),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which system is run on what."""
    parser.add_argument("--system", choices=SYSTEMS, required=True)
    parser.add_argument("--model", help="another checkpoint: folder, ID or ID@REVISION")
    parser.add_argument("--data", default="fleurs", help="fleurs, covost2 or a manifest (JSONL)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch-size", type=bounded(int, 1), help="default: what suits the system")
    parser.add_argument(
        "--decoding",
        choices=["greedy", "recommended"],
        default="greedy",
        help="as its authors recommend, or all systems alike (%(default)s)",
    )
    parser.add_argument("--translator-url", help="of the cascade: an OpenAI-compatible API")
    parser.add_argument("--translator", help="of the cascade: the model that translates the text")
    parser.add_argument("--name", help="of a variant, in files and comparisons")
    parser.add_argument("--title", help="of a variant, in tables")
    parser.add_argument("--output", type=Path, required=True)


def load_system(options: argparse.Namespace) -> Engine:
    """The system that `engine_options` name. Raises ModelError, and DataError for options."""
    system = SYSTEMS[options.system]
    translator = options.translator_url and options.translator
    if options.system == CASCADE and not translator:
        raise DataError(
            "What is transcribed needs a model that translates it: --translator-url, an "
            "OpenAI-compatible API with /v1, and --translator, its name."
        )
    engine = system.load(options.model or system.checkpoint, options.device, options.precision)
    if isinstance(engine, Rival):
        engine.recommended = options.decoding == "recommended"
    if options.system == CASCADE:
        return Cascade(engine, Chat(options.translator_url, options.translator))
    return engine


def run_generate(options: argparse.Namespace) -> None:
    """Write the hypotheses of one system."""
    engine = load_system(options)
    able = engine.directions if isinstance(engine, Rival) else BOTH
    directions = [x for x in able if options.direction in ("both", x.value)]
    head, made = header(engine, options), options.output
    if options.renew:
        require_same(options.output, head, directions)
        made = options.output.with_suffix(".new.jsonl")
    samples = load_data(options.data, directions, options.limit)
    if options.noise:
        samples = noisy(samples, options.noise, options.ratio)
    generate(
        counted(samples, "clips"),
        engine,
        head,
        made,
        options.batch_size or engine.batch_size,
        Direction.AUTO if options.auto else None,
    )
    if options.renew:
        renew(made, options.output)


def run_score(options: argparse.Namespace) -> None:
    """Print the scores of files of hypotheses, and keep them."""
    entries: list[dict[str, Any]] = []
    systems: dict[Direction, dict[str, Sequence[Line]]] = {direction: {} for direction in BOTH}
    neural: dict[str, Neural] = {}
    found = read_all(options.hypotheses, partial=options.partial)
    for path, (head, lines) in zip(options.hypotheses, found, strict=True):
        neural[head["system"]] = read_neural(path)
        entry: dict[str, Any] = {"header": head, "scores": {}}
        for direction, chosen in by_direction(lines):
            if not any(line.reference.strip() for line in chosen):
                raise DataError(
                    f"{path} has no references for {direction_title(direction)}: a score needs "
                    "the right translation of each sample."
                )
            reached = scores(chosen, neural[head["system"]])
            entry["scores"][direction.value] = asdict(reached)
            systems[direction][head["system"]] = chosen
        entries.append(entry)
        print(summary(entry))
    compared: dict[str, dict[str, dict[str, float | None]]] = {}
    for direction, lines_of in systems.items():
        if len(lines_of) > 1:
            first = next(iter(lines_of))
            compared[direction.value] = compare(lines_of, neural)
            for name, p in compared[direction.value].items():
                chrf = _p(p["chrF2"]) if p else "no common sample"
                print(f"{direction_title(direction)}: {name} against {first}, chrF2: {chrf}")
    if options.output:
        keep(options.output, {"systems": entries, "compared": compared})


def _p(value: float | None) -> str:
    return "too few sentences to compare" if value is None else p_text(value)


def keep(path: Path, results: dict[str, Any]) -> None:
    """Write `results` with today's date; the same results again leave the file as it is."""
    if path.exists():
        known = json.loads(path.read_text("utf-8"))
        # As the file has it: with lists in place of tuples.
        if known == json.loads(json.dumps(results)) | {"date": known.get("date")}:
            return
    results["date"] = time.strftime("%Y-%m-%d")
    replace_file(path, json.dumps(results, ensure_ascii=False, indent=1) + "\n")


def summary(entry: dict[str, Any]) -> str:
    """One system's scores as text, with signatures."""
    head = entry["header"]
    lines = [f"{head['title']} ({head['engine']}; {head['data']})"]
    if head["missing"]:
        lines.append(f"  NOT WHOLE: {head['missing']}")
    for direction, x in entry["scores"].items():
        rates = ", ".join(
            f"{name.replace('_', ' ')} {100 * x[name]:.1f} %"
            for name in ("exact", "off_target", "repeated", "empty", "direction")
        )
        lines.append(
            f"  {direction_title(Direction(direction))}: n {x['n']}, sentences {x['sentences']}, "
            f"errors {x['errors']}, {rates}, length ratio {x['length_ratio']:.2f}"
        )
        for name, metric in x["metrics"].items():
            value = number(metric["score"], metric["interval"])
            lines.append(f"    {name:<16} {value:<14} {metric['signature']}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.run", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("generate", help="write hypotheses")
    engine_options(command)
    command.add_argument("--direction", choices=["both", *(d.value for d in BOTH)], default="both")
    command.add_argument("--auto", action="store_true", help="let the model name the direction")
    command.add_argument(
        "--limit", type=bounded(int, 1), help="only the first samples of each direction"
    )
    command.add_argument(
        "--noise", choices=[*KINDS, BABBLE], help="mixed with the speech (evaluation/noise.py)"
    )
    command.add_argument(
        "--ratio", type=bounded(float), default=10.0, help="of speech to noise, dB (10)"
    )
    command.add_argument(
        "--renew", action="store_true", help="make it anew, and keep the old file if it is the same"
    )
    command.set_defaults(run=run_generate)
    command = commands.add_parser("score", help="score hypotheses")
    command.add_argument("hypotheses", nargs="+", type=Path)
    command.add_argument(
        "--partial", action="store_true", help="also score files that are not whole"
    )
    command.add_argument("--output", type=Path, help="where to keep the scores (JSON)")
    command.set_defaults(run=run_score)
    options = parser.parse_args(argv)
    return status(lambda: options.run(options))


if __name__ == "__main__":
    raise SystemExit(main())
