"""The benchmark: hypotheses of a system, and scores of hypotheses.

    python -m evaluation.run generate --system qwen3-asr --data fleurs --output out/qwen3-asr.jsonl
    python -m evaluation.run score out/*.jsonl --output out/results.json

`generate` goes on where it was stopped. `score` reads the files only: no model, no audio.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import quantiles
from typing import Any

from tqdm import tqdm

from evaluation.fleurs import covost2, fleurs
from evaluation.hypotheses import Line, by_direction, generate, read, read_times
from evaluation.metrics import comet22, compare, direction_title, scores
from evaluation.samples import DataError, read_samples
from evaluation.systems import LOCAL_PACKAGES, SYSTEMS, Rival
from speech_translation.engine import PHRASEBOOK, Engine
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.engine.hub import split_revision
from speech_translation.errors import SpeechTranslationError
from speech_translation.files import replace_file
from speech_translation.manifest import Sample
from speech_translation.types import Direction

HUB = {"fleurs": fleurs, "covost2": covost2}
BOTH = (Direction.EN_JA, Direction.JA_EN)
DIGEST = 16  # hexadecimal digits of a checkpoint's SHA-256


def load_data(name: str, directions: Sequence[Direction]) -> Iterator[Sample]:
    """The samples of a data set on the Hub, or of a manifest, in the directions asked for."""
    if name in HUB:
        for direction in directions:
            yield from HUB[name](direction)
    else:
        yield from (x for x in read_samples(Path(name)) if x.direction in directions)


def header(engine: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """What the hypotheses were made with; the first line of their file."""
    system = SYSTEMS[options.system]
    packages, limit = LOCAL_PACKAGES, "12 a second + 24"
    if isinstance(engine, Rival):
        packages, limit = engine.packages, str(engine.max_new_tokens or "the library's own")
    return {
        "system": options.name or options.system,
        "title": options.title or system.title,
        "parameters": system.parameters,
        "engine": engine.description,
        "revision": revision(options.model or system.checkpoint),
        "data": options.data,
        "direction": "auto" if options.auto else "forced",
        "batch_size": options.batch_size or engine.batch_size,
        "decoding": "greedy",
        "max_new_tokens": limit,
        "machine": platform.machine(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def revision(checkpoint: str) -> str:
    """Which weights these are: the Hub's commit, or the start of the SHA-256 of a folder's.

    "unknown" for those of a server, or that are not in the Hub's cache.
    """
    from huggingface_hub import try_to_load_from_cache

    folder = PHRASEBOOK_FOLDER if checkpoint == PHRASEBOOK else Path(checkpoint)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return f"sha256 {digest.hexdigest()[:DIGEST]}"
    model, pinned = split_revision(checkpoint)
    cached = (
        None if "://" in model else try_to_load_from_cache(model, "config.json", revision=pinned)
    )
    return Path(cached).parent.name if isinstance(cached, str) else "unknown"


def run_generate(options: argparse.Namespace) -> None:
    """Write the hypotheses of one system."""
    system = SYSTEMS[options.system]
    engine = system.load(options.model or system.checkpoint, options.device, options.precision)
    able = engine.directions if isinstance(engine, Rival) else BOTH
    directions = [x for x in able if options.direction in ("both", x.value)]
    samples = islice(load_data(options.data, directions), options.limit)
    generate(
        tqdm(samples, unit=" clips", disable=None),  # none where nobody watches
        engine,
        header(engine, options),
        options.output,
        options.batch_size or engine.batch_size,
        Direction.AUTO if options.auto else None,
    )


def speed(path: Path) -> dict[str, float] | None:
    """Tokens per second, inverse real-time factor, and percentiles of a call's seconds.

    The clock runs around the engine's `generate` alone; the first call, which warms up, is left
    out.
    """
    calls = read_times(path)[1:]
    if len(calls) < 2:
        return None
    seconds = sum(call.seconds for call in calls)
    percentiles = quantiles((call.seconds for call in calls), n=100, method="inclusive")
    return {
        "calls": len(calls),
        "tokens_per_second": sum(call.tokens for call in calls) / seconds,
        "rtfx": sum(call.audio_seconds for call in calls) / seconds,
        **{f"p{p}_seconds": percentiles[p - 1] for p in (50, 95, 99)},
    }


def run_score(options: argparse.Namespace) -> None:
    """Print the scores of files of hypotheses, and keep them."""
    entries: list[dict[str, Any]] = []
    systems: dict[Direction, dict[str, Sequence[Line]]] = {direction: {} for direction in BOTH}
    for path in options.hypotheses:
        head, lines = read(path)
        if any(head["system"] == entry["header"]["system"] for entry in entries):
            raise DataError(
                f"{path} is of {head['system']} again: generate it with another --name."
            )
        entry: dict[str, Any] = {"header": head, "scores": {}}
        if options.speed:
            entry["speed"] = speed(path)
        for direction, chosen in by_direction(lines):
            reached = asdict(scores(chosen))
            if options.comet:
                reached["comet22"] = comet22(chosen)
            entry["scores"][direction.value] = reached
            systems[direction][head["system"]] = chosen
        entries.append(entry)
        print(summary(entry))
    compared: dict[str, dict[str, float]] = {}
    for direction, lines_of in systems.items():
        ids = [[line.id for line in lines] for lines in lines_of.values()]
        if len(ids) > 1 and all(x == ids[0] for x in ids):
            first = next(iter(lines_of))
            compared[direction.value] = compare(lines_of)
            for name, p in compared[direction.value].items():
                print(f"{direction_title(direction)}: {name} against {first}, chrF2: p = {p:.3f}")
    if options.output:
        keep(options.output, {"systems": entries, "compared": compared})


def keep(path: Path, results: dict[str, Any]) -> None:
    """Write `results` with today's date; the same results again leave the file as it is."""
    if path.exists():
        known = json.loads(path.read_text("utf-8"))
        if known == results | {"date": known.get("date")}:
            return
    results["date"] = time.strftime("%Y-%m-%d")
    replace_file(path, json.dumps(results, ensure_ascii=False, indent=1) + "\n")


