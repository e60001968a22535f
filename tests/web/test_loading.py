"""The engine of the Space: it is loaded, tried again where that may help, and waited for."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from own_space import free_port
from serving import serving
from starlette.requests import Request as WebRequest

from speech_translation.engine import Engine, Request, load_engine, remote
from speech_translation.errors import (
    HubUnreachable,
    ModelError,
    ServerUnreachable,
    SpeechTranslationError,
)
from speech_translation.types import Hypothesis
from web.loading import Loading
from web.pages import about
from web.server import _health
from web.service import Service
from web.settings import Settings
from web.shutdown import Shutdown

SILENT = "http://vllm:8000/v1 gives no answer (Connection refused)."


class Ready:
    description, batch_size = "a model on a server", 1

    def generate(self, request: Request) -> list[Hypothesis]:
        return []


class Attempts:
    """A load that fails in some ways, one after the other, and then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    def __call__(self) -> Engine:
        if self.failures:
            raise self.failures.pop(0)
        return Ready()


class Pauses:
    """Stands in for time.sleep: who waits goes on when the test says so."""

    def __init__(self) -> None:
        self.lengths = list[float]()
        self._begun = threading.Semaphore(0)
        self._over = threading.Semaphore(0)

    def __call__(self, seconds: float) -> None:
        self.lengths.append(seconds)
        self._begun.release()
        assert self._over.acquire(timeout=60)

    def wait(self) -> None:
        """Until a pause has begun."""
        assert self._begun.acquire(timeout=60)

    def end(self) -> None:
        self._over.release()


def health(loading: Loading) -> tuple[int, dict[str, str]]:
    answer = _health(loading, Shutdown())
    return answer.status_code, json.loads(bytes(answer.body))


def banner(loading: Loading) -> str:
    """What the page says of the model."""
    request = WebRequest({"type": "http", "headers": []})
    return str(about(Service(Settings(), loading), request)["words"])


def finished(loading: Loading) -> None:
    for thread in threading.enumerate():
        if thread.name == "load the model":
            thread.join(60)
    assert loading.finished


def test_a_model_that_cannot_be_loaded_is_said_to_everybody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loading = Loading(Attempts(OSError("disk full")), "some/model")
    loading.start()
    with pytest.raises(ModelError, match=r"some/model could not be loaded: disk full"):
        loading.engine()
    assert loading.finished
    assert not loading.ready
    assert loading.waiting_for is None
    assert health(loading) == (503, {"model": "failed"})
    assert (
        banner(loading)
        == "The model could not be loaded. some/model could not be loaded: disk full"
    )
    finished(loading)
    assert capsys.readouterr().err == "error: some/model could not be loaded: disk full\n"


@pytest.mark.parametrize("kind", [ServerUnreachable, HubUnreachable])
def test_what_does_not_answer_yet_is_tried_again(
    kind: type[SpeechTranslationError], capsys: pytest.CaptureFixture[str]
) -> None:
    pauses = Pauses()
    loading = Loading(Attempts(kind(SILENT), kind(SILENT)), "some/model", pauses)
    assert health(loading) == (503, {"model": "loading"})
    loading.start()
    for _ in range(2):
        pauses.wait()
        # Nobody is kept waiting meanwhile.
        with pytest.raises(kind, match="gives no answer"):
            loading.engine()
        assert not loading.finished
        assert health(loading) == (503, {"model": "loading", "waiting_for": SILENT})
        assert "is tried again" in banner(loading)
        pauses.end()
    finished(loading)
    assert isinstance(loading.engine(), Ready)
    assert health(loading) == (200, {"model": "ready"})
    assert banner(loading) == ""
    assert pauses.lengths == [1, 2]
    assert capsys.readouterr().err.splitlines() == [
        f"waiting: {SILENT} Trying again in 1 s.",
        f"waiting: {SILENT} Trying again in 2 s.",
    ]


def test_pauses_grow_to_a_minute_and_no_further() -> None:
    lengths = list[float]()
    attempts = Attempts(*(HubUnreachable("no answer") for _ in range(9)))
    loading = Loading(attempts, "some/model", lengths.append)
    loading.start()
    finished(loading)
    assert lengths == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert loading.ready


def test_what_no_other_try_mends_ends_the_tries() -> None:
    lengths = list[float]()
    attempts = Attempts(HubUnreachable("no answer"), ModelError("no such model"), OSError("never"))
    loading = Loading(attempts, "some/model", lengths.append)
    loading.start()
    finished(loading)
    with pytest.raises(ModelError, match="no such model"):
        loading.engine()
    assert lengths == [1]
    assert health(loading) == (503, {"model": "failed"})


def test_in_this_thread_there_are_a_few_tries(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = list[float]()
    loading = Loading(
        Attempts(*(HubUnreachable("no answer") for _ in range(9))), "some/model", lengths.append
    )
    loading.run()
    assert loading.finished
    assert lengths == [1, 2, 4, 8, 16]
    assert capsys.readouterr().err.splitlines()[-1] == "error: no answer"
    with pytest.raises(HubUnreachable):
        loading.engine()


def test_in_this_thread_too_a_second_try_may_succeed() -> None:
    loading = Loading(Attempts(HubUnreachable("no answer")), "some/model", lambda _: None)
    loading.run()
    assert isinstance(loading.engine(), Ready)


class Models(BaseHTTPRequestHandler):
    """What a vLLM server says first."""

    def do_GET(self) -> None:
        body = b'{"data": [{"id": "a late model"}]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_space_that_starts_before_its_server_becomes_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The real client; the server comes up in the first pause."""
    port, server = free_port(), contextlib.ExitStack()
    url = f"http://127.0.0.1:{port}/v1"

    def come_up(_: float) -> None:
        assert isinstance(loading.waiting_for, ServerUnreachable)
        assert url in str(loading.waiting_for)
        server.enter_context(serving(ThreadingHTTPServer(("127.0.0.1", port), Models)))

    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.0)
    loading = Loading(lambda: load_engine(url=url), "some/model", come_up)
    with server:
        loading.start()
        finished(loading)
    assert loading.engine().description == f"a late model on {url}"
