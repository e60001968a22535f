"""Long recordings whose sentences are known: what segmentation is measured on.

A manifest has a line of JSON for each recording, with its path, relative to the manifest:

    {"recording": "talk.flac", "direction": "ja2en", "sentences": [
     {"start": 0.5, "end": 4.1, "transcript": "...", "reference": "..."}, ...]}

`phrasebook.talks` makes one. Data of other forms is read as it is: single sentences, which are
joined with pauses; people's clips; and the YAML of segments that IWSLT's test sets have.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.samples import DataError
from speech_translation.audio import load_audio
from speech_translation.detector import regions_of, speech_probabilities
from speech_translation.levels import Samples
from speech_translation.manifest import Sample
from speech_translation.segments import SENTENCE, span_of
from speech_translation.types import SAMPLE_RATE, Direction, Language, Seconds, Span

BETWEEN: tuple[Seconds, Seconds] = (0.4, 1.5)
"""Pauses between sentences that are joined."""

NEW_SUBJECT: Seconds = 3.5
SUBJECT_SENTENCES = 6  # on average
JOINED_SENTENCES = 15
"""In a joined recording: two to three minutes."""

PEOPLE_RECORDINGS, PEOPLE_ROUNDS = 4, 3
"""A person's clip is used so often in each of so many recordings, each time among others."""

_FLOOR = 0.05
"""The share of a clip that is taken for its noise: pauses between clips are as loud."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence in a recording, from its first sound to its last, in seconds.

    `reference` is its translation, empty where there is none.
    """

    start: Seconds
    end: Seconds
    transcript: str = ""
    reference: str = ""

    @property
    def span(self) -> Span:
        """In samples."""
        return Span(round(self.start * SAMPLE_RATE), round(self.end * SAMPLE_RATE))


@dataclass(frozen=True, slots=True)
class Recording:
    """A long recording, a file or float32 `(n,)` at 16 kHz, and its sentences in order."""

    name: str
    audio: Path | Samples
    direction: Direction
    sentences: Sequence[Spoken]

    @property
    def scored(self) -> bool:
        """Whether every sentence has a reference."""
        return all(sentence.reference for sentence in self.sentences)

    def load(self) -> Samples:
        """Float32 `(n,)` at 16 kHz. Raises AudioError."""
        return self.audio if isinstance(self.audio, np.ndarray) else load_audio(self.audio)


