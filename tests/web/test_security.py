"""A public Space under attack: over HTTP, on one real Space with tight limits. See SECURITY.md."""

import http.client
import json
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import av
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from own_space import free_port
from recordings import RATE, encoded

import web.guard
from app import build_page
from speech_translation.audio import load_audio
from speech_translation.engine import load_engine
from speech_translation.errors import ModelError
from web.server import launch
from web.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SECRET = "the canary's secret"
REFUSED = "Only uploads are translated"
SPOKEN = (EXAMPLES / "en_1.flac").read_bytes()
TEXT = (EXAMPLES / "en_1.txt").read_text("utf-8").strip()


@contextmanager
def running(**settings: Any) -> Iterator[str]:
    """The address of a Space that has loaded its model."""
    port = free_port()
    demo, _ = launch(build_page, Settings(model="phrasebook", port=port, **settings), wait=False)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while httpx.get(url + "/healthz").status_code != 200:
            assert time.monotonic() < deadline, "the model was not loaded in three minutes"
            time.sleep(0.1)
        yield url
    finally:
        demo.close()


@dataclass
class Space:
    """The Space under attack, what it has on its disk, and what its process did."""

    url: str
    uploads: Path
    temporary: Path
    canary: Path
    opened: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def files(self) -> set[Path]:
        return {
            path
            for folder in (self.uploads, self.temporary)
            for path in folder.rglob("*")
            if path.is_file()
        }

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: the canary being opened, and addresses but its own being asked for."""
        if event == "open" and str(arguments[0]) == str(self.canary):
            self.opened.append(event)
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            if arguments[1][1] != self.port:
                self.asked.append(str(arguments[1]))
        elif event == "socket.getaddrinfo" and arguments[1] != self.port:
            self.asked.append(str(arguments[:2]))

    def upload(self, content: bytes = SPOKEN, name: str = "en_1.flac") -> str:
        answer = httpx.post(self.url + "/gradio_api/upload", files={"files": (name, content)})
        assert answer.status_code == 200, answer.text
        return str(answer.json()[0])

    def raw(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, str]:
        """A request whose path and headers no client has mended."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host="Host" in named, skip_accept_encoding=True)
        for name, value in named.items():
            connection.putheader(name, value)
        if body is not None and "Content-Length" not in named:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer, answer.read().decode("utf-8", "replace")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """A Space for uploads of 1 MB."""
    folder = tmp_path_factory.mktemp("space")
    for name in ("uploads", "temporary"):
        (folder / name).mkdir()
    canary = folder / "canary.wav"
    canary.write_text(SECRET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder / "temporary"))
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        with running(max_megabytes=1, live_talks=3) as url:
            yield Space(url, folder / "uploads", folder / "temporary", canary)


# Uploads only: the ways in, and what is sent instead of an upload