def summary(entry: dict[str, Any]) -> str:
    """One system's scores as text, with signatures."""
    lines = [f"{entry['header']['title']} ({entry['header']['engine']}; {entry['header']['data']})"]
    for direction, x in entry["scores"].items():
        rates = ", ".join(
            f"{name.replace('_', ' ')} {100 * x[name]:.1f} %"
            for name in ("exact", "off_target", "repeated", "empty", "direction")
        )
        lines.append(
            f"  {direction_title(Direction(direction))}: n {x['n']}, errors {x['errors']}, {rates},"
            f" length ratio {x['length_ratio']:.2f}"
        )
        for name, metric in x["metrics"].items():
            interval = f"{metric['score']:.1f} ± {metric['interval']:.1f}"
            lines.append(f"    {name:<16} {interval:<14} {metric['signature']}")
        if "comet22" in x:
            lines.append(f"    {'COMET-22':<16} {x['comet22']:.4f}")
    if entry.get("speed"):
        lines.append("  " + ", ".join(f"{name} {x:.3g}" for name, x in entry["speed"].items()))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.run", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("generate", help="write hypotheses")
    command.add_argument("--system", choices=SYSTEMS, required=True)
    command.add_argument("--model", help="another checkpoint: folder, ID or ID@REVISION")
    command.add_argument("--data", default="fleurs", help="fleurs, covost2 or a manifest (JSONL)")
    command.add_argument("--direction", choices=["both", *(d.value for d in BOTH)], default="both")
    command.add_argument("--auto", action="store_true", help="let the model name the direction")
    command.add_argument("--device", default="auto")
    command.add_argument("--precision", default="auto")
    command.add_argument("--batch-size", type=int, help="default: what suits the system")
    command.add_argument("--name", help="of a variant, in files and comparisons")
    command.add_argument("--title", help="of a variant, in tables")
    command.add_argument("--limit", type=int, help="only the first samples")
    command.add_argument("--output", type=Path, required=True)
    command.set_defaults(run=run_generate)
    command = commands.add_parser("score", help="score hypotheses")
    command.add_argument("hypotheses", nargs="+", type=Path)
    command.add_argument("--speed", action="store_true", help="with the times beside the files")
    command.add_argument("--comet", action="store_true", help="also COMET-22 (unbabel-comet)")
    command.add_argument("--output", type=Path, help="where to keep the scores (JSON)")
    command.set_defaults(run=run_score)
    options = parser.parse_args(argv)
    try:
        options.run(options)
    except SpeechTranslationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
