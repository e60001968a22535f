"""Any number of recordings: where they are, and how they are translated into one folder."""

from __future__ import annotations

import dataclasses
import os
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from speech_translation.audio import EXTENSIONS, find_recordings, is_stream
from speech_translation.captions import write
from speech_translation.engine.base import Cancelled
from speech_translation.errors import (
    NO_MEMORY,
    AudioError,
    SpeechTranslationError,
    first_words,
    missing_package,
    one_line,
    without_password,
)
from speech_translation.files import draft, unwritable
from speech_translation.journal import STANDARD_INPUT, Entry, Journal, Recording, RunSettings
from speech_translation.results import Results
from speech_translation.types import Seconds, Translation
from speech_translation.video import add_captions, require_captionable

LISTS = frozenset({".txt", ".list"})
"""What is read as a list of recordings, one path a line."""

Translate = Callable[[Recording, Cancelled], Translation]
"""Translates a recording. Once cancelled, any result will do."""

_TICK: Seconds = 0.5
_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_NO_UTF8 = re.compile(r"[\udc80-\udcff]")
"""Bytes of a path that are not UTF-8, as `surrogateescape` has them."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(slots=True)
class Tally:
    """What has become of the recordings so far; `skipped` were done before this run.

    A recording that is named more than once counts as `again` from the second time on. Of those
    that are done, `flagged` have a segment to distrust, or no speech.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    again: int = 0
    flagged: int = 0
    seconds: Seconds = 0.0

    @property
    def finished(self) -> int:
        """All of them."""
        return self.done + self.failed + self.skipped + self.again

    def add(self, entry: Entry) -> None:
        """Count a recording."""
        self.done += entry.error is None
        self.failed += entry.error is not None
        self.flagged += bool(entry.flags)
        self.seconds += entry.seconds


def is_single(arguments: Sequence[str]) -> bool:
    """Whether the arguments are one recording, and no folder or list of them."""
    return len(arguments) == 1 and not os.path.isdir(arguments[0]) and not _is_list(arguments[0])


def _is_list(argument: str) -> bool:
    return Path(argument).suffix.lower() in LISTS and os.path.isfile(argument)


def find_sources(
    arguments: Iterable[str], *, in_order: bool = False
) -> Iterator[Recording | AudioError]:
    """The recordings behind files, folders, lists of files and standard input, one at a time.

    Results lie as the recordings do below their folder or list. A path in a list is relative to
    the list's folder; one outside of that folder keeps its whole path. A folder or list that cannot
    be read gives the error to report. The recordings of a folder come in no order, or sorted, and
    without the videos that earlier runs made of them.
    """
    for argument in arguments:
        if argument == STANDARD_INPUT:
            yield Recording(STANDARD_INPUT, "stdin", Path("stdin"))
        elif not argument:
            yield AudioError("The name of a recording is empty: check the paths.")
        elif _LINK.match(argument) and not os.path.exists(argument):
            yield _link(argument)
        elif os.path.isdir(argument):  # which takes too long a name as none
            found = find_recordings(argument, Results(Path(argument)).holds)
            for item in sorted(found, key=_place) if in_order else found:
                yield item if isinstance(item, AudioError) else _recording(item, Path(argument))
        elif _is_list(argument):
            yield from _listed(Path(argument))
        else:
            path = Path(argument)
            yield _recording(path, path.parent)


def _place(found: Path | AudioError) -> Path:
    return found if isinstance(found, Path) else Path()


def _listed(path: Path) -> Iterator[Recording | AudioError]:
    """What a list names; one error for a text that is none, as a reference beside a recording.

    And one for all lines that are not UTF-8 and no files: their names cannot be known.
    """
    empty, garbled = True, False
    try:
        for line in _lines(path):
            empty = False
            if _names_recording(path.parent, line):
                break
        else:
            yield AudioError(
                f"The list {path} names no recording: it has one path on each line, and those "
                "that begin with # are comments."
                if empty
                else f"{path} is read as a list, and no line of it is the path of a recording: "
                "give the recordings themselves, or a list with one path on each line, in UTF-8."
            )
            return
        for line in _lines(path):
            if _LINK.match(line) and not os.path.exists(path.parent / line):
                yield _link(line)
            elif _NO_UTF8.search(line) and not os.path.exists(path.parent / line):
                if not garbled:
                    yield AudioError(f"The list {path} is not UTF-8: save it as UTF-8.")
                garbled = True
            else:
                yield _recording(path.parent / line, path.parent)
    except OSError as error:
        yield AudioError(f"The list {path} cannot be read ({error.strerror}).")


def _link(address: str) -> AudioError:
    shown = one_line(without_password(address))
    local = address.lower().startswith("file:")
    remedy = "name the file by its path" if local else "download the recording first"
    return AudioError(f"{shown} is a link: {remedy}.")


