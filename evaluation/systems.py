"""The systems of the comparison, each behind the library's `Engine`.

A rival needs a class with `generate`, and a line in `SYSTEMS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speech_translation.engine import (
    PHRASEBOOK,
    PUBLISHED_MODEL,
    Engine,
    Request,
    load_engine,
)
from speech_translation.engine.devices import choose_device, choose_precision
from speech_translation.engine.hub import split_revision
from speech_translation.engine.prompt import flags_for
from speech_translation.errors import ModelError, first_words
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis

if TYPE_CHECKING:
    import torch

MAX_NEW_TOKENS = 256
LOCAL_PACKAGES: Sequence[str] = ("torch", "transformers", "qwen-asr")
"""What decides the hypotheses of the library's own engine."""


class Rival(ABC):
    """What the engines of other architectures share: no context, no confidence, no streaming.

    `model` is the library's own object, `processor` what turns sound into its input, if it has one.
    """

    model: Any
    processor: Any = None
    directions: Sequence[Direction] = (Direction.EN_JA, Direction.JA_EN)
    batch_size = 8
    max_new_tokens: int | None = MAX_NEW_TOKENS  # or what the library has as its own limit
    packages: Sequence[str] = ("torch", "transformers")

    def __init__(self, checkpoint: str, device: str, precision: str) -> None:
        import torch

        self._device = choose_device(device)
        if precision == "int8":
            raise ModelError(f"{checkpoint} has no int8 here: it is for Qwen3-ASR on a CPU.")
        precision = choose_precision(precision, self._device)
        self._dtype: torch.dtype = getattr(torch, precision)
        self.description = f"{checkpoint} on {self._device} in {precision}"
        try:
            self._load(*split_revision(checkpoint))
        except Exception as error:  # whatever a missing checkpoint sets off in the libraries below
            raise ModelError(
                f"The checkpoint {checkpoint} cannot be loaded ({first_words(error)}): name a "
                "folder with --model, or check the network."
            ) from error

    def generate(self, request: Request) -> list[Hypothesis]:
        """Translate the segments of a request; its other options do not apply.

        Raises ModelError for a direction that the system does not have.
        """
        import torch

        direction = request.direction
        if direction not in self.directions:
            raise ModelError(f"{self.description} does not translate {direction.value}.")
        with torch.inference_mode():
            replies = self._reply(list(request.batch), direction)
        return [
            Hypothesis(
                text.strip(),
                direction,
                tokens,
                flags=flags_for(text.strip(), direction, truncated=tokens == self.max_new_tokens),
            )
            for text, tokens in replies
        ]

    @abstractmethod
    def _load(self, checkpoint: str, revision: str | None) -> None:
        """Load model and processor; any exception means that the checkpoint cannot be had.

        `revision` is that of a checkpoint on the Hub, None where none was named.
        """

    @abstractmethod
    def _reply(
        self, batch: Sequence[np.ndarray], direction: Direction
    ) -> Sequence[tuple[str, int]]:
        """Text and number of generated tokens for each segment."""


class Whisper(Rival):
    """Whisper's `translate` task, which names the language spoken and writes English."""

    directions: Sequence[Direction] = (Direction.JA_EN,)

    def _load(self, checkpoint: str, revision: str | None) -> None:
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        pinned = {"revision": revision or "main"}
        self.processor = WhisperProcessor.from_pretrained(checkpoint, **pinned)
        self.model = WhisperForConditionalGeneration.from_pretrained(
            checkpoint, dtype=self._dtype, **pinned
        ).to(self._device)

    def _reply(
        self, batch: Sequence[np.ndarray], direction: Direction
    ) -> Sequence[tuple[str, int]]:
        assert direction.source is not None
        inputs = self.processor(
            list(batch), sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True
        )
        output = self.model.generate(
            inputs.input_features.to(self._device, self._dtype),
            attention_mask=inputs.attention_mask.to(self._device),
            task="translate",
            language=direction.source.value,
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.max_new_tokens,
        )
        return _decoded(self.processor.tokenizer, output)


class WhisperBothWays(Whisper):
    """Whisper fine-tuned so that `translate` also writes Japanese for spoken English."""

    directions = Rival.directions


