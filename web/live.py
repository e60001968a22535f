"""Live captions over HTTP: the page sends what the microphone hears and reads captions back.

    POST   /live?direction=en2ja       -> {"id": ...}; with &transcript=1 what is said is kept, too
    POST   /live/{id}?seq=0&rate=48000    body: mono int16, little-endian -> captions
    POST   /live/{id}?seq=1&rate=48000&last=1
    GET    /live/{id}/captions.srt        (txt, srt, vtt, tsv, json; ?show=both or source)
    DELETE /live/{id}

Gradio's own microphone stream loses sound: it keeps only the newest chunk while the handler works,
and drops those around start and stop. Here each chunk has a number. The page sends it again until
it is answered, and the server takes it once. The next chunk holds all that was said meanwhile, so
with a slow model captions are late and nothing is lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from speech_translation.captions import FORMATS, render
from speech_translation.engine import Engine
from speech_translation.errors import SpeechTranslationError
from speech_translation.live import LiveTranslator
from speech_translation.types import Direction, Language, Segment
from web.html import live_captions, part, scripts
from web.refusals import Refusal, error_response, refusal
from web.service import chosen, shown
from web.texts import interface_language, words
from web.transcriber import Transcriber

IDLE_SECONDS = 120.0
CHUNK_BYTES = 8 << 20  # 40 s at 96 kHz; the page sends less
RATES = range(8_000, 768_001)  # a browser hears a microphone at the rate of its loudspeaker
FINISHED_KEPT = 100
"""Of the finished talks, how many can be downloaded while nobody has forgotten them."""

_OFF = ("", "0", "false", "no", "off")


class Session:
    """One visitor's talk. Used by one request at a time: who has its `turn`.

    An audience reads it by the name `watch`. A talk that goes on after another one has the same
    audience, which keeps the captions that it has seen: `earlier`.
    """

    def __init__(
        self,
        translator: LiveTranslator,
        watch: str = "",
        before: Session | None = None,
        left: threading.Event | None = None,
    ) -> None:
        self.translator = translator
        self.watch = watch
        self.earlier: tuple[Segment, ...] = before.seen if before else ()
        self.turn = asyncio.Lock()  # no thread waits while another chunk is translated
        self.left = left or threading.Event()
        self.next_chunk = 0
        self.finished = False
        self.used = time.monotonic()

    @property
    def working(self) -> bool:
        """Whether a chunk is being translated."""
        return self.turn.locked()

    @property
    def seen(self) -> tuple[Segment, ...]:
        """What the audience sees of it."""
        return self.earlier + self.translator.segments

    def take(self, seq: int, samples: np.ndarray, rate: int, last: bool) -> bool:
        """Translate chunk `seq` (n,), once. False when a chunk before it is missing.

        Raises EngineError. The chunk is taken all the same, and what it said is translated with the
        next one, or when the last one comes again.
        """
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

    def watched(self, known: int) -> dict[str, Any]:
        """What the audience's page shows, from number `known` on."""
        translator, seen = self.translator, self.seen
        known = min(known, len(seen))
        return {
            "from": known,
            "segments": [{"text": segment.text} for segment in seen[known:]],
            "settled": translator.settled,
            "tentative": translator.tentative,
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
        transcriber: Transcriber | None = None,
    ) -> None:
        self._engine = engine
        self._transcriber = transcriber
        self._limit = limit
        self._absent = absent
        self._ending = ending
        # All who come while the model is loaded wait in one thread: other requests need theirs.
        self._waiting = ThreadPoolExecutor(1, "live")
        self._translating = ThreadPoolExecutor(limit, "talk")
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
            Route("/watch/{watch}", self._audience, methods=["GET"]),
            Route("/watch/{watch}/captions", self._watched, methods=["GET"]),
        )

    @property
    def working(self) -> bool:
        """Whether a chunk of any talk is being translated."""
        return any(session.working for session in list(self._sessions.values()))

    async def _open(self, request: Request) -> Response:
        language = interface_language(request.headers.get("accept-language"))
        if self._absent:
            return error_response(refusal(language, "live_absent"))
        if self._ending():
            return error_response(refusal(language, "live_ending"))
        asked = request.query_params.get("direction", "auto")
        if asked not in tuple(Direction):
            return error_response(refusal(language, "no_direction", direction=asked))
        wanted = _is_on(request, "transcript")
        if wanted and not (self._transcriber and self._transcriber.available):
            return error_response(refusal(language, "no_transcript"))
        transcriber = None
        try:
            loop = asyncio.get_running_loop()
            engine = await loop.run_in_executor(self._waiting, self._engine)
            if wanted and self._transcriber:
                transcriber = await loop.run_in_executor(self._waiting, self._transcriber.engine)
        except SpeechTranslationError as error:
            return error_response(refusal(language, "model_failed", reason=error))
        terms = request.query_params.get("terms", "")[:1000]
        with self._lock:
            self._forget_idle()
            if sum(not session.finished for session in self._sessions.values()) >= self._limit:
                return error_response(refusal(language, "live_full"))
            after = request.query_params.get("after", "")
            name, watch = _names(after)
            left = threading.Event()
            translator = LiveTranslator(
                engine,
                Direction(asked),
                context=terms,
                transcriber=transcriber,
                cancelled=left.is_set,
            )
            session = Session(translator, watch, self._sessions.get(after), left)
            self._sessions[name] = session
        return JSONResponse({"id": name, "watch": session.watch})

    async def _chunk(self, request: Request) -> Response:
        session = self._sessions.get(request.path_params["id"])
        if session is None:
            return _over(request)
        session.used = time.monotonic()  # its chunk may take long to arrive
        query = request.query_params
        language = interface_language(request.headers.get("accept-language"))
        wrong = refusal(language, "live_chunk", megabytes=CHUNK_BYTES >> 20)
        try:
            seq, rate = int(query["seq"]), int(query["rate"])
            known, last = max(0, int(query.get("known", "0"))), _is_on(request, "last")
        except (KeyError, ValueError):
            return error_response(wrong)
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > CHUNK_BYTES:
                return error_response(wrong, 413)
        if len(body) % 2 or rate not in RATES or seq < 0:
            return error_response(wrong)
        samples = np.frombuffer(bytes(body), "<i2")
        loop = asyncio.get_running_loop()

        def work() -> tuple[bool, dict[str, Any]]:
            return session.take(seq, samples, rate, last), session.captions(known, language)

        async with session.turn:
            gone = self._sessions.get(request.path_params["id"]) is not session  # meanwhile
            if gone or (session.finished and body and seq >= session.next_chunk):
                return _over(request)  # nobody would hear it
            try:
                taken, answer = await loop.run_in_executor(self._translating, work)
            except SpeechTranslationError:
                return error_response(refusal(language, "live_failed"))
        if taken:
            return JSONResponse(answer)
        missing = f"A chunk before this one is missing: send chunk {session.next_chunk}."
        return JSONResponse({"error": missing, "words": words("live_gap"), **answer}, 409)

    async def _close(self, request: Request) -> Response:
        """Forget a talk, and those that it went on after: their audience sees nothing any more.

        What is being translated of it is ended.
        """
        closed = self._sessions.get(request.path_params["id"])
        for name, session in list(self._sessions.items()):
            if closed is not None and session.watch == closed.watch:
                session.left.set()
                del self._sessions[name]
        return Response(status_code=204)

    def _shown(self, request: Request) -> Session | None:
        """The latest talk that has the audience which asks, unless it has been over for long."""
        watch, oldest = request.path_params["watch"], time.monotonic() - IDLE_SECONDS
        talks = list(self._sessions.values())
        found = [x for x in talks if x.watch == watch and (x.used >= oldest or x.working)]
        return found[-1] if found else None

    async def _audience(self, request: Request) -> Response:
        page = part("watch").replace(
            "<!-- scripts -->", scripts() + '<script type="module" src="../page/watch.js"></script>'
        )
        return HTMLResponse(page, 200 if self._shown(request) else 404)

    async def _watched(self, request: Request) -> Response:
        session = self._shown(request)
        if session is None:
            return _over(request)
        known = request.query_params.get("known", "0")
        return JSONResponse(session.watched(int(known) if re.fullmatch(r"\d{1,9}", known) else 0))

    async def _download(self, request: Request) -> Response:
        session = self._sessions.get(request.path_params["id"])
        language = interface_language(request.headers.get("accept-language"))
        try:
            format = chosen(request.path_params["format"], FORMATS, language)
            show = shown(request.query_params.get("show"), language)
        except Refusal as refused:
            return error_response(refused)
        if session is None:
            return _over(request)
        session.used = time.monotonic()
        # Of an hour of talk it takes half a second, in which nobody else would be answered.
        text = await asyncio.to_thread(render, session.translator.translation(), format, show)
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


def _is_on(request: Request, name: str) -> bool:
    """Whether a switch of the address is on; programs write false in many ways."""
    return request.query_params.get(name, "").lower() not in _OFF


def _names(after: str) -> tuple[str, str]:
    """A name for a talk that goes on after the talk `after`, and the one that its audience has.

    The audience keeps its name where the server knows nothing of the talk before, as after a
    restart. It cannot tell the talk's name from its own.
    """
    known = re.fullmatch(r"([\w-]{22})\.[\w-]{11}", after, re.ASCII)
    first = known[1] if known else secrets.token_urlsafe(16)
    watch = hashlib.sha256(first.encode()).hexdigest()[:32]
    return f"{first}.{secrets.token_urlsafe(8)}", watch


def _over(request: Request) -> Response:
    language = interface_language(request.headers.get("accept-language"))
    return error_response(refusal(language, "watch_over"))
