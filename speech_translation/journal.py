"""The journal of an output folder: what its results are of, and which recordings are done.

It has a line of JSON for the settings of its runs, and one for each recording that was finished. A
line is written once the result is on the disk under its name. One before says under which, and what
the result's bytes are: a run that is killed in between translates that recording again, into the
same file. A file is replaced only where the journal says that a run made it as it is. While the
journal is open, a temporary database on the disk holds what it says: the memory needed does not
depend on the number of recordings.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import os
import sqlite3
import sys
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, BinaryIO

from speech_translation.captions import Format
from speech_translation.errors import SpeechTranslationError, one_line
from speech_translation.files import remove_leftovers, sync_folder, unwritable
from speech_translation.transcripts import OFF
from speech_translation.types import Direction, Seconds, Show
from speech_translation.video import CAPTIONED, VIDEO_FORMATS, VideoFormat

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

JOURNAL = "journal.jsonl"
STANDARD_INPUT = "-"
"""Standard input in place of a recording's path."""
BEGUN = "not finished"
"""The error of a recording whose result is put under its name, until its next line."""

_LONGEST_NAME = 255  # bytes; most systems allow as many, some count characters

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording to translate.

    `source` is its absolute path, or `STANDARD_INPUT`; `name` is what to call it before people;
    `output` is where its result belongs below the output folder, without the format's suffix.
    """

    source: str
    name: str
    output: Path


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the results of a run have in common. All runs into a folder agree, but for `format`."""

    model: str
    """Empty as long as it is not known: a server has not been asked yet."""
    direction: Direction = Direction.AUTO
    context: str = ""
    format: Format | VideoFormat = "txt"
    segments: str = "sentence"
    """The name of the policy by which speech is divided."""
    track: str = ""
    """The sound track that was asked for, if one was."""
    precision: str | None = None
    """As it was asked for. None, here and below, for what does not apply or was not written down
    by an earlier edition: it agrees with all."""
    attention: str | None = None
    """Of the encoder: windows or full."""
    show: Show = Show.TRANSLATION
    transcript: str | None = OFF
    """What wrote down what is said; None for servers, which may be added and moved."""
    readings: bool = False
    aligner: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal: a recording that was finished, or why it was not.

    `output` is relative to the journal's folder. `size` (bytes) and `mtime_ns` are those of the
    recording before it was read; None when it is missing, and for standard input. `seconds` of
    audio were translated. `error` is None for a recording that is done, and `BEGUN` for one that
    was not finished; source and output are empty when it is about no recording, but about a folder
    or a list. `flags` are those of the translation: what is to be distrusted in it, or no_speech.

    `sha256`, in hexadecimal, is of the result. It is None where there is none, and in a journal of
    an earlier edition, which cannot tell whether a result was corrected since. Size and time could
    not tell either: a copied or unpacked folder has new times, and a correction may have the same
    length, within a second on a disk that counts in seconds.
    """

    source: str
    output: str
    size: int | None = None
    mtime_ns: int | None = None
    seconds: Seconds = 0.0
    error: str | None = None
    flags: Sequence[str] = ()
    sha256: str | None = None

    @property
    def missing(self) -> bool:
        """Whether the source is the path of a file that is not there."""
        return self.size is None and self.source != STANDARD_INPUT


class Journal:
    """The journal of an output folder, to be closed; one at a time in all processes.

    Any thread may call its methods while it is open.

    Opening it drops a last line that was not written whole, and half results of a killed run.
    Raises SpeechTranslationError here and in its methods: in use, not writable, or of a run with
    other settings or of a newer edition. A journal without settings, as the first edition wrote it,
    agrees with all.
    """

    def __init__(self, folder: Path, settings: RunSettings) -> None:
        self.folder = folder
        self.settings = settings
        self._path = folder / JOURNAL
        self._before_now = set[RunSettings]()  # the settings of runs before this one
        self._turn = threading.Lock()  # for the database and the end of the file
        try:
            folder.mkdir(parents=True, exist_ok=True)
            again = self._path.exists()
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            _lock(self._file)
            # A database without a name is on the disk and goes away with its connection.
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._ask(
                "CREATE TABLE files (source BLOB, suffix TEXT, output BLOB UNIQUE, place BLOB, "
                "size INTEGER, mtime_ns INTEGER, error TEXT, claimed INTEGER, "
                "PRIMARY KEY (source, suffix))"
            )
            self._ask("CREATE INDEX places ON files (place)")
            self._ask(
                "CREATE TABLE made (output BLOB, sha256 TEXT, PRIMARY KEY (output, sha256)) "
                "WITHOUT ROWID"
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

    def claimed(self, recording: Recording) -> bool:
        """Whether `claim` was asked for a recording already: it was named before."""
        with self._turn:
            return bool((known := self._known(recording)) and known[4])

    def claim(self, recording: Recording) -> Entry | None:
        """The entry to complete for a recording; None if that was done before.

        A recording keeps the output that the journal names. A new one gets the output it asks for,
        numbered if that is another's or was there before. Standard input is never done.
        """
        size = mtime_ns = None
        if recording.source != STANDARD_INPUT:
            try:
                status = os.stat(recording.source)
                size, mtime_ns = status.st_size, status.st_mtime_ns
            except (OSError, ValueError):  # ValueError: no name of a file at all
                pass
        with self._turn:
            known = self._known(recording)
            output = Path(os.fsdecode(known[0])) if known else self._free(recording.output)
            entry = Entry(recording.source, str(output), size, mtime_ns)
            self._remember(entry, claimed=True)
        # One that has gone since it was done is done: its folder may just not be mounted.
        same = known is not None and (entry.missing or known[1:3] == (size, mtime_ns))
        done = same and known[3] is None and (self.folder / output).is_file()
        return None if done and recording.source != STANDARD_INPUT else entry

    def place(self, recording: Recording, entry: Entry, written: Path) -> Entry:
        """Move a recording's result from `written`, beside its output, there; returns its entry.

        A file that lies there by now is replaced if a run made it and nobody changed it since. Else
        the result gets another number. Raises OSError when it cannot be moved.
        """
        sha256 = _sha256(written)
        with self._turn:
            output = Path(entry.output)
            if os.path.lexists(self.folder / output) and not self._made(output):
                output = self._free(output.parent / recording.output.name, there=output)
            entry = dataclasses.replace(entry, output=str(output), sha256=sha256)
            self._remember(entry, claimed=True)
            self._write([dataclasses.replace(entry, error=BEGUN)])
            os.replace(written, self.folder / output)
        sync_folder((self.folder / output).parent)
        return entry

    def _made(self, output: Path) -> bool:
        """Whether a file is, to the byte, what a run has put under that name."""
        try:
            sha256 = _sha256(self.folder / output)
        except OSError:
            return False
        asked = "SELECT 1 FROM made WHERE output = ? AND sha256 = ?"
        return self._ask(asked, os.fsencode(output), sha256) is not None

    def _known(self, recording: Recording) -> Any:
        """Its output, size, time, error, and whether it was claimed; None if it is new."""
        return self._ask(
            "SELECT output, size, mtime_ns, error, claimed FROM files WHERE source = ? "
            "AND suffix = ?",
            os.fsencode(recording.source),
            f".{self.settings.format}",
        )

    def append(self, entries: Sequence[Entry]) -> None:
        """Add lines, and bring them to the disk. The settings go before the first result."""
        lines: list[Entry | RunSettings] = [*entries]
        stated = self.settings in self._before_now
        if not stated and any(entry.error is None for entry in entries):
            lines.insert(0, self.settings)
            self._before_now.add(self.settings)
        with self._turn:
            self._write(lines)

    def _write(self, lines: Sequence[Entry | RunSettings]) -> None:
        try:
            for line in lines:
                said: dict[str, Any] = dataclasses.asdict(line)
                if isinstance(line, RunSettings):
                    said = {"settings": said}
                data = json.dumps(said).encode() + b"\n"
                if self._file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def failures(self) -> Iterator[Entry]:
        """What failed since the journal was opened."""
        with open(self._path, "rb") as lines:
            lines.seek(self._before)
            for line in lines:
                entry = _parsed(line, self.folder)
                if isinstance(entry, Entry) and entry.error not in (None, BEGUN):
                    yield entry

    def _load(self) -> int:
        """Take in the lines there are; returns their length in bytes."""
        end = 0
        with open(self._path, "rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                said = _parsed(line, self.folder)
                if isinstance(said, RunSettings):
                    self._compare(said)
                    self._before_now.add(said)
                elif said is not None and said.output:
                    self._remember(said, claimed=False)
        self._file.truncate(end)
        return end

    @property
    def has_results(self) -> bool:
        """Whether the folder holds results of an earlier run, and the journal says of what."""
        return bool(self._before_now)

    def name_model(self, model: str) -> None:
        """Say which model this run has, where that was not known when the journal was opened.

        Raises SpeechTranslationError where the results are another model's.
        """
        self.settings = dataclasses.replace(self.settings, model=model)
        for before in self._before_now:
            self._compare(before)

    def _compare(self, before: RunSettings) -> None:
        """Raise SpeechTranslationError where the settings of an earlier run forbid this one."""
        for name in [field.name for field in dataclasses.fields(before) if field.name != "format"]:
            then, now = getattr(before, name), getattr(self.settings, name)
            if then != now and None not in (then, now) and (name, now) != ("model", ""):
                raise SpeechTranslationError(
                    f"{self.folder} holds results with {name} {str(then)!r}, and this run has "
                    f"{name} {str(now)!r}: name another folder."
                )

    def _free(self, wanted: Path, there: Path | None = None) -> Path:
        """The first name that is nobody's; a warning if that is because of a file, as `there`."""
        # A video with captions must not take the place of a recording.
        suffix = (
            f"{CAPTIONED if self.settings.format in VIDEO_FORMATS else ''}.{self.settings.format}"
        )
        for number in count(1):
            tail = f"{'' if number == 1 else f'-{number}'}{suffix}"
            stem = wanted.name
            while len(os.fsencode(stem + tail)) > _LONGEST_NAME:
                stem = stem[:-1]
            output = wanted.parent / (stem + tail)
            if self._ask("SELECT 1 FROM files WHERE place = ?", _place(output)) is None:
                if not os.path.lexists(self.folder / output):
                    break
                there = there or output
        if there is not None:
            names = one_line(str(there)), one_line(str(output))
            _log.warning("%s was there before, so the result is %s", *names)
        return output

    def _remember(self, entry: Entry, *, claimed: bool) -> None:
        self._ask(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            os.fsencode(entry.source),
            Path(entry.output).suffix,
            os.fsencode(entry.output),
            _place(entry.output),
            entry.size,
            entry.mtime_ns,
            entry.error,
            claimed,
        )
        if entry.sha256 is not None:
            made = os.fsencode(entry.output), entry.sha256
            self._ask("INSERT OR IGNORE INTO made VALUES (?, ?)", *made)

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


