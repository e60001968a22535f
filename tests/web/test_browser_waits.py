"""How long a visitor waits: for the page, and for the first text."""

import statistics
import time

import gradio as gr
import httpx
import pytest
from browsing import Open, cards
from clips import EXAMPLES, reference
from own_space import free_port
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.slow


def seconds_to_button(browser: Browser, url: str, ready: str) -> float:
    """How long a new visitor waits until the page can be used."""
    context = browser.new_context()
    page = context.new_page()
    started = time.monotonic()
    page.goto(url)
    page.wait_for_selector(ready, state="attached")
    seconds = time.monotonic() - started
    context.close()
    return seconds


FIRST_TEXT = """
    (number) => new Promise((resolve) => {
        const begun = performance.now();
        const words = `#cards .card:nth-last-child(${number}) .words`;
        const seen = () => [...document.querySelectorAll(words)].some((x) => x.textContent);
        new MutationObserver((_, observer) => {
            if (!seen()) return;
            observer.disconnect();
            resolve((performance.now() - begun) / 1000);
        }).observe(document.querySelector("#cards"), {
            childList: true, subtree: true, characterData: true,
        });
        document.querySelector("#example-en_1").click();
    })
"""


def seconds_to_answer(url: str) -> float:
    """How long a program waits for the whole translation of the same clip."""
    started = time.monotonic()
    answer = httpx.post(
        f"{url}v1/audio/translations",
        data={"model": "any", "to_language": "ja"},
        files={"file": ("en_1.flac", (EXAMPLES / "en_1.flac").read_bytes())},
    )
    assert answer.json()["text"] == reference("en_1")
    return time.monotonic() - started


def test_the_first_text_of_a_short_clip_is_there_within_a_second(visit: Open, space: str) -> None:
    """On a busy machine it may take longer, as a whole translation does without the page."""
    page = visit()
    expect(page.locator("#examples button")).to_have_count(4)
    first, whole = list[float](), list[float]()
    for number in range(1, 6):
        first.append(page.evaluate(FIRST_TEXT, number))
        expect(cards(page)).to_have_count(number)
        expect(cards(page).first).to_have_attribute("data-state", "done")
        whole.append(seconds_to_answer(space))
    for name, seconds in (("first text", first), ("a program's answer", whole)):
        print(f"{name}: {', '.join(f'{x:.2f}' for x in seconds)} s")
    assert statistics.median(first) < max(1.0, 3 * statistics.median(whole))


def test_the_page_is_there_as_soon_as_gradio_can(browser: Browser, space: str) -> None:
    with gr.Blocks(analytics_enabled=False) as bare:
        gr.Button(elem_id="bare")
    _, url, _ = bare.launch(
        server_port=free_port(), prevent_thread_lock=True, quiet=True, ssr_mode=False
    )
    try:
        rounds = [
            (
                seconds_to_button(browser, space, "html[data-speech]"),
                seconds_to_button(browser, url, "#bare"),
            )
            for _ in "123"
        ]
    finally:
        bare.close()
    ours, least = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    print(f"page interactive: {ours:.2f} s, an empty page of Gradio: {least:.2f} s")
    assert ours < max(3.0, 3 * least)
