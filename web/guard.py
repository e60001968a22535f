"""The guard in front of Gradio: which requests pass, how large and how slow they may be.

Gradio serves more than this Space uses, waits for a body for ever, and limits the size of uploads
only.
"""

from __future__ import annotations

import asyncio
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from speech_translation.types import Seconds
from web.texts import interface_language, say

PATIENCE: Seconds = 30.0
"""The longest time that a body may pause, or lag behind `PACE`."""

PACE = 8 << 10
"""The slowest rate of a body in bytes per second: 64 kbit/s."""

JSON_BYTES = 1 << 20
LIVE_BYTES = 9 << 20  # more than a chunk may have: web/live.py refuses a larger one in words
MCP_BYTES = 32 << 20  # a tool call may hold a recording in base64
FORM_BYTES = 64 << 10  # the form around the file of an upload

_UPLOAD = "/gradio_api/upload"
_OPENAI = "/v1/"  # whose clients read errors in a form of their own
_PATHS = re.compile(
    r"/((config|theme\.css|robots\.txt|manifest\.json|favicon\.ico|healthz|about|live"
    r"|monitoring/summary)/?)?"
    r"|/(assets|static|live|watch|page|examples|captions|film)/.+"
    r"|/v1/(models|audio/(translations|transcriptions))"
    r"|/gradio_api/("
    r"(info|openapi\.json|app_id|upload|upload_progress|cancel|reset|startup-events|theme\.css)/?"
    r"|queue/(join|data|status)/?"
    r"|(call|run|heartbeat)/.+"
    r"|mcp(/(http|schema|sse|messages)?/?)?"
    r"|file=(?!https?:).+"  # Gradio sends a visitor on to any address
    r")",
    re.DOTALL,
)
"""The paths that the page, its API and its MCP tools use. All others are not found."""

_HOSTS = ("host", "x-forwarded-host", "x-forwarded-proto")  # Gradio writes them into its pages
_HOST = re.compile(r"[\w.:,\[\] -]*", re.ASCII)
_RANGE = re.compile(rb"\s*bytes=\s*(\d|-\d)", re.IGNORECASE)
_READING = ("GET", "HEAD", "OPTIONS")


class Guard:
    """An ASGI application that passes to `app` the requests that the Space uses.

    `max_megabytes` is the size of the largest recording. A proxy serves the Space below the path
    `root`.
    """

    def __init__(self, app: ASGIApp, max_megabytes: int, root: str = "") -> None:
        self._app = app
        self._max_megabytes = max_megabytes
        self._root = root.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(self._root)
        body = _Body(receive, headers, self._limit(path))
        answer = _Answer(send)
        try:
            _admit(scope, path, headers)
            scope = {**scope, "headers": _mended(scope["headers"])}
            await self._app(scope, body.receive, answer.sender(body))
        except _Refusal as refused:
            body.refused = refused
        except ClientDisconnect:
            return  # in the middle of its body: it waits for no answer
        except Exception:
            if body.refused is None:
                raise
        if body.refused is not None:
            language = interface_language(headers.get("accept-language"))
            words = say(language, body.refused.key, megabytes=self._max_megabytes)
            await answer.refuse(body.refused.status, words, as_openai=path.startswith(_OPENAI))

    def _limit(self, path: str) -> int:
        if path.rstrip("/") == _UPLOAD or path.startswith(_OPENAI):
            return (self._max_megabytes << 20) + FORM_BYTES
        if path.startswith("/gradio_api/mcp"):
            return MCP_BYTES
        return LIVE_BYTES if path.startswith(("/live/", "/captions/", "/film/")) else JSON_BYTES


class _Refusal(Exception):
    """A request that does not pass: the status of the answer, and which text says so."""

    def __init__(self, status: int, key: str) -> None:
        super().__init__(key)
        self.status = status
        self.key = key


