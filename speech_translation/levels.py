"""Bring sound to where it is heard: channels to one, and quiet speech to a working level.

The detector and the model were trained on speech at ordinary levels. Below some -40 dBFS the
detector misses the beginnings of words. Sound at an ordinary level is left as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

WINDOW = 512
"""Samples, 32 ms: levels are those of windows, which are also what the detector hears at once."""

# dBFS. The level of sound is what it reaches for 0.3 s in a second: a bang is shorter, a word is
# not. The detector hears ordinary speech unchanged at -35; below QUIET it is amplified to between
# WORKING and 6 dB above. Below SILENT there is nothing but the last bit of 16 (-90).
_QUIET, _WORKING, _SILENT = -35.0, -24.0, -84.0
_SECOND = 32  # windows
_SUSTAINED = 10  # windows
# Speech that is louder than full scale by no more than this is understood when it is clipped.
_CLIPPED = 1.5
# How far a level reaches. Whoever pauses for less is not amplified together with the room's noise.
_REACH = 30  # seconds
REACH = _REACH * _SECOND * WINDOW
"""How far loud sound keeps what is near it from being amplified, in samples."""

# dB. Who speaks louder and softer stays within this; another speaker may not.
_UNLIKE = 12.0
# Of the windows of a pause, this percentage is noise, and speech in it is louder by so many dB.
_NOISE_SHARE, _ABOVE_NOISE = 10, 10.0

_NOTHING = np.empty(0, np.float32)
_BLOCK = 256 * WINDOW  # samples amplified at a time, to bound the memory
_STEP = 6.0206  # dB: gains are powers of two, which change no digit of a sample

# Channels cancel each other where they correlate below this; above its negative they do not.
_OPPOSED = -0.3
_NEIGHBOURS = 2_000  # Hz, of the means whose differences tell that
_MOMENT = 40  # such differences, 0.04 s
_QUARTER = 4  # of the moments are the loudest, and as many the softest
_SPEAKS = 3  # times as loud are those where somebody speaks; noise alone tells nothing
_RAMP = 0.01  # seconds in which the weights of the channels change, so that nothing clicks


class Mixer:
    """Mixes the channels of a recording to one, block by block.

    It is their mean, in which no channel may cancel another: one that is the negative of the
    others, as behind a cable with crossed wires, is turned first.
    """

    def __init__(self) -> None:
        self._weights: Samples | None = None

    def mix(self, block: Samples, rate: int) -> Samples:
        """Mix `block`, float32 `[frames, channels]` at `rate` Hz, to float32 `(frames,)`."""
        if block.shape[1] == 1:
            return block[:, 0]
        seconds = range(0, len(block), rate)
        return np.concatenate([self._mix(block[at : at + rate], rate) for at in seconds])

    def _mix(self, block: Samples, rate: int) -> Samples:
        """A second, in which no cable is changed."""
        channels, before = block.shape[1], self._weights
        if before is None or len(before) != channels:
            before = _turned(block, rate, np.full(channels, 1 / channels, np.float32))
        now = self._weights = _turned(block, rate, before)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses what is not finite
            mono: Samples = block @ now
            if not np.array_equal(before, now):
                count = min(len(block), round(_RAMP * rate))
                share = np.linspace(1, 0, count, dtype=np.float32)
                mono[:count] += (block[:count] @ before - mono[:count]) * share
        return mono


def _turned(block: Samples, rate: int, weights: Samples) -> Samples:
    """`weights` with the signs that keep the channels of `block` from cancelling each other."""
    # Differences weigh speech more than hum, and a constant not at all. Of what lies above speech,
    # codecs keep no phase, and hiss is louder than speech.
    near = max(1, rate // _NEIGHBOURS)
    pieces = block[: len(block) // (2 * near) * 2 * near].reshape(-1, 2 * near, block.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        steps = pieces[:, near] - pieces[:, 0]
        for k in range(1, near):
            steps += pieces[:, near + k] - pieces[:, k]
        products = _of_what_changes(steps.astype(np.float64))
    energies = products.diagonal()
    if not np.isfinite(products).all() or not energies.any():
        return weights
    turned = weights.copy()
    order = np.argsort(-energies, kind="stable")
    mixed = np.zeros(len(weights))
    for channel in order:
        if mixed.any():
            both = mixed @ products @ mixed * energies[channel]
            alike = mixed @ products[channel] / np.sqrt(both) if both > 0 else 0.0
            if abs(alike) > -_OPPOSED:
                turned[channel] = np.copysign(weights[channel], alike)
        mixed[channel] = np.sign(turned[channel])
    return turned


def _of_what_changes(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The products `[channels, channels]` of all pairs of channels, `[n, channels]`.

    Noise that all of them share, but speech does not, is the same in loud moments and in soft ones.
    Where nothing else is heard, they are zero.
    """
    moments = steps[: len(steps) // _MOMENT * _MOMENT].reshape(-1, _MOMENT, steps.shape[1])
    if len(moments) < _QUARTER:
        return steps.T @ steps
    products = moments.transpose(0, 2, 1) @ moments
    order = np.argsort(np.trace(products, axis1=1, axis2=2))
    count = len(moments) // _QUARTER
    soft, loud = products[order[:count]].sum(0), products[order[-count:]].sum(0)
    changing: npt.NDArray[np.float64] = loud - soft
    return changing if np.trace(loud) > _SPEAKS * np.trace(soft) else np.zeros_like(soft)


def bring_to_full_scale(samples: Samples) -> None:
    """Bring a recording (float32 `(n,)`, 16 kHz) into [-1, 1], in place.

    Floats may be louder than full scale, and clipped speech is ruined. Where sound is so for 0.3 s
    in a second, the whole recording gets softer, by a power of two, so that the levels in it stay.
    What is loud for less, a bang or a decoder's overshoot, is clipped.
    """
    loudest = max(
        (
            _sustained(peaks[first : first + _SECOND])
            for start in range(0, len(samples), _BLOCK)
            if len(peaks := _window_peaks(samples[start : start + _BLOCK]))
            for first in range(0, len(peaks), _SECOND)
        ),
        default=0.0,
    )
    gain = _softer(loudest)
    for start in range(0, len(samples), _BLOCK):
        block = samples[start : start + _BLOCK]
        np.clip(block * gain, -1, 1, out=block)


def _softer(loudest: float) -> np.float32:
    """The gain, a power of two, of sound that reaches `loudest` for 0.3 s."""
    return np.float32(2 ** -np.ceil(np.log2(loudest)) if loudest > _CLIPPED else 1)


class StreamScale:
    """`bring_to_full_scale` for sound that is still coming.

    A stream has no future: what is louder than full scale is clipped until it has been so for
    0.3 s, and from then on the stream is softer. It never gets louder again, as a file does not.
    """

    def __init__(self) -> None:
        self._gain = np.float32(1)
        self._peaks = deque[float](maxlen=_SECOND)  # of the last windows
        self._peak, self._count = 0.0, 0  # of the window under way, and its samples so far

    def hear(self, samples: Samples) -> Samples:
        """The next samples, float32 `(n,)` at 16 kHz, in [-1, 1]; n does not matter."""
        heard, start = np.empty_like(samples), 0
        while start < len(samples):
            end = min(len(samples), start + WINDOW - self._count)
            part, start = samples[start:end], end
            np.multiply(part, self._gain, out=heard[end - len(part) : end])
            self._peak = max(self._peak, float(part.max()), -float(part.min()))
            self._count += len(part)
            if self._count == WINDOW:
                self._peaks.append(self._peak)
                self._peak, self._count = 0.0, 0
                # Only what is loud can make the loud more.
                if self._peaks[-1] > _CLIPPED:
                    self._gain = min(self._gain, _softer(_sustained(list(self._peaks))))
        return np.clip(heard, -1, 1, out=heard)


def at_working_level(samples: Samples, regions: Sequence[tuple[int, int]]) -> Samples:
    """A piece of speech (float32 `(n,)`, 16 kHz) as the model hears it.

    It is the piece itself, unless its speech is quiet. Then it is amplified, without its constant
    part; a bang in it is clipped. A region of another speaker who is much softer than the loudest
    one is brought to that level; between two `regions` the gain changes evenly.
    """
    levels = np.array([speech_level(samples[start:end]) for start, end in regions])
    softer = np.where(levels > _SILENT, levels.max() - levels, 0)
    steps = np.where(softer > _UNLIKE, np.round(softer / _STEP), 0)
    gains = _gain(levels.max()) * 2**steps
    if (gains == 1).all():
        return samples
    return _with_gains(samples, np.repeat(gains, 2), np.ravel(regions), _offsets(samples))


def speech_level(samples: Samples) -> float:
    """The level (dBFS) that a piece of speech reaches for 0.3 s, or a short one for a third."""
    windows = _window_levels(samples)
    short = max(1, min(_SUSTAINED, len(windows) * _SUSTAINED // _SECOND))  # of a word
    return _sustained(windows, short)


def is_quiet(level: float) -> bool:
    """Whether speech at a level (dBFS) has to be amplified."""
    return _gain(level) != 1


def once_more(samples: Samples) -> Samples | None:
    """Quiet sound (float32 `(n,)`, 16 kHz) beside loud speech as the detector hears it.

    None where it is not quiet, or nothing in it stands out of the noise: the noise alone would be
    amplified.
    """
    windows = _window_levels(samples)
    level = _sustained(windows)
    if not is_quiet(level) or level - np.percentile(windows, _NOISE_SHARE) < _ABOVE_NOISE:
        return None
    return _amplified(samples, np.full(1, _gain(level)), _offsets(samples))


def blocks_at_working_level(samples: Samples) -> Iterator[Samples]:
    """A recording (float32 `(n,)`, 16 kHz) as the detector hears it, in blocks of whole windows.

    A second is amplified by what the loudest second within half a minute before and after needs.
    """
    seconds = [
        _sustained(levels[first : first + _SECOND])
        for start in range(0, len(samples), _BLOCK)
        if len(levels := _window_levels(samples[start : start + _BLOCK]))
        for first in range(0, len(levels), _SECOND)
    ]
    gains = np.array([_gain(level) for level in _loudest_near(seconds)])
    size = _SECOND * WINDOW
    for start in range(0, len(samples), _BLOCK):
        block = samples[start : start + _BLOCK]
        some = gains[start // size : -(-(start + len(block)) // size)]
        if (some == 1).all():
            yield block
            continue
        # The constant part is known from the neighbours too, so that it does not jump.
        first, last = max(0, start - size), start + len(block) + size
        offsets = _offsets(samples[first:last])[start - first :][: len(block)]
        yield _amplified(block, some, offsets)


class StreamLevel:
    """`blocks_at_working_level` for sound that is still coming.

    A stream has no future. What counts is the loudest second of the last half minute, and whatever
    was louder in the last 0.3 s. So nobody who is suddenly louder is clipped, a bang costs quiet
    speech 0.3 s, and who is suddenly quieter is amplified after half a minute. The first 0.3 s of
    sound are heard as they are.
    """

    def __init__(self) -> None:
        self._seconds = deque[float](maxlen=_REACH)
        self._second: list[float] = []  # the windows of the one under way
        self._latest = deque[float](maxlen=_SUSTAINED)
        self._sounding = 0  # windows
        self._offset: float | None = None

    def hear(self, samples: Samples) -> Samples:
        """The next samples, float32 `(n,)` in windows of `WINDOW`, as the detector hears them."""
        starts = range(0, len(samples), WINDOW)
        heard = [self._window(samples[start : start + WINDOW]) for start in starts]
        return np.concatenate(heard) if heard else samples

    def _window(self, window: Samples) -> Samples:
        mean = float(window.mean())
        before = mean if self._offset is None else self._offset
        self._offset = before + (mean - before) / 8
        level = float(_window_levels(window)[0])
        self._sounding += level > _SILENT
        self._latest.append(level)
        self._second.append(level)
        if len(self._second) == _SECOND:
            self._seconds.append(_sustained(self._second))
            self._second = []
        gain = _gain(max([*self._latest, *self._seconds]))
        if gain == 1 or self._sounding <= _SUSTAINED:
            return window
        line = np.linspace(before, self._offset, len(window), dtype=np.float32)
        return _amplified(window, np.full(1, gain), line)


def _window_levels(samples: Samples) -> Samples:
    """The level of each window in dBFS, without its constant part: float32 `(ceil(n / WINDOW),)`.

    A window that is not full counts by what it has.
    """
    whole = len(samples) // WINDOW * WINDOW
    parts = [samples[:whole].reshape(-1, WINDOW)]
    if whole < len(samples):
        parts.append(samples[None, whole:])
    power = [np.maximum(np.var(part, axis=1), 1e-14) for part in parts if part.size]
    levels: Samples = 10 * np.log10(np.concatenate(power or [_NOTHING]))
    return levels


def _window_peaks(samples: Samples) -> Samples:
    """The peak of each window: float32 `(ceil(n / WINDOW),)`."""
    peaks: Samples = np.maximum.reduceat(np.abs(samples), np.arange(0, len(samples), WINDOW))
    return peaks


def _sustained(windows: Samples | list[float], count: int = _SUSTAINED) -> float:
    """The level that `count` windows reach, 0.3 s; none where there are fewer."""
    return float(np.sort(np.asarray(windows))[-count]) if len(windows) >= count else -np.inf


def _loudest_near(seconds: list[float]) -> Iterator[float]:
    """The highest of `seconds` up to half a minute before and after each: a sliding maximum."""
    highest = deque[int]()  # falling levels
    following = 0
    for now in range(len(seconds)):
        while following < len(seconds) and following <= now + _REACH:
            while highest and seconds[highest[-1]] <= seconds[following]:
                highest.pop()
            highest.append(following)
            following += 1
        while highest[0] < now - _REACH:
            highest.popleft()
        yield seconds[highest[0]]


def _gain(level: float) -> float:
    """What brings a level (dBFS) to where it is heard: a power of two; 1 for ordinary sound."""
    if not _SILENT < level < _QUIET:
        return 1.0
    return float(2 ** np.ceil((_WORKING - level) / _STEP))


def _offsets(samples: Samples) -> Samples:
    """The constant part of sound, which may wander: its mean over a second, at each sample."""
    size = _SECOND * WINDOW
    starts = range(0, len(samples), size)
    means = [samples[start : start + size].mean() for start in starts]
    middles = [start + min(size, len(samples) - start) / 2 for start in starts]
    offsets: Samples = np.interp(np.arange(len(samples)), middles, means).astype(np.float32)
    return offsets


def _amplified(samples: Samples, gains: npt.NDArray[np.float64], offsets: Samples) -> Samples:
    """`samples` without `offsets`, times the gain of each second, clipped to full scale.

    Gains change within a second and not at once: the detector would hear a click.
    """
    size = _SECOND * WINDOW
    return _with_gains(samples, gains, np.arange(len(gains)) * size + size / 2, offsets)


def _with_gains(
    samples: Samples, gains: npt.NDArray[np.float64], places: npt.NDArray[Any], offsets: Samples
) -> Samples:
    """`samples` without `offsets`, times the gains at those places and what lies between them."""
    curve = np.interp(np.arange(len(samples)), places, gains).astype(np.float32)
    amplified: Samples = np.clip((samples - offsets) * curve, -1, 1)
    return amplified
