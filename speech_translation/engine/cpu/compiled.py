"""What numba compiles is kept on the disk; where that fails, it costs a notice and not the run.

numba keeps it in the folder that NUMBA_CACHE_DIR names, else beside the source, else in the user's
own cache folder: the first that can be written. That a disk is full it finds out while it writes,
and that a file is damaged while it reads, and both end the program. Its cache is replaced here,
through one private attribute. It believes what it has as long as a function's own file is the same;
here all files of this folder have to be, since their functions become parts of each other.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba import config, get_num_threads, njit, set_num_threads
from numba.core.caching import FunctionCache

from speech_translation.errors import first_words

_log = logging.getLogger(__name__)
_said = False

_one_call = threading.Lock()  # numba's pool of threads aborts the process when two calls overlap


def compiled(function: Any, *, parallel: bool = True) -> Any:
    """Compile when first called; the result is kept on the disk if that can be written."""
    return keep_compiled(njit(parallel=parallel, fastmath=True, nogil=True)(function))


@contextmanager
def using(threads: int) -> Iterator[None]:
    """Run compiled code with so many threads, or as many as there are processors; one at a time."""
    threads = min(threads, config.NUMBA_NUM_THREADS)  # numba takes no larger number
    with _one_call:
        if threads != get_num_threads():
            set_num_threads(threads)
        yield


def keep_compiled(function: Any) -> Any:
    """`function`, which numba's `njit` made, with a cache if there is a folder for one."""
    try:
        function._cache = _Cache(function.py_func)
    except RuntimeError as error:  # no folder can be written
        _say(error)
    return function


_SOURCES = hashlib.blake2b(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))),
    digest_size=16,
).digest()


class _Cache(FunctionCache):  # type: ignore[misc]
    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), _SOURCES)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for a signature; None where it was not, or cannot be read."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # pickle raises anything for a damaged file
            self._forget()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature, if that is possible."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _say(error)

    def _forget(self) -> None:
        try:
            self.flush()
        except OSError as error:
            _say(error)


def _say(error: Exception) -> None:
    global _said
    if not _said:
        _said = True
        _log.warning(
            "What was compiled for this processor is not kept (%s), and each start compiles it "
            "anew, some ten seconds: set NUMBA_CACHE_DIR to a folder with room that can be "
            "written.",
            first_words(error),
        )
