"""The journal of an output folder, by which a run that was killed can be started again.

It has a line for every recording that was finished, and a line for the settings of the runs. A line
is written once the result is on the disk under its name: a run that is killed in between translates
that recording again, into the same file. While it is used, what the journal says is in a temporary
database on the disk, so the memory needed does not depend on the number of recordings.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from speech_translation.errors import SpeechTranslationError
from speech_translation.files import remove_leftovers, sync_folder, unwritable
from speech_translation.types import Seconds

JOURNAL = "journal.jsonl"
STANDARD_INPUT = Path("-")
"""A recording that is no file; all other recordings are absolute paths."""

if sys.platform == "win32":  # never run

    def _lock(file: BinaryIO) -> None:
        """Keep other processes out. BlockingIOError when one is in."""
        import msvcrt

        file.seek(1 << 62)  # Windows refuses to read what is locked, so nothing of the content is
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(*error.args) from error

else:

    def _lock(file: BinaryIO) -> None:
        """Keep other processes out. BlockingIOError when one is in."""
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


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


class Journal:
    """The journal of an output folder, to be closed; one at a time in all processes.

    Opening it drops a last line that was not written whole, and half results of a killed run.
    `settings` are what decides the texts, such as the model and the direction: a folder holds the
    results of one choice.

    Raises SpeechTranslationError here and in its methods: in use, of other settings, or not
    writable.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._path = folder / JOURNAL
        try:
            folder.mkdir(parents=True, exist_ok=True)
            again = self._path.exists()
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            _lock(self._file)
            # A database without a name is on the disk and goes away with its connection.
            self._database = sqlite3.connect("", isolation_level=None)
            self._ask(
                "CREATE TABLE files (source BLOB, suffix TEXT, output BLOB UNIQUE, size INTEGER, "
                "mtime_ns INTEGER, error TEXT, claimed INTEGER, PRIMARY KEY (source, suffix))"
            )
            self._ask("BEGIN")
            self._settings = dict[str, str]()
            self._before = self._load()
            self._compare(settings or {})
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
        if settings and settings != self._settings:
            self._write([{"settings": settings}])

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
        that is another's. Standard input is never done: it may be another one each time.
        """
        size = mtime_ns = None
        try:
            if source != STANDARD_INPUT:
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
        done = done and source != STANDARD_INPUT
        return None if done else entry

    def append(self, entries: Iterable[Entry]) -> None:
        """Add lines, and bring them to the disk."""
        self._write(map(dataclasses.asdict, entries))

    def _write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        try:
            for content in lines:
                line = json.dumps(content).encode() + b"\n"
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
                self._settings = _settings(line) or self._settings
                entry = _parsed(line)
                if entry is not None and entry.output:
                    self._remember(entry, claimed=False)
        self._file.truncate(end)
        return end

    def _compare(self, settings: Mapping[str, str]) -> None:
        """Refuse a run with other settings; a journal of the first edition has none."""
        for name, value in settings.items():
            before = self._settings.get(name, value)
            if before != value:
                raise SpeechTranslationError(
                    f"The results in {self.folder} were made with the {name} {before or 'none'}, "
                    f"and now it is {value or 'none'}: name another folder."
                )

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


def _settings(line: bytes) -> dict[str, str] | None:
    """The settings on a line; None for any other line."""
    try:
        found = json.loads(line)["settings"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, dict) else None
