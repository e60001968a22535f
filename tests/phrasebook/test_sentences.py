import re
from collections import defaultdict

import pytest

from phrasebook.other_speech import other_sentences
from phrasebook.sentences import pairs
from phrasebook.sentences import words as single_words
from speech_translation.types import Language

PAIRS = pairs()


def words(english: str) -> list[str]:
    """What is heard: lower-cased words without punctuation."""
    return re.findall(r"[a-z0-9:,']*[a-z0-9]", english.lower())


def test_phrasebook_is_as_large_as_promised() -> None:
    assert len({pair.template for pair in PAIRS}) >= 80
    assert len(PAIRS) >= 4000


def test_pairs_are_the_same_every_time() -> None:
    assert pairs() == PAIRS


def test_no_sentence_is_ambiguous() -> None:
    assert len({" ".join(words(pair.en)) for pair in PAIRS}) == len(PAIRS)
    assert len({re.sub("[、。？]", "", pair.ja) for pair in PAIRS}) == len(PAIRS)


@pytest.mark.parametrize(
    ("en", "ja"),
    [
        ("I'd like an umbrella.", None),
        ("I'd like a red umbrella.", "赤い傘が欲しいです。"),
        ("I have an English lesson on Friday.", "金曜日に英語の授業があります。"),
        ("My mother likes swimming.", "母は泳ぐのが好きです。"),
        ("How long does it take from Osaka to Tokyo?", "大阪から東京までどのくらいかかりますか？"),
        ("How long does it take from Osaka to Osaka?", None),
        ("What time is it now?", "今何時ですか？"),
    ],
)
def test_known_pairs(en: str, ja: str | None) -> None:
    assert {pair.en: pair.ja for pair in PAIRS}.get(en) == ja


def test_sentences_are_written_cleanly() -> None:
    for pair in PAIRS:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9 ,:']*[.?!]", pair.en), pair.en
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", pair.en.lower()), pair.en
        assert re.fullmatch(r"[^\sa-zA-Z{}?.]+[。？]", pair.ja), pair.ja
        assert pair.en.endswith("?") == pair.ja.endswith("？"), pair.en


def test_sentences_and_vocabulary_are_small() -> None:
    assert len({word for pair in PAIRS for word in words(pair.en)}) <= 350
    assert max(len(words(pair.en)) for pair in PAIRS) <= 12
    assert max(len(pair.ja) for pair in PAIRS) <= 28


def test_a_tenth_is_held_out_only_from_templates_with_slots() -> None:
    held_out = [pair for pair in PAIRS if pair.held_out]
    assert 0.10 <= len(held_out) / len(PAIRS) <= 0.12
    trained = {pair.template for pair in PAIRS if not pair.held_out}
    assert {pair.template for pair in held_out} <= trained


def test_every_word_is_trained_in_its_template() -> None:
    trained: defaultdict[str, set[str]] = defaultdict(set)
    for pair in PAIRS:
        if not pair.held_out:
            trained[pair.template].update(words(pair.en), pair.ja)
    for pair in PAIRS:
        assert trained[pair.template].issuperset([*words(pair.en), *pair.ja]), pair.en


def test_single_words_are_what_the_sentences_are_made_of() -> None:
    english = " ".join(pair.en.lower() for pair in PAIRS)
    japanese = "".join(pair.ja for pair in PAIRS)
    found = {pair.en: pair.ja for pair in single_words()}
    assert len(found) > 150
    assert found["Wine."] == "ワイン。"
    for en, ja in found.items():
        assert en[:-1].lower() in english
        assert ja[:-1] in japanese


@pytest.mark.parametrize("language", list(Language))
def test_other_speech_is_distinct_and_never_in_the_phrasebook(language: Language) -> None:
    others = other_sentences(language, 5000, seed=0)
    assert len(set(others)) == 5000
    phrasebook = {pair.en if language is Language.ENGLISH else pair.ja for pair in PAIRS}
    assert not phrasebook.intersection(others)


@pytest.mark.parametrize("language", list(Language))
def test_other_speech_depends_on_the_seed_alone(language: Language) -> None:
    assert other_sentences(language, 50, seed=1) == other_sentences(language, 50, seed=1)
    assert other_sentences(language, 50, seed=1) != other_sentences(language, 50, seed=2)
