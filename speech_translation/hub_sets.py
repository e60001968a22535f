"""Data sets of the Hub, streamed by `datasets`: any one's rows, FLEURS and CoVoST 2 as samples.

FLEURS (Conneau et al. 2022) has the same sentences read in many languages: the English and the
Japanese test recordings are joined by sentence id. A sentence read by several people gives a sample
for each of them, all with the one reference: en2ja-7-2 is the second reading of sentence 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speech_translation.errors import first_words
from speech_translation.manifest import ManifestError, Sample
from speech_translation.types import Direction

PARQUET = "refs/convert/parquet"
"""The Hub's own conversion of a data set, which needs no code of the data set's."""

LOCALES = {"en": "en_us", "ja": "ja_jp"}


def fleurs(direction: Direction, split: str = "test") -> Iterator[Sample]:
    """The samples of one direction, in the order of the recordings. Raises ManifestError."""
    assert direction.source is not None
    assert direction.target is not None
    references: dict[int, str] = {}
    for row in rows("google/fleurs", LOCALES[direction.target.value], split, audio=False):
        references.setdefault(row["id"], row["raw_transcription"])
    seen: dict[int, int] = {}
    for row in rows("google/fleurs", LOCALES[direction.source.value], split):
        number = row["id"]
        if number not in references:
            continue
        seen[number] = seen.get(number, 0) + 1
        yield Sample(
            id=f"{direction.value}-{number}-{seen[number]}",
            audio=encoded(row),
            text=references[number],
            target=direction.target,
            source=direction.source,
            transcript=row["raw_transcription"],
        )


def covost2(direction: Direction, split: str = "test") -> Iterator[Sample]:
    """The samples of CoVoST 2 (Wang et al. 2020), en_ja or ja_en. Raises ManifestError."""
    assert direction.source is not None
    assert direction.target is not None
    pair = f"{direction.source.value}_{direction.target.value}"
    for row in rows("fixie-ai/covost2", pair, split):
        yield Sample(
            id=f"{direction.value}-{row['id']}",
            audio=encoded(row),
            text=row["translation"],
            target=direction.target,
            source=direction.source,
            transcript=row["sentence"],
        )


def encoded(row: Any) -> bytes:
    """The bytes of a row's sound; b"" without any, which is an AudioError when it is loaded."""
    return (row["audio"] or {}).get("bytes") or b""


def rows(name: str, configuration: str | None, split: str, *, audio: bool = True) -> Iterator[Any]:
    """The rows of a data set, its audio as the bytes of the file.

    `name` may be a folder with Parquet files, too. Raises ManifestError.
    """
    try:
        from datasets import Audio, load_dataset
    except ImportError as error:
        raise ManifestError(
            f"{name} needs the package datasets: pip install -r requirements-benchmark.txt"
        ) from error
    revision = None if Path(name).is_dir() else PARQUET
    try:
        # The Hub's own conversion of every data set to Parquet has a folder for each configuration.
        found = load_dataset(
            name, data_dir=configuration, split=split, revision=revision, streaming=True
        )
        yield from (
            found.cast_column("audio", Audio(decode=False))
            if audio
            else found.remove_columns("audio")
        )
    except (OSError, ConnectionError, ValueError, RuntimeError) as error:
        raise ManifestError(
            f"{name} cannot be read from the Hugging Face Hub ({first_words(error)}). Without a "
            "network, name a manifest or a folder instead."
        ) from error
