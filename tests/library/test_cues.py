"""Where a text is divided into cues, and what holds for every text."""

import re
import subprocess
import sys
import unicodedata
from dataclasses import replace
from itertools import pairwise

import pytest
from caption_texts import AUTO, EN, JA, one, texts, translation, width, words
from hypothesis import given
from hypothesis import strategies as st

from speech_translation.cues import Cue, cues
from speech_translation.types import Direction, Segment, Translation


def test_english_breaks_at_sentences_and_splits_the_time_by_length() -> None:
    text = "It opens at eight. We surveyed 1,200 residents in all, and most of them read on phones."
    assert one(text, 8.8) == [
        Cue(0, 2504, "It opens at eight."),
        Cue(2504, 8800, "We surveyed 1,200 residents in all,\nand most of them read on phones."),
    ]


def test_japanese_breaks_between_phrases() -> None:
    text = (
        "4月から6月にかけて約1,200人の住民にアンケートを行ったところ、"
        "多くの人が本を借りたいと答えました。"
    )
    assert [cue.text for cue in one(text, 9, JA)] == [
        "4月から6月にかけて約1,200人の\n住民にアンケートを行ったところ、",
        "多くの人が本を借りたいと答えました。",
    ]


def test_titles_and_small_letters_do_not_end_a_sentence() -> None:
    text = (
        "On Monday we will meet Mr. Smith and his wife at 8 a.m. outside the bank. See you there."
    )
    assert [cue.text for cue in one(text, 8)] == [
        "On Monday we will meet Mr. Smith\nand his wife at 8 a.m. outside the bank.",
        "See you there.",
    ]


def test_a_line_does_not_end_on_an_article() -> None:
    (cue,) = one("We are looking forward to a second visit to the museum.", 4)
    assert not re.search(r"\b(a|the|to)\n", cue.text)


def test_short_text_in_a_long_span_shows_for_7_seconds_from_its_start() -> None:
    assert cues(translation((5.0, 33.0, "Hello, everyone."))) == [
        Cue(5000, 12000, "Hello, everyone.")
    ]


def test_slow_speech_is_split_below_7_seconds() -> None:
    result = one("This speaker takes a lot of time. Nobody in the audience minds that at all.", 14)
    assert [cue.text for cue in result] == [
        "This speaker takes a lot of time.",
        "Nobody in the audience minds that at all.",
    ]


def test_dense_text_keeps_two_lines_in_more_cues() -> None:
    result = one("word " * 100, 3)
    assert len(result) == 7
    assert result[-1].end_ms == 3000


@pytest.mark.parametrize(
    ("text", "direction", "limit"),
    [("https://example.com/" + "x" * 60, EN, 42), ("スーパー" * 10, JA, 40)],
)
def test_only_a_word_wider_than_a_line_is_cut(text: str, direction: Direction, limit: int) -> None:
    lines = "\n".join(cue.text for cue in one(text, 5, direction)).split("\n")
    assert "".join(lines) == text
    assert max(map(width, lines)) <= limit
    assert not any(line.startswith("ー") for line in lines)


@pytest.mark.parametrize(("text", "lines"), [("字" * 21, 2), ("字" * 20, 1), ("x " * 21, 1)])
def test_automatic_direction_takes_the_line_of_the_script(text: str, lines: int) -> None:
    (cue,) = one(text, 5, AUTO)
    assert cue.text.count("\n") + 1 == lines


def test_text_is_cleaned_to_a_single_line() -> None:
    (cue,) = one("\u200fone\r\ntwo\x00\x1b[0m\tthree\u2028four\u202e ", 5)
    assert cue.text == "one two[0m three four"


def test_times_are_moved_on_when_spans_are_empty_overlap_or_run_backwards() -> None:
    result = cues(translation((1.0, 1.0, "a"), (0.5, 2.0, "b"), (1.5, 1.2, "c"), (-1, -1, "d")))
    assert result == [
        Cue(1000, 1001, "a"),
        Cue(1001, 2000, "b"),
        Cue(2000, 2001, "c"),
        Cue(2001, 2002, "d"),
    ]


def test_invisible_characters_with_a_space_between_give_no_cue() -> None:
    assert one("\u200d \u200d", 1) == []


def test_english_captions_do_not_import_budoux() -> None:
    code = (
        "import sys; from speech_translation.captions import cues;"
        "from speech_translation.types import *; d = Direction.JA_EN;"
        "cues(Translation([Segment(0, 9, 'word ' * 40, d)], d, 9));"
        "assert 'budoux' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Properties


@st.composite
def spoken(draw: st.DrawFn) -> Translation:
    """Segments whose regions last 32 ms to 8 s, with pauses of up to 3 s in and between them."""
    at, segments = 0, list[Segment]()
    for _ in range(draw(st.integers(1, 3))):
        regions = list[tuple[float, float]]()
        for _ in range(draw(st.integers(1, 8))):
            at += draw(st.integers(0, 3000))
            start, at = at, at + draw(st.integers(32, 8000))
            regions.append((start / 1000, at / 1000))
        span = regions[0][0], regions[-1][1]
        direction = draw(st.sampled_from(Direction))
        segments.append(Segment(*span, draw(texts), direction, regions=tuple(regions)))
    return Translation(segments, AUTO, at / 1000)


def squeezed(text: str) -> str:
    """`text` without what cleaning removes or line breaks replace."""
    return "".join(
        char
        for char in text
        if not char.isspace()
        and (unicodedata.category(char) not in {"Cc", "Cf", "Cs"} or char == "\u200d")
    )


def without_regions(translation: Translation) -> Translation:
    segments = [replace(segment, regions=()) for segment in translation.segments]
    return replace(translation, segments=segments)


@given(spoken())
def test_no_cue_lies_over_a_long_pause(given: Translation) -> None:
    regions = [region for segment in given.segments for region in segment.regions]
    for (_, before), (after, _) in pairwise(regions):
        begin, end = round(before * 1000), round(after * 1000)
        if end - begin >= 1000:
            for cue in cues(given):
                # A region may be too short for its cues at 1 ms each.
                assert min(cue.end_ms, end) - max(cue.start_ms, begin) <= 1


@given(spoken())
def test_all_text_is_shown_in_order(given: Translation) -> None:
    seen = [squeezed(segment.text) for segment in given.segments]
    shown = "".join(text for text in seen if width(text))
    assert squeezed("".join(cue.text for cue in cues(given))) == shown


@given(st.one_of(spoken(), spoken().map(without_regions)))
def test_cues_keep_the_rules(given: Translation) -> None:
    before = 0
    for cue in cues(given):
        assert before <= cue.start_ms < cue.end_ms <= cue.start_ms + 7000
        before = cue.end_ms
        lines = cue.text.split("\n")
        assert len(lines) <= 2
        for line in lines:
            assert line == line.strip() != ""
            assert width(line) <= 42


@given(
    st.lists(words, max_size=60).map("".join),
    st.floats(0.1, 30, allow_subnormal=False),
)
def test_japanese_lines_are_20_wide_and_never_begin_with_punctuation(
    text: str, seconds: float
) -> None:
    # Joiners, marks and brackets that glue a whole line together leave nowhere else to break.
    text = "あ" + re.sub("[(\u200d\u0301\u3000]", "", text)
    lines = "\n".join(cue.text for cue in one(text, seconds, JA)).split("\n")
    assert max(map(width, lines)) <= 40
    if not re.search(r"[、。？！ーっ）」,.?!)「本]{15}", text):
        assert not any(line[0] in "、。？！ーっ）」" for line in lines)
