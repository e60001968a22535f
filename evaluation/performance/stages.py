"""Measurements one after the other, each with a time limit and each kept as soon as it is there.

A machine that is borrowed for minutes may be taken away; what was measured until then is in the
file.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speech_translation.errors import first_words
from speech_translation.files import replace_file
from speech_translation.types import Seconds

Figures = dict[str, Any]

_AGAIN: Seconds = 5


class OutOfTime(Exception):
    """A stage has taken longer than it may."""


class Stages:
    """Runs stages and collects their figures.

    `path` is the JSON file to renew after each figure, None for none; `limit` is for all together.
    """

    def __init__(self, path: Path | None, limit: Seconds) -> None:
        self.figures: Figures = {"seconds": {}, "stopped": {}}
        """What was measured. `seconds` is what the stages took, `stopped` why some have no end."""
        self._path = path
        self._end = time.monotonic() + limit

    def run(self, name: str, limit: Seconds, work: Callable[[], Iterator[Figures]]) -> bool:
        """Add the figures that `work` yields; whether it came to its end within `limit`.

        A failure ends this stage only: on a machine that is lent once, the others count too.
        """
        began = time.monotonic()
        try:
            with _limited(min(limit, self._end - began)):
                for part in work():
                    merge(self.figures, part)
                    self._keep(name, part)
        except Exception as error:  # whatever a new machine sets off
            self.figures["stopped"][name] = f"{type(error).__name__}: {first_words(error)}"
        self.figures["seconds"][name] = round(time.monotonic() - began, 1)
        done = name not in self.figures["stopped"]
        self._keep(name, "done" if done else self.figures["stopped"][name])
        return done

    def _keep(self, name: str, news: object) -> None:
        print(time.strftime("%H:%M:%S"), f"{name}: {news}", file=sys.stderr, flush=True)
        if self._path is not None:
            replace_file(self._path, json.dumps(self.figures, indent=2) + "\n")


def merge(figures: Figures, part: Figures) -> None:
    """Add `part` to `figures`, and dictionaries in it to those that are there."""
    for key, value in part.items():
        if isinstance(value, dict) and isinstance(figures.get(key), dict):
            merge(figures[key], value)
        else:
            figures[key] = value


@contextmanager
def _limited(limit: Seconds) -> Iterator[None]:
    """Raise OutOfTime in the main thread when `limit` has passed."""

    def stop(*_: Any) -> None:
        raise OutOfTime(f"it was stopped after {limit:.0f} s")

    if limit <= 0:
        raise OutOfTime("no time was left")
    before = signal.signal(signal.SIGALRM, stop)
    # Again after a while: qwen-asr has handlers that swallow every exception.
    signal.setitimer(signal.ITIMER_REAL, limit, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
