"""How fast the 1.7B model is on this machine's CPU, beside qwen-asr as the published Space runs it.

    python -m evaluation.performance.speed --parts short rows --instructions native avx2

Random weights of the full size (`evaluation.performance.full_size`), fixed numbers of tokens, the
variants taking turns in one process; loading and memory in a process of each variant's own. The
clock of a request starts with 16 kHz samples and stops with the text. A round during which other
processes used the machine is repeated (`evaluation.performance.rounds`). Each kind of processor and
set of instructions has one entry in the results.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from evaluation.performance import tables
from evaluation.performance.full_size import FOLDER, build
from evaluation.performance.instructions import LEVELS, require, run_again
from evaluation.performance.machine import best, memory_speed, processor, product_speed
from evaluation.performance.rounds import ATTEMPTS, in_turns, is_spoilt
from evaluation.performance.runner import SPAN, VARIANTS, Runner, load_alone
from speech_translation.audio import load_audio
from speech_translation.captions import FORMATS, render
from speech_translation.engine import Request
from speech_translation.files import replace_file
from speech_translation.process import own_process
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Seconds

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RESULTS = Path(__file__).resolve().parents[1] / "results" / "speed.json"
WEIGHT_BYTES = {"baseline": 4, "exact": 2, "int8": 1}

PARTS = ("short", "rows", "load", "long")
"""10 s of speech; several segments at once; loading and memory; 30 s, a minute and ten."""

ROWS = (1, 2, 4, 8)
CLIP = 10  # seconds of the short clips
HEARD = 24.1  # seconds of a span that were worked on while it was spoken: three windows
REPEATS = 3


def measure(
    folder: Path, parts: Sequence[str], repeats: int, attempts: int, spans: int
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(figures of the machine, those of each variant); `spans` of a long file's stand for all."""
    for path in folder.glob("*.safetensors"):
        path.read_bytes()  # into the page cache
    figures = {name: dict[str, Any]() for name in VARIANTS}
    if "load" in parts:
        for name in VARIANTS:
            figures[name] |= load_alone(name, folder)
            report(f"{name}: {figures[name]}")
    runners = {name: Runner(name, folder) for name in VARIANTS}
    products = runners["baseline"].products(CLIP)
    for runner in runners.values():
        runner.run(2)
    machine: dict[str, Any] = {"products": products}
    if "short" in parts:
        machine |= _short(folder, runners, repeats, attempts, products, figures)
    if "rows" in parts:
        machine["rows_spoilt"] = _rows(folder, runners, repeats, attempts, figures)
    if "long" in parts:
        machine |= {"spans": spans, "around_the_model_seconds": around_the_model()}
        _long(runners, repeats, spans, figures)
    return machine, figures


