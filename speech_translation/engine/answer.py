"""What a server answers, as it arrives: its status, its size, its events.

The answer is a stranger's. It may be an error page of what stands before the server, may be no
JSON, and may have no end.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx

from speech_translation.engine.question import Busy, clean
from speech_translation.engine.servers import retry_after
from speech_translation.errors import EngineError, without_password

LARGEST = 16 << 20
"""Bytes of an answer, of which a segment's text and scores take some hundred thousand."""

_BEGINNING = 4096  # bytes of an error that are read
_CODINGS = {"identity", "gzip", "x-gzip", "deflate"}
_TITLE = re.compile(r"<title>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<[^>]*>")
_TOO_LARGE = (
    ". A segment takes up to 3 MB: let what stands before the server pass as much (nginx: "
    "client_max_body_size)"
)


class Refused(Exception):
    """The server takes the request itself for wrong."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check(reply: httpx.Response, url: str, proxy: str, key: str, *, starting: bool) -> None:
    """Raise what the status of an answer from `url` amounts to: Busy, Refused or EngineError.

    `key` is the variable that holds the key. What stands before a server that is `starting` says
    404 or sends elsewhere until it is there.
    """
    if reply.is_success:
        return
    status, said = reply.status_code, _said(reply)
    through = f" through the proxy {proxy}" if proxy else ""
    if status == 407:
        raise EngineError(f"The proxy {proxy} asks for a name and a password (407 {said}).")
    if status in {401, 403}:
        passed = ", or let the proxy pass the request" if proxy else ""
        raise EngineError(
            f"{url} says{through} {status} {said}: put the server's key into {key}, or correct it "
            f"there{passed}."
        )
    if status in {408, 425, 429} or status >= 500 or starting:
        raise Busy(f"{status} {said}".strip(), retry_after(reply))
    more = _TOO_LARGE if status == 413 else ""
    raise Refused(status, f"{url} says{through} {status} {said}{more}")


def _said(reply: httpx.Response) -> str:
    """An error in few words: where it sends to, the title of a page, or how it begins."""
    if location := reply.headers.get("location"):
        return f"elsewhere: {without_password(clean(location))[:200]}"
    beginning = b""
    with contextlib.suppress(httpx.RequestError, ValueError):  # the status is known
        for part in _parts(reply):
            beginning += part
            if len(beginning) >= _BEGINNING:
                break
    text = beginning.decode(errors="replace")
    title = _TITLE.search(text)
    return " ".join(clean(title[1] if title else _TAGS.sub(" ", text)).split())[:300]


def body(reply: httpx.Response) -> bytes:
    """The whole of an answer. ValueError when it is too large."""
    return b"".join(_parts(reply))


def _parts(reply: httpx.Response) -> Iterator[bytes]:
    coding = reply.headers.get("content-encoding", "identity").strip().lower()
    if coding not in _CODINGS:  # others grow without limit, and none was asked for
        raise ValueError(f"its coding is {coding[:50]}")
    size = 0
    for part in reply.iter_bytes():
        size += len(part)
        if size > LARGEST:
            raise ValueError(f"it has over {LARGEST >> 20} MB")
        yield part


def first_model(reply: httpx.Response) -> str:
    """The name of the first model on a server's list. Busy when it has none yet."""
    models = json.loads(body(reply))["data"]
    if not models:
        raise Busy("it serves no model")
    name = models[0]["id"]
    if not isinstance(name, str) or not name.isprintable():
        raise ValueError("its model has no name")
    return name


def events(reply: httpx.Response) -> Iterator[dict[str, Any]]:
    """The objects in a stream of server-sent events.

    ValueError when one is none, RemoteProtocolError when the stream ends too early.
    """
    other = b""
    for line in _lines(_parts(reply)):
        if not line.startswith(b"data:"):
            other = line.strip() or other
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        yield json.loads(data.decode(errors="replace"))
    said = clean(other[:100].decode(errors="replace"))
    raise httpx.RemoteProtocolError(f"the answer broke off {said}".strip())


def _lines(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Lines by their line feeds alone: text in JSON may hold the other separators of Unicode."""
    rest = bytearray()
    for part in parts:
        *whole, last = part.split(b"\n")
        for line in whole:
            yield bytes(rest + line)
            rest.clear()
        rest += last
    yield bytes(rest)
