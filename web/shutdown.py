"""How the Space ends on SIGTERM or Ctrl-C: what runs may finish, what comes is refused, in 10 s."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from speech_translation.types import Seconds

FINISH: Seconds = 6.0
"""For so long translations go on; those that remain are then refused."""

_DELIVERED: Seconds = 1.5  # until answers, and the files that they name, are with their visitors
_LOOK: Seconds = 0.05


class Ending:
    """Whether the process was asked to end, and how far that is."""

    def __init__(self) -> None:
        self.asked = False
        """From here on, what comes is refused."""
        self.over = False
        """From here on, what runs is refused too."""

    def listen(self) -> None:
        """Take the signals. A second one ends the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, _: object) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = True

    def wait(self) -> None:
        """Wait for a signal."""
        while not self.asked:  # not an Event: its lock may be held when the signal comes
            time.sleep(_LOOK)

    def finish(self, working: Callable[[], bool], stop: Callable[[], None]) -> None:
        """Let what is `working` finish, then `stop` it, and wait until answers are delivered."""
        self.asked = True
        if not working():
            return
        deadline = time.monotonic() + FINISH
        while working() and time.monotonic() < deadline:
            time.sleep(_LOOK)
        self.over = True
        stop()
        time.sleep(_DELIVERED)