class Seamless(Rival):
    """SeamlessM4T v2, speech to text.

    One clip at a time: in a batch the model reads into its neighbours' padding.
    """

    batch_size = 1

    def _load(self, checkpoint: str, revision: str | None) -> None:
        from transformers import AutoProcessor, SeamlessM4Tv2ForSpeechToText

        pinned = {"revision": revision or "main"}
        self.processor = AutoProcessor.from_pretrained(checkpoint, **pinned)
        self.model = SeamlessM4Tv2ForSpeechToText.from_pretrained(
            checkpoint, dtype=self._dtype, **pinned
        ).to(self._device)

    def _reply(
        self, batch: Sequence[np.ndarray], direction: Direction
    ) -> Sequence[tuple[str, int]]:
        inputs = self.processor(
            audio=list(batch), sampling_rate=SAMPLE_RATE, return_tensors="pt", padding=True
        )
        output = self.model.generate(
            input_features=inputs["input_features"].to(self._device, self._dtype),
            attention_mask=inputs["attention_mask"].to(self._device),
            tgt_lang="jpn" if direction is Direction.EN_JA else "eng",
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.max_new_tokens,
        )
        return _decoded(self.processor.tokenizer, output)


def _decoded(tokenizer: Any, output: Any) -> Sequence[tuple[str, int]]:
    special = set(tokenizer.all_special_ids)
    return [
        (tokenizer.decode(row, skip_special_tokens=True), sum(x not in special for x in row))
        for row in output.tolist()
    ]


class FasterWhisper(Rival):
    """Whisper as a CTranslate2 folder, by faster-whisper (an optional package)."""

    directions = (Direction.JA_EN,)
    packages = ("faster-whisper", "ctranslate2")
    max_new_tokens = None

    def _load(self, checkpoint: str, revision: str | None) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise ModelError("faster-whisper is not installed: pip install it first.") from error
        kind, _, index = self._device.partition(":")
        self.model = WhisperModel(
            checkpoint,
            device=kind,
            device_index=int(index or 0),
            compute_type=str(self._dtype).removeprefix("torch."),
            **({"revision": revision} if revision else {}),
        )

    def _reply(
        self, batch: Sequence[np.ndarray], direction: Direction
    ) -> Sequence[tuple[str, int]]:
        replies = []
        for sound in batch:
            segments, _ = self.model.transcribe(
                sound, task="translate", language="ja", beam_size=1, temperature=0
            )
            parts = list(segments)
            tokens = sum(len(part.tokens) for part in parts)
            replies.append((" ".join(part.text.strip() for part in parts), tokens))
        return replies


@dataclass(frozen=True, slots=True)
class System:
    """A system by its name in files and tables.

    `checkpoint` is a Hub id, with `@` and a revision if it is pinned, a folder or a URL.
    """

    title: str
    checkpoint: str
    parameters: str
    load: Callable[[str, str, str], Engine]


def _qwen3_asr(checkpoint: str, device: str, precision: str) -> Engine:
    return load_engine(checkpoint, device, precision=precision)


def _full_attention(checkpoint: str, device: str, precision: str) -> Engine:
    return load_engine(checkpoint, device, precision=precision, windowed=False)


def _served(url: str, device: str, precision: str) -> Engine:
    return load_engine(url=url)


SYSTEMS = {
    "whisper-large-v3": System(
        "OpenAI Whisper large-v3", "openai/whisper-large-v3", "1.55B", Whisper
    ),
    "seamless-m4t-v2-large": System(
        "Meta SeamlessM4T v2 Large", "facebook/seamless-m4t-v2-large", "1.50B", Seamless
    ),
    "whisper-en-ja": System(
        "Whisper EN-JA Translation",
        "voiceping-ai/whisper-ja-en-speech-translation",
        "756M",
        WhisperBothWays,
    ),
    "qwen3-asr": System("Qwen3-ASR EN-JA Translation", PUBLISHED_MODEL, "1.7B", _qwen3_asr),
    "qwen3-asr-full-attention": System(
        "Qwen3-ASR EN-JA Translation, no encoder window", PUBLISHED_MODEL, "1.7B", _full_attention
    ),
    "qwen3-asr-vllm": System(
        "Qwen3-ASR EN-JA Translation, vLLM", "http://127.0.0.1:8000/v1", "1.7B", _served
    ),
    "phrasebook": System("Embedded phrasebook checkpoint", PHRASEBOOK, "4.7M", _qwen3_asr),
    "whisper-base": System(
        "OpenAI Whisper base (CTranslate2)", ".cache/whisper-base-ct2", "74M", FasterWhisper
    ),
}
