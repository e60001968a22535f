"""OpenAI's audio routes, by OpenAI's own client against the running Space."""

import asyncio
import errno
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pysubs2
import pytest
from clips import EXAMPLES, ROOT, reference
from starlette.applications import Starlette
from starlette.types import Message

from speech_translation.engine import Engine, Request, load_engine
from speech_translation.types import Hypothesis
from web.line import RESERVE, SHORT
from web.loading import Loading
from web.openai_api import OpenAIRoutes, _safe_name
from web.service import Service
from web.settings import Settings

# The client calls its own translations deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

SAID = {
    "en_1": "How long does it take to the post office by train?",
    "ja_1": "10時から6時まで働きます。",
}


@pytest.fixture(scope="module")
def client(space: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{space}v1", api_key="none", max_retries=0)


def clip(name: str) -> Path:
    return EXAMPLES / f"{name}.flac"


@pytest.mark.slow
class TestWithOpenAIsClient:
    def test_a_translation_is_english(self, client: openai.OpenAI) -> None:
        answer = client.audio.translations.create(model="whisper-1", file=clip("ja_1"))
        assert answer.text == reference("ja_1")
        # As OpenAI's: English speech becomes English text, unless somebody asks otherwise.
        answer = client.audio.translations.create(model="whisper-1", file=clip("en_1"))
        assert answer.text == SAID["en_1"]
        for target in ("ja", "auto"):
            answer = client.audio.translations.create(
                model="whisper-1", file=clip("en_1"), extra_body={"to_language": target}
            )
            assert answer.text == reference("en_1")

    @pytest.mark.parametrize("name", SAID)
    def test_a_transcript_is_in_the_language_that_is_spoken(
        self, client: openai.OpenAI, name: str
    ) -> None:
        file = clip(name)
        assert client.audio.transcriptions.create(model="any", file=file).text == SAID[name]
        answer = client.audio.transcriptions.create(
            model="any", file=file, language=name[:2], prompt="names", temperature=0
        )
        assert answer.text == SAID[name]

    def test_every_format(self, client: openai.OpenAI) -> None:
        file = clip("ja_1")
        ask = client.audio.translations.create
        assert ask(model="a", file=file, response_format="text") == reference("ja_1") + "\n"
        for format in ("srt", "vtt"):
            text = ask(model="a", file=file, response_format=format)  # type: ignore[call-overload]
            (event,) = pysubs2.SSAFile.from_string(text, format_=format)
            assert event.plaintext.replace("\n", " ") == reference("ja_1")
        told = ask(model="a", file=file, response_format="verbose_json")
        assert (told.language, told.text) == ("english", reference("ja_1"))
        assert float(told.duration) == pytest.approx(3.5, abs=0.1)
        assert told.segments is not None
        (segment,) = told.segments
        assert 0 < segment.start < segment.end < 3.5
        assert segment.avg_logprob < 0
        heard = client.audio.transcriptions.create(
            model="a",
            file=file,
            response_format="verbose_json",
            timestamp_granularities=["segment"],
        )
        assert (heard.language, heard.text) == ("japanese", SAID["ja_1"])

    @pytest.mark.parametrize("language", ["python", "sh"])
    def test_the_documented_examples_run_without_a_warning(
        self, space: str, tmp_path: Path, language: str
    ) -> None:
        document = (ROOT / "docs" / "api.md").read_text("utf-8").split("## OpenAI's routes")[1]
        code = document.split(f"```{language}\n")[1].split("```")[0]
        assert "http://127.0.0.1:7860/" in code
        (tmp_path / "example").write_text(code.replace("http://127.0.0.1:7860/", space))
        python = [sys.executable, "-W", "error:deprecated:DeprecationWarning"]
        command = [*(python if language == "python" else ["sh"]), tmp_path / "example"]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        if language == "python":
            (line,) = pysubs2.SSAFile.from_string(run.stdout, format_="srt")
            assert line.plaintext == SAID["ja_1"], run.stderr
        else:
            assert json.loads(run.stdout) == {"text": reference("ja_1")}, run.stderr

    def test_models_are_listed(self, client: openai.OpenAI) -> None:
        assert [model.id for model in client.models.list()] == ["phrasebook"]

    def test_what_is_wrong_is_an_error_of_the_client(
        self, client: openai.OpenAI, tmp_path: Path
    ) -> None:
        (tmp_path / "broken.wav").write_text("no sound")
        create = client.audio.transcriptions.create
        with pytest.raises(openai.BadRequestError, match=r"broken\.wav"):
            create(model="a", file=tmp_path / "broken.wav")
        with pytest.raises(openai.BadRequestError, match="language is one of en, ja") as wrong:
            create(model="a", file=clip("ja_1"), language="fr")
        assert wrong.value.param == "language"
        assert wrong.value.type == "invalid_request_error"
        with pytest.raises(openai.BadRequestError, match="times of segments only"):
            create(
                model="a",
                file=clip("ja_1"),
                response_format="verbose_json",
                timestamp_granularities=["word"],
            )
        with pytest.raises(openai.BadRequestError, match="leave out stream"):
            create(model="a", file=clip("ja_1"), stream=True)
        with pytest.raises(openai.BadRequestError, match="response_format is one of"):
            create(model="a", file=clip("ja_1"), response_format="diarized_json")
        with pytest.raises(openai.BadRequestError, match="no field 'keywords'"):
            create(model="a", file=clip("ja_1"), extra_body={"keywords": "x"})

    def test_the_guard_answers_in_the_same_form(self, client: openai.OpenAI, space: str) -> None:
        with pytest.raises(openai.APIStatusError, match="too large") as large:
            client.audio.translations.create(model="a", file=("big.wav", bytes(201 << 20)))
        assert large.value.status_code == 413
        assert large.value.type == "invalid_request_error"
        unnamed = {"file": (None, clip("ja_1").read_bytes())}
        reply = httpx.post(f"{space}v1/audio/translations", files=unnamed)
        assert "recording needs a filename" in reply.json()["error"]["message"]
        reply = httpx.post(f"{space}v1/audio/translations", data={"model": "a"})
        assert reply.status_code == 400
        assert reply.json()["error"]["param"] == "file"
        assert httpx.get(f"{space}v1/chat/completions").status_code == 404
        reply = httpx.get(f"{space}v1/audio/translations")
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
        assert reply.json()["error"]["message"] == "Send a recording with POST."


def post(
    routes: OpenAIRoutes, count: int, path: str = "translations", name: str = "a.flac"
) -> list[httpx.Response]:
    """The answers to requests that are sent at the same time."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=routes.routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://space") as client:
            files = {"file": (name, clip("ja_1").read_bytes())}
            asked = [client.post(f"/v1/audio/{path}", files=files) for _ in range(count)]
            return list(await asyncio.gather(*asked))

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(errno.ENOSPC, 507, "disk is full"), (errno.EIO, 500, "failed on our side")],
)
def test_a_disk_that_fails_while_a_form_is_read_is_an_error_in_openais_form(
    monkeypatch: pytest.MonkeyPatch, number: int, status: int, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", fail)
    (reply,) = post(OpenAIRoutes(Service(Settings(), Loading(Failing, "failing"))), 1)
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]
    assert reply.json()["error"]["type"] == "server_error"


class Failing:
    batch_size = 1
    description = "failing"

    def generate(self, request: Request) -> list[Hypothesis]:
        raise RuntimeError("secret")


def embedded() -> Engine:
    return load_engine("phrasebook", "cpu")


def service(engine: Callable[[], object], **settings: object) -> Service:
    loading = Loading(engine, "phrasebook")  # type: ignore[arg-type]
    loading.run()
    return Service(Settings(model="phrasebook", **settings), loading)  # type: ignore[arg-type]


def test_they_stand_in_the_line_of_the_page() -> None:
    visited = service(embedded, queue_size=1)
    routes = OpenAIRoutes(visited)
    with ExitStack() as others:
        for seconds in (2 * visited.settings.max_seconds, *round(RESERVE / SHORT) * [SHORT], SHORT):
            others.enter_context(visited.line.join(seconds))
        assert visited.line.waiting == 1
        (reply,) = post(routes, 1)
    assert reply.status_code == 429
    assert reply.json()["error"]["type"] == "rate_limit_error"
    assert "1 requests are ahead of you" in reply.json()["error"]["message"]
    assert [reply.status_code for reply in post(routes, 3)] == [200] * 3


def test_a_model_that_fails_is_not_the_callers_fault() -> None:
    (reply,) = post(OpenAIRoutes(service(Failing)), 1)
    assert reply.status_code == 500
    assert reply.json()["error"]["type"] == "server_error"
    assert "secret" not in reply.text


def test_a_space_that_writes_nothing_down_says_so() -> None:
    (reply,) = post(OpenAIRoutes(service(embedded, transcript="off")), 1, "transcriptions")
    assert reply.status_code == 400
    assert "does not write down what is said" in reply.json()["error"]["message"]


def test_on_zerogpu_they_are_absent_with_a_sentence() -> None:
    (reply,) = post(OpenAIRoutes(service(embedded), absent=True), 1)
    assert reply.status_code == 503
    assert "borrows a GPU" in reply.json()["error"]["message"]


def test_nothing_stays_of_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (reply,) = post(OpenAIRoutes(service(embedded)), 1)
    assert reply.json() == {"text": reference("ja_1")}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["会" * 86 + ".mp3", "😀" * 300, "a" * 300 + ".flac", "a." + "b" * 300]
)
def test_a_long_name_is_cut_to_what_a_file_may_have(name: str) -> None:
    cut = _safe_name(name)
    assert len(cut.encode()) <= 255
    assert name.startswith("a.") or Path(cut).suffix == Path(name).suffix
    (reply,) = post(OpenAIRoutes(service(embedded)), 1, name=name)
    assert reply.json() == {"text": reference("ja_1")}


def test_what_nobody_foresaw_is_an_error_of_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.openai_api.tempfile.TemporaryDirectory", full_disk)
    (reply,) = post(OpenAIRoutes(service(embedded)), 1)
    assert reply.status_code == 500
    assert reply.json()["error"]["type"] == "server_error"


def full_disk() -> None:
    raise OSError(28, "No space left on device")


class Waiting:
    """An engine that goes on until nobody wants its answer, for a minute at most."""

    batch_size = 1
    description = "waiting"

    def __init__(self) -> None:
        self.asked = threading.Event()

    def generate(self, request: Request) -> list[Hypothesis]:
        self.asked.set()
        end = time.monotonic() + 60
        while not request.abandoned and time.monotonic() < end:
            time.sleep(0.01)
        return [Hypothesis("", request.direction) for _ in request.batch]


def body() -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
    return head + clip("ja_1").read_bytes() + b"\r\n--x--\r\n"


def call(routes: OpenAIRoutes, messages: asyncio.Queue[Message], sent: list[Message]) -> Any:
    """A request that consists of `messages`."""

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/audio/translations",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
    }
    return Starlette(routes=routes.routes)(scope, messages.get, send)


def test_who_leaves_in_the_upload_leaves_no_error() -> None:
    async def leave() -> list[Message]:
        messages, sent = asyncio.Queue[Message](), list[Message]()
        messages.put_nowait({"type": "http.request", "body": body()[:5000], "more_body": True})
        messages.put_nowait({"type": "http.disconnect"})
        await call(OpenAIRoutes(service(embedded)), messages, sent)
        return sent

    assert asyncio.run(leave())[0]["status"] == 499


def test_a_cancelled_request_gives_its_place_back() -> None:
    engine = Waiting()
    visited = service(lambda: engine)
    line = visited.line

    async def cancelled() -> None:
        messages = asyncio.Queue[Message]()
        messages.put_nowait({"type": "http.request", "body": body()})
        task = asyncio.create_task(call(OpenAIRoutes(visited), messages, []))
        assert await asyncio.to_thread(engine.asked.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(30):
            while visited.working:
                await asyncio.sleep(0.01)

    gc.disable()  # which would give it back, too, but later
    try:
        asyncio.run(cancelled())
    finally:
        gc.enable()
    with ExitStack() as others:
        for _ in range(2):
            ticket = others.enter_context(line.join(visited.settings.max_seconds))
            assert ticket.wait(0)
