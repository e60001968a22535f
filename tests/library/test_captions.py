import csv
import html
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import get_args

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_translation import files
from speech_translation.captions import FORMATS, Cue, Format, cues, render, write
from speech_translation.types import Direction, Flag, Segment, Translation

EN, JA, AUTO = Direction.JA_EN, Direction.EN_JA, Direction.AUTO


def translation(*segments: tuple[float, float, str], direction: Direction = EN) -> Translation:
    return Translation(
        [Segment(start, end, text, direction) for start, end, text in segments], direction, 60.0
    )


def one(text: str, seconds: float, direction: Direction = EN) -> list[Cue]:
    return cues(translation((0.0, seconds, text), direction=direction))


def width(line: str) -> int:
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(char) in ("W", "F")
        else 1
        for char in line
    )


def visible_srt(content: str) -> list[str]:
    """What pysubs2 shows, full-width twins of the characters that act in srt folded back."""
    shown = [event.plaintext for event in pysubs2.SSAFile.from_string(content, format_="srt")]
    return [text.translate(str.maketrans("｛｝＜＞＼", "{}<>\\")) for text in shown]


def parse_vtt(content: str) -> list[str]:
    """The cue texts of a WebVTT file by the rules of the W3C's parser, for text without tags."""
    header, *blocks = content.removesuffix("\n").split("\n\n")
    assert header == "WEBVTT" or content == "WEBVTT\n"
    texts = []
    for block in blocks:
        timing, *lines = block.split("\n")
        assert re.fullmatch(r"\d{2,}:\d\d:\d\d\.\d{3} --> \d{2,}:\d\d:\d\d\.\d{3}", timing)
        assert lines
        assert not any("-->" in line or "<" in line for line in lines)
        texts.append(html.unescape("\n".join(lines)))
    return texts


# Known answers


