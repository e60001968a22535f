"""Files with what was said beside what it means."""

import json
import time
from itertools import pairwise

import pysubs2
import pytest
from caption_texts import texts, width
from hypothesis import given
from hypothesis import strategies as st

from speech_translation.captions import FORMATS, Format, cues, render
from speech_translation.cues import MAX_CUE_MS, Cue, single_line
from speech_translation.types import Direction, Flag, Segment, Show, Translation

EN_JA, JA_EN = Direction.EN_JA, Direction.JA_EN


def whole(*segments: Segment) -> Translation:
    return Translation(segments, Direction.AUTO, 60.0)


STATION = Segment(
    0.5, 3.0, "駅です。", EN_JA, source_text="It is\tthe station.", source_flags=frozenset()
)
FOG = Segment(
    4.0,
    6.0,
    "A fog.",
    JA_EN,
    frozenset({Flag.TOO_SHORT}),
    source_text="霧が出ています。",
    source_flags=frozenset({Flag.LOW_CONFIDENCE}),
)
SILENT = Segment(7.0, 8.0, "", EN_JA)
UNWRITTEN = Segment(8.0, 9.0, "はい。", EN_JA)
TALK = whole(STATION, FOG, SILENT, UNWRITTEN)


def lines(source: str, text: str, seconds: float = 30.0, direction: Direction = EN_JA) -> list[str]:
    segment = Segment(0.0, seconds, text, direction, source_text=source)
    return [cue.text for cue in cues(whole(segment), "both")]


# Formats


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        (Show.TRANSLATION, "駅です。 A fog. はい。\n"),
        (Show.SOURCE, "It is\tthe station. 霧が出ています。\n"),
        (Show.BOTH, "駅です。\nIt is\tthe station.\n\nA fog.\n霧が出ています。\n\nはい。\n"),
    ],
)
def test_plain_text(show: Show, expected: str) -> None:
    assert render(TALK, "txt", show) == expected


def test_a_table_has_the_columns_that_were_asked_for() -> None:
    both = [row.split("\t") for row in render(TALK, "tsv", "both").splitlines()]
    assert both[0] == [
        *("start", "end", "text", "flags", "direction"),
        *("source_text", "source_flags"),
    ]
    assert both[1] == ["500", "3000", "駅です。", "", "en2ja", "It is the station.", ""]
    assert both[2][3:] == ["too_short", "ja2en", "霧が出ています。", "low_confidence"]
    assert all(len(row) == 7 for row in both)
    source = [row.split("\t") for row in render(TALK, "tsv", "source").splitlines()]
    assert source[0] == ["start", "end", "direction", "source_text", "source_flags"]
    assert source[2] == ["4000", "6000", "ja2en", "霧が出ています。", "low_confidence"]


def test_data_names_both_texts() -> None:
    both = json.loads(render(TALK, "json", "both"))
    assert both["source_text"] == TALK.source_text
    assert both["segments"][1]["text"] == "A fog."
    assert both["segments"][1]["source_text"] == "霧が出ています。"
    assert both["segments"][1]["source_flags"] == ["low_confidence"]
    source = json.loads(render(TALK, "json", "source"))
    assert "text" not in source
    assert "text" not in source["segments"][0]
    assert not any("source" in key for key in json.loads(render(TALK, "json")))


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_subtitles_have_a_line_in_each_language(format: Format) -> None:
    read = pysubs2.SSAFile.from_string(render(TALK, format, "both"), format_=format)
    assert [event.plaintext for event in read] == [
        "駅です。\nIt is the station.",
        "A fog.\n霧が出ています。",
        "はい。",
    ]
    read = pysubs2.SSAFile.from_string(render(TALK, format, "source"), format_=format)
    assert [event.plaintext for event in read] == ["It is the station.", "霧が出ています。"]


@pytest.mark.parametrize("format", FORMATS)
def test_another_way_to_show_is_refused(format: Format) -> None:
    with pytest.raises(ValueError, match="translation, both, source"):
        render(TALK, format, "all")


# Where two texts are divided


def test_sentences_stay_together_with_their_translations() -> None:
    assert lines(
        "My wife likes taking pictures. I met my boss. My father is at the station now.",
        "妻は写真を撮るのが好きです。上司に会いました。父は今駅にいます。",
        9.0,
    ) == [
        "妻は写真を撮るのが好きです。\nMy wife likes taking pictures.",
        "上司に会いました。\nI met my boss.",
        "父は今駅にいます。\nMy father is at the station now.",
    ]


def test_a_long_sentence_is_divided_at_the_same_places_in_both() -> None:
    assert lines(
        "When we arrived at the station in the morning, the train had already left without us.",
        "私たちが朝駅に着いたとき、電車は私たちを乗せずにすでに出発していました。",
        7.0,
    ) == [
        "私たちが朝駅に着いたとき、\nWhen we arrived at the station",
        "電車は私たちを\nin the morning,",
        "乗せずにすでに出発していました。\nthe train had already left without us.",
    ]


