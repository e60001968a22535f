"""Variation of log-mel features in training: other speakers, rooms, microphones and tempi.

Everything works on a batch of Whisper's log-mel features, shape (batch, 128, frames), 10 ms a
frame: x = (log10 power + 4) / 4, with the floor 8 below each clip's maximum.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

N_MELS = 128
_FLOOR_DECADES = 8.0
_MEL_BREAK_HZ, _MEL_BREAK, _MEL_LOG_STEP = 1000.0, 15.0, math.log(6.4) / 27.0


def _hz_to_mel(hz: torch.Tensor) -> torch.Tensor:
    """Slaney's mel scale, as in Whisper's filter bank: linear to 1 kHz, logarithmic above."""
    above = _MEL_BREAK + torch.log(hz.clamp(min=1.0) / _MEL_BREAK_HZ) / _MEL_LOG_STEP
    return torch.where(hz < _MEL_BREAK_HZ, hz * 3.0 / 200.0, above)


def _mel_to_hz(mel: torch.Tensor) -> torch.Tensor:
    above = _MEL_BREAK_HZ * torch.exp(_MEL_LOG_STEP * (mel - _MEL_BREAK))
    return torch.where(mel < _MEL_BREAK, mel * 200.0 / 3.0, above)


def _uniform(count: int, low: float, high: float) -> torch.Tensor:
    return torch.empty(count).uniform_(low, high)


def augment(
    features: torch.Tensor, lengths: torch.Tensor, *, masked: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vary a batch (batch, 128, frames) of clips with `lengths` frames; returns the same pair.

    Per clip: tempo 0.85-1.18, vocal tract length (frequencies x 0.86-1.16), silence of up to 0.3 s
    on either side, a smooth equaliser, one in five through a narrow band as of a telephone, noise
    5-45 dB below the speech, level -20 to +6 dB, and if `masked` SpecAugment (Park et al. 2019),
    small masks, since an utterance lasts two seconds.
    """
    batch, _, frames = features.shape
    stretch = torch.exp(_uniform(batch, math.log(0.85), math.log(1.18)))
    lead, trail = _uniform(batch, 0, 30).round(), _uniform(batch, 0, 30).round()
    new_lengths = (lead + (lengths * stretch).floor() + trail).long()
    new_frames = int(new_lengths.max())

    # One bilinear resampling does tempo, position and vocal tract length.
    time = (torch.arange(new_frames) - lead[:, None]) / stretch[:, None]
    mel_top = _hz_to_mel(torch.tensor(8000.0))
    bins = torch.arange(N_MELS) / (N_MELS - 1) * mel_top
    warp = torch.exp(_uniform(batch, math.log(0.86), math.log(1.16)))
    bands = _hz_to_mel(_mel_to_hz(bins) * warp[:, None]) / mel_top * (N_MELS - 1)
    grid = torch.stack(
        (
            (2 * time / max(frames - 1, 1) - 1)[:, None, :].expand(-1, N_MELS, -1),
            (2 * bands / (N_MELS - 1) - 1)[:, :, None].expand(-1, -1, new_frames),
        ),
        dim=-1,
    )
    x = F.grid_sample(features[:, None], grid, padding_mode="border", align_corners=True)[:, 0]
    power = torch.pow(10.0, 4.0 * x - 4.0)
    speech = (time >= 0) & (time < lengths[:, None])
    power = power * speech[:, None, :]

    slope = torch.linspace(-1, 1, N_MELS)
    phase = _uniform(batch, 0, 2 * math.pi)[:, None] + slope * math.pi
    equaliser_db = _uniform(batch, -8, 8)[:, None] * slope
    equaliser_db = equaliser_db + _uniform(batch, 0, 4)[:, None] * torch.sin(phase)
    power = power * torch.pow(10.0, equaliser_db / 10)[:, :, None]

    narrow = torch.rand(batch) < 0.2
    top = torch.where(narrow, _uniform(batch, 3300, 7000), torch.full((batch,), 8000.0))
    bottom = torch.where(narrow, _uniform(batch, 0, 250), torch.zeros(batch))
    hz = _mel_to_hz(bins)
    outside = (hz < bottom[:, None]) | (hz > top[:, None])
    power = power.masked_fill(outside[:, :, None], 0.0)

    level = power.mean(dim=(1, 2)) * (new_frames / speech.sum(1))
    colour_db = _uniform(batch, -20, 10)[:, None] * slope
    colour_db = colour_db + _uniform(batch, 0, 6)[:, None] * torch.sin(2 * phase)
    colour = torch.pow(10.0, colour_db / 10)
    colour = colour / colour.mean(1, keepdim=True)
    snr = torch.where(torch.rand(batch) < 0.7, _uniform(batch, 5, 45), torch.full((batch,), 80.0))
    noise_level = level * torch.pow(10.0, -snr / 10)
    # A band of a periodogram of noise is the mean of a few exponentially distributed bins.
    grain = -torch.log(torch.rand(2, batch, N_MELS, new_frames).clamp(min=1e-6)).mean(0)
    power = power + grain * (noise_level[:, None] * colour)[:, :, None]
    power = power * torch.pow(10.0, _uniform(batch, -20, 6) / 10)[:, None, None]

    inside = torch.arange(new_frames) < new_lengths[:, None]
    log = torch.log10(power.clamp(min=1e-10)).masked_fill(~inside[:, None], -10.0)
    log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - _FLOOR_DECADES)
    x = (log + 4.0) / 4.0
    return _mask(x, new_lengths) if masked else x, new_lengths


def noise(frames: int) -> torch.Tensor:
    """Features (128, frames) of hiss at a random level, to be coloured by `augment`."""
    power = -torch.log(torch.rand(N_MELS, frames).clamp(min=1e-6)) * 10 ** _uniform(1, -6, -1)
    return (torch.log10(power.clamp(min=1e-10)) + 4.0) / 4.0


def _mask(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Cover two bands of up to 14 bins and, per second of audio, one span of up to 0.1 s."""
    batch, bins, frames = x.shape
    mean = x.mean(dim=(1, 2), keepdim=True)
    band, frame = torch.arange(bins), torch.arange(frames)
    hidden = torch.zeros(batch, bins, frames, dtype=torch.bool)
    for _ in range(2):
        first, width = _uniform(batch, 0, bins)[:, None], _uniform(batch, 0, 14)[:, None]
        hidden |= ((band >= first) & (band < first + width))[:, :, None]
    for _ in range(max(1, frames // 100)):
        first = torch.rand(batch, 1) * lengths[:, None]
        width = _uniform(batch, 0, 10)[:, None]
        hidden |= ((frame >= first) & (frame < first + width))[:, None, :]
    return torch.where(hidden, mean, x)
