"""The page on ZeroGPU: its own events as its script sends them, and in a browser."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsing import until
from clips import EXAMPLES, clip, reference
from device_api import Queued, Refused
from on_zerogpu import PATIENCE, OnZeroGpu, long, long_text, recording, visitor
from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


class Page:
    """A visitor's page: its session, and the buttons of the first tab."""

    def __init__(self, url: str, language: str = "en") -> None:
        self.http = httpx.Client(
            base_url=url + "gradio_api/", timeout=PATIENCE, headers={"accept-language": language}
        )
        self.session = "page" + os.urandom(4).hex()
        config = httpx.get(url + "config").json()
        ids = {c["props"].get("elem_id"): c["id"] for c in config["components"]}
        self.names = {c["id"]: c["props"].get("elem_id") for c in config["components"]}
        self.functions = {
            button: next(
                d for d in config["dependencies"] if [ids[button], "click"] in d["targets"]
            )
            for button in ("run", "stop-run")
        }

    def upload(self, path: Path) -> dict[str, Any]:
        with path.open("rb") as file:
            (stored,) = self.http.post("upload", files={"files": file}).json()
        return {"path": stored, "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    def translate(self, path: Path, direction: str) -> None:
        """Begin a run of the page."""
        self.press("run", self.upload(path), direction, "", False, "card")

    def press(self, button: str, *values: object) -> None:
        body = {
            "data": values,
            "fn_index": self.functions[button]["id"],
            "session_hash": self.session,
        }
        queued = self.functions[button]["queue"]
        answer = self.http.post("queue/join" if queued else "run/predict", json=body)
        assert answer.status_code == 200, answer.text

    def messages(self) -> Iterator[dict[str, Any]]:
        """What the queue says, until the event has ended."""
        query = {"session_hash": self.session}
        with self.http.stream("GET", "queue/data", params=query) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                if message:
                    yield message
                if message.get("msg") == "process_completed":
                    return

    def all_messages(self) -> Future[list[dict[str, Any]]]:
        """What the queue says, collected while the test goes on."""
        pool = ThreadPoolExecutor(1)
        future = pool.submit(lambda: list(self.messages()))
        pool.shutdown(wait=False)
        return future


def heard(message: dict[str, Any]) -> dict[str, Any]:
    """What the card hears."""
    news = json.loads(message["output"]["data"][0])
    assert news["id"] == "card"
    return dict(news)


def finished(messages: list[dict[str, Any]]) -> tuple[str, str, str]:
    """Text, state and English message that the card shows in the end."""
    assert messages[-1]["success"], messages[-1]
    news = heard(messages[-1])
    text = "".join(segment["text"] for segment in news["segments"])
    return text, news["state"], (news["message"] or {}).get("en", "")


def test_the_page_shows_a_long_recording(lender: OnZeroGpu, tmp_path: Path) -> None:
    recording(tmp_path, long())
    page = Page(lender.space.url)
    page.translate(tmp_path / "recording.wav", "en2ja")
    messages = page.all_messages().result(PATIENCE)
    assert finished(messages) == (long_text(), "done", "")
    assert len([m for m in messages if m["msg"] == "process_generating"]) > 5  # it grew
    assert len(lender.api.asked) == 3


def test_the_page_offers_the_other_direction_within_the_same_call(lender: OnZeroGpu) -> None:
    page = Page(lender.space.url, "ja")
    page.translate(EXAMPLES / "ja_two_sentences.flac", "en2ja")
    assert heard(page.all_messages().result(PATIENCE)[-1])["other"] == "ja2en"
    assert len(lender.api.asked) == 1


def test_stop_ends_the_worker_and_keeps_what_was_finished(
    lender: OnZeroGpu, tmp_path: Path
) -> None:
    recording(tmp_path, long())
    page = Page(lender.space.url)
    lender.fail("wait 2")  # in the second call: the first one also asks for the direction
    page.translate(tmp_path / "recording.wav", "en2ja")
    messages = page.all_messages()
    lender.until_it_waits()
    page.press("stop-run")
    text, state, _ = finished(messages.result(PATIENCE))
    assert state == "partial"
    assert long_text().startswith(text)
    assert len(long_text()) / 4 < len(text) < len(long_text()) / 2
    assert lender.api.wait_for_release(2, PATIENCE)
    assert lender.api.released == [False, False]
    assert len(lender.api.asked) == 2


def test_stop_works_while_the_visitor_waits_in_line(lender: OnZeroGpu) -> None:
    page = Page(lender.space.url)
    lender.api.answers.append(Queued())
    lender.api.moves.clear()
    page.translate(EXAMPLES / "en_two_sentences.flac", "en2ja")
    messages = page.all_messages()
    until(lambda: len(lender.api.asked) == 1, PATIENCE)
    page.press("stop-run")
    assert finished(messages.result(PATIENCE)) == ("", "partial", "")
    assert lender.api.released == []  # still in line
    lender.fail("wait 0")  # the engine would not end by itself
    lender.api.moves.set()
    assert lender.api.wait_for_release(1, PATIENCE)
    assert lender.api.released == [False]


def test_who_leaves_ends_the_worker(lender: OnZeroGpu, tmp_path: Path) -> None:
    recording(tmp_path, long())
    page = Page(lender.space.url)
    lender.fail("wait 0")
    page.translate(tmp_path / "recording.wav", "en2ja")
    for _ in page.messages():
        if lender.waiting():
            break
    assert lender.api.wait_for_release(1, PATIENCE)
    lender.fail("")
    sound = recording(tmp_path, clip("en_two_sentences"))
    assert visitor(lender).predict(sound, "en2ja", api_name="/translate") == reference(
        "en_two_sentences"
    )
    assert lender.api.released == [False, False]
    assert len(lender.api.asked) == 2


def test_the_page_keeps_what_was_finished_when_the_quota_ends(
    lender: OnZeroGpu, tmp_path: Path
) -> None:
    recording(tmp_path, long())
    page = Page(lender.space.url)
    lender.api.answers += [None, Refused(0, 600)]
    page.translate(tmp_path / "recording.wav", "en2ja")
    text, state, message = finished(page.all_messages().result(PATIENCE))
    assert state == "partial"
    assert long_text().startswith(text)
    assert len(long_text()) / 4 < len(text) < len(long_text()) / 2
    assert "Your GPU time on Hugging Face is used up for now." in message


def test_live_captions_are_absent_with_a_sentence(lender: OnZeroGpu) -> None:
    for language, words in (("en", "borrows one for seconds"), ("ja", "数秒ずつ借りて")):
        answer = httpx.post(
            lender.space.url + "live", headers={"accept-language": language}, timeout=PATIENCE
        )
        assert answer.status_code == 503
        assert words in answer.json()["error"]
    config = httpx.get(lender.space.url + "config").json()
    page = "".join(str(component["props"].get("value")) for component in config["components"])
    assert 'data-text="live_absent"' in page
    assert 'id="live-audio"' not in page


def test_in_a_browser_an_example_is_translated_and_live_says_why_it_is_absent(
    lender: OnZeroGpu, browser: Browser
) -> None:
    complaints = list[str]()
    page = browser.new_context(locale="ja-JP").new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(lender.space.url)
    page.get_by_role("tab", name="ライブ字幕").click()
    page.get_by_text("この Space は GPU を数秒ずつ借りて動いています").wait_for()
    page.get_by_role("tab", name="翻訳").click()
    page.click("#example-en_2")
    page.locator(".card[data-state=done]").wait_for()
    assert page.locator(".card .words").inner_text() == reference("en_2")
    assert complaints == []
    assert len(lender.api.asked) == 1
