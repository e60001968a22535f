"""Any number of recordings into one folder, in a run that can be killed and started again."""

from __future__ import annotations

import dataclasses
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from speech_translation.audio import find_recordings
from speech_translation.captions import Format, write
from speech_translation.engine.base import Engine
from speech_translation.errors import AudioError, SpeechTranslationError, first_words
from speech_translation.files import unwritable
from speech_translation.journal import STANDARD_INPUT, Entry, Journal
from speech_translation.translate import Options, Source, translate
from speech_translation.types import Direction, Seconds, Translation

LISTS = frozenset({".txt", ".list"})
"""What is read as a list of recordings, one path a line."""

MISSING = "does not exist: check the path."

_TICK: Seconds = 0.5

Wanted = tuple[Path, Path]
"""A recording, as an absolute path, and where below the output folder its result should be."""


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
    path. A folder or list that cannot be read gives the error to report. "-" is standard input.
    """
    for argument in arguments:
        path = Path(os.path.abspath(argument))
        if argument == str(STANDARD_INPUT):
            yield STANDARD_INPUT, Path(f"stdin.{suffix}")
        elif not argument:  # for the system it would be this folder
            yield AudioError("An empty name is no recording: check the path.")
        elif os.path.isdir(path):  # which takes too long a name as none
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


def exists(source: Path) -> bool:
    """Whether there is such a recording; too long a name is none."""
    return source == STANDARD_INPUT or os.path.exists(source)


def translate_files(
    wanted: Iterable[Wanted | AudioError],
    load: Callable[[], Engine],
    journal: Journal,
    format: Format = "txt",
    direction: Direction = Direction.AUTO,
    *,
    jobs: int = 1,
    read: Callable[[str], Source] = str,
    report: Callable[[Tally], None] | None = None,
    done: Callable[[str, Translation], None] | None = None,
    **options: Unpack[Options],
) -> Tally:
    """Translate what the journal does not know as done, `jobs` recordings at a time.

    `load` gives the engine, once there is something to translate. Its `generate` is called from
    `jobs` threads, and as many recordings are decoded: 230 MB for an hour of each. `read` turns
    the source of an entry into what `translate` takes. One that fails is in the journal with its
    reason. `report` is called after every recording, and twice a second; `done(source,
    translation)` is called once a result is on the disk, from any thread. `options` are those of
    `translate`. Once cancelled, what is under way is given up.

    Raises SpeechTranslationError when the journal cannot be written or the engine cannot be had.
    """
    ended = threading.Event()
    finished = queue.SimpleQueue[Future[Entry | None]]()
    tally, under_way = Tally(), 0
    cancelled = options.get("cancelled")
    engine: Engine | None = None

    def stopped() -> bool:
        return ended.is_set() or (cancelled is not None and cancelled())

    options["cancelled"] = stopped

    def complete(entry: Entry, engine: Engine) -> Entry | None:
        """Translate a recording; None if that was given up."""
        if stopped():
            return None
        output = journal.folder / entry.output
        seconds, reason = 0.0, None
        try:
            translation = translate(read(entry.source), engine, direction, **options)
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
        if reason is None and done is not None:
            done(entry.source, translation)
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
        if report is not None:
            report(tally)
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
                elif not exists(item[0]):
                    record([dataclasses.replace(entry, error=MISSING)])
                else:
                    engine = engine or load()
                    future = pool.submit(complete, entry, engine)
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
