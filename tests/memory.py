"""How much memory a part of a test takes, whatever the process has taken before."""

from collections.abc import Iterator
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


def _highest() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
