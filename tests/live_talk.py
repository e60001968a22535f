"""A talk for live captions, a clock, and a stand-in for the engine that costs time by it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import soxr
from clips import clip, without_pauses

from speech_translation.engine import Request
from speech_translation.errors import EngineError
from speech_translation.live import LiveTranslator
from speech_translation.types import Direction, Hypothesis

RATE = 16_000

SURE = Hypothesis("駅です。", Direction.EN_JA, 4, -0.01)


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Call:
    at: float
    batch: list[np.ndarray]
    direction: Direction
    penalty: float


class StandIn:
    """Gives the next answer, or the last one again; takes `cost` seconds for a second of audio."""

    description = "stand-in"

    def __init__(
        self,
        answers: Iterable[Hypothesis | EngineError] = (SURE,),
        *,
        clock: Clock | None = None,
        cost: float = 0.0,
        batch_size: int = 1,
    ) -> None:
        self.answers = list(answers)
        self.clock = clock or Clock()
        self.cost = cost
        self.batch_size = batch_size
        self.calls: list[Call] = []

    def generate(self, request: Request) -> list[Hypothesis]:
        batch = request.batch
        if request.only_direction:
            return [Hypothesis("", Direction.EN_JA, 0, -1e-5) for _ in batch]
        self.calls.append(
            Call(self.clock.now, list(batch), request.direction, request.repetition_penalty)
        )
        self.clock.now += self.cost * sum(map(len, batch)) / RATE
        given = [self.answers.pop(0) if len(self.answers) > 1 else self.answers[0] for _ in batch]
        for answer in given:
            if isinstance(answer, EngineError):
                raise answer
        return [answer for answer in given if isinstance(answer, Hypothesis)]


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def talk(seconds: float) -> np.ndarray:
    """Speech without a pause that would end it."""
    loud = without_pauses(clip("en_long"))
    return np.resize(loud, round(seconds * RATE))  # from the beginning again if need be


def feed(
    translator: LiveTranslator,
    sound: np.ndarray,
    size: int,
    rate: int = RATE,
    clock: Clock | None = None,
) -> None:
    """Push `sound` in chunks that arrive in real time by `clock`, late ones at once."""
    began = clock.now if clock else 0.0
    for start in range(0, len(sound), size):
        if clock:
            clock.now = max(clock.now, began + min(start + size, len(sound)) / rate)
        translator.push(sound[start : start + size], rate)


def as_microphone(sound: np.ndarray, rate: int) -> np.ndarray:
    """16-bit stereo, the right channel at half the level."""
    sound = soxr.resample(sound, RATE, rate).clip(-1, 1)
    return np.stack([sound * 32767, sound * 16384], axis=1).astype(np.int16)
