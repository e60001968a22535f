"""Live captions on the page: they grow and stay, others may read along, two people may talk."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import (
    SENTENCES,
    SOON,
    Open,
    assert_accessible,
    captions,
    clear_captions,
    photograph,
    until,
)
from clips import reference
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow

# A tab whose sound is shared: a tone, since the browser's own chooser needs a person.
SHARED = """
    window.shared = [];
    navigator.mediaDevices.getDisplayMedia = async (wanted) => {
        const video = document.createElement("canvas").captureStream();
        const stream = new MediaStream(video.getTracks());
        if (!window.silent) {
            const heard = await navigator.mediaDevices.getUserMedia({ audio: true });
            heard.getAudioTracks().forEach((track) => stream.addTrack(track));
        }
        window.shared.push(...stream.getTracks());
        return stream;
    };
"""


@pytest.fixture
def live(visit: Open) -> Iterator[Page]:
    """The page with its live part, as a browser with a microphone shows it."""
    page = visit(path="#live", permissions=["clipboard-read", "clipboard-write"])
    yield page
    if page.locator("#live-clear").is_visible():
        clear_captions(page)


def talk(page: Page) -> None:
    """Speak the two sentences, and stop."""
    before = page.locator("#live-fixed p").count()
    page.click("#live-audio")
    expect(page.locator("#live-audio")).to_have_text("Stop")
    expect(page.locator("#live-fixed p")).to_have_count(before + SENTENCES)
    page.click("#live-audio")
    expect(page.locator("#live-audio")).to_have_text("Go on speaking")


def test_captions_grow_settle_and_can_be_taken_along(live: Page) -> None:
    expect(live.locator("#live-keep")).to_be_hidden()  # nothing to download yet
    live.click("#live-audio")
    expect(live.locator("#live-state")).to_be_visible()
    until(lambda: float(live.locator("#live-level").evaluate("x => x.value")) > 0)
    expect(live.locator("#live-fixed p")).to_have_count(SENTENCES)
    expect(live.locator("#live-note")).to_contain_text("still changing")
    photograph(live, "live")
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Go on speaking")
    expect(live.locator("#live-note")).to_have_text("")
    assert captions(live) == reference("en_two_sentences")
    expect(live.locator("#live-fixed p .text").first).to_have_attribute("lang", "ja")
    assert_accessible(live)
    with live.expect_download() as download:
        live.click("[data-live-format=srt]")
    srt = Path(download.value.path()).read_text("utf-8").replace("\n", "")
    assert live.locator("#live-fixed p .text").first.inner_text() in srt
    live.click("#live-copy")
    copied = live.evaluate("navigator.clipboard.readText()")
    assert copied.replace("\n", "") == reference("en_two_sentences")


def test_the_direction_can_be_chosen(live: Page) -> None:
    live.locator("#panel-live").get_by_label("日本語 → English").check()
    live.click("#panel-live .terms summary")
    live.fill("#live-terms", "Kyoto")
    with live.expect_request("**/live?*") as asked:
        live.click("#live-audio")
    assert "direction=ja2en&terms=Kyoto" in asked.value.url
    expect(live.locator("#live-audio")).to_have_text("Stop")
    live.click("#live-audio")
    expect(live.locator("#live-audio")).not_to_have_text("Stop")


def test_speaking_goes_on_below_and_a_reload_loses_nothing(live: Page) -> None:
    talk(live)
    once = captions(live)
    live.reload()
    expect(live.locator("#live-fixed p")).to_have_count(SENTENCES)
    assert captions(live) == once
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Stop")
    assert captions(live).startswith(once)
    live.click("#live-audio")
    expect(live.locator("#live-audio")).to_have_text("Go on speaking")
    assert captions(live).startswith(once)
    live.click("#live-clear")
    live.get_by_role("dialog").get_by_role("button", name="Keep").click()
    assert captions(live).startswith(once)
    clear_captions(live)
    live.reload()
    expect(live.locator("#live-empty")).to_be_visible()


def test_a_reload_in_the_middle_of_a_talk_keeps_what_was_said(live: Page) -> None:
    live.click("#live-audio")
    expect(live.locator("#live-fixed p")).to_have_count(1)
    first = captions(live)
    live.reload()
    expect(live.locator("#live-fixed p").first).to_be_visible()
    until(lambda: captions(live).startswith(first))
    until(lambda: not (live.evaluate("localStorage['speech-live']") or "").count('"id"'))


def test_the_sound_of_a_tab_is_captioned_too(visit: Open) -> None:
    page = visit(path="#live", script=SHARED)
    page.get_by_label("A tab or this computer").check()
    page.click("#live-audio")
    expect(page.locator("#live-fixed p")).to_have_count(SENTENCES)
    page.click("#live-audio")
    expect(page.locator("#live-audio")).to_have_text("Go on speaking")
    assert page.evaluate("shared.every((x) => x.readyState === 'ended')")
    page.evaluate("window.silent = true")
    page.click("#live-audio")
    expect(page.locator("#live-note")).to_contain_text("has no sound")
    assert page.evaluate("shared.every((x) => x.readyState === 'ended')")


def test_an_audience_reads_along_until_the_talk_is_over(live: Page) -> None:
    talk(live)
    live.click("#live-audio")
    link = live.locator("#live-link").get_attribute("href")
    assert link is not None
    live.click("#live-overlay-copy")
    assert live.evaluate("navigator.clipboard.readText()") == f"{link}?overlay"
    audience = live.context.new_page()
    audience.goto(link)
    expect(audience.locator(".fixed")).to_have_count(SENTENCES)
    assert "".join(audience.locator(".fixed").all_inner_texts()) == captions(live)
    assert audience.locator("button, a, input").count() == 0
    photograph(audience, "audience")
    assert_accessible(audience)
    audience.goto(f"{link}?overlay")
    expect(audience.locator(".fixed").first).to_be_visible()
    assert audience.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgba(0, 0, 0, 0)"
    )
    audience.goto(link)
    expect(audience.locator(".fixed").first).to_be_visible()
    # As when the speaker has had no network for two minutes.
    audience.route("**/captions?*", lambda route: route.fulfill(status=404, json={}), times=1)
    expect(audience.locator(".over")).to_have_text("The talk is over.")
    expect(audience.locator(".over")).to_have_count(0)
    expect(audience.locator(".fixed").first).to_be_visible()
    live.click("#live-audio")
    clear_captions(live)
    expect(audience.locator(".over")).to_have_text("The talk is over.")


def test_two_people_read_their_own_halves_in_large_letters(live: Page) -> None:
    talk(live)
    live.get_by_role("button", name="Two people").click()
    expect(live.locator("#half-ja p .text").first).to_be_visible()
    assert "".join(live.locator("#half-ja .text").all_inner_texts()) == captions(live)
    assert live.locator("#half-en .text").count() == 0
    small = live.locator("#half-ja").evaluate("x => parseFloat(getComputedStyle(x).fontSize)")
    live.get_by_role("button", name="Large text").click()
    large = live.locator("#half-ja").evaluate("x => parseFloat(getComputedStyle(x).fontSize)")
    assert large > 1.3 * small
    photograph(live, "two_people")
    live.get_by_role("button", name="Full screen").click()
    until(lambda: live.evaluate("document.fullscreenElement?.id") == "live-stage")
    live.evaluate("document.exitFullscreen()")


def test_captions_are_read_aloud_in_their_language(visit: Open) -> None:
    script = (
        "window.said = []; Object.defineProperty(window, 'speechSynthesis', { value: {"
        " speaking: false, cancel() {}, speak(x) { said.push([x.text, x.lang]); } } });"
    )
    page = visit(path="#live", script=script)
    page.get_by_role("button", name="Read captions aloud").click()
    talk(page)
    spoken = page.locator("#live-fixed p .text").all_inner_texts()
    assert page.evaluate("said") == [[words, "ja-JP"] for words in spoken]


# Every track of a microphone that was opened, for a look whether it was closed again.
TRACKS = """
    window.tracks = [];
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
        const stream = await open(wanted);
        tracks.push(...stream.getTracks());
        return stream;
    };
