"""Speech to be cut: clips, silence, and the segments that are found."""

from typing import NamedTuple

import numpy as np

from speech_translation.segments import (
    POLICIES,
    Policy,
    find_segments,
    span_of,
)
from speech_translation.types import Span

RATE = 16_000


class Clips(NamedTuple):
    """Two in each language; the first are one utterance each."""

    english: list[np.ndarray]
    japanese: list[np.ndarray]

    @property
    def all(self) -> list[np.ndarray]:
        return self.english + self.japanese


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def trimmed(clip: np.ndarray) -> np.ndarray:
    """From the first to the last sounding 20 ms: where the truth about an utterance is known."""
    frames = clip[: len(clip) // 320 * 320].reshape(-1, 320)
    loud = np.flatnonzero(np.sqrt((frames**2).mean(1)) > 0.02 * np.abs(clip).max())
    return clip[loud[0] * 320 : (loud[-1] + 1) * 320]


def spans(samples: np.ndarray, policy: Policy = POLICIES["sentence"]) -> list[Span]:
    """The segments, each from its first region to its last."""
    return [span_of(regions) for regions in find_segments(samples, policy)]


def limited(seconds: float) -> Policy:
    """Segments of at most so many seconds, as long as they can be."""
    return Policy(longest=seconds, wanted=(seconds / 3, seconds))
