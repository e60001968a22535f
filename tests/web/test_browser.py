"""Translating on the page, in a real browser on a running Space with the embedded checkpoint.

Screenshots of the states go to screenshots/, which git ignores.
"""

import base64
import json
import re
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from browsing import (
    Open,
    assert_accessible,
    assert_targets,
    cards,
    expect_some_text,
    expect_text,
    photograph,
    text,
    translate,
    until,
    upload,
)
from clips import EXAMPLES, TWO_LANGUAGES, reference, two_languages
from playwright.sync_api import expect
from recordings import RATE, encoded, film

import web.line
from speech_translation.audio import load_audio
from speech_translation.types import SAMPLE_RATE

pytestmark = pytest.mark.slow


def heard(name: str) -> np.ndarray:
    """An example clip at 48 kHz, as videos have it."""
    return soxr.resample(load_audio(EXAMPLES / f"{name}.flac"), SAMPLE_RATE, 48_000)


@pytest.mark.parametrize(("name", "language"), [("en_1", "ja"), ("ja_1", "en")])
def test_an_upload_is_translated(visit: Open, name: str, language: str) -> None:
    page = visit()
    photograph(page, "first")
    card = translate(page, name)
    expect_text(card, reference(name))
    expect(card.locator(".words")).to_have_attribute("lang", language)
    taken = "English → 日本語" if name == "en_1" else "日本語 → English"
    expect(card.locator(".taken")).to_have_text(taken)
    photograph(page, f"result_{name}")
    assert_accessible(page)
    assert_targets(page)


def test_several_files_are_translated_one_after_the_other(visit: Open) -> None:
    page = visit()
    translate(page, "en_1", "ja_1", "en_2")
    texts = [text(cards(page).nth(i)) for i in range(3)]
    assert texts == [reference(name) for name in ("en_1", "ja_1", "en_2")]


def test_each_part_says_its_direction_where_both_languages_are_spoken(
    visit: Open, tmp_path: Path
) -> None:
    path = tmp_path / "both.wav"
    soundfile.write(path, two_languages(), SAMPLE_RATE)
    page = visit()
    card = upload(page, path)
    expect(card).to_have_attribute("data-state", "done")
    assert all(reference(name) in text(card) for name in TWO_LANGUAGES)
    assert card.locator(".way").all_inner_texts() == ["English → 日本語", "日本語 → English"] * 2
    languages = card.locator(".words").evaluate_all("lines => lines.map(x => x.lang)")
    assert languages == ["ja", "en"] * 2
    expect(card.locator(".taken")).to_have_text("English ↔ 日本語")
    photograph(page, "two_languages")


@pytest.mark.parametrize("dropped", [False, True])
def test_a_video_that_the_browser_cannot_play_is_heard_all_the_same(
    visit: Open, tmp_path: Path, dropped: bool
) -> None:
    video = tmp_path / "talk.mkv"
    video.write_bytes(
        encoded("matroska", "aac", load_audio(EXAMPLES / "ja_2.flac"), RATE, video="mpeg4")
    )
    page = visit()
    if dropped:
        page.evaluate(
            """([bytes]) => {
                const transfer = new DataTransfer();
                const file = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
                transfer.items.add(new File([file], "talk.mkv", { type: "video/x-matroska" }));
                const options = { bubbles: true, cancelable: true, dataTransfer: transfer };
                document.querySelector("#results").dispatchEvent(new DragEvent("drop", options));
            }""",
            [base64.b64encode(video.read_bytes()).decode()],
        )
        card = cards(page).first
    else:
        card = upload(page, video)
    expect_text(card, reference("ja_2"))
    sound = card.locator("audio, video")
    expect(sound).to_be_visible()
    until(lambda: bool(sound.evaluate("x => x.readyState > 0 && x.duration > 1")))
    photograph(page, "video")


