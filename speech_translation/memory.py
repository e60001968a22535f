"""Whether a checkpoint fits into this machine's memory, said before it is loaded."""

from __future__ import annotations

from pathlib import Path

from speech_translation.errors import ModelError

_BESIDE = 0.8e9  # torch and the interpreter
_SHARE = {"int8": 0.86, "bfloat16": 1.2, "float16": 1.2, "float32": 1.2}
"""Memory for each byte of a 16-bit checkpoint on a CPU; float32 is arithmetic only.

With what four segments of 30 s take; `make speed` measures it at full size.
"""


def checkpoint_bytes(folder: Path) -> int:
    """The size of a checkpoint's weights on the disk."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def need_memory(model: str, folder: Path, precision: str) -> None:
    """Raise ModelError when a CPU's memory has no room for the checkpoint in `folder`."""
    size, free = checkpoint_bytes(folder), free_bytes()
    needed = {name: size * share + _BESIDE for name, share in _SHARE.items()}
    if free is None or needed[precision] <= free:
        return
    fits = "--precision int8, " if precision != "int8" and needed["int8"] <= free else ""
    raise ModelError(
        f"The model {model} needs {needed[precision] / 1e9:.1f} GB of memory in {precision}, and "
        f"{free / 1e9:.1f} GB are free: use {fits}a smaller model, or a machine with more memory."
    )


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