"""


def assert_microphone_closed(page: Page) -> None:
    until(lambda: page.evaluate("tracks.length") == 1)
    until(lambda: page.evaluate("tracks.every((x) => x.readyState === 'ended')"))
    expect(page.locator("#live-audio")).to_have_text("Start speaking")


def test_a_double_click_leaves_no_microphone_open(visit: Open) -> None:
    page = visit(path="#live", script=TRACKS)
    page.dblclick("#live-audio")
    assert_microphone_closed(page)


def test_a_microphone_that_is_pulled_out_is_said(visit: Open) -> None:
    page = visit(path="#live", script=TRACKS)
    page.click("#live-audio")
    expect(page.locator("#live-line")).not_to_have_text("")
    page.evaluate("tracks[0].dispatchEvent(new Event('ended'))")
    expect(page.locator("#live-audio")).to_have_text("Go on speaking")
    expect(page.locator("#live-note")).to_contain_text("microphone was disconnected")
    expect(page.locator("#live-fixed p")).not_to_have_count(0)
    clear_captions(page)


# The sound of the page, which a browser suspends for a telephone call or while a computer sleeps.
CONTEXTS = """
    const Real = window.AudioContext;
    window.AudioContext = class extends Real {
        constructor(...options) {
            super(...options);
            window.context = this;
        }
    };
