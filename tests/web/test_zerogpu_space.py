"""A whole Space on ZeroGPU: the real `spaces`, with only its GPU and its device API stood in for.

zerogpu_program.py and device_api.py say what is real. A Space of Hugging Face was never run.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from clips import EXAMPLES, TWO_LANGUAGES, clip, reference, two_languages
from device_api import DeviceApi, Queued, Refused, device_api
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from own_space import Space, running_space
from playwright.sync_api import sync_playwright

from speech_translation.engine import load_engine
from speech_translation.segments import POLICIES
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction

pytestmark = pytest.mark.slow

PATIENCE = 180.0  # seconds; a busy machine takes its time


@dataclass(frozen=True)
class OnZeroGpu:
    """The running Space, and what lends it GPUs."""

    space: Space
    api: DeviceApi
    seen_file: Path

    def seen(self) -> list[tuple[str, str, int]]:
        """What was done, whether in the main process or in a worker, and in which."""
        return [tuple(json.loads(line)) for line in self.seen_file.read_text().splitlines()]

    def fail(self, how: str) -> None:
        """Let the engine fail, as zerogpu_program.py says; until the end of the test or ""."""
        file = self.seen_file.with_name("fault")
        if how:
            file.write_text(how)
        else:
            file.unlink(missing_ok=True)

    def waiting(self) -> bool:
        """Whether the engine waits, after `fail("wait ...")`."""
        return bool(self.seen()) and self.seen()[-1][0] == "waits"

    def until_it_waits(self) -> int:
        """Wait until the engine does. Returns its process."""
        until(self.waiting)
        return self.seen()[-1][2]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnZeroGpu]:
    seen = tmp_path_factory.mktemp("zerogpu") / "seen"
    with device_api() as api:
        environment = {
            "SPACES_ZERO_DEVICE_API_URL": api.url,
            "SPEECH_SEEN": str(seen),
            "OMP_NUM_THREADS": "1",
        }
        try:
            with running_space(
                "--precision",
                "float32",
                program="tests/zerogpu_program.py",
                environment=environment,
            ) as space:
                yield OnZeroGpu(space, api, seen)
        finally:
            for worker in api.workers:  # on a Space, the container ends them
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)


@pytest.fixture
def lender(running: OnZeroGpu) -> Iterator[OnZeroGpu]:
    """The Space before anybody asks; in the end its main process has used no engine and no CUDA."""
    running.api.forget()
    running.seen_file.write_text("")
    yield running
    running.fail("")
    assert [line for line in running.seen() if line[1] == "main"] == []


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.02)


def token(name: str) -> str:
    """A visitor's token in the form in which Hugging Face's proxy sends it."""
    payload = base64.urlsafe_b64encode(json.dumps({"user": name}).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


def visitor(lender: OnZeroGpu, name: str = "", language: str = "en") -> Client:
    headers = {"accept-language": language, **({"x-ip-token": token(name)} if name else {})}
    return Client(lender.space.url, verbose=False, headers=headers)


def recording(folder: Path, samples: np.ndarray) -> Any:
    """`samples` as an upload."""
    path = folder / "recording.wav"
    soundfile.write(path, samples, SAMPLE_RATE)
    return handle_file(str(path))


@pytest.fixture(scope="module")
def long() -> np.ndarray:
    """66 sentences."""
    return np.tile(clip("en_long"), 3)


@pytest.mark.parametrize("direction", ["en2ja", "auto"])
def test_an_upload_is_translated_in_one_short_call(
    lender: OnZeroGpu, tmp_path: Path, direction: str
) -> None:
    data = visitor(lender, "somebody").predict(
        recording(tmp_path, clip("en_two_sentences")), direction, api_name="/translate_segments"
    )
    assert data["text"] == reference("en_two_sentences")
    (asked,) = lender.api.asked
    assert 10 <= int(asked["durationSeconds"]) <= 25
    assert asked["token"] == token("somebody")
    assert lender.api.wait_for_release(1, PATIENCE)
    assert lender.api.released == [False]
    assert lender.seen()[-1][:2] == ("generate", "worker")


def test_a_long_recording_is_several_calls_of_one_visitor(
    lender: OnZeroGpu, tmp_path: Path, long: np.ndarray
) -> None:
    data = visitor(lender, "patient").predict(
        recording(tmp_path, long), "en2ja", segments="pause", api_name="/translate_segments"
    )
    expected = translate(long, load_engine("phrasebook"), Direction.EN_JA, policy=POLICIES["pause"])
    assert [s["text"] for s in data["segments"]] == [s.text for s in expected.segments]
    assert [s["start"] for s in data["segments"]] == [
        pytest.approx(s.start, abs=0.01) for s in expected.segments
    ]
    assert len(lender.api.asked) == 9  # of up to eight segments
    assert {asked["token"] for asked in lender.api.asked} == {token("patient")}
    assert lender.api.wait_for_release(9, PATIENCE)
    assert lender.api.released == [False] * 9
    assert token("patient") not in lender.space.log.read_text()


def test_each_sentence_of_two_languages_is_translated(lender: OnZeroGpu, tmp_path: Path) -> None:
    data = visitor(lender).predict(
        recording(tmp_path, two_languages()), api_name="/translate_segments"
    )
    assert [x["direction"] for x in data["segments"]] == ["en2ja", "ja2en"] * 2
    assert all(reference(name) in data["text"] for name in TWO_LANGUAGES)
    assert len(lender.api.asked) == 1


def test_two_visitors_get_their_own_results(lender: OnZeroGpu, tmp_path: Path) -> None:
    names = ["en_two_sentences", "ja_two_sentences"]

    def visit(name: str) -> list[str]:
        folder = tmp_path / name
        folder.mkdir()
        client, sound = visitor(lender, name), recording(folder, clip(name))
        return [client.predict(sound, api_name="/translate") for _ in range(3)]

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(visit, names))
    assert results == [[reference(name)] * 3 for name in names]
    for name in names:
        assert sum(asked["token"] == token(name) for asked in lender.api.asked) == 3


def test_an_example_clip_costs_the_first_visitor_alone(lender: OnZeroGpu) -> None:
    for _ in range(3):
        clip = handle_file(str(EXAMPLES / "ja_2.flac"))
        assert visitor(lender).predict(clip, "ja2en", api_name="/translate") == reference("ja_2")
    assert len(lender.api.asked) == 1


def test_who_waits_in_line_for_a_gpu_gets_one(lender: OnZeroGpu, tmp_path: Path) -> None:
    lender.api.answers.append(Queued())
    sound = recording(tmp_path, clip("ja_two_sentences"))
    heard = visitor(lender).predict(sound, "ja2en", api_name="/translate")
    assert heard == reference("ja_two_sentences")
    assert len(lender.api.asked) == 1


def test_an_mcp_tool_uses_the_quota_of_its_caller(lender: OnZeroGpu) -> None:
    async def call() -> str:
        url, headers = lender.space.url + "gradio_api/mcp/", {"x-ip-token": token("tool")}
        async with (
            streamablehttp_client(url, headers=headers) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            name = next(tool.name for tool in tools if tool.name.endswith("translate"))
            sound = base64.b64encode((EXAMPLES / "ja_two_sentences.flac").read_bytes()).decode()
            arguments = {"audio": f"data:audio/flac;base64,{sound}", "direction": "ja2en"}
            answer = await session.call_tool(name, arguments)
            return str(answer.content[0].text)  # type: ignore[union-attr]

    assert asyncio.run(call()) == reference("ja_two_sentences")
    assert [asked["token"] for asked in lender.api.asked] == [token("tool")]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("sentence Too long for cuda:0: use less.", "Too long for cuda:0: use less."),
        ("bug with a word of the visitor", "The translation failed on our side"),
    ],
)
def test_an_error_of_the_worker_is_a_sentence_and_the_next_request_works(
    lender: OnZeroGpu, tmp_path: Path, fault: str, words: str
) -> None:
    client, sound = visitor(lender), recording(tmp_path, clip("en_two_sentences"))
    lender.fail(fault)
    with pytest.raises(AppError, match=re.escape(words)):
        client.predict(sound, "en2ja", api_name="/translate")
    assert lender.api.wait_for_release(1, PATIENCE)
    assert lender.api.released == [True]  # the worker may be spoilt
    lender.fail("")
    assert client.predict(sound, "en2ja", api_name="/translate") == reference("en_two_sentences")
    assert "word of the visitor" not in lender.space.log.read_text()


def test_a_gpu_that_is_taken_away_is_said_in_words(lender: OnZeroGpu, tmp_path: Path) -> None:
    client, sound = visitor(lender, language="ja"), recording(tmp_path, clip("en_two_sentences"))
    lender.fail("wait 0")
    job = client.submit(sound, "en2ja", api_name="/translate")
    os.kill(lender.until_it_waits(), signal.SIGKILL)
    with pytest.raises(AppError, match="GPU の割り当てが打ち切られました"):
        job.result(timeout=PATIENCE)
    lender.fail("")
    assert client.predict(sound, "en2ja", api_name="/translate") == reference("en_two_sentences")


PRO, FREE = {"X-Authenticated": "pro"}, {"X-Authenticated": "regular"}


@pytest.mark.parametrize(
    ("name", "refused", "language", "words"),
    [
        ("x", Refused(4, 86340), "en", r"and 4 s are left\. There is more in 23:59:00\. Sign in"),
        ("x", Refused(4, 86340), "ja", r"残りは 4 秒です。23:59:00 後.*ログイン"),
        ("x", Refused(4, 600, FREE), "en", r"There is more in 10:00\. A PRO account"),
        ("x", Refused(4, 600, PRO), "en", r"There is more in 10:00\. Credits"),
        ("x", Refused(0, 0), "en", r"used up for now\. Sign in"),
        ("", Refused(0, 60), "en", r"used up for now\. Sign in"),
        ("x", Refused(0, -1), "en", "used up for now"),
        (
            "x",
            Refused(0, 1, {"X-Approve-Result": "pending-overquota-exceeded"}),
            "en",
            "are still running",
        ),
        ("x", Refused(status=503), "en", "All GPUs of Hugging Face are in use"),
        ("x", Refused(status=500), "ja", "サーバー側で翻訳に失敗"),
    ],
)
def test_who_has_no_quota_is_told_what_to_do(
    lender: OnZeroGpu, tmp_path: Path, name: str, refused: Refused, language: str, words: str
) -> None:
    lender.api.answers.append(refused)
    sound = recording(tmp_path, clip("en_two_sentences"))
    with pytest.raises(AppError, match=words):
        visitor(lender, name, language).predict(sound, "en2ja", api_name="/translate")
    assert lender.api.released == []


@pytest.mark.parametrize("endpoint", ["/translate", "/captions"])
def test_a_program_that_wants_a_text_is_told_when_the_quota_ends_on_the_way(
    lender: OnZeroGpu, tmp_path: Path, long: np.ndarray, endpoint: str
) -> None:
    lender.api.answers += [None, Refused(4, 600)]
    with pytest.raises(AppError, match=r"and 4 s are left.* returned by /translate_segments only"):
        visitor(lender, "x").predict(
            recording(tmp_path, long), "en2ja", segments="pause", api_name=endpoint
        )
    assert len(lender.api.asked) == 2


def test_a_program_that_wants_segments_keeps_what_was_finished_when_the_quota_ends(
    lender: OnZeroGpu, tmp_path: Path, long: np.ndarray, whole: str
) -> None:
    lender.api.answers += [None, Refused(4, 600)]
    data = visitor(lender, "x").predict(
        recording(tmp_path, long), "en2ja", api_name="/translate_segments"
    )
    assert whole.startswith(data["text"])
    assert len(whole) / 4 < len(data["text"]) < len(whole) / 2
    assert data["segments"][-1]["end"] < data["duration"] / 2
    assert "and 4 s are left" in data["missing"]


# The page's own events, as its script sends them.


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


@pytest.fixture(scope="module")
def whole(long: np.ndarray) -> str:
    """The translation of the long recording, which takes three calls."""
    return translate(long, load_engine("phrasebook"), Direction.EN_JA).text


def test_the_page_shows_a_long_recording(
    lender: OnZeroGpu, tmp_path: Path, long: np.ndarray, whole: str
) -> None:
    recording(tmp_path, long)
    page = Page(lender.space.url)
    page.translate(tmp_path / "recording.wav", "en2ja")
    messages = page.all_messages().result(PATIENCE)
    assert finished(messages) == (whole, "done", "")
    assert len([m for m in messages if m["msg"] == "process_generating"]) > 5  # it grew
    assert len(lender.api.asked) == 3


def test_the_page_offers_the_other_direction_within_the_same_call(lender: OnZeroGpu) -> None:
    page = Page(lender.space.url, "ja")
    page.translate(EXAMPLES / "ja_two_sentences.flac", "en2ja")
    assert heard(page.all_messages().result(PATIENCE)[-1])["other"] == "ja2en"
    assert len(lender.api.asked) == 1


def test_stop_ends_the_worker_and_keeps_what_was_finished(
    lender: OnZeroGpu, tmp_path: Path, long: np.ndarray, whole: str
) -> None:
    recording(tmp_path, long)
    page = Page(lender.space.url)
    lender.fail("wait 2")  # in the second call: the first one also asks for the direction
    page.translate(tmp_path / "recording.wav", "en2ja")
    messages = page.all_messages()
    lender.until_it_waits()
    page.press("stop-run")
    text, state, _ = finished(messages.result(PATIENCE))
    assert state == "partial"
    assert whole.startswith(text)
    assert len(whole) / 4 < len(text) < len(whole) / 2
    assert lender.api.wait_for_release(2, PATIENCE)
    assert lender.api.released == [False, False]
    assert len(lender.api.asked) == 2


def test_stop_works_while_the_visitor_waits_in_line(lender: OnZeroGpu) -> None:
    page = Page(lender.space.url)
    lender.api.answers.append(Queued())
    lender.api.moves.clear()
    page.translate(EXAMPLES / "en_two_sentences.flac", "en2ja")
    messages = page.all_messages()
    until(lambda: len(lender.api.asked) == 1)
    page.press("stop-run")
    assert finished(messages.result(PATIENCE)) == ("", "partial", "")
    assert lender.api.released == []  # still in line
    lender.fail("wait 0")  # the engine would not end by itself
    lender.api.moves.set()
    assert lender.api.wait_for_release(1, PATIENCE)
    assert lender.api.released == [False]


def test_who_leaves_ends_the_worker(lender: OnZeroGpu, tmp_path: Path, long: np.ndarray) -> None:
    recording(tmp_path, long)
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
    lender: OnZeroGpu, tmp_path: Path, long: np.ndarray, whole: str
) -> None:
    recording(tmp_path, long)
    page = Page(lender.space.url)
    lender.api.answers += [None, Refused(0, 600)]
    page.translate(tmp_path / "recording.wav", "en2ja")
    text, state, message = finished(page.all_messages().result(PATIENCE))
    assert state == "partial"
    assert whole.startswith(text)
    assert len(whole) / 4 < len(text) < len(whole) / 2
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
    lender: OnZeroGpu,
) -> None:
    complaints = list[str]()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
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
        browser.close()
    assert complaints == []
    assert len(lender.api.asked) == 1