def join_queue(space: Space, arguments: list[Any]) -> str:
    config = httpx.get(space.url + "/config").json()
    index = next(d["id"] for d in config["dependencies"] if d["api_name"] == "translate_segments")
    session = secrets.token_hex(4)
    body = {"data": arguments, "fn_index": index, "session_hash": session}
    joined = httpx.post(space.url + "/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        return joined.text
    query = {"session_hash": session}
    return httpx.get(space.url + "/gradio_api/queue/data", params=query, timeout=60).text


def call(space: Space, arguments: list[Any]) -> str:
    url = space.url + "/gradio_api/call/translate_segments"
    called = httpx.post(url, json={"data": arguments})
    if called.status_code != 200:
        return called.text
    return httpx.get(f"{url}/{called.json()['event_id']}", timeout=60).text


def call_by_name(space: Space, arguments: list[Any]) -> str:
    named = dict(zip(("audio", "direction", "context"), arguments, strict=True))
    url = space.url + "/gradio_api/call/v2/translate_segments"
    called = httpx.post(url, json=named)
    if called.status_code != 200:
        return called.text
    return httpx.get(f"{url}/{called.json()['event_id']}", timeout=60).text


def mcp(space: Space, arguments: list[Any]) -> str:
    audio, *others = arguments
    if isinstance(audio, dict):  # a tool takes texts only
        audio = audio.get("path") or audio.get("url")
    named = dict(zip(("audio", "direction", "context"), [audio, *others], strict=True))
    tools = httpx.get(space.url + "/gradio_api/mcp/schema").json()
    tool = next(t["name"] for t in tools if t["name"].endswith("translate_segments"))
    answer = httpx.post(
        space.url + "/gradio_api/mcp/",
        json={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": named},
        },
        headers={"Accept": "application/json, text/event-stream"},
        timeout=60,
    )
    return answer.text


# The last two by Gradio's MCP server, before ours is asked.
SAID = [REFUSED, "Input validation error", "Invalid file data format"]

WayIn = Callable[[Space, list[Any]], str]
WAYS_IN = [join_queue, call, call_by_name, mcp]
META = {"_type": "gradio.FileData"}

# {canary}, {uploads}: files of the server; {port}: where nobody is to connect to
NOT_UPLOADED: dict[str, Any] = {
    "link": "http://127.0.0.1:{port}/a.wav",
    "link elsewhere": {"path": "https://canary.invalid/a.wav", "meta": META},
    "link as a file": {"path": "http://127.0.0.1:{port}/a.wav", "meta": META},
    "link beside no path": {"url": "http://127.0.0.1:{port}/a.wav", "meta": META},
    "link beside a null path": {"path": None, "url": "http://127.0.0.1:{port}/", "meta": META},
    "path": "{canary}",
    "path as a file": {"path": "{canary}", "meta": META},
    "path without meta": {"path": "{canary}", "orig_name": "a.wav", "size": 3},
    "path of a stream": {"path": "{canary}", "is_stream": True, "meta": META},
    "path out of the uploads": {"path": "{uploads}/../canary.wav", "meta": META},
    "path out of the application": {"path": str(EXAMPLES / "en_1.flac"), "meta": META},
    "path below an address": {"path": "http://a.invalid/gradio_api/file={canary}", "meta": META},
    "path as an address": {"path": "file://{canary}", "meta": META},
    "folder of the uploads": {"path": "{uploads}", "meta": META},
    "device": {"path": "/dev/zero", "meta": META},
    "zero byte": {"path": "{uploads}/\0", "meta": META},
    "long path": {"path": "{uploads}/" + "a" * 5000, "meta": META},
    "number": 7,
    "list": [{"path": "{canary}", "meta": META}],
    "nested": {"path": {"path": "{canary}", "meta": META}, "meta": META},
}


def filled(value: Any, **names: object) -> Any:
    text = json.dumps(value)
    for name, word in names.items():
        text = text.replace("{" + name + "}", str(word))
    return json.loads(text)


@contextmanager
def nothing_reached(space: Space, visits: list[str]) -> Iterator[None]:
    """No file read and no connection made, by anything in the server's process."""
    watching = True
    space.opened.clear()
    space.asked.clear()
    sys.addaudithook(lambda *event: space.watch(*event) if watching else None)
    before = space.files()
    try:
        yield
    finally:
        watching = False
    assert (space.opened, space.asked, visits) == ([], [], [])
    assert space.files() == before


@pytest.mark.parametrize("way_in", WAYS_IN, ids=lambda way: way.__name__)
def test_only_uploads_are_translated(
    space: Space, listener: tuple[int, list[str]], way_in: WayIn
) -> None:
    port, visits = listener
    values = {
        name: filled(value, canary=space.canary, uploads=space.uploads, port=port)
        for name, value in NOT_UPLOADED.items()
    }
    with nothing_reached(space, visits), ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda value: way_in(space, [value, "auto", ""]), values.values())
        for name, answer in zip(values, answers, strict=True):
            assert any(words in answer for words in SAID), (name, answer)
            assert SECRET not in answer
            assert "Traceback" not in answer


@pytest.mark.parametrize("way_in", WAYS_IN, ids=lambda way: way.__name__)
def test_a_file_in_another_field_is_not_opened(
    space: Space, listener: tuple[int, list[str]], way_in: WayIn
) -> None:
    port, visits = listener
    audio = {"path": space.upload(), "meta": META}
    with nothing_reached(space, visits):
        for place in (1, 2):
            for path in (str(space.canary), f"http://127.0.0.1:{port}/", "http://canary.invalid/"):
                arguments: list[Any] = [audio, "auto", ""]
                arguments[place] = {"path": path, "meta": META}
                answer = way_in(space, arguments)
                assert any(words in answer for words in SAID), answer


