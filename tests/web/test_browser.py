"""The page in a real browser: Debian's chromium on a running Space with the embedded checkpoint.

Screenshots of each state go to screenshots/, which git ignores.
"""

import base64
import json
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pysubs2
import pytest
import soundfile
import soxr
from axe_playwright_python.sync_playwright import Axe
from clips import EXAMPLES, ROOT, TWO_LANGUAGES, reference, two_languages
from own_space import free_port
from playwright.sync_api import Browser, Page, expect, sync_playwright
from recordings import RATE, encoded

from speech_translation.audio import load_audio
from speech_translation.engine.local import LocalEngine
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis

pytestmark = pytest.mark.slow

SCREENSHOTS = ROOT / "screenshots"
CHROMIUM = Path("/usr/bin/chromium")
expect.set_options(timeout=60_000)  # milliseconds; a busy machine takes its time

# Gradio's own: it throws away a player that is still loading when the recording changes, and
# tries to draw the waveform of whatever was uploaded.
GRADIO_NOISE = re.compile("signal is aborted without reason|Unable to decode audio data")

Open = Callable[..., Page]


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with a microphone that hears two sentences."""
    if not CHROMIUM.exists():
        pytest.fail(
            "The browser tests need chromium: apt-get install --no-install-recommends chromium "
            "fonts-noto-cjk"
        )
    heard = tmp_path_factory.mktemp("microphone") / "two_sentences.wav"
    samples = load_audio(EXAMPLES / "en_two_sentences.flac")
    silence = np.zeros(3 * 48_000, np.float32)
    samples = soxr.resample(samples, SAMPLE_RATE, 48_000)
    soundfile.write(heard, np.concatenate([samples, silence]), 48_000, subtype="PCM_16")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={heard}%noloop",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, space: str) -> Iterator[Open]:
    """Open the page; in the end nothing was complained of and no other host was asked."""
    complaints, hosts, contexts = list[str](), set[str](), list[Any]()

    def complain(message: str) -> None:
        if not GRADIO_NOISE.search(message):
            complaints.append(message)

    def open_page(locale: str = "en-US", width: int = 1100, **options: Any) -> Page:
        context = browser.new_context(
            locale=locale, viewport={"width": width, "height": 900}, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("console", lambda m: complain(m.text) if m.type == "error" else None)
        page.on("request", lambda request: hosts.add(request.url))
        page.goto(space)
        expect(page.locator("#translate")).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in hosts if not url.startswith((space, "data:", "blob:"))] == []


def upload(page: Page, path: Path) -> None:
    clear = page.locator("#audio button[aria-label=Clear]")
    if clear.count():
        clear.click()
    page.set_input_files("#audio input[type=file]", path)
    expect(page.locator("#audio input[type=file]")).to_have_count(0)


def translate(page: Page, name: str) -> None:
    upload(page, EXAMPLES / f"{name}.flac")
    page.click("#translate")
    expect(page.locator("#cost p")).to_be_visible()


def result(page: Page) -> str:
    return page.input_value("#result textarea")


def photograph(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def assert_accessible(page: Page) -> None:
    assert [
        f"{violation['id']}: {[node['html'][:120] for node in violation['nodes']]}"
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ] == []


@pytest.mark.parametrize(("name", "language"), [("en_1", "ja"), ("ja_1", "en")])
def test_an_upload_is_translated(visit: Open, name: str, language: str) -> None:
    page = visit()
    photograph(page, "first")
    translate(page, name)
    expect(page.locator("#result textarea")).to_have_value(reference(name))
    expect(page.locator("#result textarea")).to_have_attribute("lang", language)
    photograph(page, f"result_{name}")
    assert_accessible(page)


def test_two_languages_in_one_recording_are_both_translated(visit: Open, tmp_path: Path) -> None:
    path = tmp_path / "both.wav"
    soundfile.write(path, two_languages(), SAMPLE_RATE)
    page = visit()
    upload(page, path)
    page.click("#translate")
    expect(page.locator("#cost p")).to_be_visible()
    assert all(reference(name) in result(page) for name in TWO_LANGUAGES)
    page.get_by_text("Details and downloads").click()
    expect(page.locator("#segments tr[data-start]")).to_have_count(4)
    languages = page.locator("#segments [lang]").evaluate_all("rows => rows.map(x => x.lang)")
    assert languages == ["ja", "en"] * 2
    photograph(page, "two_languages")


@pytest.mark.parametrize("dropped", [False, True])
def test_a_video_is_taken_too(visit: Open, tmp_path: Path, dropped: bool) -> None:
    video = tmp_path / "talk.mkv"
    video.write_bytes(
        encoded("matroska", "aac", load_audio(EXAMPLES / "ja_2.flac"), RATE, video="mpeg4")
    )
    page = visit()
    if dropped:
        page.locator("#audio input[type=file]").wait_for(state="attached")
        page.evaluate(
            """([bytes]) => {
                const transfer = new DataTransfer();
                const file = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
                transfer.items.add(new File([file], "talk.mkv", { type: "video/x-matroska" }));
                const zone = document.querySelector("#audio input[type=file]").parentElement;
                const options = { bubbles: true, cancelable: true, dataTransfer: transfer };
                zone.dispatchEvent(new DragEvent("drop", options));
            }""",
            [base64.b64encode(video.read_bytes()).decode()],
        )
        expect(page.locator("#audio input[type=file]")).to_have_count(0)
    else:
        picker = page.locator("#audio input[type=file]")
        expect(picker).to_have_attribute("accept", re.compile(r"video/\*"))
        upload(page, video)
    page.click("#translate")
    expect(page.locator("#result textarea")).to_have_value(reference("ja_2"))
    expect(page.locator("#player .play-pause-button")).to_be_visible()
    photograph(page, "video")


@pytest.mark.parametrize("direction", ["English → 日本語", "日本語 → English"])
def test_the_direction_can_be_forced(visit: Open, direction: str) -> None:
    page = visit()
    page.get_by_label(direction).first.check()
    name = "en_2" if direction.startswith("English") else "ja_2"
    translate(page, name)
    expect(page.locator("#result textarea")).to_have_value(reference(name))


def test_a_wrong_direction_is_noticed_and_switched(visit: Open) -> None:
    page = visit()
    page.get_by_label("日本語 → English").first.check()
    translate(page, "en_1")
    assert result(page) != reference("en_1")
    expect(page.locator("#progress")).to_contain_text("other direction")
    page.click("#switch")
    expect(page.locator("#result textarea")).to_have_value(reference("en_1"))
    expect(page.locator("#switch")).to_be_hidden()


def test_the_microphone_is_translated(visit: Open) -> None:
    page = visit()
    page.click("#audio button[aria-label='Record audio']")
    page.get_by_role("button", name="Record", exact=True).click()
    said = len(load_audio(EXAMPLES / "en_two_sentences.flac")) / SAMPLE_RATE
    minutes, seconds = divmod(int(said) + 2, 60)
    expect(page.locator("#audio time.duration")).to_have_text(f"{minutes}:{seconds:02}")
    page.locator("#audio .stop-button").click()
    page.click("#translate")  # at once, with the recording still on its way
    expect(page.locator("#result textarea")).to_have_value(reference("en_two_sentences"))


def test_live_captions_grow_and_settle(visit: Open) -> None:
    page = visit()
    page.get_by_role("tab", name="Live").click()
    page.click("#live-audio")
    expect(page.locator("#live-audio")).to_have_text("Stop")
    expect(page.locator("#live-fixed p")).to_have_count(2)
    page.click("#live-audio")
    expect(page.locator("#live-audio")).to_have_text("Start speaking")
    captions = page.locator("#live-fixed p .text").all_inner_texts()
    assert "".join(captions) == reference("en_two_sentences")
    expect(page.locator("#live-fixed p .text").first).to_have_attribute("lang", "ja")
    photograph(page, "live")
    assert_accessible(page)
    with page.expect_download() as download:
        page.click("[data-live-format=srt]")
    assert captions[0] in Path(download.value.path()).read_text("utf-8").replace("\n", "")
    page.click("#live-clear")
    expect(page.locator("#live-fixed p")).to_have_count(0)


def test_stop_keeps_what_was_finished_and_frees_the_model(visit: Open, tmp_path: Path) -> None:
    long = tmp_path / "long.flac"
    talk = load_audio(EXAMPLES / "en_long.flac")
    samples = np.tile(np.pad(talk, (0, 3 * SAMPLE_RATE)), 6)
    soundfile.write(long, samples, SAMPLE_RATE)
    minutes, seconds = divmod(round(len(samples) / SAMPLE_RATE), 60)
    page = visit()
    upload(page, long)
    drawn = f"{minutes}:{seconds:02}"
    expect(page.locator("#audio #duration")).to_have_text(drawn)
    page.click("#translate")
    page.wait_for_function("document.querySelector('#result textarea').value.length > 40")
    expect(page.locator("#progress progress")).to_be_visible()
    photograph(page, "working")
    page.click("#stop")
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#progress")).to_have_text("Stopped. What was finished is kept.")
    stopped = result(page)
    whole = 6 * reference("en_long")
    assert stopped
    assert whole.startswith(stopped)
    assert len(stopped) < len(whole)
    until(lambda: not any(thread.name == "translate" for thread in threading.enumerate()))
    assert result(page) == stopped
    upload(page, EXAMPLES / "ja_1.flac")
    page.click("#translate")
    expect(page.locator("#result textarea")).to_have_value(reference("ja_1"))


def test_every_format_downloads_and_parses(visit: Open) -> None:
    page = visit()
    translate(page, "en_two_sentences")
    page.get_by_text("Details and downloads").click()
    contents = {}
    for format in ("txt", "srt", "vtt", "tsv", "json"):
        with page.expect_download() as download:
            page.locator(f"#downloads a[href$='.{format}']").first.click()
        assert download.value.suggested_filename == f"en_two_sentences.{format}"
        contents[format] = Path(download.value.path()).read_text("utf-8")
    text = reference("en_two_sentences")
    assert contents["txt"] == text + "\n"
    assert json.loads(contents["json"])["text"] == text
    for format in ("srt", "vtt"):
        lines = pysubs2.SSAFile.from_string(contents[format], format_=format)
        assert "".join(line.plaintext for line in lines).replace("\n", "") == text
    assert len(contents["tsv"].splitlines()) == 2


def test_a_row_plays_its_part_of_the_recording(visit: Open, tmp_path: Path) -> None:
    far_apart = tmp_path / "two.flac"
    first, second = (load_audio(EXAMPLES / f"{name}.flac") for name in ("en_1", "en_2"))
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    soundfile.write(far_apart, np.concatenate([first, silence, second]), SAMPLE_RATE)
    page = visit()
    page.evaluate(
        "const play = HTMLMediaElement.prototype.play;"
        "HTMLMediaElement.prototype.play = function () {"
        " window.played = this; return play.call(this); }; 0"
    )
    upload(page, far_apart)
    page.click("#translate")
    expect(page.locator("#cost p")).to_be_visible()
    page.get_by_text("Details and downloads").click()
    row = page.locator("#segments tr[data-start]").nth(1)
    start, end = (float(row.get_attribute(f"data-{x}") or "nan") for x in ("start", "end"))
    photograph(page, "details")
    row.locator("button").click()
    page.wait_for_function(f"played.readyState > 2 && played.currentTime > {start + 0.2}")
    expect(row).to_have_class("playing")
    page.wait_for_function("played.paused")
    assert page.evaluate("played.currentTime") == pytest.approx(end, abs=0.3)
    expect(row).not_to_have_class("playing")


def test_the_recording_shows_its_subtitles(visit: Open) -> None:
    page = visit()
    translate(page, "en_two_sentences")
    page.locator("#player .play-pause-button").click()
    for sentence in re.findall(r"[^。？]+[。？]", reference("en_two_sentences")):
        expect(page.locator("#player .subtitle-display")).to_contain_text(sentence)


def test_an_example_runs_with_one_click(visit: Open) -> None:
    page = visit()
    page.click("#example-ja_1")
    expect(page.locator("#result textarea")).to_have_value(reference("ja_1"))


def test_a_file_that_is_no_sound_gets_a_sentence(visit: Open, tmp_path: Path) -> None:
    notes = tmp_path / "notes.wav"
    notes.write_text("this is not sound")
    page = visit(locale="ja-JP")
    page.set_input_files("#audio input[type=file]", notes)
    page.click("#translate")
    expect(page.get_by_test_id("toast-body")).to_contain_text("音声を処理できません")
    photograph(page, "refused")
    page.click("#example-en_1")
    expect(page.locator("#result textarea")).to_have_value(reference("en_1"))


def test_what_a_model_or_a_visitor_writes_is_shown_as_text(
    visit: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script><style>'
    hypothesis = Hypothesis(evil, Direction.EN_JA, 5, -0.1)
    monkeypatch.setattr(
        LocalEngine, "generate", lambda _, request: [hypothesis] * len(request.batch)
    )
    name = '<img src=x onerror="window.attacked=1"><b>'
    recording, notes = tmp_path / f"{name}.flac", tmp_path / f"{name}.wav"
    recording.write_bytes((EXAMPLES / "en_1.flac").read_bytes())
    notes.write_text("this is not sound")
    page = visit()
    page.get_by_text("Names and terms (experimental)").click()
    page.fill("#terms textarea", evil)
    upload(page, recording)
    page.click("#translate")
    expect(page.locator("#result textarea")).to_have_value(evil)
    page.get_by_text("Details and downloads").click()
    expect(page.locator("#segments td").nth(2)).to_have_text(evil)
    page.locator("#player .play-pause-button").click()
    expect(page.locator("#player .subtitle-display")).to_contain_text("<img src=x")
    photograph(page, "hostile")
    upload(page, notes)
    page.click("#translate")
    expect(page.get_by_test_id("toast-body")).to_contain_text("holds no sound")
    page.get_by_role("tab", name="Live").click()
    page.click("#live-audio")
    expect(page.locator("#live-fixed p .text").first).to_have_text(evil)
    page.click("#live-audio")
    expect(page.locator("#live-audio")).to_have_text("Start speaking")
    page.click("#live-clear")
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script, style").filter(has_text="attacked").count() == 0
    assert page.evaluate("window.attacked") is None


def test_nothing_to_translate_is_said(visit: Open) -> None:
    page = visit()
    page.click("#translate")
    expect(page.get_by_test_id("toast-body")).to_contain_text("no recording yet")


@pytest.mark.parametrize(
    ("locale", "title", "button"),
    [
        ("ja-JP", "英語 ↔ 日本語 音声翻訳", "翻訳する"),
        ("en-GB", "English ↔ Japanese speech translation", "Translate"),
    ],
)
def test_the_page_speaks_the_visitors_language(
    visit: Open, locale: str, title: str, button: str
) -> None:
    page = visit(locale=locale)
    expect(page.locator("#title h1")).to_have_text(title)
    expect(page.locator("#translate")).to_have_text(button)
    assert page.evaluate("document.documentElement.lang") == locale[:2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(visit: Open, scheme: str) -> None:
    page = visit(locale="ja-JP", width=390, color_scheme=scheme)
    translate(page, "en_two_sentences")
    page.get_by_text("詳細とダウンロード").click()
    expect(page.locator("#segments tr[data-start]").first).to_be_visible()
    photograph(page, f"phone_{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert_accessible(page)


def test_the_keyboard_is_enough(visit: Open) -> None:
    page = visit()
    upload(page, EXAMPLES / "en_1.flac")
    page.locator("#direction input:checked").focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "translate":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#result textarea")).to_have_value(reference("en_1"))


def test_reading_aloud_needs_a_browser_that_can(browser: Browser, space: str) -> None:
    context = browser.new_context(locale="en-US")
    context.add_init_script(
        "delete window.speechSynthesis; delete Window.prototype.speechSynthesis;"
    )
    page = context.new_page()
    page.goto(space)
    expect(page.locator("#translate")).to_be_visible()
    translate(page, "en_1")
    expect(page.locator("#speak")).to_be_hidden()
    context.close()


def seconds_to_button(browser: Browser, url: str) -> float:
    """How long a new visitor waits for the button of the page."""
    context = browser.new_context()
    page = context.new_page()
    started = time.monotonic()
    page.goto(url)
    page.wait_for_selector("#translate")
    seconds = time.monotonic() - started
    context.close()
    return seconds


def test_the_page_is_there_as_soon_as_gradio_can(browser: Browser, space: str) -> None:
    with gr.Blocks(analytics_enabled=False) as bare:
        gr.Button(elem_id="translate")
    _, url, _ = bare.launch(
        server_port=free_port(), prevent_thread_lock=True, quiet=True, ssr_mode=False
    )
    try:
        rounds = [
            (seconds_to_button(browser, space), seconds_to_button(browser, url)) for _ in "123"
        ]
    finally:
        bare.close()
    ours, least = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    print(f"first interactive paint: {ours:.2f} s, of an empty page: {least:.2f} s")
    assert ours < 3 * least


def test_what_page_js_uses_of_gradio_is_there(visit: Open) -> None:
    script = (ROOT / "web" / "page.js").read_text("utf-8")
    listed = script.split("const GRADIO = {")[1].split("};")[0]
    selectors = dict(re.findall(r'^ +(\w+): "(.+?)"', listed, re.MULTILINE))
    assert len(selectors) >= 8
    page = visit()
    page.get_by_text("Names and terms (experimental)").click()
    for name in ("picker", "result", "terms", "tabCopies"):
        expect(page.locator(selectors.pop(name)).first).to_be_attached()
    page.get_by_role("tab", name="Live").click()
    expect(page.locator(selectors.pop("liveDirection"))).to_be_attached()
    page.get_by_role("tab", name="Translate").click()
    page.click("#audio button[aria-label='Record audio']")
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator(selectors.pop("stopRecording"))).to_be_visible()
    page.click("#example-en_1")
    expect(page.locator("#result textarea")).to_have_value(reference("en_1"))
    for name in ("recordingLink", "subtitlesButton"):
        expect(page.locator(selectors.pop(name))).to_be_attached()
    assert not selectors
