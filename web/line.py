"""The line in front of the model: who may work now, who waits and at which place, who is refused.

What counts is seconds of audio, since memory is what runs out: a second takes 64 kB, and whoever is
let in holds all of a recording. Those who are let in take turns at the engine, segment by segment
(`speech_translation/engine/batching.py`), so many at a time delay nobody's first words.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from speech_translation.types import Seconds

SHORT: Seconds = 600.0
"""Recordings up to this length do not wait behind long ones, which may take hours."""

RESERVE: Seconds = 12 * SHORT
"""Room that short recordings alone may take, before they take any of the others'."""

AT_ONCE = 128
"""Recordings at a time, however short: each has a thread."""


class Full(Exception):
    """There is no place in the line. `ahead` requests wait already."""

    def __init__(self, ahead: int) -> None:
        super().__init__(ahead)
        self.ahead = ahead


@dataclass(eq=False)
class Ticket:
    """One request's place in the line. `leave` gives it back, whether it was let in or not."""

    line: Line
    seconds: Seconds
    let_in: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: Seconds) -> bool:
        """Whether the request may work, at the latest after so long."""
        return self.let_in.wait(seconds)

    @property
    def place(self) -> int:
        """1 for who comes next, 0 for who was let in."""
        return self.line.place(self)

    def measured(self, seconds: Seconds) -> None:
        """The recording was decoded and is so long: headers may lie."""
        self.line.measured(self, seconds)

    def leave(self) -> None:
        """Work is done, or given up."""
        self.line.leave(self)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class Line:
    """At most `room` seconds of audio are worked on at a time, and at most `waiting` wait.

    One recording is always let in, however long it is. First come, first served; only short ones
    pass those that wait for room.
    """

    def __init__(self, room: Seconds, waiting: int) -> None:
        self._room = room
        self._most = waiting
        self._working = set[Ticket]()
        self._waiting = list[Ticket]()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def join(self, seconds: Seconds) -> Ticket:
        """Stand in line with a recording of this length. Raises Full."""
        ticket = Ticket(self, seconds)
        with self._lock:
            self._waiting.append(ticket)
            self._let_in()
            if len(self._waiting) > self._most and ticket in self._waiting:
                self._waiting.remove(ticket)
                raise Full(len(self._waiting))
        return ticket

    def place(self, ticket: Ticket) -> int:
        """See `Ticket.place`."""
        with self._lock:
            return self._waiting.index(ticket) + 1 if ticket in self._waiting else 0

    def measured(self, ticket: Ticket, seconds: Seconds) -> None:
        """See `Ticket.measured`."""
        with self._lock:
            ticket.seconds = seconds
            self._let_in()

    def leave(self, ticket: Ticket) -> None:
        """See `Ticket.leave`."""
        with self._lock:
            self._working.discard(ticket)
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            self._let_in()

    def _let_in(self) -> None:
        blocked = False
        for ticket in list(self._waiting):
            if len(self._working) >= AT_ONCE:
                return
            short = ticket.seconds <= SHORT
            fits = not self._working or self._taken(ticket) <= self._room
            spare = short and self._short() + ticket.seconds <= RESERVE
            if (fits and not blocked) or spare:
                self._waiting.remove(ticket)
                self._working.add(ticket)
                ticket.let_in.set()
            elif not short:
                blocked = True  # a long one does not wait for ever while others slip past it

    def _taken(self, more: Ticket) -> Seconds:
        """Seconds that would be worked on with one `more`, less those that RESERVE takes."""
        every = sum(ticket.seconds for ticket in (*self._working, more))
        short = self._short() + (more.seconds if more.seconds <= SHORT else 0.0)
        return every - min(short, RESERVE)

    def _short(self) -> Seconds:
        """Seconds of short recordings that are worked on."""
        return sum(ticket.seconds for ticket in self._working if ticket.seconds <= SHORT)
