"""What a checkpoint is accepted on: clips and long recordings of the repository."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace

from evaluation.invented import DATA, EXAMPLES
from evaluation.long_recordings import Recording, Spoken, joined
from evaluation.samples import read_samples
from speech_translation.engine import WINDOW
from speech_translation.manifest import Sample
from speech_translation.text import split_sentences
from speech_translation.types import SAMPLE_RATE, Direction, Language

JOINED = 4
"""Single sentences in a recording."""


def bundled(each: int) -> tuple[list[Sample], list[Recording]]:
    """Clips, `each` of a direction, and long recordings with the times of their sentences.

    Clips are a talk and single sentences by synthetic voices. Half of the English ones are people's
    instead, as far as there are so many: a real model must translate people, and the embedded
    checkpoint, which does not know them, is sure of half. Long recordings are the talks, and
    sentences after each other.
    """
    people = list(read_samples(DATA / "human.jsonl"))
    alone = [x for x in read_samples(DATA / "phrasebook.jsonl") if x.id.startswith("eval_voices")]
    clips, long = list[Sample](), list[Recording]()
    for language in Language:
        talk = _talk(language)
        singles = [x for x in alone if x.source is language]
        heard = people[: each // 2] if language is Language.ENGLISH else []
        chosen = [_loaded(sample) for sample in [talk, *heard, *singles][:each]]
        clips += chosen
        long += _recordings(chosen)
    return clips, long


def _loaded(sample: Sample) -> Sample:
    return replace(sample, audio=sample.load(), start=0.0, end=None, duration=None)


def _talk(language: Language) -> Sample:
    name, direction = f"{language}_talk", Direction.of(language)
    with (EXAMPLES / "clips.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        said = [row["spoken"] for row in rows if row["file"] == f"{name}.flac"]
    words = (" " if language is Language.ENGLISH else "").join(said)
    text = (EXAMPLES / f"{name}.txt").read_text("utf-8").strip()
    return Sample(
        EXAMPLES / f"{name}.flac", text, direction.target, language, transcript=words, id=name
    )


def _recordings(clips: Sequence[Sample]) -> Iterator[Recording]:
    """Those that are longer than the encoder's window, and the others after each other."""
    for clip in clips:
        sound = clip.load()
        if len(sound) > WINDOW * SAMPLE_RATE:
            sentences = [Spoken(0, 0, reference=text) for text in split_sentences(clip.text)]
            yield Recording(clip.id, sound, clip.direction, sentences)
    short = [clip for clip in clips if len(clip.load()) <= WINDOW * SAMPLE_RATE]
    yield from joined(short, "joined", each=JOINED)
