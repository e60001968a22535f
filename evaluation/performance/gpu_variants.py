"""The model on one device as three variants: qwen-asr as published, this project, with graphs."""

from __future__ import annotations

import gc
import importlib.util
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speech_translation.engine import Request
from speech_translation.engine.graphs import BATCHES, StaticDecoding
from speech_translation.engine.light_imports import import_libraries
from speech_translation.engine.load import load_local
from speech_translation.types import SAMPLE_RATE, Direction, Seconds

PUBLISHED, OURS, GRAPHS = "qwen-asr", "ours", "ours, graphs"
VARIANTS = (PUBLISHED, OURS, GRAPHS)


class Loaded:
    """A checkpoint on a device, by qwen-asr as published or by this project.

    `windowed` is whether this project's encoder keeps to its window, as qwen-asr's does on a GPU
    with FlashAttention only.
    """

    def __init__(
        self,
        published: bool,
        folder: Path,
        device: str,
        precision: str = "bfloat16",
        windowed: bool = True,
    ) -> None:
        _do_without_nagisa()
        import_libraries()
        self.device = torch.device(device)
        before = _allocated(self.device)
        began = time.perf_counter()
        if published:
            from qwen_asr import Qwen3ASRModel

            self._engine = None
            self.asr: Any = Qwen3ASRModel.from_pretrained(
                str(folder), dtype=getattr(torch, precision), device_map=device
            )
        else:
            self._engine = load_local(str(folder), device, precision, windowed)
            self.asr = self._engine.asr
        self.wait()
        self.load_seconds = time.perf_counter() - began
        self.bytes = _allocated(self.device) - before
        """What the weights take on a GPU."""
        self._steps = list[float]()
        self._encoded = 0.0
        thinker = self.asr.model.thinker
        thinker.register_forward_pre_hook(lambda *_: self._steps.append(time.perf_counter()))
        encode = thinker.get_audio_features

        def timed(*args: Any, **options: Any) -> torch.Tensor:
            self.wait()
            self._encoded -= time.perf_counter()
            features: torch.Tensor = encode(*args, **options)
            self.wait()
            self._encoded += time.perf_counter()
            return features

        thinker.get_audio_features = timed

    def wait(self) -> None:
        """Until the GPU has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def run(
        self, clips: Sequence[np.ndarray], tokens: int | None, direction: Direction
    ) -> dict[str, Seconds]:
        """Translate `clips` together; what that took, and its parts, in seconds.

        Every reply has `tokens` tokens unless it ends before; None leaves that to the clip.
        """
        self._steps.clear()
        self._encoded = 0.0
        self.wait()
        began = time.perf_counter()
        if self._engine is None:
            assert direction.target is not None
            self.asr.max_new_tokens = tokens or 512  # its default
            self.asr.transcribe(
                audio=[(clip, SAMPLE_RATE) for clip in clips], language=direction.target.tag
            )
        else:
            self._engine.fixed_tokens = tokens
            self._engine.generate(Request(list(clips), direction))
        self.wait()
        whole = time.perf_counter() - began
        steps = [b - a for a, b in pairwise(self._steps)]
        taken = {"whole": whole, "encoder": self._encoded}
        if len(steps) > 1:
            taken |= {"prefill": steps[0] - self._encoded, "token": statistics.median(steps[1:])}
        return taken

    def reply(self, clips: Sequence[np.ndarray], tokens: int | None, to: Direction) -> list[Any]:
        """The tokens of each reply up to its end."""
        model, replies = self.asr.model, list[list[int]]()
        generate = model.generate

        def record(**inputs: Any) -> Any:
            out = generate(**inputs)
            replies.extend(out.sequences[:, inputs["input_ids"].shape[1] :].tolist())
            return out

        model.generate = record
        try:
            self.run(clips, tokens, to)
        finally:
            del model.generate
        names = ("<|im_end|>", "<|endoftext|>")
        ends = set(self.asr.processor.tokenizer.convert_tokens_to_ids(names))
        return [_until(reply, ends) for reply in replies]

    @contextmanager
    def graphs(self) -> Iterator[StaticDecoding]:
        """With decode steps as CUDA graphs, for 32 rows too, since they are measured."""
        static = StaticDecoding(self.asr.model.thinker, batches=(*BATCHES, 32))
        try:
            yield static
        finally:
            static.stop()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def agreement(pairs: Sequence[tuple[list[int], list[int]]]) -> dict[str, int]:
    """How many replies of each pair are the same, and how many of their tokens at the beginning."""
    alike = sum(
        next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        for a, b in pairs
    )
    return {
        "replies": len(pairs),
        "same_replies": sum(a == b for a, b in pairs),
        "tokens": sum(len(a) for a, _ in pairs),
        "same_tokens": alike,
    }


def _do_without_nagisa() -> None:
    """Let qwen-asr be imported without nagisa, a package of 20 MB that only its aligner calls."""
    if importlib.util.find_spec("nagisa") is None:
        sys.modules["nagisa"] = importlib.util.module_from_spec(ModuleSpec("nagisa", None))


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _until(reply: list[int], ends: set[int]) -> list[int]:
    end = next((at for at, token in enumerate(reply) if token in ends), len(reply))
    return reply[:end]
