"""What this process has freed goes back to the system.

Recordings, answers and the work of a model come and go by the megabyte, in hundreds of threads.
Beside a crowd of 64 glibc kept 0.12 GB of it between the little that is still used, and as much
again after the next rush.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import time
from collections.abc import Callable

from speech_translation.types import Seconds

EVERY: Seconds = 10.0

_M_ARENA_MAX = -8  # malloc.h


def tend(every: Seconds = EVERY) -> None:
    """Let all threads share two heaps, and give back what is free in them `every` so often.

    By itself glibc has up to eight heaps for each processor, and gives back their ends only. A
    system with another C library is left as it is.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        with contextlib.suppress(AttributeError):  # another C library
            libc.mallopt(_M_ARENA_MAX, 2)
            trim = libc.malloc_trim
            threading.Thread(
                target=_give_back, args=(trim, every), name="heap", daemon=True
            ).start()


def _give_back(trim: Callable[[int], int], every: Seconds) -> None:
    while True:
        time.sleep(every)
        trim(0)
