"""A checkpoint made into an engine of this machine."""

from __future__ import annotations

import gc
import os
import traceback
from pathlib import Path
from typing import Any

from speech_translation.engine.checkpoint import checkpoint_bytes, locate
from speech_translation.engine.cpu.kept import Kept
from speech_translation.engine.devices import (
    choose_device,
    choose_precision,
    empty_cache,
    of_the_device,
    out_of_memory,
)
from speech_translation.engine.light_imports import (
    import_libraries,
    import_without_nagisa,
    uncollected,
)
from speech_translation.engine.local import LocalEngine
from speech_translation.engine.memory import require_memory, stored_parameters
from speech_translation.engine.qwen_asr_private import prompt_text, wrap
from speech_translation.engine.threads import limit_threads, share_threads
from speech_translation.errors import ModelError, first_words, missing_package
from speech_translation.process import owned

_SMALL = 1 << 28  # bytes of a checkpoint that the processor's cache holds, and that loads at once

GRAPHS = "SPEECH_CUDA_GRAPHS"
"""The environment variable that, set to 1, lets CUDA graphs decode: docs/speed.md."""


def load_local(
    model: str, device: str, precision: str, windowed: bool, cache: bool = True
) -> LocalEngine:
    """Assemble the engine for a model; the parameters are those of `load_engine`."""
    if not owned():
        return _load(model, device, precision, windowed, cache)
    limit_threads()
    with uncollected():
        return _load(model, device, precision, windowed, cache)


def _load(model: str, device: str, precision: str, windowed: bool, cache: bool) -> LocalEngine:
    kept = None
    early = precision == "int8" and device in ("auto", "cpu")  # only a CPU computes in it
    if early:
        folder = _located(model, precision)
        kept = _kept(model, folder) if cache else None  # read while torch is imported
    try:
        chosen = choose_device(device)
        precision = choose_precision(precision, chosen)
    except ImportError as error:
        raise missing_package(error) from error
    if not early:
        folder = _located(model, precision) if chosen == "cpu" else locate(model)
    try:
        return _assemble(model, folder, chosen, precision, windowed, kept)
    except Exception as error:  # whatever a broken checkpoint sets off in the libraries below
        _let_go(error, chosen)
        raise _refusal(error, model, folder, chosen, precision) from error


def _located(model: str, precision: str) -> Path:
    """The folder of a model that is to be loaded on a CPU, whose memory has room for it."""
    folder = locate(model)
    require_memory(model, folder, precision)
    return folder


def _kept(model: str, folder: Path) -> Kept | None:
    """The int8 weights on the disk, which a thread reads from now on; None for a small model."""
    if _is_small(folder):
        return None
    try:
        return Kept(folder)
    except OSError as error:
        raise _refusal(error, model, folder, "cpu", "int8") from error


def _let_go(error: BaseException, device: str) -> None:
    """Give back the memory of a model that was loaded in part.

    The frames of a traceback hold it as long as the error is kept: the Space keeps its error for
    good, and who catches one may try a smaller model at once.
    """
    import torch

    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    gc.collect()  # the parts of a model name each other
    empty_cache(torch.device(device))


def _assemble(
    model: str, folder: Path, device: str, precision: str, windowed: bool, kept: Kept | None
) -> LocalEngine:
    import torch

    if owned():
        import_libraries()
        share_threads(_is_small(folder))
    else:
        import_without_nagisa()
    from speech_translation.engine.attention import encode_together, set_encoder_window
    from speech_translation.engine.generation import LastPosition
    from speech_translation.engine.prefix_cache import EncoderCache, PromptCache

    if device == "cpu" and precision in ("float32", "int8"):
        from speech_translation.engine.cpu.weights import load_narrow

        network = load_narrow(folder, int8=precision == "int8", kept=kept)
    else:
        from speech_translation.engine.whole import load_whole

        network = load_whole(folder, getattr(torch, precision), device)
    asr = wrap(network)
    asr.processor = _processor(folder)
    if not asr.processor.chat_template:  # every request would fail
        raise FileNotFoundError("it has no chat_template.jinja")
    _require_prompt(asr, network.thinker.config)
    set_encoder_window(network, windowed)
    if windowed:
        network.thinker.audio_tower = EncoderCache(network.thinker.audio_tower)
        if device != "cpu":
            encode_together(network.thinker)
    prompts = PromptCache(network.thinker.model)
    network.thinker.lm_head = LastPosition(network.thinker.lm_head)
    network.eval()
    if device.startswith("cuda") and os.environ.get(GRAPHS) == "1":
        from speech_translation.engine.graphs import StaticDecoding

        StaticDecoding(network.thinker)
    return LocalEngine(asr, model, precision, batch_size=_batch_size(device), prompts=prompts)


