"""The engine seam: segments of audio in, hypotheses out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from speech_translation.engine.prompt import Cancelled, OnText
from speech_translation.types import Direction, Hypothesis, Seconds

PUBLISHED_MODEL = "voiceping-ai/qwen3-asr-ja-en-speech-translation"
PHRASEBOOK = "phrasebook"
PRECISIONS = ("float32", "bfloat16", "float16", "int8")
WINDOW: Seconds = 8.0
"""What the audio encoder hears at a time; closed as soon as the frame after it is there."""


class Engine(Protocol):
    """Whatever turns segments of audio into hypotheses."""

    @property
    def description(self) -> str:
        """Checkpoint, device and precision, for people."""

    @property
    def batch_size(self) -> int:
        """How many segments at a time suit this engine."""

    def generate(
        self,
        batch: Sequence[np.ndarray],
        direction: Direction,
        *,
        context: str = "",
        repetition_penalty: float = 1.0,
        on_text: OnText | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[Hypothesis]:
        """Translate each segment of `batch`, float32 (n,) at 16 kHz, 0.5 to 30 s.

        `context` holds names and terms. `on_text(index, text)` is called as text grows.
        `cancelled()` is asked before every token; once true, what there is comes back.

        Raises EngineError when the engine fails.
        """


@runtime_checkable
class WorksAhead(Protocol):
    """An engine that can begin before a segment is complete."""

    def prepare(self, samples: np.ndarray, direction: Direction, *, context: str = "") -> None:
        """Work on the beginning of a segment, float32 (n,), that is still growing.

        There is something new to work on after each `WINDOW`. What is generated later is the same
        and takes less. Does nothing while the engine is busy.
        """
