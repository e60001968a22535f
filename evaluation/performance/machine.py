"""The machine: its processor, how fast it reads memory, and how fast it multiplies in float32."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numba import njit, prange

from speech_translation.engine.cpu.processor import compiled_for
from speech_translation.types import Seconds

_INSTRUCTIONS = {
    "AVX512": "avx512f",
    "AVX2": "avx2",
    "VNNI": "avx512vnni",
    "BF16": "avx512bf16",
    "AMX": "amx-tile",
}


@dataclass(frozen=True)
class Processor:
    """Its name, and which instructions the code of this process may use."""

    name: str
    instructions: tuple[str, ...]


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """The processor as Linux names it. Clouds hide the model's name; family and model tell it."""
    try:
        text = cpuinfo.read_text("utf-8", errors="replace")
    except OSError:
        text = ""
    told = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    name = told.get("model name", platform.processor() or platform.machine())
    if "cpu family" in told:
        name += f" (family {told['cpu family']}, model {told.get('model', '?')})"
    has = compiled_for()
    found = [said for said, feature in _INSTRUCTIONS.items() if feature in has]
    if "AVX512" in found:
        found.remove("AVX2")  # goes without saying
    return Processor(name, tuple(found))


def memory_speed() -> float:
    """GB/s that all cores read now. Whoever shares the machine changes it by half in seconds."""
    blocks, sums = np.ones((2048, 32_768), np.int64), np.zeros(2048, np.int64)
    _read(blocks, sums)  # compiled, and every page there
    return blocks.nbytes / 1e9 / best(lambda: _read(blocks, sums))


def product_speed() -> float:
    """GFLOP/s of a float32 product of a prompt's size, by the faster of torch's two libraries.

    MKL keeps to older instructions on AMD's processors; oneDNN uses what there is.
    """
    a, b = torch.randn(512, 2048), torch.randn(6144, 2048)
    blocked = a.to_mkldnn()
    works = (lambda: torch.mm(a, b.T), lambda: torch.nn.functional.linear(blocked, b))
    return 2 * 512 * 2048 * 6144 / 1e9 / min(best(work, 5) for work in works)


@njit(parallel=True, fastmath=True)  # type: ignore[untyped-decorator]
def _read(blocks: np.ndarray, sums: np.ndarray) -> None:
    for i in prange(blocks.shape[0]):
        total = np.int64(0)
        for j in range(blocks.shape[1]):
            total ^= blocks[i, j]
        sums[i] = total


def best(work: Callable[[], object], times: int = 9) -> Seconds:
    """What `work` takes when nothing comes between."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
