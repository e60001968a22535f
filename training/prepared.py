"""What `training.prepare` writes and training reads: shards of recordings, and an index of them.

A shard is a tar of FLAC files, which other tools read too. The index, an npz file, says where each
recording lies in which shard and has its text and length. A million samples take seconds to open
and some hundred megabytes, which all processes that decode audio share.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from speech_translation.files import replace_file
from speech_translation.manifest import FilePart, ManifestError, Sample
from speech_translation.types import Language

SUFFIX = ".npz"
AUDIO = "audio"
"""The folder of the shards, beside the index."""

_LANGUAGES: list[Language | None] = [None, *Language]
_NUMBERS = {"shard": np.int32, "offset": np.int64, "size": np.int32, "duration": np.float32}
_TEXTS = ("text", "transcript", "context", "id")


def shard_name(number: int) -> str:
    """The name of a shard's file."""
    return f"{number:06d}.tar"


def write_index(path: Path, rows: Sequence[tuple[int, Sample]]) -> None:
    """Write the index of samples that are parts of the shards with these numbers."""
    columns: dict[str, np.ndarray] = {}
    parts = []
    for shard, sample in rows:
        assert isinstance(sample.audio, FilePart)
        parts.append((shard, sample.audio.offset, sample.audio.size, sample.duration or 0.0))
    for place, (name, kind) in enumerate(_NUMBERS.items()):
        columns[name] = np.array([part[place] for part in parts], kind)
    for name in ("target", "source"):
        codes = [_LANGUAGES.index(getattr(sample, name)) for _, sample in rows]
        columns[name] = np.array(codes, np.int8)
    for name in _TEXTS:
        texts = [getattr(sample, name).encode() for _, sample in rows]
        columns[name] = np.frombuffer(b"".join(texts), np.uint8)
        columns[f"{name}_end"] = np.cumsum([len(x) for x in texts], dtype=np.int64)
    file = io.BytesIO()
    np.savez(file, **columns)  # type: ignore[arg-type]  # numpy's own names for its options
    replace_file(path, file.getvalue())


class Indexed(Sequence[Sample]):
    """Samples that are made when they are asked for: not all of a million are held at once."""

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """The sample of an index from 0 on, which exists."""

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self.sample(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.sample(index % len(self))


class Prepared(Indexed):
    """The samples of an index. Raises ManifestError when it cannot be read or is empty."""

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as columns:
                loaded = {name: columns[name] for name in columns.files}
            self._numbers = {name: loaded[name] for name in (*_NUMBERS, "target", "source")}
            self._texts = {name: (loaded[name].tobytes(), loaded[f"{name}_end"]) for name in _TEXTS}
        except (OSError, ValueError, KeyError) as error:
            raise ManifestError(
                f"{path}: cannot read this index ({error}): prepare it again."
            ) from error
        self._folder = path.parent / AUDIO
        if not len(self):
            raise ManifestError(f"{path}: no sample can be used (the index is empty).")

    def __len__(self) -> int:
        return len(self._numbers["shard"])

    def sample(self, index: int) -> Sample:
        """The sample of an index, its recording in its shard."""
        number = {name: column[index].item() for name, column in self._numbers.items()}
        text: dict[str, Any] = {name: self._text(name, index) for name in _TEXTS}
        return Sample(
            audio=FilePart(
                self._folder / shard_name(number["shard"]), number["offset"], number["size"]
            ),
            target=_LANGUAGES[number["target"]],
            source=_LANGUAGES[number["source"]],
            duration=number["duration"],
            **text,
        )

    def _text(self, name: str, index: int) -> str:
        data, ends = self._texts[name]
        start = int(ends[index - 1]) if index else 0
        return str(data[start : int(ends[index])], "utf-8")

    def facts(self) -> Iterator[tuple[Language | None, Language | None, float]]:
        """Target, source and seconds of each sample, without the rest of it."""
        numbers = (self._numbers[name].tolist() for name in ("target", "source", "duration"))
        for target, source, duration in zip(*numbers, strict=True):
            yield _LANGUAGES[target], _LANGUAGES[source], duration

    def spoken(self, language: Language) -> list[int]:
        """Which samples in a language say what is spoken in it."""
        written = np.diff(self._texts["transcript"][1], prepend=0) > 0
        own = self._numbers["source"] == _LANGUAGES.index(language)
        chosen: list[int] = np.flatnonzero(written & own).tolist()
        return chosen


def facts(
    samples: Sequence[Sample],
) -> Iterator[tuple[Language | None, Language | None, float]]:
    """Target, source and seconds of each sample, also of a million."""
    if isinstance(samples, Prepared):
        return samples.facts()
    return ((sample.target, sample.source, sample.duration or 0.0) for sample in samples)


def spoken(samples: Sequence[Sample], language: Language) -> list[int]:
    """Which samples in a language say what is spoken in it, also of a million."""
    if isinstance(samples, Prepared):
        return samples.spoken(language)
    return [i for i, x in enumerate(samples) if x.source is language and x.transcript]
