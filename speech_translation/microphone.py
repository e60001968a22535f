"""Chunks of a microphone, as a browser or a sound card gives them, in 16 kHz mono."""

from __future__ import annotations

from typing import Any

import numpy as np

from speech_translation.errors import AudioError
from speech_translation.levels import Mixer, Samples, StreamScale
from speech_translation.types import SAMPLE_RATE

_NOTHING = np.empty(0, np.float32)


class Microphone:
    """The sound of chunks that follow each other without a gap; their rate may change."""

    def __init__(self) -> None:
        self._rate = SAMPLE_RATE
        self._resampler: Any = None
        self._mixer = Mixer()
        self._scale = StreamScale()

    def heard(self, floats: Samples, rate: int) -> Samples:
        """The next chunk, `(n, channels)` at `rate` Hz, as far as it is known yet: float32 `(m,)`.

        The filter holds back 30 ms.
        """
        mono, rest = self._mixer.mix(floats, rate), _NOTHING
        if rate != self._rate:
            import soxr

            same = rate == SAMPLE_RATE
            resampler = None if same else soxr.ResampleStream(rate, SAMPLE_RATE, 1)
            rest = self._filtered()
            self._rate, self._resampler = rate, resampler
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono)
        return self._scale.hear(np.concatenate([rest, mono]))

    def drained(self) -> Samples:
        """What the filter still holds; no more chunks come."""
        return self._scale.hear(self._filtered())

    def _filtered(self) -> Samples:
        if self._resampler is None:
            return _NOTHING
        rest: Samples = self._resampler.resample_chunk(_NOTHING, last=True)
        return rest


def floats_of(samples: np.ndarray) -> Samples:
    """A chunk in [-1, 1], as far as it is not louder: float32 `(n, channels)`.

    It is signed integers or floats, `(n,)` or `(n, channels)`; TypeError or ValueError for anything
    else, AudioError for samples that are not finite.
    """
    if not isinstance(samples, np.ndarray):
        raise TypeError(f"Samples are a numpy array, not a {type(samples).__name__}.")
    if samples.dtype.kind not in "if" or samples.ndim not in (1, 2) or samples.shape[1:] == (0,):
        raise ValueError(
            "Samples are signed integers or floats of shape (n,) or (n, channels), not "
            f"{samples.dtype} of shape {samples.shape}."
        )
    floats = samples.astype(np.float32)
    if samples.dtype.kind == "i":
        floats /= -float(np.iinfo(samples.dtype).min)
    if not np.isfinite(floats).all():
        raise AudioError(
            "The microphone delivered samples that are not numbers (NaN or infinite). Choose "
            "another microphone, or reload the page."
        )
    return floats[:, None] if floats.ndim == 1 else floats
