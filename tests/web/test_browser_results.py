"""Results on the page: files, corrections, reloads, sound, and what is said of failures."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pysubs2
import pytest
import soundfile
from browsing import (
    Open,
    cards,
    clear_captions,
    expect_some_text,
    expect_text,
    photograph,
    reload,
    text,
    translate,
    until,
    upload,
)
from clips import EXAMPLES, ROOT, reference
from playwright.sync_api import expect

import web.line
from speech_translation.audio import load_audio
from speech_translation.engine import Request
from speech_translation.engine.local import LocalEngine
from speech_translation.errors import EngineError
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis

pytestmark = pytest.mark.slow

ABOUT_COMES_LATE = """
    const fetched = window.fetch;
    window.fetch = async (...asked) => {
        const late = String(asked[0]).endsWith("/about") && localStorage.getItem("late");
        while (late && !document.querySelector("#cards .card")) {
            await new Promise(requestAnimationFrame);
        }
        return fetched(...asked);
    };
"""

# The database of the first edition, which had the recordings among the results.
KEPT_BEFORE = """
    const before = indexedDB.open("speech-translation", 1);
    before.onupgradeneeded = () => {
        const segment = { start: 0, end: 1, text: "古い文。", direction: "en2ja", flags: [] };
        before.result.createObjectStore("results", { keyPath: "id" }).put({
            id: "old", made: 1, name: "old.flac", blob: new Blob(["sound"]), direction: "auto",
            state: "done", segments: [segment], duration: 1,
        });
    };
    before.onsuccess = () => before.result.close();
