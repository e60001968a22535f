"""Pauses inside of sentences: where they are put, how long they are, and that no sound is lost."""

import random
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from phrasebook.pauses import broken_off, silences, speak_with_pause, stretch
from phrasebook.voices import MARGIN, Pcm
from speech_translation.types import SAMPLE_RATE, Language, Seconds

EDGE = np.zeros(round(MARGIN * SAMPLE_RATE), np.int16)


def tone(seconds: Seconds, level: float = 8000) -> Pcm:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave: Pcm = np.round(level * np.sin(2 * np.pi * 200 * time)).astype(np.int16)
    return wave


def quiet(seconds: Seconds) -> Pcm:
    """A silence as voices make it: not digital zero."""
    noise = np.random.default_rng(3).integers(-9, 10, round(seconds * SAMPLE_RATE))
    return noise.astype(np.int16)


@pytest.mark.parametrize("pauses", [[0.1, 1.2], [0.7, 0.05], [0.3004, 0.30007]])
def test_silences_get_exactly_the_lengths_that_are_wanted(pauses: list[Seconds]) -> None:
    words = [tone(0.5), tone(0.3), tone(0.41)]
    samples = np.concatenate([words[0], quiet(0.2), words[1], quiet(0.3), words[2]])
    result, places = stretch(samples, pauses)
    wanted = [round(seconds * SAMPLE_RATE) for seconds in pauses]
    assert [end - start for start, end in places] == wanted
    assert len(result) == sum(map(len, words)) + sum(wanted)
    (a, b), (c, d) = places
    for word, heard in zip(words, (result[:a], result[b:c], result[d:]), strict=True):
        assert np.array_equal(word, heard)
    for start, end in places:
        assert np.abs(result[start:end]).max(initial=0) < 10


def test_a_clip_is_broken_off_at_its_longest_silence() -> None:
    first = np.concatenate([tone(0.5), quiet(0.2), tone(0.3)])
    result = broken_off(np.concatenate([first, quiet(0.7), tone(0.4), quiet(0.9)]), 0.5)
    assert np.array_equal(result[: len(first)], first)
    assert len(result) == len(first) + SAMPLE_RATE // 2
    assert not result[len(first) :].any()


def test_a_pause_begins_and_ends_without_a_click() -> None:
    samples = np.concatenate([tone(0.5), quiet(0.2), tone(0.5)])
    result, _ = stretch(samples, [0.9])
    steepest = max(abs(int(b) - int(a)) for a, b in pairwise(samples.tolist()))
    assert max(abs(b - a) for a, b in pairwise(result.tolist())) <= steepest


def test_only_as_many_silences_are_stretched_as_the_voice_made() -> None:
    samples = np.concatenate([tone(0.5), quiet(0.1), tone(0.5)])
    result, places = stretch(samples, [0.5, 0.9])
    assert len(places) == 1
    assert len(result) == len(samples) + round(0.4 * SAMPLE_RATE)
    unchanged, places = stretch(samples, [0.5], shortest=0.22)
    assert not places
    assert np.array_equal(unchanged, samples)


def voice(pause: Callable[[str], Seconds], heard: list[str]) -> Callable[[str], Pcm]:
    """A voice that has 0.1 s for a letter, 0.15 s of silence in "doctor", and `pause` at a mark."""

    def speak(text: str) -> Pcm:
        heard.append(text)
        parts = [EDGE]
        for word in text.split():
            letters = word.rstrip(".,")
            if letters == "doctor":
                parts += [tone(0.2), quiet(0.15), tone(0.4)]
            else:
                parts.append(tone(0.1 * len(letters)))
            if word[-1] in ".," and not text.endswith(word):
                parts.append(quiet(pause(word)))
        return np.concatenate([*parts, EDGE])

    return speak


def test_the_pause_is_put_at_the_comma_and_not_into_a_word() -> None:
    heard = list[str]()
    speak = voice(lambda word: 0.08, heard)
    sound = speak_with_pause(
        speak, "My father is a doctor.", Language.ENGLISH, 0.8, random.Random(1)
    )
    (text,) = heard
    before = text.split(",")[0].replace(" ", "")
    found = [run for run in silences(sound) if run[1] - run[0] == round(0.8 * SAMPLE_RATE)]
    assert [start / SAMPLE_RATE - MARGIN for start, _ in found] == [
        pytest.approx(0.1 * len(before), abs=0.02)
    ]


def test_a_voice_that_runs_over_commas_is_asked_for_more() -> None:
    heard = list[str]()
    speak = voice(lambda word: 0.1 if word == "father..." else 0.0, heard)
    sound = speak_with_pause(
        speak, "My father is at home.", Language.ENGLISH, 0.8, random.Random(1)
    )
    assert heard[-1] == "My father... is at home."
    assert len(set(heard)) == len(heard)
    assert any(end - start == round(0.8 * SAMPLE_RATE) for start, end in silences(sound))


def test_a_sentence_without_any_place_for_a_pause_stays_whole() -> None:
    heard = list[str]()
    speak = voice(lambda word: 0.0, heard)
    sound = speak_with_pause(speak, "Hello.", Language.ENGLISH, 0.8, random.Random(1))
    assert heard == ["Hello."]
    assert np.array_equal(sound, speak("Hello."))


@pytest.mark.parametrize(
    ("text", "language", "wanted"),
    [
        ("I like green tea.", Language.ENGLISH, {"I like, green tea."}),
        (
            "妻とカレーを食べた。",
            Language.JAPANESE,
            {"妻と、カレーを食べた。", "妻とカレーを、食べた。"},
        ),
    ],
)
def test_a_pause_is_first_tried_between_phrases_in_the_middle(
    text: str, language: Language, wanted: set[str]
) -> None:
    tried = set[str]()
    for seed in range(20):
        heard = list[str]()
        speak_with_pause(voice(lambda word: 0.0, heard), text, language, 0.8, random.Random(seed))
        tried.add(heard[0])
    assert tried == wanted
