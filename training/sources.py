"""Where the data of `training.prepare` comes from: manifests, folders and data sets of the Hub.

Each source yields samples that were not looked at yet. A sample without a text has a transcript,
which is to be translated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speech_translation.audio import EXTENSIONS
from speech_translation.hub_sets import encoded, fleurs, rows
from speech_translation.manifest import ManifestError, Sample, read_manifest
from speech_translation.types import Direction


@dataclass(frozen=True)
class HubSet:
    """A data set of the Hub, and its columns for the words spoken and the translation.

    `name` may be a folder with Parquet files too. Without a `translation` the words are to be
    translated by a server.
    """

    name: str
    configuration: str | None
    split: str
    direction: Direction
    transcript: str
    translation: str | None

    @classmethod
    def parse(cls, text: str) -> HubSet:
        """`covost2:en2ja`, or `NAME:CONFIGURATION:SPLIT:DIRECTION:TRANSCRIPT[:TRANSLATION]`.

        Raises ManifestError.
        """
        parts = text.split(":")
        try:
            if parts[0] == "covost2":
                _, direction = parts
                pair = direction.replace("2", "_")
                return cls(
                    "fixie-ai/covost2",
                    pair,
                    "train",
                    Direction(direction),
                    "sentence",
                    "translation",
                )
            name, configuration, split, direction, transcript, *rest = parts
            (translation,) = rest or (None,)
            return cls(
                name, configuration or None, split, Direction(direction), transcript, translation
            )
        except ValueError as error:
            raise ManifestError(
                f"{text} is no data set: write covost2:en2ja, fleurs:ja2en, or "
                "NAME:CONFIGURATION:SPLIT:DIRECTION:TRANSCRIPT[:TRANSLATION]."
            ) from error


def from_manifest(path: Path, previous: bool) -> Iterator[Sample]:
    """The lines of a manifest; with `previous`, each with the text before it as its context.

    That is the translation of the utterance that stood before it in the same recording.
    """
    before: Sample | None = None
    for sample in read_manifest(path):
        follows = before is not None and before.audio == sample.audio and before.end is not None
        if previous and follows and before is not None and (before.end or 0.0) <= sample.start:
            yield replace(sample, context=before.text)
        else:
            yield sample
        before = sample


def from_folder(folder: Path, direction: Direction) -> Iterator[Sample]:
    """The recordings in a folder that have their translation in a .txt beside them.

    A .transcript.txt may have the words spoken. Raises ManifestError as `folder_state` does.
    """
    for path in _recordings(folder):
        text, spoken = _texts(path)
        if text.is_file():
            yield Sample(
                audio=path,
                text=_read(text),
                target=direction.target,
                source=direction.source,
                transcript=_read(spoken) if spoken.is_file() else "",
                id=str(path.relative_to(folder)),
            )


def folder_state(folder: Path) -> dict[str, str]:
    """What each recording of a folder and each text beside one was when it was looked at.

    The recordings by size and time of change, since they are long, the texts by their digest.
    Raises ManifestError where the folder is missing or has no recording with a text, and where a
    text is not in UTF-8.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder}: there is no such folder.")
    state, paired = dict[str, str](), False
    for path in _recordings(folder):
        text, spoken = _texts(path)
        if not text.is_file():
            continue
        paired = True
        about = path.stat()
        state[str(path.relative_to(folder))] = f"{about.st_size} bytes, {about.st_mtime_ns}"
        for words in filter(Path.is_file, (text, spoken)):
            digest = hashlib.sha256(_read(words).encode()).hexdigest()
            state[str(words.relative_to(folder))] = digest
    if not paired:
        raise ManifestError(
            f"{folder} has no recording with a text: put 1.txt with the translation beside 1.wav."
        )
    return state


def without_text(folder: Path) -> list[str]:
    """The recordings of a folder that have no .txt beside them."""
    return [
        str(path.relative_to(folder))
        for path in _recordings(folder)
        if not _texts(path)[0].is_file()
    ]


def _recordings(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in EXTENSIONS]


def _texts(recording: Path) -> tuple[Path, Path]:
    """Where the translation of a recording and the words spoken are to be."""
    return recording.with_suffix(".txt"), recording.with_suffix(".transcript.txt")


def _read(text: Path) -> str:
    try:
        return text.read_text("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ManifestError(f"{text} is not in UTF-8: save it again in that encoding.") from error


def from_hub(text: str) -> Iterator[Sample]:
    """The samples of a data set, as `HubSet.parse` reads its name, or of `fleurs:DIRECTION`."""
    if text.startswith("fleurs:"):
        yield from _fleurs(text.removeprefix("fleurs:"))
        return
    chosen = HubSet.parse(text)
    for number, row in enumerate(rows(chosen.name, chosen.configuration, chosen.split)):
        yield Sample(
            audio=encoded(row),
            text=row[chosen.translation] or "" if chosen.translation else "",
            target=chosen.direction.target,
            source=chosen.direction.source,
            transcript=row[chosen.transcript] or "",
            id=f"{chosen.name}/{number}",
        )


def _fleurs(name: str) -> Iterator[Sample]:
    """FLEURS' training recordings, joined with the other language's text by sentence."""
    if name not in (Direction.EN_JA, Direction.JA_EN):
        raise ManifestError(f"fleurs:{name}: the direction is en2ja or ja2en.")
    for sample in fleurs(Direction(name), "train"):
        yield replace(sample, id=f"fleurs/{sample.id}")


def samples_of(
    manifests: Sequence[Path],
    folders: Sequence[Path],
    hub: Sequence[str],
    direction: Direction,
    previous: bool,
) -> Iterator[Sample]:
    """All sources one after the other, always in the same order."""
    for path in manifests:
        yield from from_manifest(path, previous)
    for folder in folders:
        yield from from_folder(folder, direction)
    for text in hub:
        yield from from_hub(text)