def _admit(scope: Scope, path: str, headers: Headers) -> None:
    if not _PATHS.fullmatch(path):
        raise _Refusal(404, "not_found")
    for name in _HOSTS:
        if not all(_HOST.fullmatch(value) for value in headers.getlist(name)):
            raise _Refusal(400, "no_host")
    # Browsers alone send Sec-Fetch-Site, and no page can forge it.
    elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    signed_in = "cookie" in headers or "authorization" in headers
    if elsewhere and signed_in and scope["method"] not in _READING:
        raise _Refusal(403, "other_site")


def _mended(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """`headers` without what Gradio and Starlette mishandle.

    Gradio believes X-Gradio-Server, which its own Node server sends, of everybody. Its answer to
    the range `bytes=0-99` repeats the request's headers, and never ends when the range goes beyond
    the file. Gradio leaves a range that is spelled `Bytes` to Starlette, and it means the same.
    Starlette refuses a range that is none, or in other units, which RFC 9110 (14.2) lets it ignore.
    """
    return [
        (name, value.strip().capitalize() if name == b"range" else value)
        for name, value in headers
        if name != b"x-gradio-server" and (name != b"range" or _RANGE.match(value))
    ]


def openai_error(status: int, message: str, field: str | None = None) -> JSONResponse:
    """An error as OpenAI's clients read it; `field` is the one that is wrong."""
    kind = {429: "rate_limit_error"}.get(status, "invalid_request_error")
    kind = "server_error" if status >= 500 else kind
    error = {"message": message, "type": kind, "param": field, "code": None}
    return JSONResponse({"error": error}, status)


class _Body:
    """The body of a request, refused when it is over `limit` bytes or too slow."""

    def __init__(self, receive: Receive, headers: Headers, limit: int) -> None:
        self.refused: _Refusal | None = None
        self._receive = receive
        self._limit = limit
        self._complete = "content-length" not in headers and "transfer-encoding" not in headers
        self._announced = int(headers.get("content-length", 0))  # the server has checked it
        self._size = 0
        self._waited: Seconds = 0.0

    async def receive(self) -> Message:
        """The next ASGI message. Raises _Refusal, and keeps it in `refused`."""
        try:
            return await self._next()
        except _Refusal as refused:
            self.refused = refused
            raise

    async def _next(self) -> Message:
        if self._complete:
            return await self._receive()
        if self._announced > self._limit:
            raise _Refusal(413, "too_large")
        began = time.monotonic()
        lag = PATIENCE + self._size / PACE - self._waited
        try:
            async with asyncio.timeout(max(0.0, min(PATIENCE, lag))):
                message = await self._receive()
        except TimeoutError:
            raise _Refusal(408, "too_slow") from None
        self._waited += time.monotonic() - began
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise _Refusal(413, "too_large")
        self._complete = not message.get("more_body", False)
        return message


class _Answer:
    """The answer to one request: the application's, or a refusal in its place."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False

    def sender(self, body: _Body) -> Send:
        """The function with which the application sends, until `body` is refused."""

        async def send(message: Message) -> None:
            if body.refused is not None:
                return
            if message["type"] == "http.response.start":
                self._begun = True
                headers = MutableHeaders(raw=list(message.get("headers", [])))
                headers["X-Content-Type-Options"] = "nosniff"
                # Gradio lets every origin read answers. None may read a signed-in visitor's.
                del headers["Access-Control-Allow-Credentials"]
                message = {**message, "headers": headers.raw}
            await self._send(message)

        return send

    async def refuse(self, status: int, words: str, *, as_openai: bool) -> None:
        """Answer with a refusal, unless an answer has begun."""
        if self._begun:
            return
        response: Response = PlainTextResponse(words, status)
        if as_openai:
            response = openai_error(status, words)
        if status == 408:
            response.headers["Connection"] = "close"
        for message in (
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": response.raw_headers,
            },
            {"type": "http.response.body", "body": response.body},
        ):
            await self._send(message)
