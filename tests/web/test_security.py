"""A public Space under attack: what is opened, and where it is sent. See SECURITY.md."""

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from attacked_space import (
    SECRET,
    SPOKEN,
    TEXT,
    Space,
    assert_it_still_translates,
    attacked,
    nothing_reached,
)
from clips import EXAMPLES, ROOT
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

REFUSED = "Only uploads are translated"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    with attacked(tmp_path_factory.mktemp("space")) as space:
        yield space


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


def test_after_all_that_the_space_translates(space: Space) -> None:
    assert_it_still_translates(space)
