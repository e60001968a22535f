"""Where a checkpoint is, and what its folder says of it."""

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

_INDEX = "model.safetensors.index.json"


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


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a checkpoint's weights, whether they are there or not."""
    try:
        index = json.loads((folder / _INDEX).read_text("utf-8"))
        return sorted({folder / name for name in index["weight_map"].values()})
    except FileNotFoundError:
        return [folder / "model.safetensors"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []  # a broken index; whoever loads it says so


def checkpoint_bytes(folder: Path) -> int:
    """The size of a checkpoint's weights on the disk."""
    return sum(path.stat().st_size for path in weight_files(folder) if path.is_file())