def _require_prompt(asr: Any, thinker: Any) -> None:
    """Raise ValueError where a prompt has no place for the sound, or tokens that the model lacks.

    Every translation would be empty, or fail.
    """
    tokens = asr.processor.tokenizer(prompt_text(asr, "", None))["input_ids"]
    if thinker.audio_token_id not in tokens or max(tokens) >= thinker.text_config.vocab_size:
        raise ValueError("its chat template or tokenizer is another model's")


def _processor(folder: Path) -> Any:
    """The checkpoint's `Qwen3ASRProcessor`.

    Its `from_pretrained` copies the tokenizer, half a second, for a line in a log that is off.
    """
    from qwen_asr.core.transformers_backend import Qwen3ASRProcessor
    from transformers import Qwen2TokenizerFast, WhisperFeatureExtractor

    settings, _ = Qwen3ASRProcessor.get_processor_dict(str(folder))
    return Qwen3ASRProcessor(
        WhisperFeatureExtractor.from_pretrained(str(folder)),
        # Without fix_mistral_regex, which replaces Qwen's splitting rule in folders written by
        # transformers 4.57.3 or later (tokenization_utils_base.py of 4.57.6).
        Qwen2TokenizerFast.from_pretrained(str(folder), fix_mistral_regex=False),
        chat_template=settings.get("chat_template"),
    )


def _refusal(error: Exception, model: str, folder: Path, device: str, precision: str) -> ModelError:
    """What stopped the loading, by its name: only what is about files blames the checkpoint."""
    if isinstance(error, ImportError):
        return missing_package(error)
    if out_of_memory(error):
        width = {"int8": 1, "float32": 4}.get(precision, 2)
        needed = stored_parameters(folder).total() * width / 1e9
        return ModelError(
            f"The model {model} does not fit into the memory of {device}: its weights alone take "
            f"{needed:.1f} GB in {precision}. End what else uses it, or use another --device or a "
            "smaller model."
        )
    if device != "cpu" and of_the_device(error):
        return ModelError(
            f"The device {device} cannot be used ({first_words(error)}): update its driver, or use "
            "--device cpu."
        )
    files = [path for path in sorted(folder.glob("*")) if path.is_file()]
    # safetensors says of a file that it may not read that there is none.
    closed = [path.name for path in files if not os.access(path, os.R_OK)]
    if closed or isinstance(error, PermissionError):
        what = ", ".join(closed) or first_words(error)
        return ModelError(
            f"The checkpoint {model} may not be read ({what}): change the rights of its files."
        )
    if pointers := [path.name for path in files if _is_pointer(path)]:
        return ModelError(
            f"The checkpoint {model} was cloned without Git LFS, which has {', '.join(pointers)}: "
            "install it, and run git lfs pull there."
        )
    return ModelError(
        f"The checkpoint {model} cannot be loaded ({first_words(error)}): copy or train it "
        "again; it needs config.json, model.safetensors, the tokenizer, chat_template.jinja and "
        "preprocessor_config.json."
    )


def _is_pointer(path: Path) -> bool:
    """Whether git wrote down where a file is, and not the file (git-lfs, docs/spec.md)."""
    with path.open("rb") as file:
        return file.read(40).startswith(b"version https://git-lfs")


def _batch_size(device: str) -> int:
    """Segments at a time. Decoding waits for the weights, and several segments read them once.

    A CPU takes fewer: their prompts are hardly faster together, and the first text waits for all.
    """
    return 4 if device == "cpu" else 8


def _is_small(folder: Path) -> bool:
    return checkpoint_bytes(folder) <= _SMALL
