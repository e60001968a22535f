"""How many threads compute on a CPU, where a container may use a part of the machine."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

_chosen = "OMP_NUM_THREADS" in os.environ  # by whoever runs the program
_most = 0  # threads that torch began with


def limit_threads() -> None:
    """Let torch begin with no more threads than there are processors for.

    torch counts the machine's. With more threads than the container's quota has processors, all of
    them stand still once it is used up, and every product waits for the last of them. OpenMP reads
    the variable when torch is first imported; what is set already stays.
    """
    granted = granted_processors()
    if granted is not None and granted < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(granted))


def share_threads(small: bool) -> None:
    """Let a small checkpoint compute in one thread, and any other in as many as torch began with.

    The products of a small one are so short that two threads gain nothing. Where a crowd keeps the
    processors busy, each product would wait until the second thread gets its turn. It holds for all
    of the process, so only a program may say so, and OMP_NUM_THREADS stays where it was set.
    """
    import torch

    global _most
    if _chosen:
        return
    _most = max(_most, torch.get_num_threads())
    torch.set_num_threads(1 if small else _most)


def granted_processors(root: Path = Path("/")) -> int | None:
    """How many processors this container may keep busy, at least one; None where nothing says so.

    `cpu.max` of cgroup has the microseconds of a period and the period's
    (https://docs.kernel.org/admin-guide/cgroup-v2.html). A Space of Hugging Face has CPU_CORES
    (https://huggingface.co/docs/hub/spaces-overview, "Helper environment variables").
    """
    granted = list[float]()
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text("utf-8").split()
        granted.append(int(quota) / int(period))
    with contextlib.suppress(ValueError):
        granted.append(float(os.environ.get("CPU_CORES", "")))
    return max(1, math.ceil(min(granted))) if granted else None
