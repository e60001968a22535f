"""Every private part of qwen-asr 0.0.6 that is used, and of transformers 4.57.6 around its model.

Nothing else in this repository names one, but for the two methods of the Trainer that the recipe
overrides (`training/trainer.py`). tests/engine/test_qwen_asr_private.py fails when a part
is gone or means something else; read it before you move to another version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def audio_tokens(frames: torch.Tensor) -> torch.Tensor:
    """How many tokens the encoder makes of clips of so many mel frames: 13 of 100, int64 (n,).

    There is no public function for it; the processor and the encoder both use this one.
    """
    from qwen_asr.core.transformers_backend.processing_qwen3_asr import (
        _get_feat_extract_output_lengths,
    )

    lengths: torch.Tensor = _get_feat_extract_output_lengths(frames)
    return lengths


def prompt_text(asr: Any, context: str, language: str | None) -> str:
    """The prompt of a `Qwen3ASRModel` up to the reply, the tag included if a language is forced.

    `transcribe` is the public way; it also splits the audio and joins the replies its own way.
    """
    text: str = asr._build_text_prompt(context, language)
    return text


def wrap(model: Any) -> Any:
    """The `Qwen3ASRModel` around a model that was assembled here, still without a processor.

    `from_pretrained` is the public way; it reads the weights its own way.
    """
    from qwen_asr import Qwen3ASRModel

    return Qwen3ASRModel("transformers", model, None)


def empty_model(config: Any) -> Any:
    """A `Qwen3ASRForConditionalGeneration` whose parameters have shapes and no memory.

    `_from_config` is what transformers' public `AutoModel.from_config` calls for a class.
    """
    from accelerate import init_empty_weights
    from qwen_asr.core.transformers_backend import Qwen3ASRForConditionalGeneration
    from transformers.modeling_utils import no_init_weights

    # Random numbers without memory are no use, and to ask for them imports PyTorch's compiler.
    with no_init_weights(), init_empty_weights(include_buffers=False):
        return Qwen3ASRForConditionalGeneration._from_config(config, attn_implementation="sdpa")
