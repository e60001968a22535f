"""The talks: what is written, and that its sentences are spoken where the manifest says."""

import itertools
import random
from dataclasses import asdict

import numpy as np
import pytest

from phrasebook.talks import (
    BETWEEN,
    COMMAS,
    INSIDE,
    NEW_SUBJECT,
    PHRASED,
    Sentence,
    entry,
    is_spoken,
    speak_talk,
    talks,
)
from phrasebook.voices import MARGIN, Pcm
from speech_translation.text import wrong_script
from speech_translation.types import SAMPLE_RATE, Language

EN, JA = Language.ENGLISH, Language.JAPANESE


@pytest.mark.parametrize(("language", "count", "least"), [(JA, 8, 120), (EN, 4, 60)])
def test_talks_are_long_sentences_with_commas_and_their_translations(
    language: Language, count: int, least: int
) -> None:
    written = talks(language)
    sentences = [sentence for talk in written.values() for sentence in talk]
    other = JA if language is EN else EN
    assert len(written) >= count
    assert len(sentences) >= least
    assert len({sentence.transcript for sentence in sentences}) == len(sentences)
    with_comma = sum(COMMAS[language] in sentence.transcript for sentence in sentences)
    assert with_comma > 0.9 * len(sentences)
    for sentence in sentences:
        assert sentence.transcript[-1] in ".?。"
        assert sentence.reference[-1] in ".?。"
        assert not wrong_script(sentence.transcript, language)
        assert not wrong_script(sentence.reference, other)


class Voice:
    """Says a tone for each phrase of a sentence, with a short silence at each comma."""

    def speak(self, text: str, language: Language, voice: str, rate: float = 1.0) -> Pcm:
        tone = (8000 * np.sin(np.arange(SAMPLE_RATE) / 5)).astype(np.int16)
        silence = np.zeros(round((PHRASED + 0.05) * SAMPLE_RATE), np.int16)
        margin = np.zeros(round(MARGIN * SAMPLE_RATE), np.int16)
        parts = [margin, tone]
        for _ in range(text.count(COMMAS[language])):
            parts += [silence, tone]
        return np.concatenate([*parts, margin])


def test_pauses_are_drawn_inside_of_sentences_and_between_them() -> None:
    sentences = [Sentence(f"これは、{n}回目、です。", "…", n == 3) for n in range(6)]
    sound, spoken = speak_talk(sentences, JA, "a", 1.0, Voice(), random.Random(1))
    loud = np.abs(sound) > 1000
    for sentence in spoken:
        start, end = round(sentence.start * SAMPLE_RATE), round(sentence.end * SAMPLE_RATE)
        assert loud[start : start + 20].any()
        assert loud[end - 20 : end].any()
        pauses = silences(loud[start:end])
        assert len(pauses) == 2
        assert all(INSIDE[0] - 0.02 < pause < INSIDE[1] + 0.02 for pause in pauses)
    between = [b.start - a.end for a, b in itertools.pairwise(spoken)]
    assert between.pop(2) == pytest.approx(NEW_SUBJECT)
    assert all(BETWEEN[0] <= pause <= BETWEEN[1] for pause in between)
    assert 0 < np.abs(sound[:1000]).max() < 100  # a room is never as silent as nothing
    again, _ = speak_talk(sentences, JA, "a", 1.0, Voice(), random.Random(1))
    assert np.array_equal(sound, again)


def silences(loud: np.ndarray) -> list[float]:
    places = np.flatnonzero(loud)
    gaps = np.diff(places) / SAMPLE_RATE
    return [float(gap) for gap in gaps if gap > 0.1]


def test_a_closure_inside_of_a_word_is_not_stretched() -> None:
    class Hasty(Voice):
        def speak(self, text: str, language: Language, voice: str, rate: float = 1.0) -> Pcm:
            tone = (8000 * np.sin(np.arange(SAMPLE_RATE) / 5)).astype(np.int16)
            margin = np.zeros(round(MARGIN * SAMPLE_RATE), np.int16)
            closure = np.zeros(round(0.15 * SAMPLE_RATE), np.int16)
            return np.concatenate([margin, tone, closure, tone, margin])

    sentences = [Sentence("切って、煮る。", "Cut and boil.")]
    _, (spoken,) = speak_talk(sentences, JA, "a", 1.0, Hasty(), random.Random(1))
    assert spoken.end - spoken.start == pytest.approx(2.15, abs=0.01)


def test_a_talk_is_spoken_again_when_its_words_or_its_voice_change() -> None:
    sentences = [Sentence("一、二。", "One, two."), Sentence("三。", "Three.")]
    _, spoken = speak_talk(sentences, JA, "a", 1.0, Voice(), random.Random(1))
    row = entry("count", JA, "a", spoken)
    assert row["sentences"] == [asdict(x) for x in spoken]
    assert is_spoken(row, "a", sentences)
    assert not is_spoken(row, "b", sentences)
    assert not is_spoken(row, "a", sentences[:1])
    assert not is_spoken(row, "a", [sentences[0], Sentence("四。", "Four.")])
