"""What a checkpoint takes of a CPU's memory, and what there is."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from speech_translation.engine.checkpoint import HEAD, ties_embeddings, weight_files
from speech_translation.errors import ModelError

_BESIDE = 0.8e9  # torch and the interpreter
_LONGEST_HEADER = 100_000_000  # bytes, as safetensors allows

_KEPT = {"BF16": 2}
"""Bytes of a stored weight in the exact mode, by its type; everything else becomes float32."""

_WORK = {"int8": 1.72, "bfloat16": 2.4, "float16": 2.4, "float32": 0.4}
"""Bytes for each parameter: weights, and what four segments of 30 s take.

In float32, the exact mode, the weights are counted apart (`_KEPT`). `make speed` measures int8 and
float32 at full size on a bfloat16 checkpoint; the rest is calculated.
"""


def require_memory(model: str, folder: Path, precision: str) -> None:
    """Raise ModelError when a CPU's memory has no room for the checkpoint in `folder`."""
    free = free_bytes()
    if free is None:
        return
    stored = stored_parameters(folder)
    needed = {name: stored.total() * work + _BESIDE for name, work in _WORK.items()}
    needed["float32"] += sum(count * _KEPT.get(kind, 4) for kind, count in stored.items())
    if needed[precision] <= free:
        return
    fits = "--precision int8, " if precision != "int8" and needed["int8"] <= free else ""
    raise ModelError(
        f"The model {model} needs {needed[precision] / 1e9:.1f} GB of memory in {precision}, and "
        f"{free / 1e9:.1f} GB are free: use {fits}a smaller model, or a machine with more memory."
    )


def stored_parameters(folder: Path) -> Counter[str]:
    """How many parameters a checkpoint has of each type (BF16, F16, F32), as safetensors names it.

    An output layer that is tied to the embedding does not count, though it may be in the file. Of a
    file that cannot be read nothing counts: whoever loads it says so.
    """
    stored = Counter[str]()
    tied = ties_embeddings(folder)
    for path in weight_files(folder):
        for name, tensor in _header(path).items():
            if name != "__metadata__" and not (tied and name == HEAD):
                stored[tensor["dtype"]] += math.prod(tensor["shape"])
    return stored


def _header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: `dtype` and `shape` of each tensor by its name.

    The file begins with the header's length, 8 bytes, little endian; the header is JSON
    (https://huggingface.co/docs/safetensors, "Format").
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LONGEST_HEADER:
                return {}
            header: dict[str, Any] = json.loads(file.read(length))
            return header
    except (OSError, ValueError):
        return {}


def free_bytes(root: Path = Path("/")) -> int | None:
    """Memory that can be had: the machine's, or what its container may still take; None if unknown.

    What the page cache holds counts as free, a mapped checkpoint among it.
    """
    free = list[int]()
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    group = root / "sys/fs/cgroup"
    limit, used = _text(group / "memory.max").strip(), _text(group / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        cached = [x for x in _text(group / "memory.stat").splitlines() if x.startswith("file ")]
        free.append(int(limit) - int(used) + sum(int(x.split()[1]) for x in cached))
    return min(free, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
