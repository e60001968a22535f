"""How Japanese is read: kana above kanji, and Latin letters."""

import json
import sys
from collections.abc import Iterator

import pytest
from caption_texts import texts
from clips import EXAMPLES
from hypothesis import given

from speech_translation import readings as module
from speech_translation.captions import render
from speech_translation.cli import main
from speech_translation.errors import SpeechTranslationError
from speech_translation.readings import readings, romaji
from speech_translation.types import Direction, Segment, Translation

TALK = Translation(
    [
        Segment(0.0, 1.0, "駅です。", Direction.EN_JA, source_text="It is the station."),
        Segment(2.0, 3.0, "A fog.", Direction.JA_EN, source_text="霧が出ています。"),
        Segment(4.0, 5.0, "", Direction.EN_JA),
    ],
    Direction.AUTO,
    5.0,
)


@pytest.mark.parametrize(
    ("text", "ruby"),
    [
        ("10時から働きます。", "10 時(じ) から 働(はたら) きます。"),
        ("お寺は美術館の近くです", "お 寺(てら) は 美術館(びじゅつかん) の 近(ちか) くです"),
        ("東京までIBMのPC", "東京(とうきょう) までIBMのPC"),
        ("取り扱い", "取り扱(とりあつか) い"),
        ("コーヒーとPC", "コーヒーとPC"),
        ("hello 2:30", "hello 2:30"),
        ("", ""),
    ],
)
def test_kanji_have_kana_and_the_rest_stands_as_it_is(text: str, ruby: str) -> None:
    shown = " ".join(f"{p.text}({p.kana})" if p.kana else p.text for p in readings(text))
    assert shown == ruby


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("10時から6時まで働きます。", "10 ji kara 6 ji made hatarakimasu."),
        ("お寺は美術館の近くですか？", "otera wa bijutsukan no chikaku desu ka?"),
        ("今日は学校へ行った。", "kyou wa gakkou e itta."),
        ("ちょっと待って、コーヒーを", "chotto matte, koohii o"),
        ("金曜日は禁煙です。", "kin'youbi wa kin'en desu."),
        ("食べられなかった「はい」と言った。", 'taberarenakatta "hai" to itta.'),
        ("マッチとシャツ、チェス", "matchi to shatsu, chesu"),
        ("ファイル、ティー、ジェット、ウィンドウ", "fairu, tii, jetto, windou"),
        ("2:30にIBMのPCを買いました", "2:30 ni IBM no PC o kaimashita"),
        ("Hello, world (2:30).", "Hello, world (2:30)."),
        ("", ""),
    ],
)
def test_latin_letters_are_hepburns(text: str, letters: str) -> None:
    assert romaji(text) == letters


@given(texts)
def test_pieces_put_together_are_the_text(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    pieces = readings(text)
    assert "".join(piece.text for piece in pieces) == text
    assert isinstance(romaji(text), str)


def test_tables_and_data_have_them_for_the_japanese_text() -> None:
    rows = [row.split("\t") for row in render(TALK, "tsv", "both", readings=True).splitlines()]
    assert rows[0][-1] == "romaji"
    assert [row[-1] for row in rows[1:]] == ["eki desu.", "kiri ga dete imasu.", ""]
    data = json.loads(render(TALK, "json", "both", readings=True))["segments"]
    assert data[0]["readings"] == [["駅", "えき"], ["です。", ""]]
    assert [segment["romaji"] for segment in data] == ["eki desu.", "kiri ga dete imasu.", ""]
    # Only of what is shown.
    data = json.loads(render(TALK, "json", readings=True))["segments"]
    assert [segment["romaji"] for segment in data] == ["eki desu.", "", ""]
    assert "romaji" not in render(TALK, "tsv", "both") + render(TALK, "json", "both")


@pytest.fixture
def without_sudachi(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module._tokenizer.cache_clear()
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    yield
    module._tokenizer.cache_clear()


@pytest.mark.usefixtures("without_sudachi")
def test_without_the_package_it_is_said_what_to_install(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SpeechTranslationError, match="pip install sudachipy"):
        romaji("駅です。")
    assert main([str(EXAMPLES / "en_1.flac"), "--readings", "--format", "tsv"]) == 1
    said = capsys.readouterr().err
    assert "pip install sudachipy" in said
    assert "loading" not in said


def test_the_command_line_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(EXAMPLES / "en_1.flac")
    assert main([clip, "--model", "phrasebook", "--format", "tsv", "--readings", "--quiet"]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.endswith("yuubinkyoku made densha de dono kurai kakarimasu ka?")
    with pytest.raises(SystemExit, match="2"):
        main([clip, "--model", "phrasebook", "--readings"])
    assert "--readings needs --format tsv or json" in capsys.readouterr().err


@pytest.mark.parametrize("show", [None, "both"])
def test_japanese_speech_has_readings_only_where_it_is_shown(
    capsys: pytest.CaptureFixture[str], show: str | None
) -> None:
    command = [str(EXAMPLES / "ja_1.flac"), "--model", "phrasebook", "--format", "json"]
    assert main([*command, "--readings", *(["--show", show] if show else [])]) == 0
    said = capsys.readouterr()
    assert ("add --show both or source" in said.err) == (show is None)
    assert bool(json.loads(said.out)["segments"][0]["romaji"]) == (show is not None)
