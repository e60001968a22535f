"""A Space under attack, what it has on its disk, and what its process did. See SECURITY.md."""

import http.client
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from clips import EXAMPLES
from gradio_client import Client, handle_file
from own_space import free_port

from app import build_page
from web.server import launch
from web.settings import Settings

SECRET = "the canary's secret"
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


@contextmanager
def attacked(folder: Path) -> Iterator[Space]:
    """A Space for uploads of 1 MB."""
    for name in ("uploads", "temporary"):
        (folder / name).mkdir()
    canary = folder / "canary.wav"
    canary.write_text(SECRET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder / "temporary"))
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        with running(max_megabytes=1, live_talks=3) as url:
            yield Space(url, folder / "uploads", folder / "temporary", canary)


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


def form(content: bytes, name: str = "files", filename: str | None = "a.wav") -> bytes:
    shown = f'; filename="{filename}"' if filename is not None else ""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def assert_it_still_translates(space: Space) -> None:
    client = Client(space.url, verbose=False)
    assert client.predict(handle_file(str(EXAMPLES / "en_1.flac")), api_name="/translate") == TEXT
    assert not [path for path in space.temporary.rglob("*") if path.is_file()]
