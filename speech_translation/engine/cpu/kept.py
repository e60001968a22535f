"""A checkpoint's int8 weights, kept on the disk: to round them again takes longer than all else.

The copy lies beside the checkpoint or, where that folder cannot be written, in the user's own
(`files.cache_folder`). It names the checkpoint that it was made of and has a checksum of each of
its blocks: what is stale or damaged is not believed and made again. It appears whole or not at all,
so that processes may make it at the same time.

The copy is read into memory and not mapped. numpy asks for large pages there; with pages of 4 kB a
decode step would look up half a million addresses.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from speech_translation.engine.checkpoint import weight_files
from speech_translation.files import cache_folder, remove_leftovers, replacing, unwritable

NAME = "speech_translation.int8"
"""The file's name. It does not end like weights, which other programs look for."""

FORMAT = 1
"""Raised when `narrow.quantised` rounds otherwise, or the file's layout changes."""

_log = logging.getLogger(__name__)

_MARK = b"ST-INT8\n"
_END = struct.Struct("<QQ8s")
"""The end of a copy: length of the table before it, the table's checksum, `_MARK`."""

_ALIGNED = 64  # bytes: a tensor begins with a cache line
_LARGE_PAGE = 1 << 21
_BLOCK = 1 << 26  # bytes of a checksum; smaller ones would wait more often for Python's lock
_READERS = 2  # a virtual machine may have to ask its host for each page of new memory
_SAMPLES, _SAMPLE = 64, 4096
_LONGEST_HEADER = 1 << 24
_LEFT_ALONE = 3600.0  # seconds that another process may take to write its copy

Arrays = Mapping[str, np.ndarray]
T = TypeVar("T")


