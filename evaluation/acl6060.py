"""ACL 60/60 (Salesky et al. 2023): talks in English with Japanese translations, CC BY 4.0.

The release, 2023.iwslt-1.2.dataset.zip of the ACL Anthology, has for each of `dev` and `eval` whole
talks (full_wavs/TALK.wav), their sentences as recordings (segmented_wavs/gold/sent_N.wav) and their
words (text/xml/ACL.6060.SPLIT.en-xx.LANG.xml, a doc for each talk with a seg for each sentence). It
does not say when a sentence is spoken. Its recording is a piece of the talk, sample for sample, so
that it is found there.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from evaluation.long_recordings import Recording, Spoken
from evaluation.samples import DataError
from speech_translation.types import Direction

Texts = dict[str, list[str]]
"""The sentences of each talk, by its name."""


def acl6060_talks(folder: Path, split: str) -> Iterator[Recording]:
    """The talks of a split, EN->JA. `folder` is `acl_6060` of the release. Raises DataError."""
    base = folder / split
    english, japanese = (
        _texts(base / "text" / "xml" / f"ACL.6060.{split}.en-xx.{language}.xml")
        for language in ("en", "ja")
    )
    number = 0
    for name, words in english.items():
        if len(japanese.get(name, [])) != len(words):
            raise DataError(f"{base}: {name} has not as many sentences in Japanese as in English.")
        path = base / "full_wavs" / f"{name}.wav"
        talk, rate = _samples(path)
        sentences, begin = list[Spoken](), 0
        for transcript, reference in zip(words, japanese[name], strict=True):
            number += 1
            piece = base / "segmented_wavs" / "gold" / f"sent_{number}.wav"
            begin, end = _place(piece, talk, begin)
            sentences.append(Spoken(begin / rate, end / rate, transcript, reference))
        yield Recording(name, path, Direction.EN_JA, sentences)


def _texts(path: Path) -> Texts:
    try:
        root = ElementTree.parse(path).getroot()
        return {
            doc.attrib["docid"]: [" ".join("".join(x.itertext()).split()) for x in doc.iter("seg")]
            for doc in root.iter("doc")
        }
    except (OSError, ElementTree.ParseError, KeyError) as error:
        raise DataError(f"{path} is not a text of ACL 60/60 ({error!r}).") from error


def _samples(path: Path) -> tuple[np.ndarray, int]:
    try:
        sound, rate = soundfile.read(path, dtype="int16")
    except (OSError, soundfile.SoundFileError) as error:
        raise DataError(f"{path} cannot be read ({error}).") from error
    return sound, int(rate)


def _place(piece: Path, talk: np.ndarray, after: int) -> tuple[int, int]:
    """Where the samples of a sentence are in its talk, from sample `after` on or else before."""
    sound, _ = _samples(piece)
    for start in (after, 0):
        at = talk[start:].tobytes().find(sound.tobytes())
        while at >= 0 and at % talk.itemsize:  # between two samples
            at = talk[start:].tobytes().find(sound.tobytes(), at + 1)
        if at >= 0:
            begin = start + at // talk.itemsize
            return begin, begin + len(sound)
    raise DataError(f"{piece} is no piece of its talk: is it another release?")
