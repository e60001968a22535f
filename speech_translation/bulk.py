"""Any number of recordings into one folder, in a run that can be killed and started again.

The folder holds a journal, with a line for every recording that was finished. A line is written
once the result is on the disk under its name, so a run that is killed in between translates that
recording again, into the same file. What the journal says is kept in a temporary database on the
disk while it is used: the memory needed does not depend on the number of recordings.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from speech_translation.audio import MAX_SECONDS, find_recordings
from speech_translation.captions import Format, write
from speech_translation.engine.base import Cancelled, Engine
from speech_translation.errors import AudioError, SpeechTranslationError, first_words
from speech_translation.files import remove_leftovers, sync_folder, unwritable
from speech_translation.translate import translate
from speech_translation.types import Direction, Seconds

JOURNAL = "journal.jsonl"
LISTS = frozenset({".txt", ".list"})
"""What is read as a list of recordings, one path a line."""

_TICK: Seconds = 0.5

Wanted = tuple[Path, Path]
"""A recording, as an absolute path, and where below the output folder its result should be."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal: a recording that was finished, or why it was not.

    `output` is relative to the journal's folder. `size` (bytes) and `mtime_ns` are those of the
    recording before it was read; None when it is missing. `seconds` of audio were translated.
    `error` is None for a recording that is done; source and output are empty when it is about no
    recording, but about a folder or a list.
    """

    source: str
    output: str
    size: int | None = None
    mtime_ns: int | None = None
    seconds: Seconds = 0.0
    error: str | None = None


@dataclass(slots=True)
class Tally:
    """What has become of the recordings so far; `skipped` were done before, or named twice."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: Seconds = 0.0

    @property
    def finished(self) -> int:
        """All of them."""
        return self.done + self.failed + self.skipped

    def add(self, entry: Entry) -> None:
        """Count a recording."""
        self.done += entry.error is None
        self.failed += entry.error is not None
        self.seconds += entry.seconds


def sources(arguments: Iterable[str], suffix: str) -> Iterator[Wanted | AudioError]:
    """The recordings behind files, folders and lists of files, one at a time.

    Results lie as the recordings do below their folder or list, with `suffix` for a name's end. A
    path in a list is relative to the list's folder; one outside of that folder keeps its whole
    path. A folder or list that cannot be read gives the error to report.
    """
    for argument in arguments:
        path = Path(os.path.abspath(argument))
        if os.path.isdir(path):  # which takes too long a name as none
            for found in find_recordings(path):
                yield found if isinstance(found, AudioError) else _wanted(found, path, suffix)
        elif path.suffix.lower() in LISTS and os.path.isfile(path):
            yield from _listed(path, suffix)
        else:
            yield _wanted(path, path.parent, suffix)


def _listed(path: Path, suffix: str) -> Iterator[Wanted | AudioError]:
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
            for line in lines:
                if line.strip():
                    source = Path(os.path.abspath(path.parent / line.rstrip("\n")))
                    yield _wanted(source, path.parent, suffix)
    except OSError as error:
        yield AudioError(f"The list {path} cannot be read ({error.strerror}).")


def _wanted(source: Path, root: Path, suffix: str) -> Wanted:
    inside = source.relative_to(root if source.is_relative_to(root) else source.anchor)
    return source, inside.parent / f"{source.stem}.{suffix}"


