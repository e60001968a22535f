"""Live captions over HTTP: the page sends what the microphone hears and reads captions back.

    POST   /live?direction=en2ja       -> {"id": ...}
    POST   /live/{id}?seq=0&rate=48000    body: mono int16, little-endian -> captions
    POST   /live/{id}?seq=1&rate=48000&last=1
    GET    /live/{id}/captions.srt        (txt, srt, vtt, tsv, json)
    DELETE /live/{id}

Gradio's own microphone stream loses sound: it keeps only the newest chunk while the handler works,
and drops those around start and stop. Here each chunk has a number. The page sends it again until
it is answered, and the server takes it once. The next chunk holds all that was said meanwhile, so
with a slow model captions are late and nothing is lost.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from speech_translation.captions import FORMATS, render
from speech_translation.engine import Engine
from speech_translation.errors import SpeechTranslationError
from speech_translation.live import LiveTranslator
from speech_translation.types import Direction, Language
from web.html import live_captions
from web.texts import interface_language, say

IDLE_SECONDS = 120.0
CHUNK_BYTES = 8 << 20  # 40 s at 96 kHz; the page divides what is longer
RATES = range(8_000, 192_001)
FINISHED_KEPT = 100
"""Of the finished talks, how many can be downloaded while nobody has forgotten them."""

_OVER = "this talk is over"


class Session:
    """One visitor's talk. Used by one request at a time."""

    def __init__(self, translator: LiveTranslator) -> None:
        self.translator = translator
        self.lock = threading.Lock()
        self.next_chunk = 0
        self.finished = False
        self.used = time.monotonic()

    @property
    def working(self) -> bool:
        """Whether a chunk is being translated."""
        return self.lock.locked()

    def take(self, seq: int, samples: np.ndarray, rate: int, last: bool) -> bool:
        """Translate chunk `seq` (n,), once. False when a chunk before it is missing.

        Raises EngineError. The chunk is taken all the same, and what it said is translated with the
        next one, or when the last one comes again.
        """
        with self.lock:
            try:
                if seq > self.next_chunk:
                    return False
                if seq == self.next_chunk and not self.finished:
                    self.next_chunk += 1
                    if len(samples):
                        self.translator.push(samples, rate)
                if last and not self.finished:
                    self.translator.finish()
                    self.finished = True
            finally:
                self.used = time.monotonic()
            return True

    def captions(self, known: int, language: Language) -> dict[str, Any]:
        """What the page shows: finished captions from number `known` on, and the growing line."""
        translator = self.translator
        return {
            "from": known,
            "segments": live_captions(translator.segments[known:], language),
            "settled": translator.settled,
            "tentative": translator.tentative,
            "next": self.next_chunk,
        }


class LiveSessions:
    """The talks that are going on, at most `limit`. A talk that nobody asks for is forgotten.

    One that is finished leaves its place to others and can still be downloaded. With `absent` every
    talk is refused with a sentence, and so are new ones once the Space is `ending`.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        limit: int,
        *,
        absent: bool = False,
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._engine = engine
        self._limit = limit
        self._absent = absent
        self._ending = ending
        # All who come while the model is loaded wait in one thread: other requests need theirs.
        self._waiting = ThreadPoolExecutor(1, "live")
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The routes to add to the web server."""
        return (
            Route("/live", self._open, methods=["POST"]),
            Route("/live/{id}", self._chunk, methods=["POST"]),
            Route("/live/{id}", self._close, methods=["DELETE"]),
            Route("/live/{id}/captions.{format}", self._download, methods=["GET"]),
        )

    @property
    def working(self) -> bool:
        """Whether a chunk of any talk is being translated."""
        return any(session.working for session in list(self._sessions.values()))

    async def _open(self, request: Request) -> Response:
        language = interface_language(request.headers.get("accept-language"))
        if self._absent:
            return _error(503, say(language, "live_absent"))
        if self._ending():
            return _error(503, say(language, "live_ending"))
        try:
            direction = Direction(request.query_params.get("direction", "auto"))
        except ValueError:
            return _error(400, "direction is one of en2ja, ja2en, auto")
        try:
            loop = asyncio.get_running_loop()
            engine = await loop.run_in_executor(self._waiting, self._engine)
        except SpeechTranslationError as error:
            return _error(503, say(language, "model_failed", reason=error))
        terms = request.query_params.get("terms", "")[:1000]
        with self._lock:
            self._forget_idle()
            if sum(not session.finished for session in self._sessions.values()) >= self._limit:
                return _error(503, say(language, "live_full"))
            name = secrets.token_urlsafe(16)
            self._sessions[name] = Session(LiveTranslator(engine, direction, context=terms))
        return JSONResponse({"id": name})

    async def _chunk(self, request: Request) -> Response:
        session = self._sessions.get(request.path_params["id"])
        if session is None:
            return _error(404, _OVER)
        session.used = time.monotonic()  # its chunk may take long to arrive
        query = request.query_params
        try:
            seq, rate = int(query["seq"]), int(query["rate"])
            known = max(0, int(query.get("known", "0")))
        except (KeyError, ValueError):
            return _error(400, "seq, rate and known are whole numbers")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > CHUNK_BYTES:
                return _error(413, f"a chunk has at most {CHUNK_BYTES} bytes")
        if len(body) % 2 or rate not in RATES:
            return _error(400, "a chunk is int16 samples at 8 to 192 kHz")
        samples = np.frombuffer(bytes(body), "<i2")
        language = interface_language(request.headers.get("accept-language"))
        try:
            taken = await asyncio.to_thread(session.take, seq, samples, rate, "last" in query)
        except SpeechTranslationError:
            return _error(500, say(language, "broken"))
        answer = session.captions(known, language)
        if taken:
            return JSONResponse(answer)
        missing = f"a chunk before this one is missing: send chunk {session.next_chunk}"
        return JSONResponse({"error": missing, **answer}, 409)

    async def _close(self, request: Request) -> Response:
        self._sessions.pop(request.path_params["id"], None)
        return Response(status_code=204)

    async def _download(self, request: Request) -> Response:
        session = self._sessions.get(request.path_params["id"])
        wanted = request.path_params["format"]
        format = next((f for f in FORMATS if f == wanted), None)
        if format is None:
            return _error(404, f"there is no format {wanted}: choose from {', '.join(FORMATS)}")
        if session is None:
            return _error(404, _OVER)
        session.used = time.monotonic()
        # Of an hour of talk it takes half a second, in which nobody else would be answered.
        text = await asyncio.to_thread(render, session.translator.translation(), format)
        return Response(
            text,
            media_type="text/plain; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="captions.{format}"'},
        )

    def _forget_idle(self) -> None:
        oldest = time.monotonic() - IDLE_SECONDS
        idle = [n for n, s in self._sessions.items() if s.used < oldest and not s.working]
        finished = [n for n, s in self._sessions.items() if s.finished]
        for name in {*idle, *finished[:-FINISHED_KEPT]}:
            del self._sessions[name]


def _error(code: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, code)
