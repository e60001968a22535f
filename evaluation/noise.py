"""Noise made here, mixed with speech at a ratio that is asked for.

The kinds are those of MUSAN (Snyder et al. 2015), of which nothing is taken: `noise` is a hiss and
a hum as of a fan and its mains, with knocks; `music` a slow melody of chords; `babble` other clips
of the same data, talking at once. Everything follows from a seed: a run that was stopped goes on
with the same sound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

import numpy as np

from speech_translation.errors import AudioError
from speech_translation.levels import Samples
from speech_translation.manifest import Sample
from speech_translation.types import SAMPLE_RATE

TALKERS = 5
"""In babble; MUSAN's is mixed of 3 to 7."""

CHORDS = ((0, 4, 7), (-3, 0, 4), (-7, -3, 0), (-5, -1, 2))  # semitones from A
_A = 220.0  # Hz
_CHORD = 2 * SAMPLE_RATE


def hiss(rng: np.random.Generator, count: int) -> np.ndarray:
    """Pink noise, a hum of 50 Hz with its overtones, and two knocks a second on average."""
    spectrum = np.fft.rfft(rng.normal(size=count))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), count)
    time = np.arange(count) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time + rng.uniform(0, 6.3)) / k for k in (1, 2, 3, 5))
    knocks = np.zeros(count)
    for start in rng.integers(0, count, rng.poisson(2 * count / SAMPLE_RATE)):
        length = min(SAMPLE_RATE // 10, count - start)
        decay = np.exp(-np.arange(length) / (SAMPLE_RATE / 100))
        knocks[start : start + length] += rng.normal(size=length) * decay
    sound: np.ndarray = _unit(pink) + 0.5 * _unit(np.asarray(hum)) + _unit(knocks)
    return sound


def music(rng: np.random.Generator, count: int) -> np.ndarray:
    """Chords of two seconds, each note with four overtones that die away."""
    sound = np.zeros(count)
    for start in range(0, count, _CHORD):
        length = min(_CHORD, count - start)
        time = np.arange(length) / SAMPLE_RATE
        for semitone in CHORDS[rng.integers(len(CHORDS))]:
            note = _A * 2 ** (semitone / 12)
            for k in range(1, 6):
                wave = np.sin(2 * np.pi * note * k * time + rng.uniform(0, 6.3))
                sound[start : start + length] += wave * np.exp(-k * time) / k
    return sound


def babble(others: Sequence[Samples], rng: np.random.Generator, count: int) -> np.ndarray:
    """`others`, each from a place of its own and as often as it takes, at equal levels."""
    mixed = np.zeros(count)
    for other in others:
        mixed += np.roll(np.resize(_unit(other), count), rng.integers(count))
    return mixed


KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {"noise": hiss, "music": music}
"""What needs no other clips."""

BABBLE = "babble"


def mixed(speech: Samples, noise: np.ndarray, ratio: float) -> Samples:
    """Float32 `(n,)`: `speech` with `noise`, the power of the first `ratio` dB above the second's.

    Where the sum would leave [-1, 1], both are made quieter alike.
    """
    power, other = np.mean(np.square(speech)), np.mean(np.square(noise))
    if not power or not other:
        return speech
    total = speech + noise * np.sqrt(power / other / 10 ** (ratio / 10))
    sound: Samples = (total / max(1.0, float(np.abs(total).max()))).astype(np.float32)
    return sound


def noisy(samples: Iterable[Sample], kind: str, ratio: float) -> Iterator[Sample]:
    """The samples with noise of a kind at a ratio in dB; a clip that cannot be read stays as it is.

    Who babbles is the first TALKERS clips of the data, without the one that they disturb.
    """
    stream = iter(samples)
    first = list(islice(stream, TALKERS + 1)) if kind == BABBLE else []
    talkers = [sound for sample in first if (sound := _loaded(sample)) is not None]
    for sample in chain(first, stream):
        speech = _loaded(sample)
        if speech is None:
            yield sample
            continue
        if kind == BABBLE:
            others = [x for x in talkers if not np.array_equal(x, speech)][:TALKERS]
            noise = babble(others, _rng(sample), len(speech))
        else:
            noise = KINDS[kind](_rng(sample), len(speech))
        yield replace(sample, audio=mixed(speech, noise, ratio), start=0.0, end=None)


def _loaded(sample: Sample) -> Samples | None:
    try:
        return sample.load()
    except AudioError:
        return None


def _rng(sample: Sample) -> np.random.Generator:
    digest = hashlib.sha256(sample.id.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _unit(sound: np.ndarray) -> np.ndarray:
    """With a power of 1, unless it is silent."""
    level = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if len(sound) else 0.0
    return sound / level if level else sound
