"""When each word of a transcript is said: Qwen3-ForcedAligner, by the class of qwen-asr.

It was never run with the published weights here: the tests have a random model of the same
architecture. The times of one that was not trained for this mean nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import numpy as np

from speech_translation.engine.checkpoint import locate
from speech_translation.engine.devices import choose_device
from speech_translation.errors import EngineError, ModelError, first_words, missing_package
from speech_translation.types import SAMPLE_RATE, Language, Word


class ForcedAligner:
    """Qwen3-ForcedAligner on this machine. One alignment at a time."""

    def __init__(self, aligner: Any, name: str) -> None:
        self._aligner = aligner
        self._name = name
        self._lock = threading.Lock()

    @property
    def description(self) -> str:
        """Checkpoint and device, for people."""
        return f"{self._name} on {self._aligner.device}"

    def align(self, samples: np.ndarray, text: str, language: Language) -> tuple[Word, ...]:
        """When the words of `text` are said in `samples`, float32 (n,) at 16 kHz.

        Words are without their punctuation, in the order of the text; none begins before the one
        before it, or ends after the samples. Raises EngineError when the model fails.
        """
        try:
            with self._lock:
                (found,) = self._aligner.align((samples, SAMPLE_RATE), text, language.tag)
        except Exception as error:  # whatever a text sets off in the tokenizers below
            raise EngineError(
                f"The words could not be timed by {self._name}: {first_words(error)}"
            ) from error
        seconds = len(samples) / SAMPLE_RATE
        times = [time for item in found for time in (item.start_time, item.end_time)]
        ordered = _ordered(times, seconds)
        return tuple(
            Word(start, end, item.text)
            for item, start, end in zip(found, ordered[::2], ordered[1::2], strict=True)
        )


def _ordered(times: Iterable[float], last: float) -> list[float]:
    """`times`, none before the one before it, and none after `last`."""
    return list(accumulate((min(max(time, 0.0), last) for time in times), max))


def load_aligner(model: str, device: str = "auto") -> ForcedAligner:
    """A forced aligner: a folder, or a Hub id. Raises ModelError when it cannot be had."""
    folder = locate(model)
    try:
        import torch
        from qwen_asr import Qwen3ForcedAligner

        chosen = choose_device(device)
        kind = torch.bfloat16 if chosen.startswith("cuda") else torch.float32
        aligner = Qwen3ForcedAligner.from_pretrained(str(folder), dtype=kind, device_map=chosen)
    except ImportError as error:
        raise missing_package(error) from error
    except Exception as error:  # whatever a broken checkpoint sets off in the libraries below
        raise ModelError(
            f"The aligner {model} cannot be loaded ({first_words(error)}): it has to be a "
            "checkpoint like Qwen/Qwen3-ForcedAligner-0.6B."
        ) from error
    return ForcedAligner(aligner, model)
