"""The words of the page: the same in both languages, and those of a visitor's browser."""

import json
import re

import pytest
from clips import EXAMPLES

from speech_translation.captions import as_data
from speech_translation.types import Direction, Language, Remark, RemarkKind, Translation
from web.html import PAGE, benchmark, remark_words
from web.posted import translation_of
from web.texts import clock, interface_language, texts


def test_both_languages_say_the_same_things() -> None:
    english, japanese = texts()["en"], texts()["ja"]
    assert list(english) == list(japanese)
    names = re.compile(r"\{(\w+)\}")
    for key in english:
        assert set(names.findall(english[key])) == set(names.findall(japanese[key])), key


def test_the_page_asks_for_texts_that_exist() -> None:
    page = "".join(path.read_text("utf-8") for path in sorted(PAGE.iterdir()))
    used = set(re.findall(r'data-(?:text|label|hint)="(\w+)"', page))
    used |= set(re.findall(r'say\("(\w+)"', page)) | set(re.findall(r'button\("(\w+)"', page))
    assert len(used) > 60
    assert used <= set(texts()["en"])


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        ("en-US,en;q=0.9,ja;q=0.8", "en"),
        ("fr,ja;q=0.5,en;q=0.7", "en"),
        ("en;q=0.2, ja;q=0.3", "ja"),
        ("fr-FR", "en"),
        ("", "en"),
        (None, "en"),
        ("ja;q=x", "ja"),
        ("en;q=1.2.3", "en"),
        ("ja;q=1.2.3, en;q=0.5", "ja"),
        ("ja;q=0", "en"),
        ("ja;q=0.0, *", "en"),
        ("en;q=0, *;q=0.1", "ja"),
        ("en;q=0", "ja"),
        ("en;q=0, ja;q=0", "en"),
        ("*", "en"),
        ("ja;level=1;q=0.1, EN;Q=0.9", "en"),
        ("q=1;;,,;q=", "en"),
    ],
)
def test_the_browser_chooses_the_language(header: str | None, language: str) -> None:
    assert interface_language(header).value == language


def test_times_are_short() -> None:
    assert [clock(x) for x in (0, 5.9, 65, 3723)] == ["0:00", "0:05", "1:05", "1:02:03"]


@pytest.mark.parametrize(
    ("remark", "english", "japanese"),
    [
        (
            Remark(RemarkKind.TRACK, number=2, of=2, languages=("jpn", "eng")),
            "2 of 2 (jpn, eng). For another one, choose the direction from its language.",
            "2 (jpn, eng) のうち 2 番目を翻訳しました。ほかのトラックを翻訳するには、",
        ),
        (Remark(RemarkKind.UNTAGGED), "does not say its language", "言語の情報がありません"),
        (Remark(RemarkKind.LOST, 65, 70.5), "From 1:05.0 to 1:10.5 sound", "1:05.0 から 1:10.5 "),
        (Remark(RemarkKind.HOLE, 65, 65), "At 1:05.0 sound is", "1:05.0 の位置で"),
        (Remark(RemarkKind.SILENT, 0, 3.98), "0:00.0 to 0:04.0 the", "音声が入っていません"),
        (Remark(RemarkKind.SILENT, 4.1, 4.9), "From 0:04.1 to 0:04.9", "0:04.1 から 0:04.9 "),
        (Remark(RemarkKind.REPEATED, 0, 4), "the repetition is left out", "省きました"),
        (
            Remark(RemarkKind.JUMPED, 3.3, 94463.7),
            "At 0:03.3 the recording's clock jumps ahead by 26.2 h",
            "0:03.3 の位置で録音の時刻が 26.2 h 先へ",
        ),
        (Remark(RemarkKind.MORE, number=3), "3 more places", "ほかに 3 か所"),
        (Remark(RemarkKind.UNREAD, number=1, of=3), "1 of the 3", "3 件のうち 1 件"),
        (Remark(RemarkKind.FIRST, number=1000), "the first 1000", "最初の 1000 件だけ"),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Remark) else "",
)
def test_what_is_odd_about_a_recording_is_said_in_both_languages(
    remark: Remark, english: str, japanese: str
) -> None:
    translation = Translation([], Direction.EN_JA, 9.0, remarks=(remark,))
    said = remark_words(translation)
    assert said is not None
    assert english in said[Language.ENGLISH]
    assert japanese in said[Language.JAPANESE]
    assert translation_of(as_data(translation)).remarks == (remark,)


@pytest.mark.parametrize("languages", [(), ("fra", "eng"), ("eng", "en")])
def test_a_track_that_no_direction_takes_is_not_offered(languages: tuple[str, ...]) -> None:
    taken = Remark(RemarkKind.TRACK, number=2, of=2, languages=languages)
    said = remark_words(Translation([], Direction.AUTO, 9.0, remarks=(taken,)))
    assert said is not None
    assert "another" not in said[Language.ENGLISH]


def test_nothing_is_said_of_an_ordinary_recording() -> None:
    assert remark_words(Translation([], Direction.EN_JA, 9.0)) is None


def test_the_page_has_every_published_figure() -> None:
    published = json.loads(
        (EXAMPLES.parent / "evaluation" / "results" / "published.json").read_text("utf-8")
    )
    shown = benchmark("<svg/>", "<svg/>", published)
    for system in published["systems"]:
        assert system["title"] in shown
        for figure in (system["ja2en"], system["speed"]):
            assert f"{figure:.1f}" in shown
