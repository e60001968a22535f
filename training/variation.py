"""Variation of training speech: speed, noise, and hidden parts of the features.

Another draw each time a sample is read, by numpy's generator seeded from torch's: two runs with one
seed draw the same, a resumed one draws anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from speech_translation.types import SAMPLE_RATE
from training.data import LONGEST

if TYPE_CHECKING:
    import torch

_LOUDEST, _SOFTEST = 5.0, 30.0  # dB by which the speech is louder than the noise
_BANDS, _BAND = 2, 27  # SpecAugment (Park et al. 2019), its LibriSpeech policies
_SPANS, _SPAN, _SPAN_SHARE = 2, 100, 0.05  # frames, at most this share of the clip each


@dataclass
class Variation:
    """How much the speech is varied; nothing by default.

    `speed` is the most by which a clip is faster or slower (0.1: by a tenth), with its pitch.
    `noise` is the share of the clips with coloured noise 5 to 30 dB below them. `masks` hides two
    bands and two spans of the features.
    """

    speed: float = 0.0
    noise: float = 0.0
    masks: bool = False
    _random: np.random.Generator | None = field(default=None, repr=False)

    def _draw(self) -> np.random.Generator:
        if self._random is None:  # in the process that reads the audio
            import torch

            self._random = np.random.default_rng(torch.initial_seed() % 2**63)
        return self._random

    def sound(self, samples: np.ndarray) -> np.ndarray:
        """A clip, float32 (n,) at 16 kHz, at another speed and with noise."""
        draw = self._draw()
        if self.speed:
            factor = draw.uniform(1 - self.speed, 1 + self.speed)
            if len(samples) / factor <= LONGEST * SAMPLE_RATE:
                import soxr

                samples = soxr.resample(samples, SAMPLE_RATE, SAMPLE_RATE / factor)
        if self.noise and draw.random() < self.noise:
            level = np.sqrt(np.mean(samples**2)) * 10 ** (-draw.uniform(_LOUDEST, _SOFTEST) / 20)
            samples = samples + level * _coloured(len(samples), draw)
        return np.asarray(samples, np.float32)

    def features(self, features: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Features (batch, bands, frames) with bands and spans at each clip's mean."""
        if not self.masks:
            return features
        draw, features = self._draw(), features.clone()
        for clip, length in zip(features, frames.tolist(), strict=True):
            mean = clip[:, :length].mean()
            for _ in range(_BANDS):
                width = draw.integers(_BAND + 1)
                first = draw.integers(len(clip) - width + 1)
                clip[first : first + width, :length] = mean
            for _ in range(_SPANS):
                width = draw.integers(min(_SPAN, int(_SPAN_SHARE * length)) + 1)
                first = draw.integers(length - width + 1)
                clip[:, first : first + width] = mean
        return features


def _coloured(count: int, draw: np.random.Generator) -> np.ndarray:
    """Noise of unit power, (count,), between white and brown: its spectrum falls with 1/f^0..2."""
    spectrum = np.fft.rfft(draw.standard_normal(count))
    fall = np.maximum(np.arange(len(spectrum)), 20) ** -draw.uniform(0, 1)
    noise = np.fft.irfft(spectrum * fall, count)
    even: np.ndarray = noise / np.sqrt(np.mean(noise**2))
    return even
