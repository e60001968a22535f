"""What a measurement was made with: weights, code, machine. The header of each file has it."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from speech_translation.engine import PHRASEBOOK, Engine
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.engine.hub import split_revision

ROOT = Path(__file__).resolve().parent.parent
DIGEST = 16  # hexadecimal digits of a checkpoint's SHA-256

CIRCUMSTANCES = ("commit", "machine", "gpu")
"""Keys that may differ between two runs which say the same."""

MADE = ("evaluation/results", "phrasebook/figures.json", "docs", "README.md", "*.svg")
"""What measurements write. The second one of a command is of the same code as the first."""


def revision(checkpoint: str) -> str:
    """Which weights these are: the Hub's commit, or the start of the SHA-256 of a folder's.

    "unknown" for those of a server, or that are not in the Hub's cache.
    """
    from huggingface_hub import try_to_load_from_cache

    folder = PHRASEBOOK_FOLDER if checkpoint == PHRASEBOOK else Path(checkpoint)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return f"sha256 {digest.hexdigest()[:DIGEST]}"
    model, pinned = split_revision(checkpoint)
    cached = (
        None if "://" in model else try_to_load_from_cache(model, "config.json", revision=pinned)
    )
    return Path(cached).parent.name if isinstance(cached, str) else "unknown"


@cache
def commit(folder: Path = ROOT) -> str:
    """The commit of the code, with "+changes" where files that git follows differ from it.

    What is MADE of measurements is no code. "unknown" outside of a clone.
    """
    head = _said("git", "-C", str(folder), "rev-parse", "HEAD")
    if not head:
        return "unknown"
    code = [".", *(f":!{path}" for path in MADE)]
    status = ["status", "--porcelain", "--untracked-files=no", "--", *code]
    changed = _said("git", "-C", str(folder), *status)
    return head[:12] + ("+changes" if changed else "")


def circumstances(engine: Engine) -> dict[str, Any]:
    """The code and the machine; `gpu` is None where the engine does not compute on one."""
    return {"commit": commit(), "machine": machine(), "gpu": gpu(engine)}


def machine() -> str:
    """Architecture, processor and the cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return f"{platform.machine()}, {_processor()}, {cores} cores"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def gpu(engine: Engine) -> str | None:
    """Name, driver and CUDA of the GPU that an engine computes on, and how many there are."""
    import torch

    if " on cuda" not in engine.description or not torch.cuda.is_available():
        return None
    query = "--query-gpu=driver_version"
    driver = _said("nvidia-smi", query, "--format=csv,noheader").splitlines()
    return (
        f"{torch.cuda.get_device_name()}, {torch.cuda.device_count()} of them, driver "
        f"{driver[0] if driver else 'unknown'}, CUDA {torch.version.cuda}"
    )


def attention(engine: Engine) -> str:
    """How a model's attention is computed, by the names that transformers has for it."""
    holder = getattr(engine, "asr", engine)
    modules = getattr(getattr(holder, "model", None), "modules", None)
    if modules is None:
        return "the library's own"
    configs = [getattr(module, "config", None) for module in modules()]
    names = {getattr(config, "_attn_implementation", None) for config in configs}
    return ", ".join(sorted(name for name in names if name)) or "the library's own"


def _said(*command: str) -> str:
    """What a program prints; "" if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