def test_english_breaks_at_sentences_and_splits_the_time_by_width() -> None:
    text = "It opens at eight. We surveyed 1,200 residents in all, and most of them read on phones."
    assert one(text, 8.8) == [
        Cue(0, 1922, "It opens at eight."),
        Cue(1922, 8800, "We surveyed 1,200 residents in all,\nand most of them read on phones."),
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


def test_times_round_before_they_are_split_and_hours_pass_99() -> None:
    given = translation((59.9996, 61.0, "Hello."), (360_000.0, 360_001.0, "Bye."))
    assert render(given, "srt") == (
        "1\n00:01:00,000 --> 00:01:01,000\nHello.\n\n2\n100:00:00,000 --> 100:00:01,000\nBye.\n"
    )
    assert render(given, "vtt") == (
        "WEBVTT\n\n00:01:00.000 --> 00:01:01.000\nHello.\n\n100:00:00.000 --> 100:00:01.000\nBye.\n"
    )


# Formats

TRICKY = r"a <i>b</i> & {\an8}c {d} x\Ny --> &lt; 1 < 2"


def test_srt_shows_what_players_would_act_on() -> None:
    content = render(translation((0, 5, TRICKY), (5, 6, "end")), "srt")
    assert [text.replace("\n", " ") for text in visible_srt(content)] == [TRICKY, "end"]


def test_vtt_shows_what_browsers_would_act_on() -> None:
    content = render(translation((0, 5, TRICKY)), "vtt")
    assert [text.replace("\n", " ") for text in parse_vtt(content)] == [TRICKY]
    assert content.count("-->") == 1


def test_tsv_has_a_row_for_every_segment() -> None:
    flags = frozenset({Flag.REPEATED, Flag.LOW_CONFIDENCE})
    given = Translation(
        [
            Segment(0.5, 1.2346, 'a\tb\n"c', EN, flags),
            Segment(2.0, 3.0, "", EN, frozenset({Flag.NO_SPEECH})),
        ],
        EN,
        3.0,
    )
    assert render(given, "tsv") == (
        "start\tend\ttext\tflags\n"
        '500\t1235\ta b "c\tlow_confidence,repeated\n'
        "2000\t3000\t\tno_speech\n"
    )
    assert [cue.text for cue in cues(given)] == ['a b "c']


def test_json_holds_everything_and_no_nan() -> None:
    given = Translation(
        [
            Segment(0.0, 1.1, "こんにちは\n", JA, frozenset({Flag.LOW_CONFIDENCE}), 5, -0.25),
            Segment(1.1, 2.0, "", AUTO, frozenset({Flag.NO_SPEECH}), 0, float("nan")),
        ],
        AUTO,
        duration=2.0,
        compute_seconds=0.5,
        tokens=5,
    )
    content = render(given, "json")
    assert "こんにちは" in content
    assert json.loads(content) == {
        "direction": "auto",
        "duration": 2.0,
        "compute_seconds": 0.5,
        "tokens": 5,
        "rtfx": 4.0,
        "flags": ["low_confidence", "no_speech"],
        "text": "こんにちは\n",
        "segments": [
            {
                "start": 0.0,
                "end": 1.1,
                "text": "こんにちは\n",
                "direction": "en2ja",
                "flags": ["low_confidence"],
                "tokens": 5,
                "mean_logprob": -0.25,
            },
            {
                "start": 1.1,
                "end": 2.0,
                "text": "",
                "direction": "auto",
                "flags": ["no_speech"],
                "tokens": 0,
                "mean_logprob": None,
            },
        ],
    }


def test_txt_is_the_text() -> None:
    assert render(translation((0, 1, "One."), (1, 2, "Two.")), "txt") == "One. Two.\n"


def test_a_translation_of_silence_is_a_valid_file() -> None:
    silence = Translation([], AUTO, 10.0)
    assert [render(silence, format) for format in ("txt", "srt", "vtt")] == ["\n", "", "WEBVTT\n"]
    assert json.loads(render(silence, "json"))["flags"] == ["no_speech"]


def test_an_unknown_format_names_the_known_ones() -> None:
    assert get_args(Format) == FORMATS
    with pytest.raises(ValueError, match=r"docx.*txt, srt, vtt, tsv, json"):
        render(translation(), "docx")  # type: ignore[arg-type]


def test_english_captions_do_not_import_budoux() -> None:
    code = (
        "import sys; from speech_translation.captions import cues;"
        "from speech_translation.types import *; d = Direction.JA_EN;"
        "cues(Translation([Segment(0, 9, 'word ' * 40, d)], d, 9));"
        "assert 'budoux' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Files


@pytest.mark.parametrize("format", FORMATS)
def test_write_saves_utf8_with_unix_line_ends(tmp_path: Path, format: Format) -> None:
    given = translation((0, 2, "駅はどこですか？"), direction=JA)
    write(given, tmp_path / "out", format)
    assert (tmp_path / "out").read_bytes() == render(given, format).encode()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    path = tmp_path / "out.srt"
    path.write_text("old")

    def interrupted(source: Path, target: Path) -> None:
        raise fault

    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(fault):
        write(translation((0, 1, "new")), path, "srt")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"


def test_the_content_is_on_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[str]()
    for name in ("fsync", "replace"):
        function = getattr(files.os, name)
        monkeypatch.setattr(
            files.os, name, lambda *args, f=function, n=name: (calls.append(n), f(*args))[1]
        )
    write(translation((0, 1, "new")), tmp_path / "out.srt", "srt")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_lone_surrogate_does_not_stop_the_file(tmp_path: Path) -> None:
    write(translation((0, 1, "a\ud800b")), tmp_path / "out.json", "json")
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["text"] == "a?b"


# Properties

unhurried = settings(deadline=None, database=None)  # a busy machine is no fault

words = st.sampled_from(
    [
        *("the", "a", "library", "tomorrow,", "Really?", "Yes.", "Mr.", "2024", "(", ")"),
        *(
            "図書館",
            "は、",
            "です。",
            "「本」",
            "を、",
            "ー",
            "っ",
            "？！",
            "カタカナ" * 6,
            "\u3000",
        ),
        *("🙂", "e\u0301a", "<b>", "{\\i1}", "&amp;", "-->", "\\N", "\u200d", "\u0301"),
    ]
)
texts = st.one_of(
    st.lists(words, max_size=60).map(" ".join),
    st.lists(words, max_size=60).map("".join),
    st.text(max_size=200),
)
translations = st.lists(
    st.builds(
        lambda start, length, text, direction: Segment(start, start + length, text, direction),
        st.floats(0, 100, allow_subnormal=False),
        st.floats(0, 30, allow_subnormal=False),
        texts,
        st.sampled_from(Direction),
    ),
    max_size=4,
).map(lambda segments: Translation(segments, AUTO, 130.0))


@unhurried
@given(translations)
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


@unhurried
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


def squeezed(text: str) -> str:
    """`text` without what cleaning removes or line breaks replace."""
    return "".join(
        char
        for char in text
        if not char.isspace()
        and (unicodedata.category(char) not in {"Cc", "Cf", "Cs"} or char == "\u200d")
    )


@unhurried
@given(translations)
def test_no_text_is_lost_doubled_or_changed_by_a_player(given: Translation) -> None:
    # pysubs2 takes a number on the very last line for the next cue's.
    last = Segment(200.0, 201.0, "end", EN)
    given = Translation([*given.segments, last], AUTO, 201.0)
    seen = [squeezed(segment.text) for segment in given.segments]
    plain = "".join(text for text in seen if width(text))
    assert squeezed("".join(cue.text for cue in cues(given))) == plain
    assert squeezed("".join(parse_vtt(render(given, "vtt")))) == plain
    fullwidth = str.maketrans("｛｝＜＞＼", "{}<>\\")
    assert squeezed("".join(visible_srt(render(given, "srt")))) == plain.translate(fullwidth)


@unhurried
@given(translations)
def test_srt_times_survive_pysubs2(given: Translation) -> None:
    events = pysubs2.SSAFile.from_string(render(given, "srt"), format_="srt")
    assert [(event.start, event.end) for event in events] == [
        (cue.start_ms, cue.end_ms) for cue in cues(given)
    ]


@unhurried
@given(translations)
def test_tsv_and_json_can_be_read_back(given: Translation) -> None:
    rows = render(given, "tsv").removesuffix("\n").split("\n")[1:]
    assert all(len(row) == 4 for row in csv.reader(rows, "excel-tab", quoting=csv.QUOTE_NONE))
    assert len(rows) == len(given.segments)
    data = json.loads(render(given, "json"))
    assert [part["text"] for part in data["segments"]] == [part.text for part in given.segments]


@unhurried
@given(translations)
def test_both_subtitle_formats_round_trip_through_pysubs2(given: Translation) -> None:
    for format in ("srt", "vtt"):
        read = pysubs2.SSAFile.from_string(render(given, format), format_=format)
        assert [(e.start, e.end) for e in read] == [(c.start_ms, c.end_ms) for c in cues(given)]
        again = pysubs2.SSAFile.from_string(read.to_string(format), format_=format)
        assert [(e.start, e.end) for e in again] == [(e.start, e.end) for e in read]


@unhurried
@given(translations)
def test_joining_keeps_every_text_and_its_order(given: Translation) -> None:
    rest, first = given.text, True
    for segment in given.segments:
        if segment.text:
            if not first and segment.direction is not JA:
                assert rest.startswith(" ")
                rest = rest[1:]
            assert rest.startswith(segment.text)
            rest, first = rest[len(segment.text) :], False
    assert rest == ""


def test_invisible_characters_with_a_space_between_give_no_cue() -> None:
    assert one("\u200d \u200d", 1) == []
