import csv
import html
import json
import re
import unicodedata
from pathlib import Path
from typing import get_args

import pysubs2
import pytest
from caption_texts import AUTO, EN, JA, texts, translation, width
from hypothesis import given
from hypothesis import strategies as st

from speech_translation import files
from speech_translation.captions import FORMATS, Format, cues, render, write
from speech_translation.types import Direction, Flag, Segment, Translation


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


# Formats


def test_times_round_before_they_are_split_and_hours_pass_99() -> None:
    given = translation((59.9996, 61.0, "Hello."), (360_000.0, 360_001.0, "Bye."))
    assert render(given, "srt") == (
        "1\n00:01:00,000 --> 00:01:01,000\nHello.\n\n2\n100:00:00,000 --> 100:00:01,000\nBye.\n"
    )
    assert render(given, "vtt") == (
        "WEBVTT\n\n00:01:00.000 --> 00:01:01.000\nHello.\n\n100:00:00.000 --> 100:00:01.000\nBye.\n"
    )


TRICKY = r"a <i>b</i> & {\an8}c {d} x\Ny --> &lt; 1 < 2"


def test_srt_shows_what_players_would_act_on() -> None:
    content = render(translation((0, 5, TRICKY), (5, 6, "end")), "srt")
    assert [text.replace("\n", " ") for text in visible_srt(content)] == [TRICKY, "end"]


def test_vtt_shows_what_browsers_would_act_on() -> None:
    content = render(translation((0, 5, TRICKY)), "vtt")
    assert [text.replace("\n", " ") for text in parse_vtt(content)] == [TRICKY]
    assert content.count("-->") == 1


def test_tsv_has_a_row_for_every_segment_and_says_which_way_it_went() -> None:
    flags = frozenset({Flag.REPEATED, Flag.LOW_CONFIDENCE})
    given = Translation(
        [
            Segment(0.5, 1.2346, 'a\tb\n"c', EN, flags),
            Segment(2.0, 3.0, "", JA, frozenset({Flag.NO_SPEECH})),
        ],
        EN,
        3.0,
    )
    assert render(given, "tsv") == (
        "start\tend\ttext\tflags\tdirection\n"
        '500\t1235\ta b "c\tlow_confidence,repeated\tja2en\n'
        "2000\t3000\t\tno_speech\ten2ja\n"
    )
    assert [cue.text for cue in cues(given)] == ['a b "c']


def test_json_holds_everything_and_no_nan() -> None:
    given = Translation(
        [
            Segment(
                0.0,
                1.1,
                "こんにちは\n",
                JA,
                frozenset({Flag.LOW_CONFIDENCE}),
                5,
                -0.25,
                ((0.0, 1 / 3), (0.8, 1.1)),
            ),
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
        "remarks": [],
        "flags": ["low_confidence", "no_speech"],
        "text": "こんにちは\n",
        "segments": [
            {
                "start": 0.0,
                "end": 1.1,
                "regions": [[0.0, 0.333333], [0.8, 1.1]],
                "text": "こんにちは\n",
                "direction": "en2ja",
                "flags": ["low_confidence"],
                "tokens": 5,
                "mean_logprob": -0.25,
            },
            {
                "start": 1.1,
                "end": 2.0,
                "regions": [[1.1, 2.0]],
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


def squeezed(text: str) -> str:
    """`text` without what cleaning removes or line breaks replace."""
    return "".join(
        char
        for char in text
        if not char.isspace()
        and (unicodedata.category(char) not in {"Cc", "Cf", "Cs"} or char == "\u200d")
    )


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


@given(translations)
def test_srt_times_survive_pysubs2(given: Translation) -> None:
    events = pysubs2.SSAFile.from_string(render(given, "srt"), format_="srt")
    assert [(event.start, event.end) for event in events] == [
        (cue.start_ms, cue.end_ms) for cue in cues(given)
    ]


@given(translations)
def test_tsv_and_json_can_be_read_back(given: Translation) -> None:
    rows = render(given, "tsv").removesuffix("\n").split("\n")[1:]
    assert all(len(row) == 5 for row in csv.reader(rows, "excel-tab", quoting=csv.QUOTE_NONE))
    assert len(rows) == len(given.segments)
    data = json.loads(render(given, "json"))
    assert [part["text"] for part in data["segments"]] == [part.text for part in given.segments]


@given(translations)
def test_both_subtitle_formats_round_trip_through_pysubs2(given: Translation) -> None:
    for format in ("srt", "vtt"):
        read = pysubs2.SSAFile.from_string(render(given, format), format_=format)
        assert [(e.start, e.end) for e in read] == [(c.start_ms, c.end_ms) for c in cues(given)]
        again = pysubs2.SSAFile.from_string(read.to_string(format), format_=format)
        assert [(e.start, e.end) for e in again] == [(e.start, e.end) for e in read]


@given(translations)
def test_joining_keeps_every_text_and_its_order(given: Translation) -> None:
    rest, before = given.text, None
    for segment in given.segments:
        if segment.text:
            if before is not None and not segment.direction is before is JA:
                assert rest.startswith(" ")
                rest = rest[1:]
            assert rest.startswith(segment.text)
            rest, before = rest[len(segment.text) :], segment.direction
    assert rest == ""
