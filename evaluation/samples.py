"""What a benchmark is run on: samples of speech with reference translations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speech_translation.errors import SpeechTranslationError
from speech_translation.manifest import Sample, read_manifest
from speech_translation.types import Direction


class DataError(SpeechTranslationError):
    """The data of a benchmark cannot be used."""


def read_samples(path: Path) -> Iterator[Sample]:
    """The samples of a manifest, each with a direction.

    Raises:
        ManifestError: the manifest cannot be read, or a line is wrong.
        DataError: a sample is speech that must not be translated.
    """
    for sample in read_manifest(path):
        if sample.direction is Direction.AUTO:
            raise DataError(f"{path}: sample {sample.id} has nothing to translate into.")
        yield sample