def test_a_video_stays_a_video_with_the_translation_over_it(visit: Open, tmp_path: Path) -> None:
    video = tmp_path / "talk.webm"
    video.write_bytes(encoded("webm", "libopus", heard("en_1"), 48_000, video="libvpx"))
    page = visit()
    card = upload(page, video)
    expect_text(card, reference("en_1"))
    shown = card.locator("video")
    expect(shown).to_be_visible()
    expect(card.locator("audio")).to_have_count(0)
    until(lambda: bool(shown.evaluate("x => x.textTracks[0]?.cues?.length > 0")))
    assert reference("en_1") in shown.evaluate("x => x.textTracks[0].cues[0].text")
    photograph(page, "film")


def test_a_video_comes_back_with_corrected_captions_in_it(visit: Open, tmp_path: Path) -> None:
    video = tmp_path / "talk.webm"
    video.write_bytes(encoded("webm", "libopus", heard("en_1"), 48_000, video="libvpx"))
    page = visit(expected="400")
    page.locator("#transcript").check()
    card = upload(page, video)
    expect(card).to_have_attribute("data-state", "done")
    card.get_by_role("button", name="Correct", exact=True).click()
    card.locator(".words").fill("直した文。")
    card.get_by_role("button", name="Done correcting").click()
    with page.expect_download() as download:
        card.get_by_role("button", name="Video with captions").click()
    assert download.value.suggested_filename == "talk.captions.mkv"
    with av.open(str(download.value.path())) as film:
        assert [stream.metadata["language"] for stream in film.streams.subtitles] == ["jpn", "eng"]
        texts = b"".join(bytes(packet) for packet in film.demux(film.streams.subtitles[0]))
    assert texts.decode() == "直した文。"
    expect(card.get_by_role("button", name="Video with captions")).to_be_enabled()
    expect(translate(page, "en_1").locator(".film")).to_be_hidden()  # sound is no video


def test_why_a_video_cannot_come_back_is_said_on_its_card(visit: Open, tmp_path: Path) -> None:
    part = film("matroska", "libopus", heard("en_1"), lambda t: t)
    (tmp_path / "two.mkv").write_bytes(part + part)
    page = visit(expected="400")
    card = upload(page, tmp_path / "two.mkv")
    expect(card).to_have_attribute("data-state", "done")
    card.get_by_role("button", name="Video with captions").click()
    expect(card.locator(".message")).to_contain_text("two.mkv is several recordings in one file")
    page.click("[data-language=ja]")
    expect(card.locator(".message")).to_contain_text("two.mkv は複数の録画をつなげた")


@pytest.mark.parametrize("direction", ["English → 日本語", "日本語 → English"])
def test_the_direction_can_be_forced(visit: Open, direction: str) -> None:
    page = visit()
    page.locator("#speak").get_by_label(direction).check()
    name = "en_2" if direction.startswith("English") else "ja_2"
    expect_text(translate(page, name), reference(name))


def test_a_wrong_direction_is_noticed_and_switched(visit: Open) -> None:
    page = visit()
    page.locator("#speak").get_by_label("日本語 → English").check()
    card = translate(page, "en_1")
    assert text(card) != reference("en_1")
    expect(card.locator(".message")).to_contain_text("other direction: English → 日本語")
    card.locator(".switch").click()  # it stands beside the words
    expect(card.locator(".switch")).to_have_count(0)
    expect_text(card, reference("en_1"))
    expect(cards(page)).to_have_count(1)


def test_an_example_leaves_the_direction_as_it_is(visit: Open) -> None:
    page = visit()
    page.click("#example-en_1")
    expect_text(cards(page).first, reference("en_1"))
    expect(page.locator("#speak").get_by_label("Automatic")).to_be_checked()
    expect_text(translate(page, "ja_1"), reference("ja_1"))
    expect(cards(page).nth(1).locator("h3")).to_have_text("en_1.flac")


