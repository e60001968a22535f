"""Make the pictures of the page in the documents anew: `make screenshots`.

A Space on the embedded checkpoint translates example clips, and what a visitor then sees is kept:
on a desktop for README.md, and on a phone.
"""

from __future__ import annotations

from pathlib import Path

from browsing import CHROMIUM, cards
from clips import EXAMPLES, ROOT
from own_space import running_space
from playwright.sync_api import Browser, expect, sync_playwright

LARGEST = 300_000  # bytes: a picture is fetched by everybody who reads the README


def photograph(
    browser: Browser, url: str, path: Path, size: tuple[int, int], locale: str, *clips: str
) -> None:
    """Translate clips, with what is said in them beside, and keep what the window shows."""
    width, height = size
    context = browser.new_context(locale=locale, viewport={"width": width, "height": height})
    page = context.new_page()
    page.goto(url)
    expect(page.locator("html")).to_have_attribute("data-speech", "ready")
    expect(page.locator("#examples button")).to_have_count(4)
    page.locator("#transcript").check()
    for number, clip in enumerate(clips, 1):
        page.set_input_files("#picker", EXAMPLES / f"{clip}.flac")
        expect(cards(page)).to_have_count(number)
        expect(cards(page).first).to_have_attribute("data-state", "done")
    page.wait_for_function("[...document.querySelectorAll('audio')].every((x) => x.duration > 0)")
    page.screenshot(path=path, animations="disabled")
    context.close()
    assert path.stat().st_size < LARGEST, f"{path} is too large"


def main() -> None:
    """Make both pictures."""
    with running_space() as space, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        desktop, phone = ROOT / "docs/space_light.png", ROOT / "docs/space_phone.png"
        photograph(browser, space.url, desktop, (1200, 820), "en-US", "ja_1", "en_two_sentences")
        photograph(browser, space.url, phone, (390, 844), "ja-JP", "en_two_sentences")
        browser.close()


if __name__ == "__main__":
    main()
