"""Where a checkpoint is, and what its folder says of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from speech_translation.engine.base import PHRASEBOOK, PUBLISHED_MODEL
from speech_translation.engine.hub import HubModel, fetch
from speech_translation.errors import HubUnreachable, ModelError

PHRASEBOOK_FOLDER = Path(__file__).resolve().parents[1] / "assets" / "phrasebook"
HEAD = "thinker.lm_head.weight"
"""The output layer's weight; a checkpoint that ties it to the embedding need not hold it."""

_INDEX = "model.safetensors.index.json"


def locate(model: str) -> Path:
    """The folder behind a model's name.

    That is "phrasebook", a folder, or `ID` or `ID@REVISION` on the Hub, which is fetched first. A
    folder that exists is a folder, whatever its name.

    Raises:
        HubUnreachable: the Hub does not answer, and there is no whole copy.
        ModelError: there is no such model, or it has another layout.
    """
    if model == PHRASEBOOK:
        return PHRASEBOOK_FOLDER
    if os.path.isdir(model):  # not Path.is_dir: too long a name is no folder either
        folder = Path(model)
        if not os.access(folder, os.X_OK):
            raise ModelError(f"The folder {model} may not be read: change its rights.")
        if not os.path.isfile(folder / "config.json"):
            raise ModelError(
                f"{model} holds no checkpoint (no config.json): name the folder that the training "
                "wrote, or use --model phrasebook."
            )
    elif os.path.isfile(model):
        raise ModelError(f"{model} is a file: name the folder of the whole checkpoint.")
    else:
        on_hub = HubModel.parse(model)
        if on_hub is None:
            raise ModelError(
                f"There is no model folder {model}: give an existing folder, a Hugging Face id "
                f"such as {PUBLISHED_MODEL}, with @ and a revision if you like, or {PHRASEBOOK}."
            )
        folder = fetch(on_hub)
        if not all(path.is_file() for path in weight_files(folder)):
            raise HubUnreachable(
                f"The copy of {model} in {folder} is not whole: check the connection to the "
                "Hugging Face Hub, and that the model has its weights as safetensors."
            )
    _require_layout(model, folder)
    return folder


def _require_layout(model: str, folder: Path) -> None:
    """Raise ModelError for another kind of model, and for another layout of this one.

    The layout of transformers' own Qwen3-ASR class (5.13 and later) has no `thinker_config`, and
    other names of the weights (convert_qwen3_asr_to_hf.py in transformers).
    """
    config = read_config(folder)
    kind = config.get("model_type", "qwen3_asr")
    if kind != "qwen3_asr":
        raise ModelError(f"The checkpoint {model} is of the kind {kind} and not of Qwen3-ASR's.")
    if "thinker_config" not in config and "text_config" in config:
        raise ModelError(
            f"The checkpoint {model} has the layout of transformers' own Qwen3-ASR class, as those "
            'whose names end in "-hf" have: use the one in the layout of qwen-asr, which has no '
            '"-hf" in its name.'
        )


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