def _short(
    folder: Path,
    runners: dict[str, Runner],
    repeats: int,
    attempts: int,
    products: dict[str, float],
    figures: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """10 s of speech by all variants in turns; what the machine does is measured in each round."""

    def work(runner: Runner) -> Callable[[], dict[str, Any]]:
        def run() -> dict[str, Any]:
            before = memory_speed()
            taken = runner.run(CLIP)
            machine = {"memory": (before + memory_speed()) / 2, "gemm": product_speed()}
            return taken | machine

        return run

    works = {name: work(runner) for name, runner in runners.items()}
    turns = in_turns(works, repeats, report, attempts)
    for name, rounds in turns.items():
        read = decoder_parameters(folder) * WEIGHT_BYTES[name] / 1e9
        figures[name] |= {
            "limit_share": limit_share(read, rounds),
            "read_gb_s": _median(rounds, "memory"),
            "gemm_share": gemm_share(products, rounds),
            "encoder_seconds": _median(rounds, "encoder"),
            "prefill_seconds": _median(rounds, "prefill"),
            "per_token_ms": 1000 * _median(rounds, "token"),
            "request_seconds": _median(rounds, "request"),
        }
    rounds = [x for rounds in turns.values() for x in rounds]
    return {
        "memory_gb_s": _median(rounds, "memory"),
        "gemm_gflop_s": _median(rounds, "gemm"),
        "spoilt": is_spoilt(rounds),
        "others": statistics.median(x["others"] or 0.0 for x in rounds),
    }


def _rows(
    folder: Path,
    runners: dict[str, Runner],
    repeats: int,
    attempts: int,
    figures: dict[str, dict[str, Any]],
) -> bool:
    """Decode steps of several segments at once; whether others disturbed them."""

    def work(runner: Runner, clips: int) -> Callable[[], dict[str, Any]]:
        return lambda: runner.run(2, clips, tokens=12) | {"memory": memory_speed()}

    chosen = [(name, rows) for name in ("exact", "int8") for rows in ROWS]
    works = {f"{name} {rows}": work(runners[name], rows) for name, rows in chosen}
    turns = in_turns(works, repeats, report, attempts)
    for name, rows in chosen:
        rounds = turns[f"{name} {rows}"]
        read = decoder_parameters(folder) * WEIGHT_BYTES[name] / 1e9
        figures[name].setdefault("rows", {})[str(rows)] = {
            "per_token_ms": 1000 * min(x["token"] for x in rounds) / rows,
            "limit_share": limit_share(read, rounds),
        }
    return is_spoilt([x for rounds in turns.values() for x in rounds])


def _long(
    runners: dict[str, Runner], repeats: int, spans: int, figures: dict[str, dict[str, Any]]
) -> None:
    """30 s, the same after what was heard was worked on, a minute, and a long file."""
    long = {name: list[float]() for name in VARIANTS}
    ahead = {name: list[float]() for name in VARIANTS}
    for _ in range(repeats):
        for name, runner in runners.items():
            long[name].append(runner.run(SPAN)["request"])
            if name != "baseline":
                ahead[name].append(runner.run(SPAN, heard=HEARD)["request"])
            report(f"{name}: {SPAN} s in {long[name][-1]:.1f} s")
    for name, runner in runners.items():
        minute = runner.run(SPAN, 60 // SPAN)["request"]
        done, took = 0, 0.0
        while done < spans:
            took += runner.run(SPAN, runner.batch_size)["request"]
            done += runner.batch_size
        report(f"{name}: {done} spans in {took:.1f} s")
        figures[name] |= {
            "request_30s_seconds": statistics.median(long[name]),
            "minute_seconds": minute,
            "file_seconds": took / done * (tables.FILE / SPAN),
        }
        if ahead[name]:
            figures[name]["ahead_seconds"] = statistics.median(ahead[name])


def around_the_model(seconds: int = tables.FILE, times: int = 3) -> Seconds:
    """What a file takes but for the engine: decoding, speech detection, cutting, captions."""
    clips = sorted(EXAMPLES.glob("*.flac"))
    speech = np.concatenate([load_audio(clip) for clip in clips])
    file = io.BytesIO()
    soundfile.write(file, np.resize(speech, seconds * SAMPLE_RATE), SAMPLE_RATE, format="FLAC")

    def work() -> None:
        translation = translate(file.getvalue(), _Mute())
        for format in FORMATS:
            render(translation, format)

    return best(work, times)


class _Mute:
    """An engine that says the same at once."""

    description = "nothing"
    batch_size = 4

    def generate(self, request: Request) -> list[Hypothesis]:
        said = "駅へはまっすぐ行ってください。" * 4
        return [Hypothesis(said, Direction.EN_JA, 60, -0.1, frozenset())] * len(request.batch)


def decoder_parameters(folder: Path) -> int:
    """The weights that each token reads: the decoder's and the output layer's, which is tied."""
    config = json.loads((folder / "config.json").read_text("utf-8"))["thinker_config"][
        "text_config"
    ]
    size, heads = config["hidden_size"], config["head_dim"]
    attention = size * heads * 2 * (config["num_attention_heads"] + config["num_key_value_heads"])
    layer = attention + 3 * size * config["intermediate_size"]
    return int(config["num_hidden_layers"] * layer + size * config["vocab_size"])


def limit_share(read: float, turns: Sequence[dict[str, float]]) -> float:
    """What part of the memory's speed tokens reach that `read` so many GB each; of all turns."""
    return statistics.median(read / turn["token"] / turn["memory"] for turn in turns)


def gemm_share(products: dict[str, float], turns: Sequence[dict[str, float]]) -> float:
    """What part of the speed of one large product encoder and prefill reach together."""
    total = sum(products.values())
    return statistics.median(
        total / (turn["encoder"] + turn["prefill"]) / turn["gemm"] for turn in turns
    )


def _median(rounds: Sequence[dict[str, Any]], key: str) -> float:
    return statistics.median(float(x[key]) for x in rounds)


def compare(results: dict[str, dict[str, Any]]) -> None:
    """Add to each variant its ratios, the baseline's figures divided by its own."""
    for figures in results.values():
        for key in tables.FIGURES:
            if key in figures:
                figures[f"{key}_ratio"] = results["baseline"][key] / figures[key]


def entry(folder: Path, level: str, options: argparse.Namespace) -> dict[str, Any]:
    """All that is measured in this process, which uses the instructions of `level`."""
    import torch

    used = require(level)
    machine, variants = measure(
        folder, options.parts, options.repeats, options.attempts, options.spans
    )
    compare(variants)
    return {
        "processor": processor().name,
        "cores": os.cpu_count(),
        "level": level,
        "instructions": " ".join(processor().instructions),
        "libraries": used,
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d"),
        "repeats": options.repeats,
        **machine,
        "variants": variants,
    }


def keep(entries: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """`entries` with `new`, which replaces the one of its processor and set of instructions.

    Parts that were not measured again stay out: they belong to another version of the code.
    """
    kind = ("processor", "level", "threads")
    others = [x for x in entries if [x.get(k) for k in kind] != [new[k] for k in kind]]
    return sorted([*others, new], key=lambda x: x["date"])


def report(message: str) -> None:
    """Progress, for the log."""
    print(time.strftime("%H:%M:%S"), message, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.performance.speed", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the random weights")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--instructions", nargs="+", choices=LEVELS, default=["native"], help="one set each"
    )
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument(
        "--attempts", type=int, default=ATTEMPTS, help="at a round that other processes spoil"
    )
    parser.add_argument("--spans", type=int, default=4, help="of the long file's 20, to be timed")
    parser.add_argument("--output", type=Path, help="results to add to (JSON)")
    parser.add_argument("--documents", type=Path, nargs="*", help="Markdown files to renew")
    parser.add_argument("--here", choices=LEVELS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.here:
        print(json.dumps(entry(options.folder, options.here, options)))
        return 0
    build(options.folder)
    results: dict[str, Any] = {"entries": []}
    if options.output is not None and options.output.exists():
        results = json.loads(options.output.read_text("utf-8"))
    for level in options.instructions:
        report(f"instructions: {level}")
        try:
            answer = run_again("evaluation.performance.speed", level, argv, subprocess.PIPE)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        answer.check_returncode()
        results["entries"] = keep(results["entries"], json.loads(answer.stdout.splitlines()[-1]))
        if options.output is not None:
            replace_file(options.output, json.dumps(results, indent=2) + "\n")
    print(tables.kinds(results["entries"]))
    for document in options.documents or ():
        tables.renew(document, results["entries"])
    return 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    own_process()
    raise SystemExit(main())
