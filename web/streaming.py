"""A translation while it grows, for the page: one update every fifth of a second."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import numpy as np

from speech_translation.engine import Engine
from speech_translation.segments import SENTENCE, Policy
from speech_translation.translate import common_direction, iter_translate
from speech_translation.types import SAMPLE_RATE, Direction, Seconds, Segment, Span, Translation

UPDATE_INTERVAL: Seconds = 0.2


@dataclass(frozen=True, slots=True)
class Update:
    """Where a translation stands. Only the last update has a `translation`."""

    text: str
    done: Seconds
    total: Seconds
    left: Seconds | None
    translation: Translation | None = None

    other: Direction | None = None
    """The direction that the model names in place of the one that was asked for, where it was
    asked during the translation."""

    missing: str = ""
    """Why the rest of the recording is not translated, for the visitor."""


class Growth:
    """A translation under way. `total` is the duration of the recording."""

    def __init__(self, total: Seconds, asked: Direction) -> None:
        self.finished = list[Segment]()
        self.growing = dict[Span, str]()
        self.done: Seconds = 0.0
        self._total = total
        self._asked = asked
        self._started = time.monotonic()

    def so_far(self) -> Update:
        """The segments that are finished, and behind them the texts that grow."""
        segments = list(self.finished)
        end = segments[-1].end if segments else 0.0
        target = common_direction(segments, self._asked)
        for span, text in sorted(self.growing.copy().items()):
            if span.seconds[0] >= end:
                segments.append(Segment(*span.seconds, text, target))
        done, total = self.done, self._total
        elapsed = time.monotonic() - self._started
        left = elapsed / done * (total - done) if done else None
        return Update(Translation(segments, target, total).text, done, total, left)

    def whole(self) -> Update:
        """The last update."""
        total = self._total
        translation = Translation(
            segments=tuple(self.finished),
            direction=common_direction(self.finished, self._asked),
            duration=total,
            compute_seconds=time.monotonic() - self._started,
            tokens=sum(segment.tokens for segment in self.finished),
        )
        return Update(translation.text, total, total, 0.0, translation)


def stream(
    samples: np.ndarray,
    engine: Engine,
    direction: Direction,
    context: str,
    stopped: threading.Event,
    policy: Policy = SENTENCE,
) -> Generator[Update, None, None]:
    """Translate `samples`, float32 (n,) at 16 kHz, and yield the text while it grows.

    The generation ends early when `stopped` is set or when the caller stops reading. The last
    update then holds the segments that were finished. Raises what `iter_translate` raises.
    """
    growth, over = Growth(len(samples) / SAMPLE_RATE, direction), threading.Event()

    def advance(seconds: Seconds, _: Seconds) -> None:
        growth.done = seconds

    def work() -> None:
        for segment in iter_translate(
            samples,
            engine,
            direction,
            context=context,
            policy=policy,
            progress=advance,
            on_text=growth.growing.__setitem__,
            cancelled=lambda: stopped.is_set() or over.is_set(),
        ):
            growth.finished.append(segment)

    for _ in ticks(work, over):
        yield growth.so_far()
    yield growth.whole()


def ticks(work: Callable[[], None], over: threading.Event, *, wait: bool = False) -> Iterator[None]:
    """Yield every `UPDATE_INTERVAL` while `work` runs in a thread. Raises what `work` raises.

    `over` is set at the end and when the caller stops reading; with `wait` the thread has ended by
    then.
    """
    ended = queue.SimpleQueue[BaseException | None]()

    def run() -> None:
        try:
            work()
            ended.put(None)
        except BaseException as error:
            ended.put(error)

    thread = threading.Thread(target=run, name="translate", daemon=True)
    thread.start()
    try:
        while True:
            try:
                error = ended.get(timeout=UPDATE_INTERVAL)
            except queue.Empty:
                yield
                continue
            if error is not None:
                raise error
            return
    finally:
        over.set()
        if wait:
            thread.join()