class Journal:
    """The journal of an output folder, to be closed; one at a time in all processes.

    Opening it drops a last line that was not written whole, and half results of a killed run.
    Raises SpeechTranslationError here and in its methods: in use, or not writable.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL
        try:
            folder.mkdir(parents=True, exist_ok=True)
            again = self._path.exists()
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A database without a name is on the disk and goes away with its connection.
            self._database = sqlite3.connect("", isolation_level=None)
            self._ask(
                "CREATE TABLE files (source BLOB, suffix TEXT, output BLOB UNIQUE, size INTEGER, "
                "mtime_ns INTEGER, error TEXT, claimed INTEGER, PRIMARY KEY (source, suffix))"
            )
            self._ask("BEGIN")
            self._before = self._load()
        except BlockingIOError:
            self._file.close()
            raise SpeechTranslationError(
                f"Another run writes into {folder}: wait for its end, or name another folder."
            ) from None
        except OSError as error:
            self._file.close()
            raise self._unwritable(error) from error
        except BaseException:
            self._file.close()
            raise
        if again:
            remove_leftovers(folder)
        else:
            sync_folder(folder)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()
        self._file.close()

    def claim(self, source: Path, wanted: Path) -> Entry | None:
        """The entry to complete for a recording; None if that is done, or was claimed before.

        A recording keeps the output that the journal names. A new one gets `wanted`, numbered if
        that is another's.
        """
        size = mtime_ns = None
        try:
            status = source.stat()
            size, mtime_ns = status.st_size, status.st_mtime_ns
        except (OSError, ValueError):  # ValueError: no name of a file at all
            pass
        known = self._ask(
            "SELECT output, size, mtime_ns, error, claimed FROM files WHERE source = ? "
            "AND suffix = ?",
            os.fsencode(source),
            wanted.suffix,
        )
        if known is None:
            output = self._free(wanted)
        else:
            output = Path(os.fsdecode(known[0]))
            if known[4]:
                return None
        entry = Entry(str(source), str(output), size, mtime_ns)
        self._remember(entry, claimed=True)
        # One that has gone since it was done is done: its folder may just not be mounted.
        same = known is not None and (size is None or known[1:3] == (size, mtime_ns))
        done = same and known[3] is None and (self.folder / output).is_file()
        return None if done else entry

    def append(self, entries: Iterable[Entry]) -> None:
        """Add lines, and bring them to the disk."""
        try:
            for entry in entries:
                line = json.dumps(dataclasses.asdict(entry)).encode() + b"\n"
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def failures(self) -> Iterator[Entry]:
        """What failed since the journal was opened."""
        with open(self._path, "rb") as lines:
            lines.seek(self._before)
            for line in lines:
                entry = _parsed(line)
                if entry is not None and entry.error is not None:
                    yield entry

    def _load(self) -> int:
        """Take in the lines there are; returns their length in bytes."""
        end = 0
        with open(self._path, "rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                entry = _parsed(line)
                if entry is not None and entry.output:
                    self._remember(entry, claimed=False)
        self._file.truncate(end)
        return end

    def _free(self, wanted: Path) -> Path:
        for number in count(1):
            name = f"{wanted.stem}{'' if number == 1 else f'-{number}'}{wanted.suffix}"
            output = wanted.with_name(name)
            if self._ask("SELECT 1 FROM files WHERE output = ?", os.fsencode(output)) is None:
                break
        return output

    def _remember(self, entry: Entry, *, claimed: bool) -> None:
        self._ask(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
            os.fsencode(entry.source),
            Path(entry.output).suffix,
            os.fsencode(entry.output),
            entry.size,
            entry.mtime_ns,
            entry.error,
            claimed,
        )

    def _ask(self, statement: str, *values: Any) -> Any:
        try:
            return self._database.execute(statement, values).fetchone()
        except sqlite3.OperationalError as error:
            raise SpeechTranslationError(
                f"There is no room for the journal's index ({error}): set SQLITE_TMPDIR to a "
                "folder on a disk that is not full."
            ) from error

    def _unwritable(self, error: OSError) -> SpeechTranslationError:
        return SpeechTranslationError(unwritable(self._path, error))


def _parsed(line: bytes) -> Entry | None:
    """The entry on a line; None for what is none, as after a power cut."""
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):
        return None


def translate_files(
    wanted: Iterable[Wanted | AudioError],
    engine: Engine,
    journal: Journal,
    format: Format = "txt",
    direction: Direction = Direction.AUTO,
    *,
    jobs: int = 1,
    context: str = "",
    batch_size: int | None = None,
    max_seconds: Seconds = MAX_SECONDS,
    progress: Callable[[Tally], None] | None = None,
    cancelled: Cancelled | None = None,
) -> Tally:
    """Translate what the journal does not know as done, `jobs` recordings at a time.

    `engine.generate` is called from so many threads, and as many recordings are decoded: 230 MB
    for an hour of each. One that fails is in the journal with its reason. `progress` is called
    after every recording, and twice a second. Once cancelled, what is under way is given up.

    Raises SpeechTranslationError when the journal cannot be written.
    """
    ended = threading.Event()
    finished = queue.SimpleQueue[Future[Entry | None]]()
    tally, under_way = Tally(), 0

    def stopped() -> bool:
        return ended.is_set() or (cancelled is not None and cancelled())

    def complete(entry: Entry) -> Entry | None:
        """Translate a recording; None if that was given up."""
        if stopped():
            return None
        output = journal.folder / entry.output
        seconds, reason = 0.0, None
        try:
            translation = translate(
                entry.source,
                engine,
                direction,
                context=context,
                batch_size=batch_size,
                max_seconds=max_seconds,
                cancelled=stopped,
            )
            if stopped():
                return None
            output.parent.mkdir(parents=True, exist_ok=True)
            write(translation, output, format)
            seconds = translation.duration
        except SpeechTranslationError as error:
            reason = str(error)
        except OSError as error:
            reason = unwritable(output, error)
        except Exception as error:  # a fault in one recording must not end the run of all
            reason = f"{type(error).__name__}: {first_words(error)}"
        if reason is not None and stopped():
            return None
        return dataclasses.replace(entry, seconds=seconds, error=reason)

    def record(entries: list[Entry]) -> None:
        journal.append(entries)
        for entry in entries:
            tally.add(entry)

    def settle(wait: bool) -> int:
        """Record what has finished, after waiting a moment for it if asked to; how many it was."""
        futures = list[Future[Entry | None]]()
        try:
            futures.append(finished.get(block=wait, timeout=_TICK))
            while True:
                futures.append(finished.get_nowait())
        except queue.Empty:
            pass
        if entries := [entry for future in futures if (entry := future.result()) is not None]:
            record(entries)
        if progress is not None:
            progress(tally)
        return len(futures)

    with ThreadPoolExecutor(jobs, "bulk") as pool:
        try:
            for item in wanted:
                if stopped():
                    break
                if isinstance(item, AudioError):
                    record([Entry("", "", error=str(item))])
                elif (entry := journal.claim(*item)) is None:
                    tally.skipped += 1
                else:
                    future = pool.submit(complete, entry)
                    future.add_done_callback(finished.put)
                    under_way += 1
                under_way -= settle(wait=False)
                while under_way >= 2 * jobs:
                    under_way -= settle(wait=True)
            while under_way:
                under_way -= settle(wait=True)
        finally:
            ended.set()
    return tally
