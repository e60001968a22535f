"""A checkpoint made into an engine of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from speech_translation.engine.checkpoint import checkpoint_bytes, locate
from speech_translation.engine.devices import choose_device, choose_precision
from speech_translation.engine.local import LocalEngine
from speech_translation.engine.memory import require_memory
from speech_translation.engine.qwen_asr_private import skip_unused_imports, wrap
from speech_translation.errors import ModelError, first_words


def load_local(model: str, device: str, precision: str, windowed: bool) -> LocalEngine:
    """Assemble the engine for a model; the parameters are those of `load_engine`."""
    # Threads that wait by spinning slow each other manifold where cores are shared; to sleep at
    # once costs a tenth, since a token takes 200 products. So they spin for microseconds.
    # OpenMP reads this when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    import torch

    chosen = choose_device(device)
    precision = choose_precision(precision, chosen)
    folder = locate(model)
    if chosen == "cpu":
        require_memory(model, folder, precision)
    try:
        skip_unused_imports()
        from transformers import AutoProcessor

        from speech_translation.engine.attention import encode_together, set_encoder_window
        from speech_translation.engine.generation import LastPosition
        from speech_translation.engine.prefix_cache import EncoderCache, PromptCache

        if chosen == "cpu" and precision in ("float32", "int8"):
            from speech_translation.engine.cpu.layer import compile_layers
            from speech_translation.engine.cpu.weights import load_narrow

            lean = load_narrow(folder, int8=precision == "int8")
            compile_layers(lean.thinker.model)
            asr = wrap(lean)
        else:
            from speech_translation.engine.whole import load_whole

            asr = wrap(load_whole(folder, getattr(torch, precision), chosen))
        # Without fix_mistral_regex, which replaces Qwen's splitting rule in folders
        # written by transformers 4.57.3 or later (tokenization_utils_base.py of 4.57.6).
        asr.processor = AutoProcessor.from_pretrained(str(folder), fix_mistral_regex=False)
        set_encoder_window(asr.model, windowed)
        if windowed:
            asr.model.thinker.audio_tower = EncoderCache(asr.model.thinker.audio_tower)
            if chosen != "cpu":
                encode_together(asr.model.thinker)
        PromptCache(asr.model.thinker.model)
        asr.model.thinker.lm_head = LastPosition(asr.model.thinker.lm_head)
        asr.model.eval()
        return LocalEngine(asr, model, precision, batch_size=_batch_size(chosen, folder))
    except Exception as error:  # whatever a broken checkpoint sets off in the libraries below
        raise ModelError(
            f"The checkpoint {model} cannot be loaded ({first_words(error)}): copy or train it "
            "again; it needs config.json, model.safetensors, the tokenizer and "
            "preprocessor_config.json."
        ) from error


def _batch_size(device: str, folder: Path) -> int:
    """Segments at a time. Decoding waits for the weights, and several segments read them once.

    A CPU takes fewer: their prompts are not faster together, and the first text waits for all. The
    weights of a small model stay in its cache.
    """
    if device != "cpu":
        return 8
    return 4 if checkpoint_bytes(folder) > 1 << 28 else 1
