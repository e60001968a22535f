"""One engine for many callers: first come, first served, and what waits together runs together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from speech_translation.engine.base import Engine, WorksAhead
from speech_translation.engine.prompt import Cancelled, OnText
from speech_translation.types import Direction, Flag, Hypothesis

_ASKED_EVERY = 0.1  # seconds between two looks at whether a caller has given up


@dataclass(eq=False)
class _Call:
    """One caller's `generate`, until it is answered."""

    batch: Sequence[np.ndarray]
    direction: Direction
    context: str
    repetition_penalty: float
    on_text: OnText | None
    cancelled: Cancelled | None
    answered: threading.Event = field(default_factory=threading.Event)
    hypotheses: list[Hypothesis] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def given_up(self) -> bool:
        return self.cancelled is not None and self.cancelled()

    def goes_with(self, other: _Call) -> bool:
        """Whether one generation can serve both."""
        return (self.direction, self.context, self.repetition_penalty) == (
            other.direction,
            other.context,
            other.repetition_penalty,
        )


class SharedEngine:
    """An `Engine` in front of another one, for threads that would otherwise push each other aside.

    A lock lets the thread that holds it take it again at once: a long recording would keep everyone
    else out until it is done. Here its next segments queue up behind whoever came meanwhile. Calls
    that wait together, and ask for the same direction and context, are joined up to the engine's
    batch size.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting = deque[_Call]()
        self._changed = threading.Condition()
        self._closed = False
        self._server = threading.Thread(target=self._serve, name="shared engine", daemon=True)
        self._server.start()

    def close(self) -> None:
        """Wait for what is being generated, once all callers are answered or have given up.

        A process that ends while its threads are inside of torch is aborted by the C++ runtime.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._server.join()

    @property
    def description(self) -> str:
        """Checkpoint, device and precision, for people."""
        return self._engine.description

    @property
    def batch_size(self) -> int:
        """How many segments at a time suit the engine."""
        return self._engine.batch_size

    def generate(
        self,
        batch: Sequence[np.ndarray],
        direction: Direction,
        *,
        context: str = "",
        repetition_penalty: float = 1.0,
        on_text: OnText | None = None,
        cancelled: Cancelled | None = None,
    ) -> list[Hypothesis]:
        """See `Engine.generate`. Who gives up is answered at once, with empty hypotheses."""
        call = _Call(batch, direction, context, repetition_penalty, on_text, cancelled)
        with self._changed:
            self._waiting.append(call)
            self._changed.notify()
        while not call.answered.wait(_ASKED_EVERY):
            if call.given_up:
                flags = frozenset({Flag.TRUNCATED})
                return [Hypothesis("", direction, 0, 0.0, flags) for _ in batch]
        if call.error is not None:
            raise call.error
        return call.hypotheses

    def prepare(self, samples: np.ndarray, direction: Direction, *, context: str = "") -> None:
        """See `WorksAhead.prepare`; those who wait go first."""
        if isinstance(self._engine, WorksAhead) and not self._waiting:
            self._engine.prepare(samples, direction, context=context)

    def _serve(self) -> None:
        while not self._closed:
            calls = self._next()
            if not calls:
                continue
            try:
                self._generate(calls)
            except BaseException as error:  # the callers' to handle: this thread goes on
                for call in calls:
                    call.error = error
            for call in calls:
                call.answered.set()

    def _next(self) -> list[_Call]:
        """The call that has waited longest, and those that can go with it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._waiting = deque(call for call in self._waiting if not call.given_up)
            calls, left, room = list[_Call](), deque[_Call](), self.batch_size
            for call in self._waiting:
                joins = not calls or (len(call.batch) <= room and call.goes_with(calls[0]))
                (calls if joins else left).append(call)
                room -= len(call.batch) if joins else 0
            self._waiting = left
            return calls

    def _generate(self, calls: Sequence[_Call]) -> None:
        first = calls[0]
        begins = [0, *accumulate(len(call.batch) for call in calls)]
        owners = [(call, i) for call in calls for i in range(len(call.batch))]

        def on_text(index: int, text: str) -> None:
            call, i = owners[index]
            if call.on_text is not None and not call.given_up:
                call.on_text(i, text)

        hypotheses = self._engine.generate(
            [samples for call in calls for samples in call.batch],
            first.direction,
            context=first.context,
            repetition_penalty=first.repetition_penalty,
            on_text=on_text if any(call.on_text for call in calls) else None,
            cancelled=lambda: all(call.given_up for call in calls),
        )
        for call, begin in zip(calls, begins, strict=False):
            call.hypotheses = hypotheses[begin : begin + len(call.batch)]
