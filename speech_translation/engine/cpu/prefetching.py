"""How far ahead of the processor weights are asked for, found by trying while it decodes.

Some processors ask for the next lines of memory early enough by themselves, and what is asked for
beside that costs them a third of their speed. Others stop at each page of 4 kB, and wait: there
decoding reaches half the memory's speed without being told what comes. No table of processors knows
the machines that people rent, and the order of the additions does not depend on this.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

DISTANCES = (0, 2048, 4096, 16_384)
"""Bytes ahead; 0 leaves it to the processor."""

_TRIES = 14  # of each distance: all of them take two tokens, and one slow layer decides nothing


class Prefetching:
    """The distance for one kind of weights. Not for several threads at once."""

    def __init__(self) -> None:
        self.distance = 0
        """The best that is known."""
        self._taken = {distance: list[float]() for distance in DISTANCES}
        self._found = False

    @contextmanager
    def tried(self) -> Iterator[int]:
        """The distance to use for a layer's decode step, whose time then counts for it."""
        if self._found:
            yield self.distance
            return
        distance = min(DISTANCES, key=lambda x: len(self._taken[x]))
        began = time.perf_counter()
        yield distance
        self._taken[distance].append(time.perf_counter() - began)
        if all(len(taken) == _TRIES for taken in self._taken.values()):
            self.distance = min(DISTANCES, key=lambda x: statistics.median(self._taken[x]))
            self._found = True


PREFETCHING = {1: Prefetching(), 2: Prefetching(), 4: Prefetching()}
"""For weights of so many bytes each."""
