"""What the page asks of the server beside Gradio's events: its scripts, the Space, files."""

from __future__ import annotations

import asyncio
import math
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles

from speech_translation.captions import FORMATS, Format, render
from speech_translation.engine import PHRASEBOOK
from speech_translation.errors import SpeechTranslationError
from speech_translation.readings import require_readings
from speech_translation.types import Show, Translation
from web import zerogpu
from web.examples import examples
from web.html import PAGE
from web.loading import Loading
from web.posted import posted
from web.refusals import Refusal, error_response
from web.service import Service, chosen, shown
from web.texts import interface_language, say


class Fresh(StaticFiles):
    """Files that a browser asks for again, since their names do not change with their content."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """The file, or that it is the same still."""
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def routes(service: Service) -> list[BaseRoute]:
    """The routes to add to the web server."""
    files = Fresh(directory=PAGE)

    async def page_file(request: Request) -> Response:
        return await files.get_response(request.path_params["name"], request.scope)

    return [
        Route("/page/{name}", page_file),
        Route("/about", lambda request: JSONResponse(about(service, request))),
        Route("/examples/{name}.flac", _example),
        Route("/captions/{format}", _captions, methods=["POST"]),
    ]


def about(service: Service, request: Request) -> dict[str, Any]:
    """What the Space says of itself, in the visitor's language.

    model is loading, waiting (it is tried again), ready or failed; words are a sentence about
    that, empty once it is ready; megabytes and seconds limit a recording.
    """
    language = interface_language(request.headers.get("accept-language"))
    loading, settings = service.loading, service.settings
    state = _state(loading)
    reason = loading.error if loading.error is not None else ""
    return {
        "model": state,
        "words": ""
        if state == "ready"
        else say(language, f"model_{state}", model=loading.model, reason=reason),
        "description": loading.engine().description if loading.ready else "",
        "phrasebook": loading.model == PHRASEBOOK and not settings.engine_url,
        "direction": settings.first_direction.value,
        "megabytes": settings.max_megabytes,
        "seconds": settings.max_seconds if settings.max_seconds < math.inf else None,
        "live": not zerogpu.ACTIVE,
        "transcript": service.transcriber.available,
        "readings": readable(),
        "examples": [
            {"name": example.name, "spoken": example.spoken, "language": example.language.value}
            for example in examples()
        ],
    }


def _state(loading: Loading) -> str:
    if loading.ready:
        return "ready"
    if loading.error is None:
        return "loading"
    return "failed" if loading.finished else "waiting"


@cache
def readable() -> bool:
    """Whether the Space can say how Japanese is read."""
    try:
        require_readings()
    except SpeechTranslationError:
        return False
    return True


async def _example(request: Request) -> Response:
    name = request.path_params["name"]
    path = next((example.path for example in examples() if example.name == name), None)
    if path is None:
        language = interface_language(request.headers.get("accept-language"))
        return PlainTextResponse(say(language, "not_found"), 404)
    return FileResponse(path)


async def _captions(request: Request) -> Response:
    """A result, as JSON in the form of `as_data`, as a file: what was corrected by hand, too."""
    language = interface_language(request.headers.get("accept-language"))
    try:
        format = chosen(request.path_params["format"], FORMATS, language)
        _, translation = posted(await request.body(), language)
        show = shown(request.query_params.get("show"), language)
        readings = request.query_params.get("readings", "0") not in ("", "0")
        text = await asyncio.to_thread(_rendered, translation, format, show, readings)
    except Refusal as refused:
        return error_response(refused)
    except SpeechTranslationError as error:  # SudachiPy is not installed
        return error_response(Refusal(str(error), key="no_format"))
    return PlainTextResponse(text)


def _rendered(translation: Translation, format: Format, show: Show, readings: bool) -> str:
    if format == "txt" and show is Show.TRANSLATION:  # one long paragraph cannot be read
        return "\n".join(x.text for x in translation.segments if x.text) + "\n"
    return render(translation, format, show, readings=readings)
