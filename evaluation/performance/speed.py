"""How fast the 1.7B model is on this machine's CPU, beside qwen-asr as the published Space runs it.

    python -m evaluation.performance.speed --document docs/speed.md

Random weights of the full size (`evaluation.performance.full_size`), fixed numbers of tokens, the
variants taking turns in one process; loading and memory in a process of each variant's own. The
clock of a request starts with 16 kHz samples and stops with the text.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from evaluation.performance.full_size import FOLDER, build
from evaluation.performance.machine import best, memory_speed, product_speed
from speech_translation.audio import load_audio
from speech_translation.captions import FORMATS, render
from speech_translation.engine import Request, load_engine
from speech_translation.engine.local import LocalEngine
from speech_translation.files import replace_file, replace_section
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Seconds

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
VARIANTS = {"baseline": "", "exact": "float32", "int8": "int8"}
"""Name and `precision`; the baseline is qwen-asr 0.0.6 in float32 with its default settings."""

WEIGHT_BYTES = {"baseline": 4, "exact": 2, "int8": 1}

TOKENS_A_SECOND = 4
FILE, SPAN = 600, 30  # seconds of the long file and of its spans
HEARD = 24.1  # seconds of a span that were worked on while it was spoken: three windows
REPEATS = 3
FIGURES = (
    "load_seconds",
    "peak_rss_gb",
    "file_peak_rss_gb",
    "encoder_seconds",
    "prefill_seconds",
    "per_token_ms",
    "request_seconds",
    "request_30s_seconds",
    "minute_seconds",
    "file_seconds",
)
SECTION = "speed"


class Runner:
    """One variant, loaded; `run` translates equally long clips to a fixed number of tokens."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        if name == "baseline":
            import torch
            from qwen_asr import Qwen3ASRModel

            self.asr = Qwen3ASRModel.from_pretrained(
                str(folder), dtype=torch.float32, device_map="cpu"
            )
            self.batch_size = 1
        else:
            local = load_engine(str(folder), "cpu", precision=VARIANTS[name])
            assert isinstance(local, LocalEngine)
            self._engine, self.asr, self.batch_size = local, local.asr, local.batch_size
        self._noise = np.random.default_rng(0)
        self._starts = list[float]()
        self._encoded = 0.0
        thinker = self.asr.model.thinker
        thinker.register_forward_pre_hook(lambda *_: self._starts.append(time.perf_counter()))
        thinker.audio_tower.register_forward_pre_hook(self._encoder_begins)
        thinker.audio_tower.register_forward_hook(self._encoder_ends)

    def _encoder_begins(self, *_: Any) -> None:
        self._encoded -= time.perf_counter()

    def _encoder_ends(self, *_: Any) -> None:
        self._encoded += time.perf_counter()

    def run(self, seconds: int, clips: int = 1, heard: Seconds = 0.0) -> dict[str, Seconds]:
        """What translating takes, in seconds: the whole, and its parts.

        Where so much was `heard`, that was worked on before the clock starts.
        """
        tokens = TOKENS_A_SECOND * seconds
        # Never the same twice: what is known already would not be worked on.
        noise = self._noise.normal(0, 0.1, (clips, seconds * SAMPLE_RATE)).astype(np.float32)
        if heard:
            self._engine.prefill(Request([noise[0, : round(heard * SAMPLE_RATE)]], Direction.EN_JA))
        self._starts.clear()
        self._encoded = 0.0
        began = time.perf_counter()
        if self.name == "baseline":
            self.asr.max_new_tokens = tokens
            for clip in noise:
                self.asr.transcribe(audio=(clip, SAMPLE_RATE), language="Japanese")
        else:
            self._engine.fixed_tokens = tokens
            self._engine.generate(Request(list(noise), Direction.EN_JA))
        whole = time.perf_counter() - began
        steps = [b - a for a, b in pairwise(self._starts)]
        assert len(self._starts) == tokens * (clips if self.name == "baseline" else 1)
        return {
            "request": whole,
            "encoder": self._encoded,
            "prefill": steps[0] - self._encoded,
            "token": statistics.median(steps[1:]),
        }


def load_alone(name: str, folder: Path) -> dict[str, float]:
    """Loading from the start of a process; memory (GB) after a short request and a long file's."""
    command = [
        sys.executable,
        "-m",
        "evaluation.performance.speed",
        "--load",
        name,
        "--folder",
        str(folder),
    ]
    began = time.time()
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    ready, peak, file_peak = map(float, answer.split()[-3:])
    return {"load_seconds": ready - began, "peak_rss_gb": peak, "file_peak_rss_gb": file_peak}


