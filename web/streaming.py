"""A translation while it grows, for the page: one update every fifth of a second."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from speech_translation.engine import Engine
from speech_translation.other_direction import regions, telling
from speech_translation.segments import SENTENCE, Policy
from speech_translation.translate import common_direction, iter_translate
from speech_translation.types import SAMPLE_RATE, Direction, Seconds, Segment, Span, Translation
from web.texts import Words

UPDATE_INTERVAL: Seconds = 0.2
UNWATCHED_INTERVAL: Seconds = 1.0


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

    stretches: Sequence[np.ndarray] = field(default=(), compare=False)
    """Speech, float32 (n,) at 16 kHz, by which a model tells whether it is of that direction."""

    missing: Words | None = None
    """Why the rest of the recording is not translated, for the visitor."""

    place: int = 0
    """How many stand in line before this recording; 0 once it is worked on."""

    segments: Sequence[Segment] = ()
    """What is finished, while there is no `translation` yet."""

    growing: Sequence[Segment] = ()
    """What is being written behind them."""


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
        finished = list(self.finished)
        end = finished[-1].end if finished else 0.0
        target = common_direction(finished, self._asked)
        growing = [
            Segment(*span.seconds, text, target)
            for span, text in sorted(self.growing.copy().items())
            if span.seconds[0] >= end
        ]
        done, total = self.done, self._total
        elapsed = time.monotonic() - self._started
        left = elapsed / done * (total - done) if done else None
        text = Translation([*finished, *growing], target, total).text
        return Update(text, done, total, left, segments=finished, growing=growing)

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
    transcriber: Engine | None = None,
    *,
    watched: bool = True,
) -> Generator[Update, None, None]:
    """Translate `samples`, float32 (n,) at 16 kHz, and yield the text while it grows.

    Where nobody has `watched`, it grows by whole segments, which costs less.
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
            transcriber=transcriber,
            progress=advance,
            on_text=growth.growing.__setitem__ if watched else None,
            cancelled=lambda: stopped.is_set() or over.is_set(),
        ):
            growth.finished.append(segment)

    for _ in ticks(work, over, UPDATE_INTERVAL if watched else UNWATCHED_INTERVAL):
        yield growth.so_far()
    found = [regions(segment) for segment in growth.finished]
    yield replace(growth.whole(), stretches=telling(samples, found))


def ticks(
    work: Callable[[], None],
    over: threading.Event,
    interval: Seconds = UPDATE_INTERVAL,
    *,
    wait: bool = False,
) -> Iterator[None]:
    """Yield at this interval while `work` runs in a thread. Raises what `work` raises.

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
                error = ended.get(timeout=interval)
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
