"""What the machine can do, for comparison: how fast it reads memory and multiplies in float32."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numba import njit, prange

from speech_translation.types import Seconds


def memory_speed() -> float:
    """GB/s that all cores read now. Whoever shares the machine changes it by half in seconds."""
    blocks, sums = np.ones((2048, 32_768), np.int64), np.zeros(2048, np.int64)
    _read(blocks, sums)  # compiled, and every page there
    return blocks.nbytes / 1e9 / best(lambda: _read(blocks, sums))


def product_speed() -> float:
    """GFLOP/s of a float32 product of a prompt's size."""
    a, b = torch.randn(512, 2048), torch.randn(6144, 2048)
    return 2 * 512 * 2048 * 6144 / 1e9 / best(lambda: torch.mm(a, b.T))


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