def read_recordings(manifest: Path) -> Iterator[Recording]:
    """The recordings of a manifest. Raises DataError."""
    try:
        for line in manifest.read_text("utf-8").splitlines():
            row = json.loads(line)
            yield Recording(
                row["recording"],
                manifest.parent / row["recording"],
                Direction(row["direction"]),
                [
                    Spoken(x["start"], x["end"], x.get("transcript", ""), x.get("reference", ""))
                    for x in row["sentences"]
                ],
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{manifest} is no manifest of recordings ({error!r}).") from error


def joined(
    samples: Iterable[Sample], name: str, each: int = JOINED_SENTENCES, seed: int = 1
) -> Iterator[Recording]:
    """Single sentences of one direction after each other, so many in a recording, with pauses."""
    for direction, group in groupby(samples, key=lambda sample: sample.direction):
        number = 0
        while batch := list(islice(group, each)):
            number += 1
            title = f"{name}-{direction.value}-{number}"
            clips = [
                ([Spoken(0, 0, sample.transcript, sample.text)], sample.load()) for sample in batch
            ]
            yield _assembled(title, direction, clips, random.Random(f"{seed} {title}"))


def people(folder: Path, seed: int = 1) -> Iterator[Recording]:
    """People's clips of a folder, in several orders, with pauses; long ones stand alone.

    The folder is that of `evaluation/data/README.md`. Two more keys of its manifest are used where
    they are there: `ends`, the seconds where the sentences of a clip end, and `translations` of
    these sentences. A clip without `ends` is taken for one sentence.
    """
    try:
        rows = json.loads((folder / "manifest.json").read_text("utf-8"))
        clips = [(Language(row["language"]), row, folder / row["path"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} has no manifest.json of recordings ({error!r}).") from error
    for language in Language:
        direction = Direction.of(language)
        found = [(row, load_audio(path)) for x, row, path in clips if x is language]
        short = list[tuple[Sequence[Spoken], Samples]]()
        for row, sound in found:
            sentences = _clip_sentences(row, sound)
            if len(sound) > SENTENCE.longest * SAMPLE_RATE:
                yield Recording(row["path"], sound, direction, sentences)
            else:
                short.append((sentences, sound))
        for number in range(1, PEOPLE_RECORDINGS + 1 if short else 1):
            title = f"people-{direction.value}-{number}"
            rng = random.Random(f"{seed} {title}")
            rounds = [x for _ in range(PEOPLE_ROUNDS) for x in rng.sample(short, len(short))]
            yield _assembled(title, direction, rounds, rng)


def _clip_sentences(row: dict[str, Any], sound: Samples) -> list[Spoken]:
    """The sentences of a person's clip, by the speech that is heard before each of their ends."""
    regions = regions_of(speech_probabilities(sound))
    if not regions:
        raise DataError(f"{row['path']}: no speech is heard in it.")
    ends = row.get("ends") or [regions[-1].end / SAMPLE_RATE]
    translations = row.get("translations") or [""] * len(ends)
    sentences, begin = list[Spoken](), regions[0].start / SAMPLE_RATE
    for end, translation in zip(ends, translations, strict=True):
        sentences.append(Spoken(begin, end, row["text"] if len(ends) == 1 else "", translation))
        later = [r.start / SAMPLE_RATE for r in regions if r.end / SAMPLE_RATE > end + 0.1]
        begin = max(end, later[0]) if later else end
    return sentences


def segment_list(
    segments: Path, folder: Path, transcripts: Path, references: Path, direction: Direction
) -> Iterator[Recording]:
    """The recordings of a test set as IWSLT gives it (MuST-C, ACL 60/60).

    `segments` is a YAML list of `wav`, `offset` and `duration`, `transcripts` and `references` have
    a line for each. Raises DataError.
    """
    try:
        import yaml  # type: ignore[import-untyped]

        rows = yaml.safe_load(segments.read_text("utf-8"))
        texts = [path.read_text("utf-8").splitlines() for path in (transcripts, references)]
        lines = list(zip(rows, *texts, strict=True))
        for wav, group in groupby(lines, key=lambda line: line[0]["wav"]):
            sentences = [
                Spoken(float(row["offset"]), float(row["offset"]) + float(row["duration"]), *words)
                for row, *words in group
            ]
            yield Recording(wav, folder / wav, direction, sentences)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{segments} does not fit its texts ({error!r}).") from error


def _assembled(
    name: str,
    direction: Direction,
    clips: Sequence[tuple[Sequence[Spoken], Samples]],
    rng: random.Random,
) -> Recording:
    """Clips after each other, cut to their speech, with drawn pauses that are as loud as they.

    The times of a clip of one sentence are those of the speech that is heard in it.
    """
    noise = np.random.default_rng(rng.getrandbits(32))
    parts, sentences = list[Samples](), list[Spoken]()
    at = 0
    for said, sound in clips:
        regions = regions_of(speech_probabilities(sound)) or [Span(0, len(sound))]
        begin, end = span_of(regions)
        if parts:
            change = rng.random() < 1 / SUBJECT_SENTENCES
            pause = NEW_SUBJECT if change else rng.uniform(*BETWEEN)
        else:
            pause = BETWEEN[0]
        parts.append(noise.normal(0, _noise(sound), round(pause * SAMPLE_RATE)).astype(np.float32))
        at += len(parts[-1])
        parts.append(sound[begin:end])
        shift = (at - begin) / SAMPLE_RATE
        if len(said) == 1:
            said = [Spoken(*Span(begin, end).seconds, said[0].transcript, said[0].reference)]
        sentences += [
            Spoken(x.start + shift, x.end + shift, x.transcript, x.reference) for x in said
        ]
        at += end - begin
    return Recording(name, np.concatenate(parts), direction, sentences)


def _noise(sound: Samples) -> float:
    """The level of the quietest parts of a clip, as the root of the mean square."""
    hops = sound[: len(sound) // 160 * 160].reshape(-1, 160)
    return float(np.quantile(np.sqrt(np.square(hops, dtype=np.float64).mean(axis=1)), _FLOOR))
