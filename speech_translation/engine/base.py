"""The engine seam: a request with segments of audio goes in, hypotheses come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from speech_translation.types import Direction, Hypothesis, Language, Seconds, Word

PUBLISHED_MODEL = "voiceping-ai/qwen3-asr-ja-en-speech-translation"
PHRASEBOOK = "phrasebook"
PRECISIONS = ("float32", "bfloat16", "float16", "int8")
WINDOW: Seconds = 8.0
"""The audio encoder's attention window; it is complete once the mel frame after it is there."""

OnText = Callable[[int, str], None]
"""Hears the text of a segment, by its index in the batch, while the text grows."""

Cancelled = Callable[[], bool]
"""Asked before every token; once it is true the generation ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One call of an engine."""

    batch: Sequence[np.ndarray]
    """Segments of audio, float32 (n,) at 16 kHz, 0.5 to 30 s each."""

    direction: Direction = Direction.AUTO
    context: str = ""
    """Names and terms that may occur."""

    repetition_penalty: float = 1.0
    """1 leaves the scores alone (Keskar et al. 2019, arXiv 1909.05858)."""

    on_text: OnText | None = None
    cancelled: Cancelled | None = None

    asked_again: bool = False
    """Whether the same segments are asked about next in another language: what the engine knows of
    a batch is then worth its memory."""

    only_direction: bool = False
    """Say only which direction the model names: the texts stay empty, `mean_logprob` is that of the
    name. It costs a prompt, and no reply."""

    awaited: bool = False
    """Whether somebody looks on who has read nothing yet: a shared engine lets them go first."""

    @property
    def abandoned(self) -> bool:
        """Whether the caller has given up."""
        return self.cancelled is not None and self.cancelled()


class Engine(Protocol):
    """Whatever turns segments of audio into hypotheses."""

    @property
    def description(self) -> str:
        """Checkpoint, device and precision, for people."""

    @property
    def batch_size(self) -> int:
        """How many segments at a time suit this engine."""

    def generate(self, request: Request) -> list[Hypothesis]:
        """Translate each segment of a request. Once cancelled, what there is comes back.

        Raises EngineError when the engine fails.
        """


class Aligner(Protocol):
    """Whatever can tell when the words of a text are said."""

    @property
    def description(self) -> str:
        """Checkpoint and device, for people."""

    def align(self, samples: np.ndarray, text: str, language: Language) -> tuple[Word, ...]:
        """When the words of `text`, in `language`, are said in `samples`, float32 (n,) at 16 kHz.

        Raises EngineError when it fails.
        """


@runtime_checkable
class NamesModel(Protocol):
    """An engine that learns only from elsewhere which model it has."""

    @property
    def model(self) -> str:
        """The name of the model, as the servers say it."""


@runtime_checkable
class Prefills(Protocol):
    """An engine that can begin before a segment is complete."""

    def prefill(self, request: Request) -> None:
        """Encode and read the beginning of the one segment of `request`, which still grows.

        There is something new to read after each `WINDOW`. The hypothesis of the whole segment is
        the same and takes less time. Does nothing while the engine is busy.
        """
