"""Pauses inside of sentences: where a speaker breathes, and clips that pause there.

A comma makes a voice end a phrase and begin another, as a speaker who breathes does; the silence
that it leaves is then given the length that is wanted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from phrasebook.voices import MARGIN, Pcm
from speech_translation.atoms import japanese_phrases
from speech_translation.text import has_japanese
from speech_translation.types import SAMPLE_RATE, Language, Seconds

_HOP = SAMPLE_RATE // 100
_QUIET = 0.02  # of the loudest hop: below this is silence
_COMMAS = {Language.ENGLISH: ", ", Language.JAPANESE: "、"}
_FULL_STOPS = {Language.ENGLISH: "... ", Language.JAPANESE: "。"}
_NEAR = 0.15
"""Of the speech: a pause is where it is due if so much is said less or more before it. Words differ
in speed by less; a closure inside of another word is mostly farther away."""


def speak_with_pause(
    speak: Callable[[str], Pcm],
    text: str,
    language: Language,
    seconds: Seconds,
    rng: random.Random,
) -> Pcm:
    """`text` as `speak` says it, with a pause of `seconds` between two of its phrases.

    A voice runs over some commas, and is as silent inside of a word, before the t of "doctor". So
    other places, and then stronger marks, are tried until there is a silence where one is due.
    Without any the sentence stays without a pause.
    """
    places = _places(text, language, rng)
    for marks in (_COMMAS, _FULL_STOPS):
        for before, after in places:
            sound = speak(before + marks[language] + after)
            due = _letters(before) / _letters(before + after)
            for run in sorted(silences(sound), key=lambda run: run[0] - run[1]):
                if abs(_said_before(run, len(sound)) - due) < _NEAR:
                    result, _ = _with_lengths(sound, [(run, seconds)])
                    return result
    return speak(text)


def _places(text: str, language: Language, rng: random.Random) -> list[tuple[str, str]]:
    """What stands before and after each place for a pause, one that is not at the edge first."""
    phrases = text.split(" ") if language is Language.ENGLISH else japanese_phrases(text)
    places = [
        at for at in range(1, len(phrases)) if not phrases[at - 1].endswith((",", "、", ".", "。"))
    ]
    if not places:
        return []
    inner = [at for at in places if 1 < at < len(phrases) - 1] or places
    first = rng.choice(inner)
    others = [at for at in places if at != first]
    ordered = [first, *sorted(rng.sample(others, len(others)), key=lambda at: at not in inner)]
    joint = " " if language is Language.ENGLISH else ""
    return [(joint.join(phrases[:at]), joint.join(phrases[at:])) for at in ordered]


def _letters(text: str) -> int:
    """How long `text` takes to say, in letters or kana: a kanji has two, a digit two or four."""
    japanese = has_japanese(text)
    digit = 2 if japanese else 4
    return sum(
        digit if c.isdigit() else 2 if "\u4e00" <= c <= "\u9fff" else c.isalpha() for c in text
    )


def _said_before(silence: tuple[int, int], length: int) -> float:
    """The share of the speech in a clip of `length` samples that stands before `silence`."""
    start, end = silence
    margin = round(MARGIN * SAMPLE_RATE)
    return (start - margin) / max(1, length - 2 * margin - (end - start))


def broken_off(samples: Pcm, seconds: Seconds) -> Pcm:
    """What is said before the longest silence of `samples` (n,), and silence for `seconds`."""
    start, _ = max(silences(samples), key=lambda run: run[1] - run[0])
    result: Pcm = np.pad(samples[:start], (0, round(seconds * SAMPLE_RATE)))
    return result


def stretch(
    samples: Pcm, pauses: list[Seconds], *, shortest: Seconds = 0.04
) -> tuple[Pcm, list[tuple[int, int]]]:
    """`samples` (n,) at 16 kHz whose longest silences, as many as `pauses`, last so long in order.

    Also where these pauses are in the result, in samples. A silence that already lasts longer is
    shortened. Fewer are changed where the voice made fewer of at least `shortest`: a closure inside
    of a word is silent for up to 0.2 s.
    """
    long = [run for run in silences(samples) if run[1] - run[0] >= shortest * SAMPLE_RATE]
    found = sorted(long, key=lambda run: run[0] - run[1])[: len(pauses)]
    return _with_lengths(samples, list(zip(sorted(found), pauses, strict=False)))


def _with_lengths(
    samples: Pcm, lengths: list[tuple[tuple[int, int], Seconds]]
) -> tuple[Pcm, list[tuple[int, int]]]:
    """`samples` with silences, in order, as long as wanted, and where these are in the result.

    Silence is put into the middle of one, or taken out there, so that no sound is touched.
    """
    parts, places, at, length = list[Pcm](), list[tuple[int, int]](), 0, 0
    for (start, end), seconds in lengths:
        wanted = round(seconds * SAMPLE_RATE)
        edge = min(end - start, wanted) // 2
        before, silence = samples[at : start + edge], np.zeros(wanted - 2 * edge, np.int16)
        parts += [before, silence]
        places.append((length + len(before) - edge, length + len(before) + len(silence) + edge))
        length += len(before) + len(silence)
        at = end - edge
    result: Pcm = np.concatenate([*parts, samples[at:]])
    return result, places


def silences(samples: Pcm) -> list[tuple[int, int]]:
    """Stretches of silence of 40 ms or more between the first and the last sound, in samples."""
    count = len(samples) // _HOP
    hops = samples[: count * _HOP].reshape(count, _HOP).astype(np.float64)
    level = np.sqrt((hops**2).mean(axis=1))
    loud = np.flatnonzero(level >= _QUIET * level.max(initial=1))
    return [
        (int(first + 1) * _HOP, int(last) * _HOP)
        for first, last in pairwise(loud)
        if last - first > 4
    ]