def test_the_client_of_a_program_is_told_so(space: Space, listener: tuple[int, list[str]]) -> None:
    link = handle_file(f"http://127.0.0.1:{listener[0]}/a.wav")
    client = Client(space.url, verbose=False)
    for api_name in ("/translate", "/translate_segments", "/captions"):
        with pytest.raises(AppError, match=REFUSED):
            client.predict(link, api_name=api_name)
    assert not listener[1]


def test_nobody_passes_the_queue(space: Space, listener: tuple[int, list[str]]) -> None:
    with nothing_reached(space, listener[1]):
        for api_name in ("translate", "translate_segments", "captions"):
            body = {"data": [{"path": str(space.canary), "meta": META}, "auto", "srt"]}
            answer = httpx.post(f"{space.url}/gradio_api/run/{api_name}", json=body)
            assert answer.status_code == 404
            assert "join the queue" in answer.text


@pytest.mark.parametrize("extra", ["url", "meta", "name", "address"])
def test_what_else_is_said_of_an_upload_is_not_believed(
    space: Space, listener: tuple[int, list[str]], extra: str
) -> None:
    port, visits = listener
    path = space.upload()
    value = {
        "url": {"path": path, "url": f"http://127.0.0.1:{port}/a.wav", "meta": META},
        "meta": {"path": path, "meta": {"_type": "other"}, "is_stream": True, "size": -1},
        "name": {"path": path, "orig_name": "../../<b>\r\n.wav", "mime_type": "\0", "meta": META},
        "address": {"path": f"http://a.invalid/gradio_api/file={path}", "meta": META},
    }[extra]
    with nothing_reached(space, visits):
        assert json.dumps(TEXT) in call(space, [value, "auto", ""])


# Paths


PATHS = [
    "/gradio_api/file={canary}",
    "/gradio_api/file=/{canary}",
    "/gradio_api/file={uploads}/../canary.wav",
    "/gradio_api/file={uploads}%2f..%2fcanary.wav",
    "/gradio_api/file={uploads}/%252e%252e/canary.wav",
    "/gradio_api/file=file://{canary}",
    "/gradio_api/file/{canary}",
    "/gradio_api/file={root}/app.py",
    "/gradio_api/file={root}/speech_translation/assets/phrasebook/config.json",
    "/gradio_api/file={root}/examples/../app.py",
    "/gradio_api/file=app.py",
    "/gradio_api/file=/proc/self/environ",
    "/gradio_api/file={uploads}/%00",
    "/file={canary}",
    "/static/{up}{canary}",
    "/static/{up_encoded}{canary}",
    "/static/{canary}",
    "/static//{canary}",
    "/static/..%5c..%5ccanary.wav",
    "/assets/{up}{canary}",
    "/assets/{up_encoded}{canary}",
    "/assets/{canary}",
    "/svelte/{up}{canary}",
    "/live/{up}{canary}",
    "/live/{up_encoded}{canary}/captions.srt",
    "/live/x/captions./{up}{canary}",
    "/live/x/captions.%2f{up_encoded}{canary}",
    "/theme.css/{up}{canary}",
    "/gradio_api/custom_component/audio/client/{up_encoded}/{canary}",
    "/gradio_api/proxy=http://127.0.0.1:{port}/a",
    "/gradio_api/proxy=https://a.hf.space@127.0.0.1:{port}/a",
    "/proxy=http://127.0.0.1:{port}/a",
    "/gradio_api/deep_link?session_hash=attacker",
    "/?deep_link={up}{canary}",
    "/monitoring",
    "/monitoring/other",
    "/page/{up}{canary}",
    "/page/{up_encoded}{canary}",
    "/page/..%2fsettings.py",
    "/page/../settings.py",
    "/examples/{up}{canary}",
    "/examples/{up_encoded}{canary}.flac",
    "/watch/{up}{canary}",
    "/captions/{up_encoded}{canary}",
    "/gradio_api/dev/reload",
    "/gradio_api/vibe-code",
    "/gradio_api/stream/a/0/0/playlist-file",
    "/gradio_api/token",
    "/gradio_api/component_server",
    "/gradio_api/process_recording",
    "/pwa_icon/9999",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_a_file_of_the_server(
    space: Space, listener: tuple[int, list[str]], path: str
) -> None:
    port, visits = listener
    for name, word in (
        ("{canary}", str(space.canary)),
        ("{uploads}", str(space.uploads)),
        ("{root}", quote(str(ROOT))),
        ("{port}", str(port)),
        ("{up}", "/".join([".."] * 20)),
        ("{up_encoded}", "%2e%2e%2f" * 20),
    ):
        path = path.replace(name, word)
    with nothing_reached(space, visits):
        answer, text = space.raw("GET", path)
    assert answer.status in (400, 403, 404) or (answer.status == 200 and "deep_link=" in path)
    assert SECRET not in text
    assert "import gradio" not in text


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.example/",
        "https://evil.example/",
        "HTTP://evil.example/",
        "http:/evil.example/",
        "//evil.example/",
        "\\\\evil.example\\a",
        "http%3A%2F%2Fevil.example/",
        "https%3a//evil.example",
        "%68ttp://evil.example/",
        "http://127.0.0.1:{port}/",
    ],
)
@pytest.mark.parametrize(
    "route", ["/gradio_api/file=", "/gradio_api/file/", "/file=", "/", "/static/", "/live/"]
)
def test_nobody_is_sent_to_another_site(
    space: Space, listener: tuple[int, list[str]], route: str, address: str
) -> None:
    port, visits = listener
    with nothing_reached(space, visits):
        answer, _ = space.raw("GET", route + address.replace("{port}", str(port)))
    assert answer.status in (400, 403, 404, 405)
    assert answer.getheader("Location") is None