def _lines(path: Path) -> Iterator[str]:
    """The lines of a list that are neither empty nor comments, but for files that begin with #.

    Of a path in quotes, as Windows copies it, or with spaces around it, the path alone.
    """
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
        for line in lines:
            name, bare = line.rstrip("\n"), line.strip().strip('"')
            if not os.path.exists(path.parent / name) and os.path.exists(path.parent / bare):
                name = bare
            comment = name.lstrip().startswith("#") and not os.path.exists(path.parent / name)
            if name.strip() and not comment:
                yield name


def _names_recording(folder: Path, line: str) -> bool:
    """Whether a line may be the path of a recording: it is there, or was, by its ending."""
    return Path(line).suffix.lower() in EXTENSIONS or os.path.exists(folder / line)


def _recording(path: Path, root: Path) -> Recording:
    source, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    inside = source.relative_to(root if source.is_relative_to(root) else source.anchor)
    stem = source.stem if source.stem.strip(".") else source.name  # "..wav" has the stem "."
    return Recording(str(source), str(path), inside.parent / stem)


def _write(
    recording: Recording, translation: Translation, output: Path, settings: RunSettings
) -> None:
    match settings.format:
        case "mkv" | "mp4":
            add_captions(recording.source, translation, output, settings.format, settings.show)
        case _:
            write(translation, output, settings.format, settings.show, readings=settings.readings)


def _refusal(recording: Recording, settings: RunSettings) -> str | None:
    """Why nothing that is said in a recording can be written as is wanted; None if it can."""
    if settings.format == "mkv" or settings.format == "mp4":
        if is_stream(recording.source):
            name = one_line(Path(recording.source).name)
            return f"{name} is a pipe or a device: --format {settings.format} takes files."
        try:
            require_captionable(recording.source, settings.format)
        except AudioError as error:
            return str(error)
    return None


class _Here(Executor):
    """Does the work in the thread that submits it."""

    def submit(
        self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_T]:
        future = Future[_T]()
        future.set_result(function(*args, **kwargs))
        return future


def translate_files(
    recordings: Iterable[Recording | AudioError],
    translate: Translate,
    journal: Journal,
    *,
    jobs: int = 1,
    prepare: Callable[[], object] = lambda: None,
    progress: Callable[[Tally], object] | None = None,
    cancelled: Cancelled | None = None,
) -> Tally:
    """Translate what the journal does not know as done, `jobs` recordings at a time.

    `translate` is called from so many threads, but from this one for one job. One hour that it
    decodes takes 230 MB. `prepare` is called in this thread before the first recording that exists.
    One that fails is in the journal with its reason. `progress` is called after every recording
    and, where others do the work, twice a second. Once cancelled, what is under way is given up.

    Raises SpeechTranslationError when the journal cannot be written, and what `prepare` raises.
    """
    ended = threading.Event()
    finished = queue.SimpleQueue[Future[Entry | None]]()
    tally, under_way, prepared = Tally(), 0, False

    def stopped() -> bool:
        return ended.is_set() or (cancelled is not None and cancelled())

    def complete(recording: Recording, entry: Entry) -> Entry | None:
        """Translate a recording; None if that was given up."""
        if stopped():
            return None
        output = journal.folder / entry.output
        seconds, reason, flags = 0.0, None, list[str]()
        try:
            translation = translate(recording, stopped)
            if stopped():
                return None
            output.parent.mkdir(parents=True, exist_ok=True)
            with draft(output) as written:
                _write(recording, translation, written, journal.settings)
                entry = journal.place(recording, entry, written)
            seconds = translation.duration
            flags = sorted(translation.flags)
        except SpeechTranslationError as error:
            reason = str(error)
        except OSError as error:
            reason = unwritable(output, error)
        except ImportError as error:
            reason = str(missing_package(error))
        except MemoryError:
            reason = f"{NO_MEMORY}."
        except Exception as error:  # a fault in one recording must not end the run of all
            reason = f"{type(error).__name__}: {first_words(error)}"
        if reason is not None and stopped():
            return None
        return dataclasses.replace(entry, seconds=seconds, error=reason, flags=flags)

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

    with ThreadPoolExecutor(jobs, "bulk") if jobs > 1 else _Here() as pool:
        try:
            for item in recordings:
                if stopped():
                    break
                if isinstance(item, AudioError):
                    record([Entry("", "", error=str(item))])
                elif journal.claimed(item):
                    tally.again += 1
                elif (entry := journal.claim(item)) is None:
                    tally.skipped += 1
                elif (reason := _refusal(item, journal.settings)) is not None:
                    record([dataclasses.replace(entry, error=reason)])
                else:
                    if not (prepared or entry.missing):
                        prepare()
                        prepared = True
                    future = pool.submit(complete, item, entry)
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