def test_a_short_line_stays_where_the_other_language_needs_several() -> None:
    shown = lines(
        "This is what one says when somebody asks for something and one is glad to do it for them.",
        "はい。",
    )
    assert len(shown) == 3
    assert all(text.startswith("はい。\n") for text in shown)


def test_no_cue_lies_over_a_long_pause() -> None:
    segment = Segment(
        *(0.0, 9.0, "朝着いたとき、電車は出ていました。", EN_JA),
        regions=((0.0, 3.0), (5.0, 9.0)),
        source_text="When I arrived in the morning, the train had already left.",
    )
    assert all(c.end_ms <= 3000 or c.start_ms >= 5000 for c in cues(whole(segment), "both"))


def shows_all(parts: list[str], text: str) -> bool:
    """Whether the lines are the text, in order; one may stay while the other language goes on."""
    rest, before = "".join(text.split()), ""
    for part in ("".join(part.split()) for part in parts):
        if rest.startswith(part):
            rest = rest.removeprefix(part)
        elif part != before:
            return False
        before = part
    return not rest


@given(texts, texts, st.floats(0.1, 40.0), st.sampled_from([EN_JA, JA_EN]))
def test_any_two_texts_have_cues_of_one_line_each(
    text: str, source: str, seconds: float, direction: Direction
) -> None:
    segment = Segment(1.0, 1.0 + seconds, text, direction, source_text=source)
    both = cues(whole(segment), "both")
    alone = [cues(whole(segment), show) for show in (Show.TRANSLATION, Show.SOURCE)]
    if not all(alone):
        assert both == alone[0] + alone[1]
        return
    limits = (40, 42) if direction is EN_JA else (42, 40)
    for cue in both:
        assert 0 < cue.end_ms - cue.start_ms <= MAX_CUE_MS
        assert all(map(ends_in_time, pairwise(both)))
        one, other = cue.text.split("\n")
        assert one.strip()
        assert other.strip()
        # One piece that no rule divides may be wider, as in a cue of its own.
        widest = max(width(line) for cues in alone for cue in cues for line in cue.text.split("\n"))
        assert width(one) <= max(limits[0], widest)
        assert width(other) <= max(limits[1], widest)
    for number, wanted in enumerate((text, source)):
        parts = [cue.text.split("\n")[number] for cue in both]
        assert shows_all(parts, single_line(wanted))


def ends_in_time(pair: tuple[Cue, Cue]) -> bool:
    return pair[0].end_ms <= pair[1].start_ms


def test_an_hour_takes_seconds() -> None:
    sentence = "This is an example of a sentence that goes on for a long time without a full stop "
    japanese = "これは句読点がなくてもとても長く続く日本語の文章の例であり分割されるべきものです"
    segment = Segment(0.0, 30.0, japanese * 4, EN_JA, source_text=sentence * 5)
    began = time.process_time()
    for _ in range(3):
        render(whole(segment), "srt", "both")
    assert (time.process_time() - began) / 3 * 120 < 60


def test_short_sentences_share_a_cue_as_in_one_language() -> None:
    text, source = "うん。うん。そう。なるほどね。", "Yeah. Yeah. Right. I see."
    assert lines(source, text, 1.6) == [f"{text}\n{source}"]


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("ハ" * 5000, "ha" * 2500),
        ("はいそうです" * 833, "yes it is so " * 384),
        ("はい。" * 1600, "Yes. " * 1000),
        ("あ", "a " * 2500),
    ],
)
def test_the_time_for_a_text_that_loops_grows_with_its_length_only(text: str, source: str) -> None:
    began = time.process_time()
    lines(source, text)
    assert time.process_time() - began < 3


def test_a_run_that_no_rule_divides_does_not_flash_by() -> None:
    segment = Segment(0.0, 10.0, "ハ" * 250, EN_JA, source_text="h" * 400)
    shown = cues(whole(segment), "both")
    assert len(shown) == 13  # as many lines as the longer text has
    assert min(cue.end_ms - cue.start_ms for cue in shown) > 300


def test_a_line_that_stands_shares_its_time_among_its_cues() -> None:
    shown = cues(
        whole(Segment(0.0, 4.0, "はい。" * 3 + "ハ" * 60, EN_JA, source_text="Yes.")), "both"
    )
    assert [cue.text.split("\n")[1] for cue in shown] == ["Yes."] * len(shown)
    lengths = [cue.end_ms - cue.start_ms for cue in shown]
    assert sum(lengths) == 4000
    assert max(lengths) - min(lengths) <= 1
