"""What other sites show of a link to the page: Gradio's own document says "Gradio" there."""

from __future__ import annotations

import re
from html import escape

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from speech_translation.types import Language
from web.texts import say

_PROPERTY = re.compile(r'(?:property|name)="(?:og|twitter):(title|description|url)"')
_META = re.compile(r"<meta\s[^>]*>")


class Preview:
    """An ASGI application in front of Gradio that names the page in its document."""

    def __init__(self, app: ASGIApp, root: str = "") -> None:
        self._app = app
        self._root = root.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        home = scope["type"] == "http" and scope["path"].removeprefix(self._root) in ("", "/")
        if not home or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        parts = list[bytes]()
        start: Message = {}

        async def whole(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = named(b"".join(parts).decode()).encode()
            headers = MutableHeaders(raw=list(start.get("headers", [])))
            headers["Content-Length"] = str(len(body))
            await send({**start, "headers": headers.raw})
            await send({"type": "http.response.body", "body": body})

        # Uncompressed, to be read here.
        asked = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self._app({**scope, "headers": asked}, receive, whole)


def named(document: str) -> str:
    """`document` with the page's own title and description for links to it."""
    words = {
        "title": say(Language.ENGLISH, "title"),
        "description": say(Language.ENGLISH, "subtitle"),
    }

    def own(found: re.Match[str]) -> str:
        about = _PROPERTY.search(found[0])
        if about is None:
            return found[0]
        if about[1] == "url":  # Gradio leaves a placeholder there; who links knows the address
            return ""
        return f'<meta {about[0]} content="{escape(words[about[1]], quote=True)}" />'

    return _META.sub(own, document)
