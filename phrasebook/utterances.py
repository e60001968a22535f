"""Utterances of several sentences: assembled from clips, and compared sentence by sentence."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import cycle

import numpy as np

from phrasebook.speech import join
from phrasebook.synthesis import Clip
from speech_translation.text import split_sentences
from speech_translation.types import SAMPLE_RATE, Language, Seconds

PAUSES: tuple[Seconds, Seconds] = (0.1, 1.2)
"""From the end of one clip to the beginning of the next."""


def right_sentences(reply: str, reference: str) -> int:
    """How many sentences of `reference` stand in `reply` as they are, in the same order."""
    matcher = SequenceMatcher(
        None, split_sentences(reference), split_sentences(reply), autojunk=False
    )
    return sum(block.size for block in matcher.get_matching_blocks())


def utterances(
    clips: Sequence[Clip], lengths: tuple[int, int], sentences: int, rng: random.Random
) -> list[Clip]:
    """Utterances by one voice each, until they have so many `sentences` together.

    Their lengths, in sentences, are those from the first to the last of `lengths` in turn; pauses
    are drawn from `PAUSES`. `clips` are of one language; no clip is twice in an utterance.
    """
    by_voice = defaultdict[str, list[Clip]](list)
    for clip in clips:
        by_voice[clip.voice].append(clip)
    drawn, count = list[Clip](), 0
    for length in cycle(range(lengths[0], lengths[1] + 1)):
        if count >= sentences:
            break
        voice = rng.choice([c.voice for c in clips if len(by_voice[c.voice]) >= length])
        drawn.append(_joined(rng.sample(by_voice[voice], length), rng))
        count += length
    return drawn


def _joined(clips: Sequence[Clip], rng: random.Random) -> Clip:
    first, *others = clips
    text, translation, parts = first.text, first.translation, [first.samples]
    target = next(language for language in Language if language is not first.language)
    for clip in others:
        pause = np.zeros(round(rng.uniform(*PAUSES) * SAMPLE_RATE), np.int16)
        parts += [pause, clip.samples]
        text = join(text, clip.text, first.language)
        translation = join(translation, clip.translation, target)
    samples = np.concatenate(parts)
    return Clip(
        "utterance", first.language, text, translation, first.voice, first.rate, samples=samples
    )