def test_a_new_recording_ends_the_old_run_and_both_keep_their_own_text(
    visit: Open, long: Path
) -> None:
    page = visit()
    old = upload(page, long)
    expect_some_text(old)
    old = page.locator(f"[id='{old.get_attribute('id')}']")
    page.click("#example-ja_1")
    expect(old).to_have_attribute("data-state", "partial")
    new = cards(page).first
    expect_text(new, reference("ja_1"))
    kept = text(old)
    assert (6 * reference("en_long")).startswith(kept)
    until(lambda: not any(thread.name == "translate" for thread in threading.enumerate()))
    assert (text(old), text(new)) == (kept, reference("ja_1"))


def test_stop_keeps_what_was_finished_says_so_and_frees_the_model(visit: Open, long: Path) -> None:
    page = visit()
    card = upload(page, long)
    expect_some_text(card)
    expect(card.locator("progress")).to_be_visible()
    expect(card.locator(".state")).to_contain_text("left")
    expect(card.locator(".state")).to_contain_text("Translating: ")
    photograph(page, "working")
    card.locator(".stop").click()
    expect(card).to_have_attribute("data-state", "partial")
    stopped = text(card)
    assert stopped
    assert (6 * reference("en_long")).startswith(stopped)
    assert len(stopped) < len(6 * reference("en_long"))
    until(lambda: not any(thread.name == "translate" for thread in threading.enumerate()))
    said = card.locator(".state").inner_text()
    assert re.fullmatch(r"Stopped: translated up to \d:\d\d of 8:49", said), said
    card.get_by_text("Details").click()
    with page.expect_download() as download:
        card.locator("[data-format=json]").click()
    assert download.value.suggested_filename == "long.partial.json"
    data = json.loads(Path(download.value.path()).read_text("utf-8"))
    (remark,) = data["remarks"]
    assert remark["kind"] == "untranslated"
    assert (remark["start"], remark["end"]) == (data["segments"][-1]["end"], data["duration"])
    # No speed is claimed for what was not translated.
    assert data["rtfx"] == pytest.approx(remark["start"] / data["compute_seconds"], rel=0.01)
    expect(card.locator(".figures")).to_contain_text(f"{remark['start']:.1f} s of audio")
    for format in ("srt", "vtt", "txt", "tsv"):  # which have no place for it but their name
        with page.expect_download() as download:
            card.locator(f"[data-format={format}]").click()
        assert download.value.suggested_filename == f"long.partial.{format}"
    photograph(page, "partial")
    expect_text(translate(page, "ja_1"), reference("ja_1"))


def test_who_waits_in_line_sees_the_place_and_can_leave_it(
    visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.line, "AT_ONCE", 0)  # nobody is let in
    page, other = visit(), visit()
    first = upload(page, EXAMPLES / "en_1.flac")
    expect(first.locator(".state")).to_have_text("Place 1 in line")
    second = upload(other, EXAMPLES / "ja_1.flac")
    expect(second.locator(".state")).to_have_text("Place 2 in line")
    photograph(page, "waiting")
    first.get_by_role("button", name="Cancel").click()
    expect(first.locator(".state")).to_have_text("Cancelled.")
    expect(second.locator(".state")).to_have_text("Place 1 in line")
    monkeypatch.undo()
    expect_text(translate(page, "en_2"), reference("en_2"))
    expect_text(second, reference("ja_1"))


def test_what_was_said_stands_beside_what_it_means_in_lines_and_files(visit: Open) -> None:
    page = visit()
    page.locator("#transcript").check()
    card = translate(page, "en_1")
    spoken = page.locator("#example-en_1").inner_text()
    expect(card.locator(".source")).to_have_text(spoken)
    assert text(card) == reference("en_1")
    with page.expect_download() as download:
        card.locator("[data-format=srt]").click()
    srt = Path(download.value.path()).read_text("utf-8")
    assert reference("en_1")[:8] in srt
    assert " ".join(spoken.split()[:5]) in srt
    photograph(page, "both")
