"""How the Space ends on SIGTERM or Ctrl-C, within 10 s.

Translations that run may finish, new requests are refused.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from speech_translation.types import Seconds

GRACE: Seconds = 6.0
"""Running translations have this long to finish. The rest are then refused."""

_DELIVERY: Seconds = 1.5  # for answers, and the files that they name, to reach their visitors
_POLL: Seconds = 0.05


class Shutdown:
    """Whether the process was asked to end, and how far that has come."""

    def __init__(self) -> None:
        self.requested = False
        """From now on new requests are refused."""
        self.time_is_up = False
        """From now on running translations are refused, too."""

    def listen(self) -> None:
        """Handle the signals. A second one ends the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, _: object) -> None:
        if self.requested:
            os._exit(128 + number)
        self.requested = True

    def wait(self) -> None:
        """Wait for a signal."""
        while not self.requested:  # not an Event: its lock may be held when the signal comes
            time.sleep(_POLL)

    def finish(self, working: Callable[[], bool], stop: Callable[[], None]) -> None:
        """Wait while `working`, at most `GRACE`; then call `stop` and let answers be delivered."""
        self.requested = True
        if not working():
            return
        deadline = time.monotonic() + GRACE
        while working() and time.monotonic() < deadline:
            time.sleep(_POLL)
        self.time_is_up = True
        stop()
        time.sleep(_DELIVERY)
