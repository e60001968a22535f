"""What Granite's features need of torchaudio, whose wheels do not load beside a CPU's torch."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers.audio_utils import mel_filter_bank
from transformers.models.granite_speech import feature_extraction_granite_speech as features


class MelSpectrogram(torch.nn.Module):
    """torchaudio's, with its defaults: a power spectrogram through HTK's triangles."""

    def __init__(
        self, sample_rate: int, n_fft: int, win_length: int, hop_length: int, n_mels: int
    ) -> None:
        super().__init__()
        self.sizes = n_fft, hop_length, win_length
        self.window = torch.hann_window(win_length)
        self.filters = torch.from_numpy(
            mel_filter_bank(n_fft // 2 + 1, n_mels, 0, sample_rate / 2, sample_rate, None, "htk")
        ).float()

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        spectrum = torch.stft(audio, *self.sizes, window=self.window, return_complex=True)
        return (spectrum.abs().square().transpose(-1, -2) @ self.filters).transpose(-1, -2)


def install(patch: pytest.MonkeyPatch) -> None:
    """Let Granite's feature extractor find it."""
    torchaudio: Any = ModuleType("torchaudio")
    torchaudio.transforms = ModuleType("torchaudio.transforms")
    torchaudio.transforms.MelSpectrogram = MelSpectrogram
    torchaudio.__version__ = "0"
    patch.setitem(sys.modules, "torchaudio", torchaudio)
    patch.setattr(features, "torchaudio", torchaudio, raising=False)
    patch.setattr(features, "requires_backends", lambda *_: None)
