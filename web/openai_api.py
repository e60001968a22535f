"""The two audio routes of OpenAI's API, for programs that speak it.

    POST /v1/audio/translations      English text of Japanese speech, as OpenAI's; `to_language`
    POST /v1/audio/transcriptions    what is said, in its own language; `language` may be left out
    GET  /v1/models

Fields and answers are those of https://platform.openai.com/docs/api-reference/audio, errors have
OpenAI's shape. `to_language` (en, ja or auto) is vLLM's field, under vLLM's name.

`language` says what is spoken, as OpenAI's does, and is believed. The model has one tag, that of
the language that it writes: where somebody names another language than the spoken one, the text is
a translation, as Whisper's then is.
"""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from speech_translation.captions import render
from speech_translation.files import disk_is_full
from speech_translation.types import Direction, Flag, Language, Segment, Show, Translation
from web.guard import openai_error
from web.line import AT_ONCE
from web.refusals import STATUS, Refusal, log_place
from web.service import Service
from web.streaming import Update
from web.texts import interface_language, say

FIELD_BYTES = 4096  # a prompt of so many characters would not be read by the model either
NAME_BYTES = 200  # file systems take 255
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
TITLES = {Language.ENGLISH: "english", Language.JAPANESE: "japanese"}

_UNREAD = {"model", "temperature", "chunking_strategy"}
"""Fields that change nothing: the Space has one model, which takes the likeliest word."""


class Refused(Exception):
    """A request that is refused, with the status, and the field that is wrong if it is one."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.field = field


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request wants to know."""

    file: UploadFile
    direction: Direction
    show: Show
    format: str
    prompt: str


class OpenAIRoutes:
    """The routes. They are absent, with a sentence, where `absent` says so: on ZeroGPU."""

    def __init__(self, service: Service, *, absent: bool = False) -> None:
        self._service = service
        self._absent = absent
        # Who waits in line needs one five times a second, as who is worked on does.
        self._threads = ThreadPoolExecutor(AT_ONCE, "openai")

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The routes to add to the web server."""
        return (
            Route("/v1/audio/translations", self._translations, methods=["POST"]),
            Route("/v1/audio/transcriptions", self._transcriptions, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/audio/{name}", _wrong_method, methods=["GET", "PUT", "PATCH", "DELETE"]),
        )

    async def _models(self, _: Request) -> Response:
        model = self._service.settings.model
        about = {"id": model, "object": "model", "created": 0, "owned_by": "speech-translation"}
        return JSONResponse({"object": "list", "data": [about]})

    async def _translations(self, request: Request) -> Response:
        return await self._answered(request, _translation_asked)

    async def _transcriptions(self, request: Request) -> Response:
        return await self._answered(request, _transcription_asked)

    async def _answered(self, request: Request, read: Callable[[FormData], _Asked]) -> Response:
        """The answer to a request; one that is refused has OpenAI's form."""
        language = interface_language(request.headers.get("accept-language"))
        try:
            if self._absent:
                raise Refused(503, say(language, "openai_absent"))
            form = await _form(request)
            try:
                asked = read(form)
                return _rendered(await self._translated(request, asked, language), asked)
            except Refused:
                raise
            except Exception as error:
                log_place(error)
                raise Refused(500, say(language, "broken")) from None
            finally:
                await form.close()
        except Refused as refused:
            return openai_error(refused.status, str(refused), refused.field)
        except ClientDisconnect:
            return openai_error(499, "The caller has gone.")
        except OSError as error:  # of the disk, on which the server keeps a large form
            log_place(error)
            key = "no_room" if disk_is_full(error) else "broken"
            return openai_error(STATUS[key], say(language, key))

    async def _translated(self, request: Request, asked: _Asked, language: Language) -> Translation:
        """The translation. It ends when the caller has gone."""
        run = asyncio.get_running_loop().run_in_executor
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _safe_name(asked.file.filename)
            with path.open("wb") as file:
                await run(self._threads, shutil.copyfileobj, asked.file.file, file)
            updates = cast(
                Generator[Update],
                self._service.updates(
                    str(path),
                    asked.direction,
                    asked.prompt,
                    None,
                    transcript=asked.show is not Show.TRANSLATION,
                    watched=False,
                ),
            )
            step = self._threads.submit(next, updates, None)
            try:
                while True:
                    try:
                        update = await asyncio.wrap_future(step)
                    except Refusal as error:
                        status = STATUS.get(error.key, 400)
                        raise Refused(status, str(error.message)) from None
                    assert update is not None  # the last one has a translation
                    if update.missing:
                        raise Refused(503, update.missing[language])
                    if update.translation is not None:
                        return update.translation
                    if await request.is_disconnected():
                        raise Refused(499, "The caller has gone.")
                    step = self._threads.submit(next, updates, None)
            finally:  # at once, or when the step ends that a cancelled request leaves under way
                step.add_done_callback(lambda _: updates.close())


