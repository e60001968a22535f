"""Utterances of several sentences: how they are drawn, and how a reply is compared with them."""

import random

import numpy as np
import pytest

from phrasebook.sentences import pairs
from phrasebook.synthesis import Clip
from phrasebook.utterances import PAUSES, right_sentences, utterances
from speech_translation.text import split_sentences
from speech_translation.types import SAMPLE_RATE, Language

REFERENCE = "Where is it? I like tea. Let's meet at 2:30. Thank you."


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        (REFERENCE, 4),
        ("Where is it? I like tea. Thank you.", 3),  # one is missing
        ("Where is it? I like tea. Yes. Let's meet at 2:30. Thank you.", 4),  # one too many
        ("Where is it? I like coffee. Let's meet at 2:30. Thank you.", 3),  # one is wrong
        ("Where is it? I like tea. Let's meet at 2:30.Thank you.", 2),  # two run together
        ("Thank you. Where is it?", 1),  # both are there, in another order
        ("I like tea. I like tea. I like tea.", 1),  # one is not right thrice
        ("where is it? I like tea", 0),
        ("", 0),
    ],
)
def test_a_sentence_is_right_only_as_it_is_and_in_its_place(reply: str, right: int) -> None:
    assert right_sentences(reply, REFERENCE) == right


def test_japanese_sentences_need_no_space_between_them() -> None:
    reference = "駅はどこですか？水は300円です。ありがとうございます。"
    assert right_sentences(reference, reference) == 3
    assert right_sentences("駅はどこですか？ありがとうございます。", reference) == 2
    assert right_sentences("駅はどこですか。水は300円です。", reference) == 1


def test_every_sentence_of_the_phrasebook_is_one_sentence() -> None:
    for pair in pairs():
        assert split_sentences(pair.en) == [pair.en]
        assert split_sentences(pair.ja) == [pair.ja]
        assert split_sentences(f"{pair.en} {pair.en}") == [pair.en] * 2


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Two voices, one of which has too few sentences for a long utterance."""
    return [
        Clip(
            "eval_seen",
            Language.ENGLISH,
            f"It is {n}.",
            f"{n}です。",
            "many" if n < 20 else "few",
            1.0,
            samples=np.full(SAMPLE_RATE, n + 1, np.int16),
        )
        for n in range(23)
    ]


def test_utterances_are_by_one_voice_with_pauses_between_their_sentences(clips: list[Clip]) -> None:
    drawn = utterances(clips, (2, 4), 180, random.Random(1))
    assert len(drawn) == 60
    assert [len(split_sentences(x.text)) for x in drawn[:4]] == [2, 3, 4, 2]
    assert {x.voice for x in drawn} == {"many", "few"}
    for utterance in drawn:
        spoken = split_sentences(utterance.text)
        assert len(set(spoken)) == len(spoken)
        said = {clip.text: clip for clip in clips if clip.voice == utterance.voice}
        assert utterance.translation == "".join(said[text].translation for text in spoken)
        sounds = [said[text].samples for text in spoken]
        assert np.array_equal(utterance.samples[utterance.samples > 0], np.concatenate(sounds))
        pauses = len(utterance.samples) / SAMPLE_RATE - len(spoken)
        least, most = (bound * (len(spoken) - 1) for bound in PAUSES)
        assert least - 1e-3 <= pauses <= most + 1e-3


def test_a_long_utterance_is_by_a_voice_that_has_enough_sentences(clips: list[Clip]) -> None:
    drawn = utterances(clips, (5, 8), 180, random.Random(1))
    assert sum(len(split_sentences(x.text)) for x in drawn) >= 180
    assert {x.voice for x in drawn} == {"many"}


def test_the_same_seed_draws_the_same_utterances(clips: list[Clip]) -> None:
    first, again, other = (utterances(clips, (2, 4), 30, random.Random(x)) for x in (1, 1, 2))
    assert [x.text for x in first] == [x.text for x in again] != [x.text for x in other]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, again, strict=True))