"""


def test_a_talk_goes_on_after_the_browser_has_suspended_its_sound(visit: Open) -> None:
    page = visit(path="#live", script=CONTEXTS)
    page.click("#live-audio")
    expect(page.locator("#live-line")).not_to_have_text("")
    page.evaluate("context.suspend()")
    until(lambda: page.evaluate("context.state") == "running", 20)
    expect(page.locator("#live-fixed p")).to_have_count(SENTENCES)
    page.click("#live-audio")
    expect(page.locator("#live-audio")).to_have_text("Go on speaking")
    clear_captions(page)


def test_a_start_can_be_taken_back_while_the_server_says_nothing(visit: Open) -> None:
    page = visit(path="#live", script=TRACKS + SOON)
    page.route("**/live?*", lambda route: None)
    with page.expect_request("**/live?*"):
        page.click("#live-audio")
    expect(page.locator("#live-audio")).to_contain_text("Opening")
    expect(page.locator("#live-note")).to_contain_text("The server takes long")
    page.click("#live-audio")
    assert_microphone_closed(page)
    expect(page.locator("#live-note")).to_have_text("")


def test_the_screen_stays_awake_while_somebody_speaks(visit: Open) -> None:
    script = (
        "window.locks = 0; Object.defineProperty(navigator, 'wakeLock', { value: { request:"
        " async () => { locks += 1; return { release: async () => { locks -= 1; } }; } } });"
    )
    page = visit(path="#live", script=script)
    page.click("#live-audio")
    until(lambda: page.evaluate("locks") == 1)
    page.click("#live-audio")
    until(lambda: page.evaluate("locks") == 0)


def test_captions_are_followed_unless_the_reader_has_scrolled_away(visit: Open) -> None:
    page = visit(path="#live")
    kept = [
        {"start": i, "end": i + 1, "text": f"文 {i}。", "direction": "en2ja", "flags": []}
        for i in range(200)
    ]
    page.evaluate("kept => localStorage['speech-live'] = JSON.stringify({ segments: kept })", kept)
    page.reload()
    place = page.locator("#live-captions")
    expect(page.locator("#live-fixed p")).to_have_count(200)
    page.evaluate("document.querySelector('#live-captions').scrollTop = 0")
    newest = page.get_by_role("button", name="To the newest line")
    expect(newest).to_be_visible()
    newest.click()
    until(lambda: bool(place.evaluate("x => x.scrollHeight - x.scrollTop - x.clientHeight < 40")))
    expect(newest).to_be_hidden()