def _place(output: str | Path) -> bytes:
    """What two names have in common that are one file somewhere.

    macOS and Windows take A for a, and macOS takes both ways to write が for one.
    """
    return os.fsencode(unicodedata.normalize("NFC", str(output).casefold()))


def _sha256(path: Path) -> str:
    if not path.is_file():  # a pipe would wait for its writer
        raise OSError(errno.EINVAL, "it is no file", str(path))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def outputs(folder: Path) -> Iterator[str]:
    """The results that the journal of a folder names, relative to it; none if it is unreadable."""
    with contextlib.suppress(OSError), open(folder / JOURNAL, "rb") as lines:
        for line in lines:
            said = None
            with contextlib.suppress(SpeechTranslationError):  # settings of a newer edition
                said = _parsed(line, folder)
            if isinstance(said, Entry) and said.output:
                yield said.output


def _lock(file: BinaryIO) -> None:
    """Lock a file until it is closed; BlockingIOError if somebody else has it.

    Some file systems of clusters and networks know no locks: the log then says so. Run on Linux
    only: not on Windows, nor on macOS.
    """
    if sys.platform == "win32":
        # Windows keeps others from reading what is locked, so the lock is far behind the end.
        file.seek(1 << 40)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
    else:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK):
                raise
            _log.warning("The output folder cannot be locked: let no other run write into it")


