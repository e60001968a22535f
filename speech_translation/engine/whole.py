"""A checkpoint as transformers loads it, with what transformers lets pass put right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from speech_translation.engine.checkpoint import HEAD


def load_whole(folder: Path, dtype: torch.dtype, device: str = "cpu") -> Any:
    """`Qwen3ASRForConditionalGeneration` on `device`, every parameter in `dtype`.

    Any exception means that the checkpoint cannot be loaded; ValueError names a weight that is
    missing, where transformers would go on with random numbers.
    """
    from qwen_asr.core.transformers_backend import Qwen3ASRForConditionalGeneration

    model, report = Qwen3ASRForConditionalGeneration.from_pretrained(
        str(folder),
        dtype=dtype,
        device_map=None if device == "cpu" else device,
        attn_implementation="sdpa",
        output_loading_info=True,
    )
    missing = set(report["missing_keys"])
    if HEAD in missing:
        model.thinker.lm_head.weight = model.thinker.model.embed_tokens.weight
    missing.discard(HEAD)
    if missing:
        raise ValueError(f"the weight {min(missing)} is missing, one of {len(missing)}")
    # A precision in the configuration of a part (`text_config`) wins over the one asked for. The
    # buffers stay as they are: the positions are float32 in every precision. What is right is not
    # touched: on ZeroGPU parameters only seem to be on the GPU.
    for parameter in model.parameters():
        if parameter.dtype != dtype:
            parameter.data = parameter.data.to(dtype)
    return model
