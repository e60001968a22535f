"""Each private part of Gradio and starlette that the Space relies on: is it there, the same still?

A small page with real events stands in for the Space's. When a test fails after an upgrade, read
web/gradio_patches.py: it says what the part is for.
"""

import ast
import gc
import json
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from own_space import free_port
from starlette.types import ASGIApp, Receive, Scope, Send

from web import gradio_patches
from web.gradio_patches import (
    UploadParser,
    UploadsOnly,
    Visits,
    behind,
)

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "https://elsewhere.example"


@dataclass
class Recorder:
    """A guard that only writes down which requests come by and which headers go back."""

    seen: list[str] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    root: str | None = None
    app: ASGIApp | None = None

    def stand_before(self, app: ASGIApp, root: str) -> ASGIApp:
        self.app, self.root = app, root
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Any) -> None:
            self.headers += [name for name, _ in message.get("headers", [])]
            await send(message)

        assert self.app is not None
        if scope["type"] == "http":
            self.seen.append(scope["path"])
        await self.app(scope, receive, sent)


class SmallPage:
    """A page with two events: one holds its visitors until `go`, one repeats its recording."""

    def __init__(self) -> None:
        self.visits = Visits()
        self.guard = Recorder()
        self.go = threading.Event()
        self.requests: list[gr.Request] = []
        self.past: list[weakref.ref[Any]] = []
        self.url = ""
        self.demo = UploadsOnly(analytics_enabled=False)
        with self.demo:
            text, audio, heard = gr.Textbox(), gr.Audio(type="filepath"), gr.Textbox()
            gr.Button().click(
                self.hold, [text, text], text, api_name="hold", concurrency_limit=None
            )
            gr.Button().click(self.name, audio, heard, api_name="name")

    def name(self, path: str, request: gr.Request) -> str:
        self.past.append(weakref.ref(request.request))
        return Path(path).name

    def hold(self, text: str, _: str, request: gr.Request) -> str:
        self.requests.append(request)
        assert self.go.wait(120)
        return text

    def launch(self) -> None:
        port = free_port()
        self.demo.queue(max_size=100, api_open=False)
        self.visits.watch(self.demo)
        UploadParser.install()
        self.demo.launch(
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            app_kwargs={"lifespan": behind(self.guard.stand_before)},
        )
        self.url = f"http://127.0.0.1:{port}/gradio_api"

    def visit(self, api_name: str, *values: object) -> "Visit":
        """Ask for an event. The visit knows the answer's status, and can wait for the result."""
        config = httpx.get(self.url.removesuffix("/gradio_api") + "/config").json()
        number = next(d["id"] for d in config["dependencies"] if d["api_name"] == api_name)
        session = secrets.token_hex(8)
        body = {"data": values, "fn_index": number, "session_hash": session}
        joined = httpx.post(f"{self.url}/queue/join", json=body, timeout=60)
        return Visit(self.url, session, joined)

    def held(self, text: str) -> "Visit":
        """A visit that lasts until `go`."""
        return self.visit("hold", text, "")


@dataclass
class Visit:
    """One request to an event of the small page."""

    url: str
    session: str
    joined: httpx.Response

    @property
    def admitted(self) -> bool:
        return self.joined.status_code == 200

    def result(self) -> dict[str, Any]:
        """What the event answers, once it has ended."""
        query = {"session_hash": self.session}
        with httpx.stream("GET", f"{self.url}/queue/data", params=query, timeout=60) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                if message.get("msg") == "process_completed":
                    return dict(message)
        raise AssertionError("the event never ended")

    def leave_during(self, started: Callable[[], bool]) -> None:
        """Listen as a page does until `started`, then cut the connection."""
        with httpx.Client(base_url=self.url, timeout=60) as http:
            query = {"session_hash": self.session}
            with http.stream("GET", "queue/data", params=query) as stream:
                for _ in stream.iter_lines():
                    if started():
                        return


@pytest.fixture(scope="module")
def page() -> Iterator[SmallPage]:
    page = SmallPage()
    page.launch()
    yield page
    page.go.set()
    page.demo.close()


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.01)


def test_the_patches_were_read_with_this_gradio() -> None:
    assert f"Gradio {gr.__version__}," in (gradio_patches.__doc__ or "")


def test_inputs_that_were_left_out_get_their_first_values(page: SmallPage) -> None:
    page.go.set()
    assert page.visit("hold", "alone").result()["output"]["data"] == ["alone"]