async def _form(request: Request) -> FormData:
    try:
        return await request.form(max_files=1, max_fields=20, max_part_size=FIELD_BYTES)
    except HTTPException as error:
        unnamed = "Part exceeded" in error.detail  # it is taken for a text then
        hint = " The part with the recording needs a filename." if unnamed else ""
        raise Refused(400, f"The form cannot be read: {error.detail}{hint}") from error
    except (LookupError, ValueError) as error:  # of its character set
        raise Refused(400, f"The form cannot be read: {error}") from error


async def _wrong_method(request: Request) -> Response:
    """What a browser is told that opens one of the audio routes."""
    if request.path_params["name"] not in ("translations", "transcriptions"):
        return openai_error(404, "Not found.")
    answer = openai_error(405, "Send a recording with POST.")
    answer.headers["Allow"] = "POST"
    return answer


def _safe_name(name: str | None) -> str:
    """The name of an upload, which errors quote, as one of a file in a folder of ours.

    It is cut to `NAME_BYTES`, but keeps its suffix.
    """
    last = re.split(r"[/\\]", name or "")[-1]
    last = "".join(char if char.isprintable() else "_" for char in last).strip(". ") or "recording"
    suffix = Path(last).suffix if len(Path(last).suffix.encode()) <= NAME_BYTES // 2 else ""
    stem = last.removesuffix(suffix).encode()[: NAME_BYTES - len(suffix.encode())]
    return stem.decode(errors="ignore") + suffix


def _translation_asked(form: FormData) -> _Asked:
    target = _one_of(form, "to_language", ("en", "ja", "auto"), "en")
    direction = Direction.AUTO if target == "auto" else Direction.to(Language(target))
    return _asked(form, direction, Show.TRANSLATION, {"to_language"})


def _transcription_asked(form: FormData) -> _Asked:
    spoken = _one_of(form, "language", ("en", "ja", ""), "")
    direction = Direction.of(Language(spoken)) if spoken else Direction.AUTO
    granularity = "timestamp_granularities[]"
    for value in form.getlist(granularity):
        if value != "segment":
            raise Refused(400, f"There are times of segments only, not of {value}s.", granularity)
    return _asked(form, direction, Show.SOURCE, {"language", granularity})


def _asked(form: FormData, direction: Direction, show: Show, own: set[str]) -> _Asked:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise Refused(400, "The field file holds the recording, as a file.", "file")
    if str(form.get("stream", "false")).lower() not in ("false", "0", ""):
        raise Refused(400, "Answers come as a whole: leave out stream.", "stream")
    known = own | _UNREAD | {"file", "stream", "prompt", "response_format"}
    if unknown := sorted(form.keys() - known):
        raise Refused(400, f"There is no field {unknown[0]!r}.", unknown[0])
    format = _one_of(form, "response_format", FORMATS, "json")
    return _Asked(file, direction, show, format, str(form.get("prompt", "")))


def _one_of(form: FormData, field: str, known: Sequence[str], default: str) -> str:
    value = str(form.get(field, default))
    if value not in known:
        choices = ", ".join(filter(None, known))
        raise Refused(400, f"{field} is one of {choices}, not {value!r}.", field)
    return value


def _rendered(translation: Translation, asked: _Asked) -> Response:
    text = translation.text if asked.show is Show.TRANSLATION else translation.source_text
    match asked.format:
        case "text":
            return PlainTextResponse(text + "\n")
        case "srt" | "vtt":
            kind = "text/vtt" if asked.format == "vtt" else "text/plain"
            return Response(render(translation, asked.format, asked.show), media_type=kind)
        case "verbose_json":
            return JSONResponse(_verbose(translation, text, asked.show))
    return JSONResponse({"text": text})


def _verbose(translation: Translation, text: str, show: Show) -> dict[str, Any]:
    translated = show is Show.TRANSLATION
    direction = translation.direction
    language = direction.target if translated else direction.source
    return {
        "task": "translate" if translated else "transcribe",
        "language": TITLES[language] if language else "",
        "duration": round(translation.duration, 3),
        "text": text,
        "segments": [
            _segment(number, segment, segment.text if translated else segment.source_text)
            for number, segment in enumerate(translation.segments)
        ],
    }


def _segment(number: int, segment: Segment, text: str) -> dict[str, Any]:
    raw = text.encode()
    return {
        "id": number,
        "seek": round(segment.start * 100),  # in Whisper's frames of 10 ms
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": segment.mean_logprob if math.isfinite(segment.mean_logprob) else 0.0,
        "compression_ratio": round(len(raw) / len(zlib.compress(raw)), 3),
        "no_speech_prob": float(Flag.NO_SPEECH in segment.flags),
    }