NAMES = [
    "../../../evil.wav",
    "/etc/evil.wav",
    "..\\..\\evil.wav",
    "..%2f..%2fevil.wav",
    "..",
    ".",
    "...",
    "",
    " ",
    "<>",
    "a\r\nX-Injected: 1\r\n\r\n.wav",
    'a"; filename="b.wav',
    "<img src=x onerror=alert(1)>.wav",
    "<script>alert(1)<script>.html",
    "a.svg",
    "\0.wav",
    "\u202evaw.exe",
    "😀🎤.flac",
    "CON.wav",
    "100%41 #1?.flac",
    "a" * 300 + ".flac",
    "話" * 300 + ".flac",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_cannot_leave_its_folder_or_become_a_header(space: Space, name: str) -> None:
    before = space.files()
    disposition = f'form-data; name="files"; filename="{name}"'.encode("utf-8", "replace")
    form = b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + SPOKEN + b"\r\n--b--\r\n"
    answer, text = space.raw(
        "POST", "/gradio_api/upload", form, Content_Type="multipart/form-data; boundary=b"
    )
    new = space.files() - before
    assert answer.getheader("X-Injected") is None
    if answer.status != 200:
        assert answer.status == 400
        assert not new
        return
    path = Path(json.loads(text)[0])
    assert path.resolve().is_relative_to(space.uploads)
    assert path.read_bytes().endswith(SPOKEN)  # a line break ends the name
    assert new <= {path}
    served, _ = space.raw("GET", "/gradio_api/file=" + quote(str(path), safe="/%#"))
    assert served.status == 200
    assert served.getheader("X-Injected") is None
    assert served.getheader("X-Content-Type-Options") == "nosniff"
    kind = served.getheader("Content-Type") or ""
    assert kind.startswith(("audio/", "application/octet-stream", "text/plain"))
    for character in "<>\"'\r\n\0/\\":
        assert character not in path.name
    path.unlink()


# Bodies: too large, too slow, broken off, broken


def form(content: bytes, name: str = "files", filename: str | None = "a.wav") -> bytes:
    shown = f'; filename="{filename}"' if filename is not None else ""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = b"--b--\r\n"
LARGE = bytes((1 << 20) + 1)
FORMS = {
    "a byte too large": (form(LARGE) + END, 413),
    "far too large": (form(bytes(2 << 20)) + END, 413),
    "no end": (form(SPOKEN), 400),
    "no end of the file": (form(SPOKEN)[:-2], 400),
    "two files": (form(SPOKEN) + form(SPOKEN) + END, 400),
    "a file and a field": (form(SPOKEN) + form(b"1", "x", None) + END, 400),
    "another field's file": (form(SPOKEN, "other") + END, 400),
    "a field": (form(SPOKEN, "files", None) + END, 400),
    "nothing": (END, 400),
    "not a form": (SPOKEN, 400),
    "rubbish between parts": (form(SPOKEN) + b"--b-?rubbish\r\n", 400),
    "a header without end": (b"--b\r\nContent-Disposition: " + b"a" * 100_000, (400, 413)),
    "a part without a header": (b"--b\r\n\r\n" + SPOKEN + b"\r\n" + END, 400),
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("tracked", ["", "?upload_id=attacker"])
@pytest.mark.parametrize("kind", FORMS)
def test_an_upload_that_is_refused_leaves_no_file(
    space: Space, kind: str, tracked: str, chunked: bool
) -> None:
    before = space.files()
    body, status = FORMS[kind]
    pieces = (body[i : i + 50_000] for i in range(0, len(body), 50_000))
    answer = httpx.post(
        space.url + "/gradio_api/upload" + tracked,
        content=pieces if chunked else body,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=60,
    )
    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text
    assert answer.text
    assert "Traceback" not in answer.text
    assert space.files() == before


@pytest.mark.parametrize(
    ("method", "path", "size"),
    [
        ("POST", "/gradio_api/upload", (1 << 20) + (65 << 10)),
        ("POST", "/gradio_api/call/translate", (1 << 20) + 1),
        ("POST", "/gradio_api/call/v2/translate", (1 << 20) + 1),
        ("POST", "/gradio_api/queue/join", (1 << 20) + 1),
        ("POST", "/gradio_api/run/translate", (1 << 20) + 1),
        ("POST", "/gradio_api/cancel", (1 << 20) + 1),
        ("POST", "/gradio_api/mcp/", (32 << 20) + 1),
        ("POST", "/gradio_api/queue/join", 1 << 60),
    ],
)
def test_what_is_announced_too_large_is_refused_unread(
    space: Space, method: str, path: str, size: int
) -> None:
    kind = "multipart/form-data; boundary=b" if "upload" in path else "application/json"
    headers = {"Content_Type": kind, "Content_Length": str(size), "Accept": "application/json"}
    answer, text = space.raw(method, path, b"{", **headers)
    assert answer.status == 413
    assert "too large" in text


@pytest.mark.parametrize(
    "path", ["/gradio_api/call/translate", "/gradio_api/queue/join", "/gradio_api/run/translate"]
)
def test_json_without_end_is_cut_off(space: Space, path: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 3 << 20:
            sent += 1 << 16
            yield b'["' + b"a" * (1 << 16)

    headers = {"Content-Type": "application/json"}
    answer = httpx.post(space.url + path, content=endless(), headers=headers, timeout=60)
    assert answer.status_code == 413


def test_a_live_chunk_without_end_is_cut_off(space: Space) -> None:
    talk = httpx.post(space.url + "/live").json()["id"]
    url = f"{space.url}/live/{talk}"
    parts = (bytes(1 << 20) for _ in range(12))
    answer = httpx.post(url, params={"seq": 0, "rate": 16_000}, content=parts, timeout=60)
    assert answer.status_code == 413
    assert httpx.delete(url).status_code == 204


def begin_upload(space: Space, content: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", space.port), timeout=60)
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    connection.sendall(head.encode() + form(content)[:-2])
    return connection


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("bytes_a_tick", [0, 1, 100])
def test_an_upload_that_is_too_slow_is_ended(
    space: Space, monkeypatch: pytest.MonkeyPatch, bytes_a_tick: int
) -> None:
    monkeypatch.setattr(web.guard, "PATIENCE", 1.0)
    before, began = space.files(), time.monotonic()
    with begin_upload(space, b"") as connection:
        connection.settimeout(0.05)
        answer = b""
        # At this pace the whole upload would take 450 s and more.
        while b"too slowly" not in answer and time.monotonic() < began + 100:
            try:
                answer += connection.recv(1000)
            except TimeoutError:
                connection.sendall(b"a" * bytes_a_tick)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"too slowly" in answer
    assert until(lambda: space.files() == before)


@pytest.mark.parametrize("sent", [0, 10, 300_000])
def test_an_upload_that_is_broken_off_leaves_no_file(space: Space, sent: int) -> None:
    before = space.files()
    with begin_upload(space, bytes(sent)):
        assert until(lambda: space.files() != before)  # it had begun
    assert until(lambda: space.files() == before)


def test_a_range_beyond_a_file_ends(space: Space) -> None:
    path = "/gradio_api/file=" + space.upload()
    size = len(SPOKEN)
    for wanted, status, length in (
        (f"bytes=0-{10 * size}", 206, size),
        (f"bytes={size - 10}-{size + 10}", 206, 10),
        ("bytes=0-99", 206, 100),
        ("bytes=100-", 206, size - 100),
        (f"bytes={size}-{size + 5}", 416, 0),
        ("bytes=" + ",".join(f"{i}-{i}" for i in range(0, 5000, 2)), 200, size),
    ):
        answer = httpx.get(
            space.url + path,
            headers={"Range": wanted, "Cookie": "secret=1", "X-Mine": "1"},
            timeout=60,
        )
        assert (answer.status_code, len(answer.content)) == (status, length), wanted
        assert not {"cookie", "x-mine", "set-cookie"} & set(answer.headers)


@pytest.mark.parametrize("container", ["matroska", "mov", "mpegts", "avi"])
def test_no_picture_of_a_video_is_decoded(container: str) -> None:
    sound = load_audio(EXAMPLES / "en_1.flac")
    video = encoded(container, "aac", sound, RATE, video="mpeg4")
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=True) as complaints:
            heard = load_audio(video)
    finally:
        av.logging.set_level(None)
        av.logging.set_skip_repeated(True)
    assert any("Codec (mpeg4) not on whitelist" in words for _, _, words in complaints)
    assert len(heard) == pytest.approx(len(sound), abs=4096)


def test_a_model_cannot_bring_code(tmp_path: Path) -> None:
    """CVE-2026-4372: an attention named like a repository, which `kernels` would fetch and run."""
    assert find_spec("kernels") is None
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "speech_translation" / "assets" / "phrasebook", folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))

    def spoil(part: dict[str, Any]) -> None:
        for value in list(part.values()):
            if isinstance(value, dict):
                spoil(value)
        part["_attn_implementation"] = part["_attn_implementation_internal"] = "evil/kernel"
        part["auto_map"] = {"AutoConfig": "evil/code--a.B", "AutoModel": "evil/code--a.B"}

    spoil(config)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    asked, watching = list[object](), True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in ("socket.getaddrinfo", "socket.connect"):
            asked.append(arguments)

    sys.addaudithook(watch)
    try:
        with suppress(ModelError):
            load_engine(str(folder), "cpu")
    finally:
        watching = False
    assert asked == []


# Headers and origins


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/gradio_api/mcp/"])
@pytest.mark.parametrize("name", ["Host", "X_Forwarded_Host", "X_Forwarded_Proto"])
@pytest.mark.parametrize("value", ["a</script><script>alert(1)</script>", 'a"onload="x', "a/../b"])
def test_a_host_is_not_written_into_the_page(
    space: Space, path: str, name: str, value: str
) -> None:
    answer, text = space.raw("GET", path, Accept="text/html", **{name: value})
    assert answer.status == 400
    assert "alert" not in text
    assert "onload" not in text


def test_only_our_own_server_says_where_the_page_is(space: Space) -> None:
    answer, text = space.raw("GET", "/config", X_Gradio_Server="http://evil.example")
    assert answer.status == 200
    assert "evil.example" not in text
    assert json.loads(text)["root"] == space.url


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "someone-space.hf.space"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example"]
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_no_other_site_reads_with_a_visitors_sign_in(
    space: Space, host: str, origin: str, method: str
) -> None:
    headers = {"Host": host, "Origin": origin, "Cookie": "secret=1"}
    if method == "OPTIONS":
        headers["Access_Control_Request_Method"] = "POST"
    answer, _ = space.raw(method, "/config", **headers)
    assert answer.status == 200
    assert answer.getheader("Access-Control-Allow-Credentials") is None
    if host != "someone-space.hf.space":  # on a visitor's own machine, no other site reads at all
        assert answer.getheader("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("secret", ["Cookie", "Authorization"])
@pytest.mark.parametrize(
    "path", ["/live", "/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/call/translate"]
)
def test_no_other_site_acts_with_a_visitors_sign_in(
    space: Space, path: str, secret: str, site: str
) -> None:
    answer, _ = space.raw("POST", path, b"{}", Sec_Fetch_Site=site, **{secret: "secret=1"})
    assert answer.status == 403


def test_the_page_itself_acts_with_a_visitors_sign_in(space: Space) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", "Cookie": "secret=1", "Origin": space.url}
    answer = httpx.post(space.url + "/live", headers=headers)
    assert answer.status_code == 200
    assert httpx.delete(f"{space.url}/live/{answer.json()['id']}").status_code == 204


# What the visitor or the model wrote


EVIL = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'


def test_terms_and_names_come_back_as_text_or_not_at_all(space: Space) -> None:
    talk = httpx.post(space.url + "/live", params={"terms": EVIL + "\r\nX-Injected: 1"}).json()[
        "id"
    ]
    for format in ("txt", "vtt", "json"):
        answer = httpx.get(f"{space.url}/live/{talk}/captions.{format}")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"] == f'attachment; filename="captions.{format}"'
        assert "x-injected" not in answer.headers
    httpx.delete(f"{space.url}/live/{talk}")
    answer = httpx.post(space.url + "/live", params={"direction": EVIL})
    assert answer.status_code == 400
    assert EVIL not in answer.text


# Behind a proxy


class Proxy(BaseHTTPRequestHandler):
    """A reverse proxy that serves a Space below /translator and says so, as nginx is set up to."""

    upstream = ""
    protocol_version = "HTTP/1.1"

    def forward(self) -> None:
        if not self.path.startswith("/translator"):
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        headers |= {"X-Forwarded-Host": self.headers["Host"], "X-Forwarded-Proto": "http"}
        path = self.path.removeprefix("/translator") or "/"
        connection.request(self.command, path, body, headers | {"Host": "space.internal"})
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while piece := answer.read1(1 << 16):
            self.wfile.write(piece)
            self.wfile.flush()
        self.close_connection = True

    do_GET = do_POST = do_DELETE = do_HEAD = forward

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def proxied(space: Space) -> Iterator[str]:
    """A Space below a path of a proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_ROOT_PATH", "/translator")
        with running(max_megabytes=1) as url:
            handler = type("Handler", (Proxy,), {"upstream": url})
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            assert httpx.get(url + "/translator/healthz").status_code == 200  # by others, as it is
            yield f"http://127.0.0.1:{server.server_port}/translator"
            server.shutdown()
            server.server_close()


def test_the_space_works_below_a_path_of_a_proxy(proxied: str) -> None:
    page = httpx.get(proxied + "/").text
    assert f'"root":"{proxied}"' in page
    assert httpx.get(proxied + "/healthz").json() == {"model": "ready"}
    client = Client(proxied + "/", verbose=False)
    clip = handle_file(str(EXAMPLES / "en_1.flac"))
    assert client.predict(clip, api_name="/translate") == TEXT
    captions = Path(client.predict(clip, "auto", "txt", api_name="/captions"))
    assert captions.read_text("utf-8").strip() == TEXT
    talk = httpx.post(proxied + "/live").json()["id"]
    assert httpx.get(f"{proxied}/live/{talk}/captions.txt").status_code == 200
    assert httpx.delete(f"{proxied}/live/{talk}").status_code == 204


@pytest.mark.parametrize("path", ["/gradio_api/file=http://evil.example", "/gradio_api/proxy=x"])
def test_the_guard_stands_behind_a_proxy_too(proxied: str, path: str) -> None:
    answer = httpx.get(proxied + path)
    assert answer.status_code == 404
    assert "location" not in answer.headers


def test_after_all_that_the_space_translates(space: Space) -> None:
    client = Client(space.url, verbose=False)
    assert client.predict(handle_file(str(EXAMPLES / "en_1.flac")), api_name="/translate") == TEXT
    assert not [path for path in space.temporary.rglob("*") if path.is_file()]
