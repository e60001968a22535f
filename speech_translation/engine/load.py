"""A checkpoint made into an engine of this machine."""

from __future__ import annotations

import gc
import os
import traceback
from pathlib import Path

from speech_translation.engine.checkpoint import checkpoint_bytes, locate
from speech_translation.engine.devices import (
    choose_device,
    choose_precision,
    empty_cache,
    of_the_device,
    out_of_memory,
)
from speech_translation.engine.local import LocalEngine
from speech_translation.engine.memory import require_memory, stored_parameters
from speech_translation.engine.qwen_asr_private import skip_unused_imports, wrap
from speech_translation.engine.threads import limit_threads
from speech_translation.errors import ModelError, first_words
from speech_translation.process import owned

GRAPHS = "SPEECH_CUDA_GRAPHS"
"""The environment variable that, set to 1, lets CUDA graphs decode: docs/speed.md."""


def load_local(model: str, device: str, precision: str, windowed: bool) -> LocalEngine:
    """Assemble the engine for a model; the parameters are those of `load_engine`."""
    if owned():
        limit_threads()
    try:
        chosen = choose_device(device)
        precision = choose_precision(precision, chosen)
    except ImportError as error:
        raise _missing_package(error) from error
    folder = locate(model)
    if chosen == "cpu":
        require_memory(model, folder, precision)
    try:
        return _assemble(model, folder, chosen, precision, windowed)
    except Exception as error:  # whatever a broken checkpoint sets off in the libraries below
        _let_go(error, chosen)
        raise _refusal(error, model, folder, chosen, precision) from error


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


def _assemble(model: str, folder: Path, device: str, precision: str, windowed: bool) -> LocalEngine:
    import torch

    if owned():
        skip_unused_imports()
    from transformers import AutoProcessor

    from speech_translation.engine.attention import encode_together, set_encoder_window
    from speech_translation.engine.generation import LastPosition
    from speech_translation.engine.prefix_cache import EncoderCache, PromptCache

    if device == "cpu" and precision in ("float32", "int8"):
        from speech_translation.engine.cpu.layer import compile_layers
        from speech_translation.engine.cpu.weights import load_narrow

        network = load_narrow(folder, int8=precision == "int8")
        compile_layers(network.thinker.model)
    else:
        from speech_translation.engine.whole import load_whole

        network = load_whole(folder, getattr(torch, precision), device)
    asr = wrap(network)
    # Without fix_mistral_regex, which replaces Qwen's splitting rule in folders written by
    # transformers 4.57.3 or later (tokenization_utils_base.py of 4.57.6).
    asr.processor = AutoProcessor.from_pretrained(str(folder), fix_mistral_regex=False)
    if not asr.processor.chat_template:  # every request would fail
        raise FileNotFoundError("it has no chat_template.jinja")
    set_encoder_window(network, windowed)
    if windowed:
        network.thinker.audio_tower = EncoderCache(network.thinker.audio_tower)
        if device != "cpu":
            encode_together(network.thinker)
    PromptCache(network.thinker.model)
    network.thinker.lm_head = LastPosition(network.thinker.lm_head)
    network.eval()
    if device.startswith("cuda") and os.environ.get(GRAPHS) == "1":
        from speech_translation.engine.graphs import StaticDecoding

        StaticDecoding(network.thinker)
    return LocalEngine(asr, model, precision, batch_size=_batch_size(device, folder))


def _refusal(error: Exception, model: str, folder: Path, device: str, precision: str) -> ModelError:
    """What stopped the loading, by its name: only what is about files blames the checkpoint."""
    if isinstance(error, ImportError):
        return _missing_package(error)
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
    if isinstance(error, PermissionError):
        return ModelError(
            f"The checkpoint {model} may not be read ({first_words(error)}): change the rights of "
            "its files."
        )
    return ModelError(
        f"The checkpoint {model} cannot be loaded ({first_words(error)}): copy or train it "
        "again; it needs config.json, model.safetensors, the tokenizer, chat_template.jinja and "
        "preprocessor_config.json."
    )


def _missing_package(error: ImportError) -> ModelError:
    # transformers says of its own modules that they cannot be imported; the reason lies below.
    cause: ImportError = error
    while isinstance(cause.__cause__, ImportError):
        cause = cause.__cause__
    name = f"The package {cause.name}" if cause.name else "A package"
    return ModelError(
        f"{name} is missing or broken ({first_words(cause)}): install the packages of "
        "requirements.txt again."
    )


def _batch_size(device: str, folder: Path) -> int:
    """Segments at a time. Decoding waits for the weights, and several segments read them once.

    A CPU takes fewer: their prompts are not faster together, and the first text waits for all. The
    weights of a small model stay in its cache.
    """
    if device != "cpu":
        return 8
    return 4 if checkpoint_bytes(folder) > 1 << 28 else 1
