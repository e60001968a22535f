"""What the encoder hears: log-mel features of clips, computed clip by clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speech_translation.types import SAMPLE_RATE

if TYPE_CHECKING:
    import torch


def clip_features(extractor: Any, clips: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features float32 (batch, 128, frames), padded on the right, and each clip's frames (batch,).

    `clips` are float32 (n,) at 16 kHz. In a batch the extractor would pad the audio first, and the
    last frame of a clip would depend on its neighbours.
    """
    import torch

    features = [
        extractor(samples, sampling_rate=SAMPLE_RATE, padding=True, truncation=False)[
            "input_features"
        ][0]
        for samples in clips
    ]
    frames = torch.tensor([x.shape[1] for x in features])
    padded = torch.zeros(len(features), features[0].shape[0], int(frames.max()))
    for row, x in zip(padded, features, strict=True):
        row[:, : x.shape[1]] = torch.from_numpy(np.asarray(x))
    return padded, frames