def _parsed(line: bytes, folder: Path) -> Entry | RunSettings | None:
    """What a line says; None for one that is damaged, as after a power cut.

    Raises SpeechTranslationError for settings that this edition does not know: what they are of
    would pass for the results of this run.
    """
    try:
        data = json.loads(line)
        if "settings" not in data:
            entry = Entry(**data)
            return entry if _is_whole(entry) else None
        said = data["settings"]
        if unknown := said.keys() - {field.name for field in dataclasses.fields(RunSettings)}:
            names = ", ".join(sorted(map(one_line, unknown)))
            raise SpeechTranslationError(
                f"{folder} holds results of a newer edition, with settings that this one does not "
                f"know ({names}): use that edition, or name another folder."
            )
        settings = RunSettings(**said)
        if not all(isinstance(value, str | bool | None) for value in said.values()):
            return None
        return dataclasses.replace(
            settings, direction=Direction(settings.direction), show=Show(settings.show)
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _is_whole(entry: Entry) -> bool:
    """Whether a line's values can be those of a run, with an output below the journal's folder.

    Raises TypeError, AttributeError or ValueError where they are of no such kind.
    """
    os.fsencode(entry.source)  # not every text can be a name
    os.fsencode(entry.output)
    output = PurePath(entry.output)
    return (
        isinstance(entry.source, str)
        and isinstance(entry.output, str)
        and isinstance(entry.error, str | None)
        and (entry.sha256 is None or entry.sha256.isascii())
        and not (output.is_absolute() or output.drive or ".." in output.parts)
        and "\0" not in entry.output
        and all(
            number is None or (isinstance(number, int) and abs(number) < 1 << 63)
            for number in (entry.size, entry.mtime_ns)
        )
    )