class Kept:
    """The copy for the checkpoint in `folder`; a thread reads it while the libraries load."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Before any weight is read: whatever changes the checkpoint later makes the copy stale.
        self._source = source_digest(folder)
        self._read = _begun(self._first_whole)

    def arrays(self) -> Arrays | None:
        """Its tensors by their names; None where there is no copy that can be believed."""
        return self._read.result()

    def keep(self, arrays: Arrays) -> None:
        """Write the copy. Where that fails, the log says so and the next start rounds again."""
        refused = None
        for path in _places(self._folder):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                remove_leftovers(path.parent, _LEFT_ALONE)
                _write(path, self._source, arrays)
                return
            except OSError as error:
                refused = unwritable(path, error)
        _log.warning("The int8 weights are not kept, and each start rounds them. %s", refused)

    def _first_whole(self) -> Arrays | None:
        for path in _places(self._folder):
            arrays = _read(path, self._source)
            if arrays is not None:
                return arrays
        return None


def source_digest(folder: Path) -> str:
    """What tells a checkpoint from another, without reading all of it.

    Of each file with weights its name, size, the times at which its content and its entry in the
    file system changed, its header and samples of its content; and all of config.json.

    It cannot see content that changed between the samples while both times stayed: on Windows,
    which has no time of the second kind, where the other was set back; elsewhere only where the
    system's clock was. A checkpoint that is copied, or given another owner, counts as another.
    Raises OSError where a file is missing.
    """
    digest = hashlib.blake2b((folder / "config.json").read_bytes(), digest_size=32)
    for path in weight_files(folder):
        status = path.stat()
        times = f"{status.st_mtime_ns} {status.st_ctime_ns}"  # anybody can set the first
        digest.update(f"{path.name} {status.st_size} {times} ".encode())
        with path.open("rb", buffering=0) as file:
            header = 8 + int.from_bytes(file.read(8), "little")
            digest.update(file.read(min(header, _LONGEST_HEADER)) or b"")
            for sample in range(_SAMPLES):
                file.seek(sample * status.st_size // _SAMPLES)
                digest.update(file.read(_SAMPLE) or b"")
    return digest.hexdigest()


def _places(folder: Path) -> Iterator[Path]:
    """Where the copy for a checkpoint may be, the best place first."""
    yield folder / NAME
    try:
        own = cache_folder()
    except OSError:
        return
    checkpoint = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=16).hexdigest()
    yield own / "int8" / checkpoint / NAME


def _write(path: Path, source: str, arrays: Arrays) -> None:
    """Blocks of data, a table of what is in them as JSON, `_END`."""
    size = sum(_padded(array.nbytes) for array in arrays.values())
    if shutil.disk_usage(path.parent).free < size + _BLOCK:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    tensors, at = dict[str, Any](), 0
    for name, array in arrays.items():
        tensors[name] = [array.dtype.str, array.shape, at]
        at += _padded(array.nbytes)
    checksums = list[int]()
    with replacing(path) as file:
        for block in _blocks(arrays):
            checksums.append(zlib.crc32(block))
            file.write(block)
        table = {"format": FORMAT, "source": source, "tensors": tensors, "checksums": checksums}
        words = json.dumps(table).encode()
        file.write(words + _END.pack(len(words), zlib.crc32(words), _MARK))


def _blocks(arrays: Arrays) -> Iterator[memoryview]:
    """The bytes of all arrays, each begun at a multiple of `_ALIGNED`, in blocks of `_BLOCK`."""
    block, filled = np.zeros(_BLOCK, np.uint8), 0
    for array in arrays.values():
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        data = np.pad(data, (0, _padded(len(data)) - len(data))) if len(data) % _ALIGNED else data
        while len(data):
            part = data[: _BLOCK - filled]
            block[filled : filled + len(part)] = part
            data, filled = data[len(part) :], filled + len(part)
            if filled == _BLOCK:
                yield block.data
                filled = 0
    if filled:
        yield block[:filled].data


def _read(path: Path, source: str) -> Arrays | None:
    """The tensors of a copy made of the checkpoint `source`; None if it is another's or damaged."""
    if not path.is_file():  # to open a pipe would wait for its writer
        return None
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size - _END.size
            file.seek(max(0, size))
            length, checksum, mark = _END.unpack(file.read(_END.size) or b"")
            if mark != _MARK or length > size:
                return None
            size -= length
            file.seek(size)
            words = file.read(length) or b""
            if zlib.crc32(words) != checksum:
                return None
            table = json.loads(words)
            if (table["format"], table["source"]) != (FORMAT, source):
                return None
        memory = _large_pages(size)
        if not _filled(memory, path, table["checksums"]):
            _log.warning("The copy %s is damaged and is made again.", path)
            return None
        arrays = dict[str, np.ndarray]()
        for name, (dtype, shape, at) in table["tensors"].items():
            kind = np.dtype(dtype)
            end = at + kind.itemsize * int(np.prod(shape))
            arrays[name] = memory[at:end].view(kind).reshape(shape)
    except (OSError, ValueError, LookupError, TypeError, struct.error):
        return None  # it is not there, or nothing like a copy
    return arrays


def _filled(memory: np.ndarray, path: Path, checksums: Sequence[int]) -> bool:
    """Read the blocks of a copy, by several threads; whether each is what was written.

    Raises what stopped one of them, such as OSError.
    """

    def fill(first: int) -> bool:
        with path.open("rb", buffering=0) as file:
            for number in range(first, len(checksums), _READERS):
                block = memory[number * _BLOCK : (number + 1) * _BLOCK].data
                file.seek(number * _BLOCK)
                whole = file.readinto(block) == len(block)
                if not whole or zlib.crc32(block) != checksums[number]:
                    return False
        return True

    readers = [_begun(partial(fill, first)) for first in range(_READERS)]
    return all(reader.result() for reader in readers)


def _begun(work: Callable[[], T]) -> Future[T]:
    """What a thread comes to that ends with its program: one of a pool would be waited for."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # whoever asks for the outcome hears of it
            outcome.set_exception(error)

    threading.Thread(target=run, name="read the int8 weights", daemon=True).start()
    return outcome


def _large_pages(size: int) -> np.ndarray:
    """Memory of `size` bytes that begins with a large page."""
    memory = np.empty(size + _LARGE_PAGE, np.uint8)
    first = -memory.ctypes.data % _LARGE_PAGE
    return memory[first : first + size]


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
