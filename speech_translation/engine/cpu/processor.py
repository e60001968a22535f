"""The instructions that compiled code may use, and what follows from them."""

from __future__ import annotations

from llvmlite.binding import get_host_cpu_features
from numba import config


def compiled_for() -> frozenset[str]:
    """LLVM's names of the instructions that numba compiles for: the processor's, or fewer.

    NUMBA_CPU_FEATURES may name fewer, like "+avx2,-avx512f".
    """
    if config.CPU_FEATURES is not None:
        named = config.CPU_FEATURES.split(",")
        return frozenset(name[1:] for name in named if name.startswith("+"))
    return frozenset(name for name, has in processor_features().items() if has)


def processor_features() -> dict[str, bool]:
    """Which of the instructions that LLVM knows this machine's processor has."""
    return dict(get_host_cpu_features())


LANES = 16 if "avx512f" in compiled_for() else 8
"""float32 numbers in a vector."""

CACHE_LINE = 64
"""Bytes of a line, as many as AVX512's vectors have."""

MULTIPLIES_INTEGERS = "avx512vnni" in compiled_for()
"""Whether the processor does: four products of int8 and their sum in one instruction."""
