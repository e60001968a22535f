"""What a benchmark is run on: samples of speech with reference translations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from speech_translation.audio import load_audio
from speech_translation.errors import AudioError, SpeechTranslationError
from speech_translation.types import SAMPLE_RATE, Direction, Seconds


class DataError(SpeechTranslationError):
    """The data of a benchmark cannot be used."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One utterance, its direction and its reference.

    `audio` is a file, the bytes of one, or samples (n,) at 16 kHz.
    `start` and `end` cut it out of a longer file. `source` is what is spoken, if known.
    """

    id: str
    audio: Path | bytes | np.ndarray
    direction: Direction
    reference: str
    source: str = ""
    start: Seconds = 0.0
    end: Seconds | None = None

    def load(self) -> np.ndarray:
        """float32 (n,) at 16 kHz. Raises AudioError."""
        if isinstance(self.audio, np.ndarray):
            return self.audio
        if isinstance(self.audio, bytes):
            whole = load_audio(self.audio, name=self.id)
        else:
            whole = _decoded(self.audio)
        start = round(self.start * SAMPLE_RATE)
        end = len(whole) if self.end is None else round(self.end * SAMPLE_RATE)
        if not start < end <= len(whole):
            seconds = len(whole) / SAMPLE_RATE
            raise AudioError(f"{self.id} is not within the {seconds:.1f} s of its recording.")
        return whole[start:end]


@lru_cache(maxsize=1)  # the utterances of one file follow each other
def _decoded(path: Path) -> np.ndarray:
    return load_audio(path)


def read_manifest(path: Path) -> Iterator[Sample]:
    """The samples of a JSONL manifest, one object a line.

    `audio` (relative to the manifest), `direction` (en2ja or ja2en) and `reference` are needed;
    `id`, `source`, `start` and `end` in seconds are not. Raises DataError.
    """
    try:
        lines = path.read_bytes().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The manifest {path} cannot be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            direction = Direction(row["direction"])
            if direction is Direction.AUTO:
                raise ValueError("its direction must be en2ja or ja2en")
            yield Sample(
                id=str(row.get("id", number)),
                audio=path.parent / row["audio"],
                direction=direction,
                reference=row["reference"],
                source=row.get("source", ""),
                start=row.get("start", 0.0),
                end=row.get("end"),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}, line {number} is no sample: {error}.") from error