def test_gradio_notices_who_has_left(page: SmallPage) -> None:
    page.go.clear()
    page.requests.clear()
    leaver, stayer = page.held("leaves"), page.held("stays")
    until(lambda: len(page.requests) == 2)
    by_session = {request.session_hash: request for request in page.requests}
    gone, here = by_session[leaver.session], by_session[stayer.session]
    assert not page.visits.has_left(gone)
    leaver.leave_during(lambda: True)
    until(lambda: page.visits.has_left(gone))
    assert not page.visits.has_left(here)
    assert not page.visits.has_left(None)
    page.go.set()
    assert stayer.result()["success"]


def test_nothing_stays_of_requests_that_have_ended(page: SmallPage) -> None:
    page.go.clear()
    page.requests.clear()
    page.past.clear()
    at_work = page.held("at work")
    until(lambda: len(page.requests) == 1)
    sound = {"path": uploaded(page), "meta": {"_type": "gradio.FileData"}}
    for _ in range(8):
        assert page.visit("name", sound).result()["success"]
    gc.collect()
    # The last ones are forgotten when others come.
    assert [request() for request in page.past[:5]] == [None] * 5
    queue, app = page.demo._queue, page.demo.app
    assert at_work.joined.json()["event_id"] in queue.event_ids_to_events
    for records in (queue.event_ids_to_events, queue._asyncio_tasks, app.iterators_to_reset):
        assert len(records) <= 4
    assert not queue.event_analytics
    page.go.set()
    assert at_work.result()["success"]


def uploaded(page: SmallPage, name: str = "a.wav") -> str:
    answer = httpx.post(f"{page.url}/upload", files={"files": (name, b"sound")})
    return str(answer.json()[0])


def test_an_event_gets_uploads_and_nothing_else(page: SmallPage, tmp_path: Path) -> None:
    meta = {"_type": "gradio.FileData"}
    outside = tmp_path / "secret.wav"
    outside.write_bytes(b"sound")
    path = uploaded(page)
    assert Path(path).is_relative_to(page.demo.GRADIO_CACHE)
    answer = page.visit("name", {"path": path, "meta": meta}).result()
    assert answer["output"]["data"] == ["a.wav"]
    for other in (str(outside), "https://elsewhere.example/a.wav"):
        answer = page.visit("name", {"path": other, "meta": meta}).result()
        assert "Only uploads are translated" in answer["output"]["error"]


def test_uploads_pass_our_parser(page: SmallPage, tmp_path: Path) -> None:
    import tempfile

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        assert Path(uploaded(page, "..")).name == "recording"
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        for body in (
            head + b"no end of the form",
            head + b"one\r\n" + head + b"two\r\n--b--\r\n",
            head.replace(b'"files"', b'"other"') + b"in another field\r\n--b--\r\n",
        ):
            answer = httpx.post(f"{page.url}/upload", content=body, headers=kind)
            assert answer.status_code == 400
        assert list(tmp_path.iterdir()) == []


def test_the_guard_stands_before_gradios_own_middleware(page: SmallPage) -> None:
    assert page.guard.root == ""
    page.guard.seen.clear()
    page.guard.headers.clear()
    # Gradio's CORS middleware answers a preflight itself and puts its headers on the answer.
    headers = {"Origin": ORIGIN, "Host": "a.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{page.url}/queue/join", headers=headers)
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert page.guard.seen == ["/gradio_api/queue/join"]
    assert b"access-control-allow-credentials" in page.guard.headers


CODE = [ROOT / "app.py", *(ROOT / "web").glob("*.py")]


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_private_parts_are_used_in_one_file_only(path: Path) -> None:
    if path.name == "gradio_patches.py":
        return
    own = {"self", "cls", "os"}  # os._exit is documented
    private = set[str]()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            if not node.attr.endswith("__") and ast.unparse(node.value) not in own:
                private.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [alias.name for alias in node.names]
            modules = [str(node.module)] if isinstance(node, ast.ImportFrom) else names
            private.update(name for name in modules if name.startswith("gradio."))
            if modules == ["gradio"] and isinstance(node, ast.ImportFrom):
                private.update(name for name in names if name not in gr.__all__)
    assert private == set()
    # What has no underscore and is private all the same: the table in gradio_patches.py.
    words = set(re.findall(r"\w+", path.read_text("utf-8")))
    assert not words & {
        "middleware_stack",
        "event_analytics",
        "active_jobs",
        "event_ids_to_events",
        "pending_messages_per_session",
        "state_holder",
        "preprocess_data",
        "GRADIO_CACHE",
        "GradioMultiPartParser",
        "_queue",
    }
