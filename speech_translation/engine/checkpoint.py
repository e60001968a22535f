"""Where a checkpoint is, and what it takes of a CPU's memory."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from speech_translation.engine.base import PHRASEBOOK, PUBLISHED_MODEL
from speech_translation.errors import ModelError, first_words

PHRASEBOOK_FOLDER = Path(__file__).resolve().parents[1] / "assets" / "phrasebook"
HEAD = "thinker.lm_head.weight"
"""The output layer's weight; a checkpoint that ties it to the embedding need not hold it."""

_BESIDE = 0.8e9  # torch and the interpreter
_SHARE = {"int8": 0.86, "bfloat16": 1.2, "float16": 1.2, "float32": 1.2}
"""Memory for each byte of a 16-bit checkpoint on a CPU; float32 is arithmetic only.

With what four segments of 30 s take; `make speed` measures it at full size.
"""


def locate(model: str) -> Path:
    """The folder behind a model's name; what is on the Hub is fetched first."""
    if model == PHRASEBOOK:
        return PHRASEBOOK_FOLDER
    folder = Path(model)
    if os.path.isdir(folder):  # not Path.is_dir: too long a name is no folder either
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{model} holds no checkpoint (no config.json): name the folder that the training "
                "wrote, or use --model phrasebook."
            )
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        raise ModelError(
            f"There is no model folder {model}: give an existing folder, a Hugging Face id such as "
            f"{PUBLISHED_MODEL}, or {PHRASEBOOK}."
        )
    return _fetch(model)


def _fetch(model: str) -> Path:
    """The local copy of a model on the Hub."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    offline = constants.HF_HUB_OFFLINE
    if not offline:
        try:
            # Asked once here: the download itself would try again for a minute.
            get_session().head(constants.ENDPOINT, timeout=10)
        except OSError:
            offline = True
    try:
        return Path(snapshot_download(model, local_files_only=offline))
    except Exception as error:  # the Hub's client has no common error
        reason = "it cannot be reached" if offline else first_words(error)
        raise ModelError(
            f"The model {model} cannot be fetched from the Hugging Face Hub ({reason}). Without a "
            "network, use the embedded one: --model phrasebook"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """A checkpoint's config.json; empty where it cannot be read, which whoever loads it says."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def ties_embeddings(folder: Path) -> bool:
    """Whether the configuration makes the embedding the output layer too.

    transformers 4.57.6 asks the text model's configuration alone (`tie_weights` of
    modeling_utils.py); qwen-asr's default is False.
    """
    thinker = read_config(folder).get("thinker_config")
    text = thinker.get("text_config") if isinstance(thinker, dict) else None
    return isinstance(text, dict) and bool(text.get("tie_word_embeddings", False))


def checkpoint_bytes(folder: Path) -> int:
    """The size of a checkpoint's weights on the disk."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def require_memory(model: str, folder: Path, precision: str) -> None:
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
