"""A browser, a page that nobody complains of, and a Space on ZeroGPU."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from browsing import CHROMIUM, PATIENCE, Open
from clips import EXAMPLES
from on_zerogpu import OnZeroGpu, on_zerogpu
from playwright.sync_api import Browser, Page, expect, sync_playwright

from speech_translation.audio import load_audio
from speech_translation.types import SAMPLE_RATE


@pytest.fixture(scope="module")  # while it lives, asyncio.run works nowhere in this thread
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with a microphone that hears two sentences, and a screen that may be shared."""
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


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording that is worked on for many seconds."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    talk = load_audio(EXAMPLES / "en_long.flac")
    soundfile.write(path, np.tile(np.pad(talk, (0, 3 * SAMPLE_RATE)), 6), SAMPLE_RATE)
    return path


@pytest.fixture
def visit(browser: Browser, space: str) -> Iterator[Open]:
    """Open the page; in the end nothing was complained of and no other host was asked."""
    complaints, hosts, contexts = list[str](), set[str](), list[Any]()

    def open_page(
        locale: str = "en-US",
        width: int = 1100,
        path: str = "",
        height: int = 900,
        script: str = "",
        expected: str = "$^",
        **options: Any,
    ) -> Page:
        def complain(message: str) -> None:
            if not re.search(expected, message):
                complaints.append(message)

        context = browser.new_context(
            locale=locale, viewport={"width": width, "height": height}, **options
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.add_init_script(script)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complain(m.text) if m.type == "error" else None)
        page.on("request", lambda request: hosts.add(request.url))
        page.goto(space + path)
        expect(page.locator("html")).to_have_attribute("data-speech", "ready")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in hosts if not url.startswith((space, "data:", "blob:"))] == []


@pytest.fixture(scope="session")
def running_on_zerogpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnZeroGpu]:
    with on_zerogpu(tmp_path_factory.mktemp("zerogpu") / "seen") as running:
        yield running


@pytest.fixture
def lender(running_on_zerogpu: OnZeroGpu) -> Iterator[OnZeroGpu]:
    """The Space before anybody asks; in the end its main process has used no engine and no CUDA."""
    running_on_zerogpu.api.forget()
    running_on_zerogpu.seen_file.write_text("")
    yield running_on_zerogpu
    running_on_zerogpu.fail("")
    assert [line for line in running_on_zerogpu.seen() if line[1] == "main"] == []
