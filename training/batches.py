"""Samples to batches for the model: prompt, reply, labels and features."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speech_translation.engine.features import clip_features
from speech_translation.engine.prompt import (
    ASR_TEXT,
    AUDIO_END,
    AUDIO_PAD,
    AUDIO_START,
    TURN_END,
    TURN_START,
)
from speech_translation.engine.qwen_asr_private import audio_tokens
from speech_translation.errors import AudioError, ModelError
from speech_translation.manifest import Sample
from speech_translation.types import Language
from training.variation import Variation

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
"""The label of every position that takes no part in the loss (PyTorch's own `ignore_index`)."""


def target_text(target: Language | None, text: str) -> str:
    """What the model shall write: the tag of the TARGET language and the text.

    None is the model's way to say that there is nothing to write: `language None<asr_text>`.
    """
    return f"language {target.tag if target else None}{ASR_TEXT}{text}"


def prompt_text(audio_tokens: int = 1, context: str = "", system_turn: bool = True) -> str:
    """The prompt up to the model's turn, as Qwen3-ASR's chat template renders it.

    qwen-asr sends a system turn even when the context is empty; without a context vLLM's
    transcription endpoint leaves it out (`system_turn=False`).
    """
    system = f"{TURN_START}system\n{context}{TURN_END}\n" if context or system_turn else ""
    audio = f"{AUDIO_START}{AUDIO_PAD * audio_tokens}{AUDIO_END}"
    return f"{system}{TURN_START}user\n{audio}{TURN_END}\n{TURN_START}assistant\n"


def encode_example(
    tokenizer: PreTrainedTokenizerBase,
    *,
    audio_tokens: int,
    target: Language | None,
    text: str,
    context: str = "",
    system_turn: bool = True,
    forced: bool = False,
) -> tuple[list[int], list[int]]:
    """Token ids of prompt and reply, and their labels: `IGNORE` except for the reply.

    The reply is `target_text` and the end of the turn. With `forced` its tag belongs to the prompt,
    as when a language is asked for, and is not learned. Prompt, tag and text are tokenised apart:
    no token reaches across, as none can when the model continues a prompt.
    """
    parts = (
        prompt_text(audio_tokens, context, system_turn),
        target_text(target, ""),
        text + TURN_END,
    )
    prompt, tag, reply = (tokenizer(part, add_special_tokens=False).input_ids for part in parts)
    unlearned = len(prompt) + (len(tag) if forced else 0)
    ids = [*prompt, *tag, *reply]
    return ids, [IGNORE] * unlearned + ids[unlearned:]


class Collator:
    """Samples to one batch for the model, padded to the longest of it.

    `bare_prompts` is the share of the samples without a context whose prompt has no system turn, so
    that the model knows vLLM's prompt too. Which ones is a property of the sample: a run repeats
    itself. `variation` applies to batches, not to `prompts`.

    Raises:
        ModelError: the checkpoint's chat template gives another prompt than the one trained here.
    """

    def __init__(
        self, processor: Any, bare_prompts: float = 0.0, variation: Variation | None = None
    ) -> None:
        self._extractor = processor.feature_extractor
        self._tokenizer = processor.tokenizer
        self._bare_prompts = bare_prompts
        self._variation = variation or Variation()
        self._spare: tuple[Sample, np.ndarray] | None = None
        messages = [
            {"role": "system", "content": "context"},
            {"role": "user", "content": [{"type": "audio", "audio": ""}]},
        ]
        rendered = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        if rendered != prompt_text(context="context"):
            raise ModelError(
                f"The model's chat template renders {rendered!r}, which is not Qwen3-ASR's prompt; "
                "fine-tune a Qwen3-ASR checkpoint."
            )

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Read the audio and build the batch.

        Returns `input_ids`, `attention_mask` and `labels`, each int64 (batch, tokens), padded on
        the tokenizer's side; `input_features` float32 (batch, 128, frames) and
        `feature_attention_mask` (batch, frames), padded on the right; and `unreadable`, what is
        wrong with each recording that cannot be read. Another one of the batch stands in for it.

        Raises:
            AudioError: not one recording can be read, and none could before.
        """
        chosen, clips, unreadable = self._readable(samples)
        varied = [self._variation.sound(clip) for clip in clips]
        features, frames = clip_features(self._extractor, varied)
        features = self._variation.features(features, frames)
        encoded = [
            self._example(sample, count)
            for sample, count in zip(chosen, audio_tokens(frames).tolist(), strict=True)
        ]
        side = self._tokenizer.padding_side
        return {
            "input_ids": _pad([ids for ids, _ in encoded], self._tokenizer.pad_token_id, side),
            "attention_mask": _pad([[1] * len(ids) for ids, _ in encoded], 0, side),
            "labels": _pad([labels for _, labels in encoded], IGNORE, side),
            "input_features": features,
            "feature_attention_mask": _mask(frames, features),
            "unreadable": unreadable,
        }

    def prompts(self, samples: Sequence[Sample]) -> tuple[dict[str, torch.Tensor], list[Sample]]:
        """What generation begins with: the batch up to the tag, and whose it is.

        Padded on the left. Recordings that cannot be read are replaced as in training.
        """
        chosen, clips, _ = self._readable(samples)
        features, frames = clip_features(self._extractor, clips)
        rows = []
        for sample, count in zip(chosen, audio_tokens(frames).tolist(), strict=True):
            ids, labels = self._example(sample, count, forced=True)
            rows.append(ids[: labels.count(IGNORE)])
        return {
            "input_ids": _pad(rows, self._tokenizer.pad_token_id, "left"),
            "attention_mask": _pad([[1] * len(row) for row in rows], 0, "left"),
            "input_features": features,
            "feature_attention_mask": _mask(frames, features),
        }, chosen

    def _readable(
        self, samples: Sequence[Sample]
    ) -> tuple[list[Sample], list[np.ndarray], list[str]]:
        """As many samples and their sound, and what is wrong with those that were replaced."""
        good, unreadable = list[tuple[Sample, np.ndarray]](), list[str]()
        for sample in samples:
            try:
                good.append((sample, sample.load()))
            except AudioError as error:
                unreadable.append(str(error))
        if unreadable and not good and self._spare is None:
            raise AudioError(unreadable[0])
        if good:
            self._spare = good[0]
        spare = self._spare
        while len(good) < len(samples) and spare is not None:
            good.append(spare)
        chosen, clips = zip(*good, strict=True)
        return list(chosen), list(clips), unreadable

    def _example(
        self, sample: Sample, audio_tokens: int, forced: bool = False
    ) -> tuple[list[int], list[int]]:
        return encode_example(
            self._tokenizer,
            audio_tokens=audio_tokens,
            target=sample.target,
            text=sample.text,
            context=sample.context,
            system_turn=not self._is_bare(sample),
            forced=forced,
        )

    def _is_bare(self, sample: Sample) -> bool:
        name = sample.audio.name if isinstance(sample.audio, Path) else sample.id
        key = f"{name}\n{sample.text}".encode()
        return zlib.crc32(key) / 2**32 < self._bare_prompts


def _pad(rows: list[list[int]], value: int, side: str) -> torch.Tensor:
    import torch

    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows],
        batch_first=True,
        padding_value=value,
        padding_side=side,
    )


def _mask(frames: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    import torch

    return (torch.arange(features.shape[2]) < frames[:, None]).long()
