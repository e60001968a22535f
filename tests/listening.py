"""What is heard of a recording, for tests of clocks and damage."""

from functools import cache

import numpy as np
import soxr
from clips import clip
from recordings import RATE

from speech_translation import load_audio
from speech_translation.segments import find_segments

FAST = 48_000


@cache
def speech(rate: int = FAST) -> np.ndarray:
    """A sentence: float32 (n,), 3.3 s, spoken from 0.4 to 3 s."""
    return soxr.resample(clip("en_1"), RATE, rate).astype(np.float32)


def spoken(samples: np.ndarray) -> list[tuple[float, float]]:
    """Where somebody speaks, in seconds."""
    return [region.seconds for regions in find_segments(samples) for region in regions]


def heard(data: bytes, **options: object) -> tuple[np.ndarray, list[str]]:
    """A recording, and what is said of it."""
    remarks: list[str] = []
    return load_audio(data, remark=lambda said: remarks.append(str(said)), **options), remarks  # type: ignore[arg-type]
