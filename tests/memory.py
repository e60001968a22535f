"""How much memory a part of a test takes, whatever the process has taken before."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Growth:
    """`peak`: how many bytes the process grew at most, once the block has ended."""

    peak = 0


@contextmanager
def growth() -> Iterator[Growth]:
    """Watch the memory of this process while a block runs.

    Linux keeps the highest resident size (VmHWM); writing 5 to clear_refs sets it to the present
    one. `ru_maxrss` cannot be set back: after a larger test it hides what a smaller one takes.
    """
    found = Growth()
    Path("/proc/self/clear_refs").write_text("5")
    before = _highest()
    try:
        yield found
    finally:
        found.peak = _highest() - before


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Gives a function: how many bytes are held of those that Python and numpy took in the block.

    For what is kept and must not be. The resident size also has what allocators keep for later,
    which comes and goes by a dozen megabytes.
    """

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        yield held
    finally:
        tracemalloc.stop()


def _highest() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
