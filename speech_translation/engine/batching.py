"""One engine for many callers: who waits together runs together, and nobody waits for ever."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from speech_translation.engine.base import Engine, Prefills, Request
from speech_translation.errors import EngineError, first_words
from speech_translation.types import Flag, Hypothesis

_ASKED_EVERY = 0.25  # seconds between two looks at whether a caller has given up


@dataclass(eq=False)
class _Call:
    """One caller's `generate`, until it is answered."""

    request: Request
    answered: threading.Event = field(default_factory=threading.Event)
    hypotheses: list[Hypothesis] = field(default_factory=list)
    error: BaseException | None = None
    gone: bool = False

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it. A caller whose own function fails gets that error."""
        if not self.gone and self.error is None:
            try:
                return self.request.abandoned
            except BaseException as error:  # the thread that serves everybody goes on
                self.error = error
        return True

    def hear(self, index: int, text: str) -> None:
        """Tell the caller of a growing text."""
        if self.request.on_text is None or self.abandoned:
            return
        try:
            self.request.on_text(index, text)
        except BaseException as error:
            self.error = error

    def goes_with(self, other: _Call) -> bool:
        """Whether one generation can serve both."""
        return _kind(self.request) == _kind(other.request)


def _kind(request: Request) -> tuple[object, ...]:
    """What all segments of a generation have in common."""
    return (
        request.direction,
        request.context,
        request.repetition_penalty,
        request.only_direction,
    )


def _closed() -> EngineError:
    return EngineError("The model is being unloaded: start the program again.")


def _of_its_own(error: BaseException) -> BaseException:
    """A copy of `error` for one caller: threads that raise one object write into its trace."""
    try:
        own = copy.copy(error)
    except Exception:  # one that cannot be copied
        own = RuntimeError(f"{type(error).__name__}: {first_words(error)}")
    return own.with_traceback(error.__traceback__)


class SharedEngine:
    """An `Engine` in front of another one, for threads that would otherwise push each other aside.

    A lock lets the thread that holds it take it again at once: a long recording would keep everyone
    else out until it is done. Here its next segments queue up behind whoever came meanwhile. Calls
    that wait together, and ask for the same direction and context, are joined up to the engine's
    batch size. First come, first served; but two times of three those go first who are awaited.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting = deque[_Call]()
        self._changed = threading.Condition()
        self._closed = False
        self._turns = 0
        self._server = threading.Thread(target=self._serve, name="shared engine", daemon=True)
        self._server.start()

    def close(self) -> None:
        """Wait for what is being generated; who still waits, and who comes later, is refused.

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

    def generate(self, request: Request) -> list[Hypothesis]:
        """See `Engine.generate`. Who gives up is answered at once, with empty hypotheses.

        Raises what the caller's own functions raise. They may not ask this engine: it waits for
        them.
        """
        if threading.current_thread() is self._server:
            raise EngineError("A function that the engine calls cannot wait for the engine.")
        call = _Call(request)
        with self._changed:
            if self._closed:
                raise _closed()
            self._waiting.append(call)
            self._changed.notify()
        try:
            while not (answered := call.answered.wait(_ASKED_EVERY)) and not call.abandoned:
                pass
        finally:  # by Ctrl-C, too
            call.gone = True
        if call.error is not None:
            raise call.error
        if answered:
            return call.hypotheses
        flags = frozenset({Flag.TRUNCATED})
        return [Hypothesis("", request.direction, 0, 0.0, flags) for _ in request.batch]

    def prefill(self, request: Request) -> None:
        """See `Prefills.prefill`; those who wait go first."""
        if isinstance(self._engine, Prefills) and not self._waiting:
            self._engine.prefill(request)

    def _serve(self) -> None:
        while not self._closed:
            calls = self._next()
            if not calls:
                continue
            try:
                self._generate(calls)
            except BaseException as error:  # the callers' to handle: this thread goes on
                for call in calls:
                    call.error = call.error or _of_its_own(error)
            for call in calls:
                call.answered.set()
        with self._changed:
            for call in self._waiting:
                call.error = _closed()
                call.answered.set()
            self._waiting.clear()

    def _next(self) -> list[_Call]:
        """The call whose turn it is, and those that can go with it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._waiting = deque(call for call in self._waiting if not call.abandoned)
            calls, room, in_turn = list[_Call](), self.batch_size, list(self._waiting)
            if self._turns % 3 < 2:
                in_turn.sort(key=lambda call: not call.request.awaited)
            self._turns += 1
            for call in in_turn:
                if not calls or (len(call.request.batch) <= room and call.goes_with(calls[0])):
                    calls.append(call)
                    room -= len(call.request.batch)
            self._waiting = deque(call for call in self._waiting if call not in calls)
            return calls

    def _generate(self, calls: Sequence[_Call]) -> None:
        begins = [0, *accumulate(len(call.request.batch) for call in calls)]
        owners = [(call, i) for call in calls for i in range(len(call.request.batch))]

        def on_text(index: int, text: str) -> None:
            call, i = owners[index]
            call.hear(i, text)

        together = replace(
            calls[0].request,
            batch=[samples for call in calls for samples in call.request.batch],
            on_text=on_text if any(call.request.on_text for call in calls) else None,
            asked_again=any(call.request.asked_again for call in calls),
            cancelled=lambda: all(call.abandoned for call in calls),
        )
        hypotheses = self._engine.generate(together)
        for call, begin in zip(calls, begins, strict=False):
            call.hypotheses = hypotheses[begin : begin + len(call.request.batch)]