def _load_and_tell(name: str, folder: Path) -> None:
    runner = Runner(name, folder)
    ready = time.time()
    runner.run(10)
    short = _peak_gb()
    runner.run(SPAN, runner.batch_size)
    print(ready, short, _peak_gb())


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(folder: Path, repeats: int, spans: int) -> dict[str, dict[str, float]]:
    """All figures of all variants; `spans` of the long file's are timed and stand for the rest."""
    for path in folder.glob("*.safetensors"):
        path.read_bytes()  # into the page cache
    results = {}
    for name in VARIANTS:
        results[name] = load_alone(name, folder)
        report(f"{name}: {results[name]}")
    runners = [Runner(name, folder) for name in VARIANTS]
    for runner in runners:
        runner.run(2)
    short = {name: list[dict[str, float]]() for name in VARIANTS}
    long = {name: list[float]() for name in VARIANTS}
    ahead = {name: list[float]() for name in VARIANTS}
    for turn in range(repeats):
        for runner in runners:
            before = memory_speed()
            taken = runner.run(10)
            short[runner.name].append(taken | {"memory": (before + memory_speed()) / 2})
            long[runner.name].append(runner.run(SPAN)["request"])
            if runner.name != "baseline":
                ahead[runner.name].append(runner.run(SPAN, heard=HEARD)["request"])
            report(f"{turn + 1}/{repeats} {runner.name}: {short[runner.name][-1]}")
    for runner in runners:
        parts = {
            key: statistics.median(x[key] for x in short[runner.name])
            for key in short[runner.name][0]
        }
        minute = runner.run(SPAN, 60 // SPAN)["request"]
        done, took = 0, 0.0
        while done < spans:
            took += runner.run(SPAN, runner.batch_size)["request"]
            done += runner.batch_size
        report(f"{runner.name}: {done} spans in {took:.1f} s")
        read = decoder_parameters(folder) * WEIGHT_BYTES[runner.name] / 1e9
        results[runner.name] |= {
            "limit_share": limit_share(read, short[runner.name]),
            "read_gb_s": parts["memory"],
            "encoder_seconds": parts["encoder"],
            "prefill_seconds": parts["prefill"],
            "per_token_ms": 1000 * parts["token"],
            "request_seconds": parts["request"],
            "request_30s_seconds": statistics.median(long[runner.name]),
            "minute_seconds": minute,
            "file_seconds": took / done * (FILE / SPAN),
        }
        if ahead[runner.name]:
            results[runner.name]["ahead_seconds"] = statistics.median(ahead[runner.name])
    return results


def around_the_model(seconds: int = FILE, times: int = 3) -> Seconds:
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


def compare(results: dict[str, dict[str, float]]) -> None:
    """Add to each variant its ratios, the baseline's figures divided by its own."""
    for figures in results.values():
        for key in FIGURES:
            figures[f"{key}_ratio"] = results["baseline"][key] / figures[key]


def table(report: dict[str, Any]) -> str:
    """The figures as Markdown."""
    variants = report["variants"]

    def cells(key: str, unit: str, digits: int) -> str:
        shown = [f"{variants['baseline'][key]:.{digits}f} {unit}"]
        for name in ("exact", "int8"):
            figures = variants[name]
            shown.append(f"{figures[key]:.{digits}f} {unit} ({figures[f'{key}_ratio']:.1f} x)")
        return " | ".join(shown)

    def bare(key: str) -> str:
        return "".join(f"| {variants[name][key]:.1f} s " for name in ("exact", "int8"))

    exact, int8 = (variants[name]["file_seconds"] / (FILE / 60) for name in ("exact", "int8"))
    around = report["around_the_model_seconds"]
    share = " | ".join(
        f"{100 * variants[name]['limit_share']:.0f} % of {variants[name]['read_gb_s']:.0f} GB/s"
        for name in VARIANTS
    )
    head = f"1.7B on a CPU, {report['threads']} threads"
    return f"""\
| {head} | qwen-asr, float32 | exact (default) | `--precision int8` |
|---|---|---|---|
| load to ready, file in the page cache | {cells("load_seconds", "s", 1)} |
| memory, peak, 10 s of speech | {cells("peak_rss_gb", "GB", 1)} |
| memory, peak, a long file | {cells("file_peak_rss_gb", "GB", 1)} |
| 10 s of speech, 40 tokens | {cells("request_seconds", "s", 1)} |
| of that the encoder | {cells("encoder_seconds", "s", 2)} |
| of that the prefill | {cells("prefill_seconds", "s", 2)} |
| each decode step | {cells("per_token_ms", "ms", 0)} |
| share of the memory's speed, each decode step | {share} |
| 30 s of speech, 120 tokens | {cells("request_30s_seconds", "s", 1)} |
| the same, encoded while it was spoken: time after its end | {bare("ahead_seconds")}|
| 1 minute in spans of 30 s, 240 tokens | {cells("minute_seconds", "s", 0)} |
| 10 minutes, 2400 tokens | {cells("file_seconds", "s", 0)} |

Made by `make speed` on {report["machine"]}, {report["date"]}, with random weights of the full
size. Figures are medians of {report["repeats"]}. Brackets give the gain over qwen-asr 0.0.6 as the
published Space runs it. The ten minutes are measured on {report["spans"]} of their 20 spans; one
minute takes {exact:.1f} s, in int8 {int8:.1f} s. Decoding, speech detection, cutting and captions
take {around:.1f} s in total. The speed of the memory changes from moment to moment; it was measured
before and after each request. Matrix products ran at {report["gemm_gflop_s"]:.0f} GFLOP/s.
"""


def report(message: str) -> None:
    """Progress, for the log."""
    print(time.strftime("%H:%M:%S"), message, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.performance.speed", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the random weights")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--spans", type=int, default=4, help="of the long file's 20, to be timed")
    parser.add_argument("--output", type=Path, help="where to keep the figures (JSON)")
    parser.add_argument("--document", type=Path, help="Markdown file to put the table into")
    parser.add_argument("--load", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.load:
        _load_and_tell(options.load, options.folder)
        return 0
    import torch

    folder = build(options.folder)
    results = measure(folder, options.repeats, options.spans)
    compare(results)
    figures = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "date": time.strftime("%Y-%m-%d"),
        "repeats": options.repeats,
        "spans": options.spans,
        "gemm_gflop_s": product_speed(),
        "around_the_model_seconds": around_the_model(),
        "variants": results,
    }
    print(table(figures))
    if options.output is not None:
        replace_file(options.output, json.dumps(figures, indent=2) + "\n")
    if options.document is not None:
        replace_section(options.document, SECTION, table(figures))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    raise SystemExit(main())
