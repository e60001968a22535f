"""Recordings played to the live translator as a microphone would, without waiting for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from speech_translation.levels import Samples
from speech_translation.live import LiveTranslator
from speech_translation.types import SAMPLE_RATE, Seconds

MICROPHONE_RATE = 48_000
CHUNK: Seconds = 0.5
"""What a browser sends at a time."""


class Clock(Protocol):
    """Seconds since the recording began."""

    def __call__(self) -> Seconds:
        """Now."""
        ...

    def wait_until(self, moment: Seconds) -> None:
        """Pass the time until `moment`, if it is not over yet."""
        ...


class RealClock:
    """Time passes while something is computed; waiting is skipped."""

    def __init__(self) -> None:
        self._zero = time.perf_counter()

    def __call__(self) -> Seconds:
        """Now."""
        return time.perf_counter() - self._zero

    def wait_until(self, moment: Seconds) -> None:
        """Skip the time until then."""
        self._zero -= max(0.0, moment - self())


class IdealClock:
    """Computing takes no time: what comes out depends on the recording alone."""

    def __init__(self) -> None:
        self._now: Seconds = 0.0

    def __call__(self) -> Seconds:
        """Now."""
        return self._now

    def wait_until(self, moment: Seconds) -> None:
        """It is `moment` now."""
        self._now = max(self._now, moment)


def play(
    samples: Samples, translator: LiveTranslator, clock: Clock, chunk: Seconds = CHUNK
) -> Iterator[Seconds]:
    """Push `samples`, float32 (n,) at 16 kHz; after each chunk, yield how much was heard.

    A chunk that arrives while the one before is still being worked on waits its turn. `translator`
    goes by the same `clock`. It is not finished: that is left to who asks for the rest.
    """
    import soxr

    sound = soxr.resample(samples, SAMPLE_RATE, MICROPHONE_RATE)
    sound = (sound.clip(-1, 1) * 32767).astype(np.int16)
    size = round(chunk * MICROPHONE_RATE)
    for start in range(0, len(sound), size):
        piece = sound[start : start + size]
        heard = (start + len(piece)) / MICROPHONE_RATE
        clock.wait_until(heard)
        translator.push(piece, MICROPHONE_RATE)
        yield heard
