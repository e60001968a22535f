"""A public Space under attack: bodies, headers, other origins, markup, a proxy in front of it."""

import asyncio
import http.client
import json
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import httpx
import pytest
from attacked_space import SPOKEN, TEXT, Space, assert_it_still_translates, attacked, form, running
from clips import EXAMPLES, ROOT
from gradio_client import Client, handle_file
from recordings import RATE, encoded
from serving import serving
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

import web.guard
from speech_translation.audio import load_audio
from speech_translation.engine import load_engine
from speech_translation.errors import ModelError


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    with attacked(tmp_path_factory.mktemp("space")) as space:
        yield space


# Bodies: too large, too slow, broken off, broken

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


@pytest.mark.parametrize("format", ["txt", "json", "tsv"])
def test_half_of_a_character_in_a_result_is_a_question_mark(space: Space, format: str) -> None:
    """JSON can name it, and a page sends it of a text that was cut there."""
    texts = {"text": "\ud83d訳", "source_text": "\ude00"}
    segment = {"start": 0, "end": 1, "direction": "en2ja", **texts}
    said = {"kind": "untagged", "languages": ["\ud800"]}
    result = {"segments": [segment], "duration": 1, "remarks": [said]}
    answer = httpx.post(
        f"{space.url}/captions/{format}?show=both", content=json.dumps(result), timeout=60
    )
    assert answer.status_code == 200, answer.text
    assert "?訳" in answer.text


def test_a_number_of_any_length_is_no_error_of_ours(space: Space) -> None:
    talk = httpx.post(space.url + "/live").json()
    for known in ("9" * 5000, "\u00b2", "-1"):
        answer = httpx.get(f"{space.url}/watch/{talk['watch']}/captions", params={"known": known})
        assert answer.json()["from"] == 0
    httpx.delete(f"{space.url}/live/{talk['id']}")


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


def test_who_leaves_within_a_body_is_no_error_of_ours() -> None:
    """The server would write a trace for each chunk of a talk that a network breaks off."""
    messages: list[Message] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError("nobody is there")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()

    length = [(b"content-length", b"8")]
    scope = {"type": "http", "method": "POST", "path": "/live/talk", "headers": length}
    asyncio.run(web.guard.Guard(app, 1)(scope, receive, send))
    assert not messages


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


@pytest.mark.parametrize("wanted", ["items=0-5", "bytes", "bytes=", "bytes=abc", "bytes 0-1"])
def test_a_range_that_is_none_is_ignored(space: Space, wanted: str) -> None:
    answer = httpx.get(space.url + "/examples/en_1.flac", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, SPOKEN)


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


LARGER = {"Content_Length": str(1 << 40), "Content_Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/an-old-link", {}, 404),
        ("GET", "/examples/none.flac", {}, 404),
        ("GET", "/", {"Host": "a/b"}, 400),
        ("POST", "/live", {"Sec_Fetch_Site": "cross-site", "Cookie": "a=1"}, 403),
        ("POST", "/captions/srt", LARGER, 413),
        ("POST", "/v1/audio/translations", LARGER, 413),
    ],
)
def test_a_refusal_is_in_the_readers_language(
    space: Space, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answers = {}
    for language in ("en", "ja"):
        answer, text = space.raw(method, path, None, Accept_Language=language, **headers)
        assert answer.status == status
        answers[language] = json.loads(text)["error"]["message"] if text[0] == "{" else text
    assert answers["en"].isascii()
    assert answers["ja"].endswith("。")


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
            assert httpx.get(url + "/translator/healthz").status_code == 200  # by others, as it is
            with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
                yield f"http://127.0.0.1:{server.server_port}/translator"


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


def test_after_these_too_the_space_translates(space: Space) -> None:
    assert_it_still_translates(space)
