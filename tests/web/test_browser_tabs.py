"""Several tabs of one browser, and pages that are left: each has its own work, and none is lost."""

from pathlib import Path

import pytest
from browsing import (
    SENTENCES,
    Open,
    captions,
    cards,
    clear_captions,
    expect_some_text,
    expect_text,
    reload,
    text,
    translate,
    upload,
)
from clips import EXAMPLES, reference
from playwright.sync_api import Page, expect

import web.line

pytestmark = pytest.mark.slow


def another_tab(page: Page, path: str = "") -> Page:
    """The page once more, in another tab of the same browser."""
    tab = page.context.new_page()
    tab.goto(page.url.split("#")[0] + path)
    expect(tab.locator("html")).to_have_attribute("data-speech", "ready")
    return tab


def test_another_tab_ends_no_talk_and_shows_its_captions(visit: Open) -> None:
    speaker = visit(path="#live")
    speaker.click("#live-audio")
    expect(speaker.locator("#live-fixed p")).to_have_count(1)
    ends = list[str]()
    speaker.context.on("request", lambda r: ends.append(r.url) if "last=1" in r.url else None)
    reader = another_tab(speaker, "#live")
    expect(reader.locator("#live-fixed p")).to_have_count(SENTENCES)
    reader.wait_for_timeout(1000)
    assert ends == []
    speaker.click("#live-audio")
    expect(speaker.locator("#live-audio")).to_have_text("Go on speaking")
    assert captions(speaker) == reference("en_two_sentences")
    assert captions(reader) == captions(speaker)


def test_a_tab_that_has_said_nothing_takes_no_captions_away(visit: Open) -> None:
    reader = visit(path="#live")
    said = {"start": 0, "end": 1, "text": "前の文。", "direction": "en2ja", "flags": []}
    reader.evaluate("x => localStorage['speech-live'] = JSON.stringify({ segments: [x] })", said)
    reader.reload()
    speaker = another_tab(reader, "#live")
    speaker.click("#live-audio")
    expect(speaker.locator("#live-fixed p")).to_have_count(1 + SENTENCES)
    speaker.click("#live-audio")
    expect(speaker.locator("#live-audio")).to_have_text("Go on speaking")
    speaker.close()
    reader.reload()  # the last tab that is left
    expect(reader.locator("#live-fixed p")).to_have_count(1 + SENTENCES)
    assert captions(reader) == said["text"] + reference("en_two_sentences")
    clear_captions(reader)


def test_two_tabs_that_talk_keep_their_own_captions(visit: Open) -> None:
    first = visit(path="#live")
    second = another_tab(first, "#live")
    for tab in (first, second):
        tab.click("#live-audio")
        expect(tab.locator("#live-audio")).to_have_text("Stop")
    for tab in (first, second):
        expect(tab.locator("#live-fixed p")).to_have_count(SENTENCES)
    first.click("#live-audio")
    expect(first.locator("#live-audio")).to_have_text("Go on speaking")
    first.click("#live-audio")
    expect(first.locator("#live-fixed p")).to_have_count(2 * SENTENCES)
    for tab in (first, second):
        tab.click("#live-audio")
        expect(tab.locator("#live-audio")).to_have_text("Go on speaking")
    first.wait_for_timeout(1000)
    once, twice = (reference("en_two_sentences") * times for times in (1, 2))
    assert (captions(first), captions(second)) == (twice, once)
    for tab in (first, second):
        tab.reload()
        expect(tab.locator("#live-audio")).to_have_text("Go on speaking")
    assert (captions(first), captions(second)) == (twice, once)
    for tab in (first, second):
        clear_captions(tab)
        tab.reload()
        expect(tab.locator("#live-empty")).to_be_visible()


def test_a_run_of_another_tab_is_shown_when_it_is_over(visit: Open, long: Path) -> None:
    page = visit()
    card = upload(page, long)
    expect_some_text(card)
    tab = another_tab(page)
    expect(tab.locator("#examples button")).to_have_count(4)
    expect(cards(tab)).to_have_count(0)
    card.locator(".stop").click()
    expect(card).to_have_attribute("data-state", "partial")
    expect(cards(tab).first).to_have_attribute("data-state", "partial")
    assert text(cards(tab).first) == text(card)
    expect(cards(tab).locator(".message")).not_to_contain_text("The page was left")


def test_recordings_that_wait_are_there_after_a_reload(
    visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.line, "AT_ONCE", 0)  # nobody is let in
    page = visit(expected="aborted|errored out")
    names = ["en_1", "ja_1", "en_2"]
    card = upload(page, *(EXAMPLES / f"{name}.flac" for name in names))
    expect(card.locator(".state")).to_contain_text("in line")
    reload(page)
    monkeypatch.undo()
    expect(cards(page)).to_have_count(3)
    for number, name in enumerate(names):
        card = cards(page).nth(number)
        expect(card.locator("h3")).to_have_text(f"{name}.flac")
        expect(card.locator(".message")).to_contain_text("The page was left before")
        card.get_by_role("button", name="Try again").click()
        expect_text(card, reference(name))


def test_a_clock_that_was_wrong_once_costs_no_later_result(visit: Open) -> None:
    page = visit()
    page.evaluate(
        """async () => {
            const { keep } = await import("/page/shelf.js");
            const segment = { start: 0, end: 1, text: "未来の文。", direction: "en2ja", flags: [] };
            for (let i = 0; i < 20; i++) {
                await keep({ id: `late-${i}`, made: Date.now() + 1e10 + i, name: "late.flac",
                    direction: "auto", state: "done", segments: [segment], duration: 1 });
            }
        }"""
    )
    reload(page)
    expect(cards(page)).to_have_count(20)
    translate(page, "en_1")
    reload(page)
    expect_text(cards(page).first, reference("en_1"))


def test_a_page_that_is_open_does_not_keep_a_newer_one_from_its_store(visit: Open) -> None:
    page = visit()
    page.evaluate("import('/page/shelf.js').then((shelf) => shelf.keptResults())")
    newer = another_tab(page)
    assert newer.evaluate(
        """() => new Promise((resolve) => {
            const asked = indexedDB.open("speech-translation", 99);
            asked.onsuccess = () => { asked.result.close(); resolve("upgraded"); };
            asked.onerror = () => resolve("error");
            setTimeout(() => resolve("waits"), 20000);
        })"""
    ) == ("upgraded")


def test_a_run_can_be_stopped_when_the_server_says_nothing_any_more(
    visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.line, "AT_ONCE", 0)
    page = visit(expected="aborted|errored out")
    card = upload(page, EXAMPLES / "en_1.flac")
    expect(card.locator(".state")).to_contain_text("in line")
    page.route("**/gradio_api/**", lambda route: None)
    card.locator(".stop").click()
    expect(card.locator(".message")).to_contain_text("Cancelled")
    page.unroute_all()
    monkeypatch.undo()
    card.get_by_role("button", name="Try again").click()
    expect_text(card, reference("en_1"))
