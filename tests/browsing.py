"""What the tests of the page do in a browser: Debian's chromium, with a microphone that hears."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from clips import EXAMPLES, ROOT
from playwright.sync_api import Locator, Page, expect

SCREENSHOTS = ROOT / "screenshots"
CHROMIUM = Path("/usr/bin/chromium")
SENTENCES = 2  # that the microphone hears
PATIENCE = 60_000  # milliseconds; a busy machine takes its time
expect.set_options(timeout=PATIENCE)

# What a live talk says after 15 s without an answer, and does after 120 s, comes sooner.
SOON = """
    const later = window.setTimeout;
    window.setTimeout = (work, after) => later(work, { 15000: 500, 120000: 5000 }[after] ?? after);
"""

Open = Callable[..., Page]


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something comes true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.05)


def cards(page: Page) -> Locator:
    """The results on the page, the newest first."""
    return page.locator("#cards .card")


def upload(page: Page, *paths: Path) -> Locator:
    """Choose files. Returns the card of the first."""
    page.set_input_files("#picker", list(paths))
    card = cards(page).first
    expect(card.locator("h3")).to_have_text(paths[0].name)
    return card


def translate(page: Page, *names: str) -> Locator:
    """Have example clips translated; returns the card of the first."""
    card = upload(page, *(EXAMPLES / f"{name}.flac" for name in names))
    for number in range(len(names)):
        expect(cards(page).nth(number)).to_have_attribute("data-state", "done")
    return card


def text(card: Locator) -> str:
    """The text of a result, its lines put together as they are on the page."""
    return "".join(card.locator(".words").all_text_contents())


def expect_text(card: Locator, wanted: str) -> None:
    """Wait for the whole text of a result in one line."""
    expect(card).to_have_attribute("data-state", "done")
    assert text(card) == wanted, text(card)


def expect_some_text(card: Locator) -> None:
    """Wait until a result grows."""
    expect(card).to_have_attribute("data-state", "working")
    expect(card.locator("li:not(.growing) .words").first).to_be_visible()


def captions(page: Page) -> str:
    """The final captions of a talk."""
    return "".join(page.locator("#live-fixed p .text").all_inner_texts())


def clear_captions(page: Page) -> None:
    """Delete the captions of a talk, and say yes."""
    page.click("#live-clear")
    page.get_by_role("dialog").locator("[data-text=live_clear]").click()
    expect(page.locator("#live-fixed p")).to_have_count(0)


def reload(page: Page) -> None:
    """Load the page again, once the browser has kept all results."""
    page.evaluate("import('/page/shelf.js').then((shelf) => shelf.keptResults())")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-speech", "ready")


def photograph(page: Page, name: str) -> None:
    """Keep a picture of the page."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def assert_accessible(page: Page) -> None:
    """axe-core finds nothing serious."""
    assert [
        f"{violation['id']}: {[node['html'][:120] for node in violation['nodes']]}"
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ] == []


def assert_targets(page: Page) -> None:
    """Everything that can be pressed is at least 24 pixels wide and high (WCAG 2.5.8)."""
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, input, summary, a, label")]
            .filter((x) => x.offsetParent && x.offsetWidth > 1 && getComputedStyle(x).opacity > 0
                && (x.offsetWidth < 24 || x.offsetHeight < 24) && x.tagName !== "LABEL")
            .map((x) => `${x.outerHTML.slice(0, 80)} ${x.offsetWidth}x${x.offsetHeight}`)"""
    )
    assert small == []


def sideways(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )
