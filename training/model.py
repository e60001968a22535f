"""The model that is trained: loading it, its loss, and what is saved beside its weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

from speech_translation.engine.checkpoint import locate
from speech_translation.errors import ModelError

if TYPE_CHECKING:
    import torch

_GENERATION = "generation_config.json"


def load_base(name: str) -> tuple[Any, Any]:
    """The model in float32, all of it, and its processor. `name` is one that `locate` knows.

    Raises:
        ModelError: not a Qwen3-ASR checkpoint, incomplete, or the Hub cannot be reached.
    """
    import torch
    from qwen_asr.core.transformers_backend import Qwen3ASRProcessor

    from speech_translation.engine.whole import load_whole

    folder = locate(name)
    try:
        model = load_whole(folder, torch.float32)
        # True, as qwen-asr has it, replaces Qwen's splitting rule by Mistral's when the checkpoint
        # is a folder written by transformers 4.57.3 or later (tokenization_utils_base.py, 4.57.6).
        processor = Qwen3ASRProcessor.from_pretrained(str(folder), fix_mistral_regex=False)
        processor.tokenizer.init_kwargs.pop("fix_mistral_regex", None)
    except Exception as error:  # anything: transformers has no common error for a bad checkpoint
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{name}: cannot load this model ({reason}). Give a folder with a "
            "Qwen3-ASR checkpoint, or the name of one on the Hub and a connection to it."
        ) from error
    return model, processor


def prepare(model: Any, encoder_window: bool, attention: str = "sdpa") -> None:
    """Make a `Qwen3ASRForConditionalGeneration` trainable as a whole.

    The outer class of qwen-asr 0.0.6 has no forward; it gets one here that returns the loss, so
    that what is trained and saved is the outer model with its own names of the weights.
    """
    from transformers import GenerationConfig

    from speech_translation.engine.attention import encode_together, set_encoder_window
    from training.batches import IGNORE

    def forward(
        self: Any, labels: torch.Tensor, num_items_in_batch: Any = None, **inputs: Any
    ) -> dict[str, torch.Tensor]:
        following = labels[:, 1:]
        learned = following != IGNORE
        # Scores of the prompt are not needed: of 150,000 words, they would take most of the memory.
        hook = self.thinker.lm_head.register_forward_pre_hook(
            lambda _, hidden: (hidden[0][:, :-1][learned],)
        )
        try:
            logits = self.thinker(**inputs, use_cache=False).logits
        finally:
            hook.remove()
        return {"loss": token_loss(logits, following[learned], num_items_in_batch)}

    model.forward = MethodType(forward, model)
    # A base's generation_config may be one that transformers reads but refuses to write (a
    # temperature without sampling); the file is copied as it is instead, by `save_extras`.
    model.generation_config = GenerationConfig()
    set_encoder_window(model, encoder_window)
    if attention != "sdpa":
        model.thinker.model.set_attn_implementation(attention)
    if encoder_window:
        encode_together(model.thinker)


def token_loss(
    logits: torch.Tensor, learned: torch.Tensor, count: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy summed over the learned tokens, divided by `count` or else by their number.

    `logits` is (tokens, vocabulary), `learned` int64 (tokens,). With the number of learned tokens
    in a whole update as `count`, each weighs the same however the update is cut into batches and
    devices.
    """
    import torch

    total = torch.nn.functional.cross_entropy(logits.float(), learned, reduction="sum")
    return total / (len(learned) if count is None else count)


def save_extras(folder: Path, processor: Any, base: Path) -> None:
    """Write what a checkpoint needs beside its weights and configuration.

    That is tokenizer, feature extractor, chat template and generation configuration. `base` is the
    folder of the model that the training began with.
    """
    from transformers import GenerationConfig

    processor.save_pretrained(folder)
    if (base / _GENERATION).is_file():
        shutil.copyfile(base / _GENERATION, folder / _GENERATION)
    else:
        tokenizer = processor.tokenizer
        ends = [tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.pad_token_id]
        GenerationConfig(
            eos_token_id=ends, pad_token_id=tokenizer.pad_token_id, do_sample=False
        ).save_pretrained(folder)
