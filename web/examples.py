"""The example recordings that a visitor can try with one click."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from speech_translation.types import Direction, Language

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples"
NAMES = ("en_1", "en_2", "ja_1", "ja_2")


@dataclass(frozen=True)
class Example:
    """A short clip, what is said in it, and in which language."""

    name: str
    path: Path
    spoken: str
    language: Language

    @property
    def direction(self) -> Direction:
        """The direction that translates it."""
        return Direction.of(self.language)


@cache
def examples() -> tuple[Example, ...]:
    """The examples in the order of the page."""
    with (FOLDER / "clips.tsv").open(encoding="utf-8", newline="") as file:
        spoken = {row["file"]: row["spoken"] for row in csv.DictReader(file, delimiter="\t")}
    paths = [FOLDER / f"{name}.flac" for name in NAMES]
    return tuple(
        Example(path.stem, path, spoken[path.name], Language(path.stem[:2])) for path in paths
    )
