"""Runs over many files without a model: a file's text is its name, unless it says otherwise."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speech_translation.audio import load_audio
from speech_translation.bulk import Tally, find_sources, translate_files
from speech_translation.captions import Format
from speech_translation.engine.base import Cancelled
from speech_translation.journal import BEGUN, JOURNAL, Entry, Journal, Recording, RunSettings
from speech_translation.types import Direction, Segment, Translation

SETTINGS = RunSettings("phrasebook", precision="auto", attention="windows")


class Translator:
    """In place of a model; notes what it was asked for, and fails as `fault` does."""

    def __init__(self) -> None:
        self.asked = list[Path]()
        self.fault: Callable[[Path], None] = lambda _: None

    def __call__(self, recording: Recording, cancelled: Cancelled) -> Translation:
        path = Path(recording.source)
        self.asked.append(path)
        if not path.exists():
            load_audio(path)  # which says so
        self.fault(path)
        text = path.read_text("utf-8") or path.name
        return Translation((Segment(0.0, 1.0, text, Direction.JA_EN),), Direction.AUTO, 1.0)


def run(
    out: Path,
    *arguments: Path,
    translator: Translator,
    jobs: int = 3,
    settings: RunSettings = SETTINGS,
    **options: Any,
) -> Tally:
    with Journal(out, settings) as journal:
        found = find_sources(map(str, arguments))
        return translate_files(found, translator, journal, jobs=jobs, **options)


def in_format(format: Format) -> RunSettings:
    return dataclasses.replace(SETTINGS, format=format)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def entries(out: Path) -> list[Entry]:
    """The journal's lines about recordings that were finished, or failed."""
    lines = map(json.loads, (out / JOURNAL).read_bytes().splitlines())
    found = [Entry(**line) for line in lines if "settings" not in line]
    return [entry for entry in found if entry.error != BEGUN]


def results(out: Path, pattern: str = "*") -> dict[Path, str]:
    """All there is below a folder, but for the journal."""
    found = [p for p in out.rglob(pattern) if p.is_file() and p.name != JOURNAL]
    return {path.relative_to(out): path.read_text("utf-8") for path in found}


def times_done(out: Path) -> Counter[str]:
    return Counter(entry.source for entry in entries(out) if entry.error is None)