"""


def test_furigana_stands_over_the_japanese_until_it_is_switched_off(visit: Open) -> None:
    pytest.importorskip("sudachipy")
    page = visit(script=ABOUT_COMES_LATE)
    card = translate(page, "en_1")
    card.get_by_role("button", name="Furigana").click()
    expect(card.locator(".words rt").first).to_have_text("ゆうびんきょく")
    photograph(page, "furigana")
    card.get_by_role("button", name="Furigana").click()
    expect(card.locator("rt")).to_have_count(0)
    assert text(card) == reference("en_1")
    page.evaluate("localStorage.setItem('late', '1')")  # the cards that are kept come first
    reload(page)
    expect(cards(page).first.locator(".words")).to_have_text(reference("en_1"))
    expect(cards(page).first.get_by_role("button", name="Furigana")).to_be_visible()


def test_every_format_downloads_and_parses(visit: Open) -> None:
    page = visit()
    card = translate(page, "en_two_sentences")
    card.get_by_text("Details").click()
    contents = {}
    for format in ("txt", "srt", "vtt", "tsv", "json"):
        with page.expect_download() as download:
            card.locator(f"[data-format={format}]").click()
        assert download.value.suggested_filename == f"en_two_sentences.{format}"
        contents[format] = Path(download.value.path()).read_text("utf-8")
    whole = reference("en_two_sentences")
    assert contents["txt"] == whole + "\n"
    data = json.loads(contents["json"])
    assert data["text"] == whole
    assert data["direction"] == "en2ja"  # as of files and programs; automatic was asked for
    for format in ("srt", "vtt"):
        lines = pysubs2.SSAFile.from_string(contents[format], format_=format)
        assert "".join(line.plaintext for line in lines).replace("\n", "") == whole
    assert len(contents["tsv"].splitlines()) == 2
    expect(card.locator(".figures")).to_contain_text("tokens")


def test_a_line_that_was_corrected_is_so_in_files_copies_and_after_a_reload(visit: Open) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    card = translate(page, "en_1")
    card.get_by_role("button", name="Correct", exact=True).click()
    card.locator(".words").fill("直した文。")
    card.get_by_role("button", name="Done correcting").click()
    expect(card.locator(".state")).to_have_text("Corrected by hand")
    with page.expect_download() as download:
        card.locator("[data-format=srt]").click()
    assert "直した文。" in Path(download.value.path()).read_text("utf-8")
    card.get_by_role("button", name="Copy").click()
    until(lambda: page.evaluate("navigator.clipboard.readText()") == "直した文。")
    reload(page)
    expect(cards(page).first.locator(".words")).to_have_text("直した文。")


def test_a_line_that_was_emptied_can_be_written_again(visit: Open) -> None:
    page = visit()
    card = translate(page, "ja_1")
    card.get_by_role("button", name="Correct", exact=True).click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    card.get_by_role("button", name="Done correcting").click()
    expect(card.locator(".state")).to_have_text("Corrected by hand")
    reload(page)
    expect(cards(page).first.locator(".message")).to_be_hidden()
    with page.expect_download() as download:
        card.locator("[data-format=srt]").click()
    assert Path(download.value.path()).read_text("utf-8").strip() == ""
    card.get_by_role("button", name="Correct", exact=True).click()
    page.keyboard.type("Again.")
    card.get_by_role("button", name="Done correcting").click()
    expect(card.locator(".words")).to_have_text("Again.")


def test_enter_ends_a_line_that_is_corrected_and_pasted_lines_become_one(visit: Open) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    card = translate(page, "ja_1")
    page.evaluate("navigator.clipboard.writeText('of two \\n\\nlines\\n')")
    card.get_by_role("button", name="Correct", exact=True).click()
    page.keyboard.press("Control+a")
    page.keyboard.type("One line ")
    page.keyboard.press("Control+v")
    page.keyboard.press("Enter")
    expect(card.get_by_role("button", name="Correct", exact=True)).to_be_focused()
    with page.expect_download() as download:
        card.locator("[data-format=txt]").click()
    assert Path(download.value.path()).read_text("utf-8") == "One line of two lines\n"
    assert card.locator(".words").inner_text() == "One line of two lines"


def test_results_survive_a_reload_until_they_are_cleared(visit: Open) -> None:
    page = visit()
    translate(page, "en_1", "ja_1")
    reload(page)
    expect(cards(page)).to_have_count(2)
    card = cards(page).first
    expect_text(card, reference("en_1"))
    expect(card.locator("audio")).to_be_visible()
    until(lambda: bool(card.locator("audio").evaluate("x => x.duration > 1")))
    photograph(page, "reloaded")
    page.get_by_role("button", name="Clear all").click()
    page.get_by_role("button", name="Keep").click()
    expect(cards(page)).to_have_count(2)
    page.get_by_role("button", name="Clear all").click()
    page.get_by_role("dialog").get_by_role("button", name="Clear all").click()
    expect(cards(page)).to_have_count(0)
    reload(page)
    expect(page.locator("#cards-empty")).to_be_visible()
    expect(page.locator("#examples button")).to_have_count(4)
    expect(cards(page)).to_have_count(0)


def test_a_reload_keeps_the_finished_lines_of_a_run_as_stop_does(visit: Open, long: Path) -> None:
    page = visit(expected="aborted|errored out")  # Gradio's stream complains when it is left
    card = upload(page, long)
    finished = card.locator("li:not(.growing) .words")
    expect(finished.nth(1)).to_be_visible()
    seen = finished.all_text_contents()
    reload(page)
    card = cards(page).first
    expect(card).to_have_attribute("data-state", "partial")
    expect(card.locator(".state")).to_have_text(re.compile("^Stopped: translated up to .* of 8:49"))
    expect(card.locator(".message")).to_contain_text("The page was left before")
    assert finished.all_text_contents()[: len(seen)] == seen
    card.get_by_text("Details").click()
    assert "{" not in card.locator(".details").inner_text()  # nobody knows what it has cost
    with page.expect_download() as download:
        card.locator("[data-format=json]").click()
    assert download.value.suggested_filename == "long.partial.json"
    data = json.loads(Path(download.value.path()).read_text("utf-8"))
    (remark,) = data["remarks"]
    assert remark["kind"] == "untranslated"
    assert (remark["start"], remark["end"]) == (data["segments"][-1]["end"], data["duration"])
    sound = card.locator("audio")
    until(lambda: bool(sound.evaluate("x => x.duration > 500")))
    card.get_by_role("button", name="Try again").click()
    expect_some_text(card)
    card.locator(".stop").click()
    expect(card).to_have_attribute("data-state", "partial")
    expect(card.locator(".message")).not_to_contain_text("The page was left")


def test_a_model_that_fails_on_the_way_leaves_what_was_finished(
    visit: Open, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[Hypothesis]:
        raise EngineError("The card is gone.")

    page = visit()
    card = upload(page, long)
    expect_some_text(card)
    monkeypatch.setattr(LocalEngine, "generate", fail)
    expect(card).to_have_attribute("data-state", "partial")
    expect(card.locator(".message")).to_contain_text("The translation failed on our side")
    with page.expect_download() as download:
        card.locator("[data-format=srt]").click()
    assert download.value.suggested_filename == "long.partial.srt"


def test_a_run_that_a_reload_broke_off_is_begun_again_with_one_click(
    visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.line, "AT_ONCE", 0)  # nobody is let in
    page = visit(expected="aborted|errored out")
    card = upload(page, EXAMPLES / "en_1.flac")
    expect(card.locator(".state")).to_contain_text("in line")
    reload(page)
    monkeypatch.undo()
    expect(card.locator(".state")).to_have_text("Not translated")
    expect(card.locator(".message")).to_contain_text("The page was left before")
    card.get_by_role("button", name="Try again").click()
    expect_text(card, reference("en_1"))


def test_what_an_earlier_edition_kept_is_there_with_its_recording(visit: Open) -> None:
    page = visit(script=KEPT_BEFORE)
    for line in ("古い文。", "直した文。"):
        card = cards(page).first
        expect(card.locator(".words")).to_have_text(line)
        expect(card.locator("audio")).to_have_attribute("src", re.compile("^blob:"))
        card.get_by_role("button", name="Correct", exact=True).click()
        card.locator(".words").fill("直した文。")
        card.get_by_role("button", name="Done correcting").click()
        reload(page)


def test_a_line_plays_and_pauses_the_one_sound_of_the_page(visit: Open, tmp_path: Path) -> None:
    far_apart = tmp_path / "two.flac"
    first, second = (load_audio(EXAMPLES / f"{name}.flac") for name in ("en_1", "en_2"))
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    soundfile.write(far_apart, np.concatenate([first, silence, second]), SAMPLE_RATE)
    page = visit()
    other = translate(page, "en_long")
    other = page.locator(f"[id='{other.get_attribute('id')}']")
    card = upload(page, far_apart)
    expect(card).to_have_attribute("data-state", "done")
    sounds = page.locator("audio, video")
    playing = "all => all.filter((x) => !x.paused).length"
    other.locator(".time").nth(2).click()
    until(lambda: sounds.evaluate_all(playing) == 1)
    line = card.locator("li").nth(1)
    start = float(line.get_attribute("data-start") or "nan")
    line.locator(".time").click()
    expect(line).to_have_class(re.compile("playing"))
    assert sounds.evaluate_all(playing) == 1  # the other one was ended
    assert card.locator("audio").evaluate("x => x.currentTime") >= start - 0.1
    photograph(page, "playing")
    line.locator(".time").click()
    until(lambda: sounds.evaluate_all(playing) == 0)
    expect(line).not_to_have_class(re.compile("playing"))
    line.locator(".time").click()
    until(lambda: sounds.evaluate_all(playing) == 1)
    sound = card.locator("audio").element_handle()
    card.locator(".remove").click()  # what is taken off the page is not heard any more
    until(lambda: bool(sound.evaluate("x => x.paused")))


def test_a_file_that_is_no_sound_gets_a_sentence_for_its_reader(
    visit: Open, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.wav"
    notes.write_text("this is not sound")
    page = visit(locale="ja-JP")
    card = upload(page, notes)
    expect(card).to_have_attribute("data-state", "refused")
    message = card.locator(".message").inner_text()
    assert "notes.wav から音声を読み取れません" in message
    assert not re.search("holds no sound|Export", message)
    expect(page.locator(".toast-body")).to_have_count(0)  # Gradio's, whose titles are English
    expect(card.locator(".again")).to_have_count(0)  # it would be refused again
    page.click("[data-language=en]")  # what is shown already follows, after a reload too
    expect(card.locator(".message")).to_contain_text("notes.wav holds no sound")
    reload(page)
    page.click("[data-language=ja]")
    expect(card.locator(".message")).to_contain_text("notes.wav から音声を読み取れません")
    expect(card.locator(".again")).to_have_count(0)
    photograph(page, "refused")
    page.click("#example-en_1")
    expect_text(cards(page).first, reference("en_1"))


def test_what_holds_no_sound_is_not_to_be_tried_again(visit: Open, tmp_path: Path) -> None:
    picture, empty = tmp_path / "picture.png", tmp_path / "empty.wav"
    picture.write_bytes((ROOT / "docs" / "space_phone.png").read_bytes())
    empty.write_bytes(b"")
    page = visit()
    for path in (picture, empty):
        card = upload(page, path)
        expect(card).to_have_attribute("data-state", "refused")
        expect(card.locator(".message")).to_contain_text(path.name)
        expect(card.locator(".again")).to_have_count(0)


def test_what_is_too_long_is_said_without_the_name_of_a_parameter(
    visit: Open, tmp_path: Path
) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(16_000 * 601, np.int16), 16_000)
    card = upload(visit(), path)
    expect(card.locator(".message")).to_contain_text("long.flac is longer than 10:00. Split it")
    assert "max_seconds" not in card.inner_text()
    japanese = upload(visit(locale="ja-JP"), path)
    expect(japanese.locator(".message")).to_contain_text("10:00 より長いため、分割して")
    assert "形式" not in japanese.inner_text()


def test_a_recording_that_does_not_reach_the_server_is_sent_again_with_one_click(
    visit: Open,
) -> None:
    page = visit(expected="ERR_INTERNET_DISCONNECTED")
    page.context.set_offline(True)
    card = upload(page, EXAMPLES / "en_1.flac")
    expect(card.locator(".message")).to_contain_text("did not reach the server")
    page.context.set_offline(False)
    card.get_by_role("button", name="Try again").click()
    expect_text(card, reference("en_1"))
    expect(card.locator(".message")).to_be_hidden()


def test_a_file_that_changes_while_it_waits_is_to_be_chosen_again(
    visit: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.line, "AT_ONCE", 0)
    page = visit(expected="ERR_UPLOAD_FILE_CHANGED")
    written = tmp_path / "written.flac"
    written.write_bytes((EXAMPLES / "ja_1.flac").read_bytes())
    first = upload(page, EXAMPLES / "en_1.flac", written)
    expect(first.locator(".state")).to_contain_text("in line")
    written.write_bytes((EXAMPLES / "ja_2.flac").read_bytes())
    os.utime(written, (1, 1))
    first.locator(".stop").click()
    card = cards(page).nth(1)
    expect(card.locator(".message")).to_contain_text("This file has changed")
    expect(card.get_by_role("button", name="Try again")).to_have_count(0)


def test_a_long_text_has_a_line_for_each_segment(visit: Open) -> None:
    card = translate(page := visit(), "en_long")
    lines = card.locator(".words").all_text_contents()
    assert len(lines) > 1
    with page.expect_download() as download:
        card.locator("[data-format=txt]").click()
    assert Path(download.value.path()).read_text("utf-8").splitlines() == lines


def test_silence_is_said_in_words_without_figures(visit: Open, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(80_000, np.int16), 16_000)
    card = upload(visit(), path)
    expect(card.locator(".message")).to_have_text(re.compile("^Nobody speaks in this recording"))
    expect(card.locator(".state")).to_have_text("No speech")
    assert "real time" not in card.inner_text()


def test_speech_of_which_nothing_is_understood_is_not_called_silence(
    visit: Open, tmp_path: Path
) -> None:
    path = tmp_path / "backwards.wav"
    soundfile.write(path, load_audio(EXAMPLES / "en_2.flac")[::-1], SAMPLE_RATE)
    card = upload(visit(), path)
    expect(card.locator(".state")).to_have_text("Nothing understood")
    expect(card.locator(".message")).to_have_text(re.compile("^Something sounds like speech"))


def test_what_a_model_or_a_visitor_writes_is_shown_as_text(
    visit: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script><style>'
    hypothesis = Hypothesis(evil, Direction.EN_JA, 5, -0.1)
    terms = set[str]()

    def generate(_: LocalEngine, request: Request) -> list[Hypothesis]:
        terms.add(request.context)
        return [hypothesis] * len(request.batch)

    monkeypatch.setattr(LocalEngine, "generate", generate)
    name = '<img src=x onerror="window.attacked=1"><b>'
    recording, notes = tmp_path / f"{name}.flac", tmp_path / f"{name}.wav"
    recording.write_bytes((EXAMPLES / "en_1.flac").read_bytes())
    notes.write_text("this is not sound")
    page = visit()
    page.click("#speak .terms summary")
    page.fill("#terms", evil)
    card = upload(page, recording)
    expect(card.locator(".words")).to_have_text(evil)
    assert terms == {evil}  # the model gets what was written under names and terms
    photograph(page, "hostile")
    expect(upload(page, notes).locator(".message")).to_contain_text("holds no sound")
    page.get_by_role("tab", name="Live").click()
    page.click("#live-audio")
    expect(page.locator("#live-fixed p .text").first).to_have_text(evil)
    page.click("#live-audio")
    expect(page.locator("#live-audio")).to_have_text("Go on speaking")
    clear_captions(page)
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script, style").filter(has_text="attacked").count() == 0
    assert page.evaluate("window.attacked") is None


def test_reading_aloud_needs_a_browser_that_can(visit: Open) -> None:
    gone = "delete window.speechSynthesis; delete Window.prototype.speechSynthesis;"
    page = visit(script=gone)
    card = translate(page, "en_1")
    expect(card.get_by_role("button", name="Read aloud")).to_have_count(0)
    card = translate(visit(), "en_1")
    expect(card.get_by_role("button", name="Read aloud")).to_be_visible()
