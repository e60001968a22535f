"""A translation while it grows, for the page: one update every fifth of a second."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from speech_translation.engine import Engine
from speech_translation.segments import SENTENCE, Policy
from speech_translation.translate import common_direction, iter_translate
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Seconds,
    Segment,
    Span,
    Translation,
)

UPDATE_INTERVAL: Seconds = 0.2


@dataclass(frozen=True, slots=True)
class Update:
    """Where a translation stands. Only the last update has a `translation`."""

    text: str
    done: Seconds
    total: Seconds
    left: Seconds | None
    translation: Translation | None = None


def stream(
    samples: np.ndarray,
    engine: Engine,
    direction: Direction,
    context: str,
    stopped: threading.Event,
    policy: Policy = SENTENCE,
) -> Iterator[Update]:
    """Translate `samples`, float32 (n,) at 16 kHz, and yield the text while it grows.

    The generation ends early when `stopped` is set or when the caller stops reading. The last
    update then holds the segments that were finished. Raises what `iter_translate` raises.
    """
    started = time.monotonic()
    total = len(samples) / SAMPLE_RATE
    finished = list[Segment]()
    growing = dict[Span, str]()
    done = 0.0
    events = queue.SimpleQueue[BaseException | None]()

    def advance(seconds: Seconds, _: Seconds) -> None:
        nonlocal done
        done = seconds

    def work() -> None:
        try:
            for segment in iter_translate(
                samples,
                engine,
                direction,
                context=context,
                policy=policy,
                progress=advance,
                on_text=growing.__setitem__,
                cancelled=stopped.is_set,
            ):
                finished.append(segment)
            events.put(None)
        except BaseException as error:
            events.put(error)

    def so_far() -> Update:
        segments = list(finished)
        end = segments[-1].end if segments else 0.0
        target = common_direction(segments, direction)
        for span, text in sorted(growing.copy().items()):
            if span.seconds[0] >= end:
                segments.append(Segment(*span.seconds, text, target))
        elapsed = time.monotonic() - started
        left = elapsed / done * (total - done) if done else None
        return Update(Translation(segments, target, total).text, done, total, left)

    worker = threading.Thread(target=work, name="translate", daemon=True)
    worker.start()
    try:
        while True:
            try:
                error = events.get(timeout=UPDATE_INTERVAL)
            except queue.Empty:
                yield so_far()
                continue
            if error is not None:
                raise error
            break
    finally:
        stopped.set()
    translation = Translation(
        segments=tuple(finished),
        direction=common_direction(finished, direction),
        duration=total,
        compute_seconds=time.monotonic() - started,
        tokens=sum(segment.tokens for segment in finished),
    )
    yield Update(translation.text, total, total, 0.0, translation)
