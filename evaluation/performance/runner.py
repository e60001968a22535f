"""One variant of the 1.7B model, loaded and timed: qwen-asr as published, exact, int8."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from speech_translation.engine import Request, load_engine
from speech_translation.engine.local import LocalEngine
from speech_translation.types import SAMPLE_RATE, Direction, Seconds

VARIANTS = {"baseline": "", "exact": "float32", "int8": "int8"}
"""Name and `precision`; the baseline is qwen-asr 0.0.6 in float32 with its default settings."""

TOKENS_A_SECOND = 4
SPAN = 30  # seconds of a span of a long file


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

    def run(
        self, seconds: int, clips: int = 1, heard: Seconds = 0.0, tokens: int = 0
    ) -> dict[str, Seconds]:
        """What translating takes, in seconds: the whole, and its parts.

        Where so much was `heard`, that was worked on before the clock starts. `tokens` are those of
        each reply, four a second if not given.
        """
        tokens = tokens or TOKENS_A_SECOND * seconds
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

    def products(self, seconds: int) -> dict[str, float]:
        """What a clip's encoder and prefill multiply and add, in 10^9; baseline only.

        They are counted while torch computes them. The output layer is left out: upstream applies
        it to positions that nobody needs.
        """
        from torch.utils.flop_counter import FlopCounterMode

        self.asr.max_new_tokens = 1
        noise = self._noise.normal(0, 0.1, seconds * SAMPLE_RATE).astype(np.float32)
        with FlopCounterMode(display=False) as counter:
            self.asr.transcribe(audio=(noise, SAMPLE_RATE), language="Japanese")
        counts = counter.get_flop_counts()
        parts = {"encoder": "audio_tower", "prefill": "model"}
        thinker = type(self.asr.model.thinker).__name__
        return {
            part: sum(counts[f"{thinker}.{module}"].values()) / 1e9
            for part, module in parts.items()
        }


def load_alone(name: str, folder: Path) -> dict[str, float]:
    """Loading from the start of a process; memory (GB) after a short request and a long file's."""
    command = [
        sys.executable,
        "-m",
        "evaluation.performance.runner",
        name,
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
    """The most memory that this program held. `ru_maxrss` would begin at what its parent held."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # macOS counts bytes


if __name__ == "__main__":
    _load_and_tell(sys.argv[1], Path(sys.argv[2]))
