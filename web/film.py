"""A visitor's own video with the captions in it, for the page and for programs.

POST /film/{format}?show=both     mkv or mp4; the body is a result, as the JSON files have it,
                                  and `upload`, the path that /gradio_api/upload answered
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from speech_translation.errors import AudioError
from speech_translation.types import Language, Show, Translation
from speech_translation.video import CAPTIONED, VIDEO_FORMATS, VideoFormat, add_captions
from web.posted import posted
from web.refusals import Refusal, error_response, refusal
from web.service import chosen, shown
from web.texts import interface_language
from web.uploads import Expired, NotUploaded, upload

AT_ONCE = 2
"""So many videos are written at a time: each is as large as an upload may be."""


def routes(uploads: Path) -> list[BaseRoute]:
    """The route to add to the web server; recordings are uploaded to the folder `uploads`."""
    places = asyncio.Semaphore(AT_ONCE)

    async def film(request: Request) -> Response:
        language = interface_language(request.headers.get("accept-language"))
        try:
            format = chosen(request.path_params["format"], VIDEO_FORMATS, language)
            data, translation = posted(await request.body(), language)
            asked = request.query_params.get("show")
            both = any(segment.source_text for segment in translation.segments)
            show = shown(asked or (Show.BOTH if both else Show.TRANSLATION), language)
            video = _uploaded(data.get("upload"), uploads, language)
            async with places:
                path = await asyncio.to_thread(
                    write_film, video, translation, format, show, language
                )
        except Refusal as refused:
            return error_response(refused)
        away = BackgroundTask(shutil.rmtree, path.parent, ignore_errors=True)
        return FileResponse(path, 200, None, f"video/{_TYPES[format]}", away, path.name)

    return [Route("/film/{format}", film, methods=["POST"])]


_TYPES = {"mp4": "mp4", "mkv": "x-matroska"}


def _uploaded(path: object, uploads: Path, language: Language) -> Path:
    try:
        found = upload({"path": path}, uploads)
    except NotUploaded as wrong:
        key = "expired" if isinstance(wrong, Expired) else "uploads_only"
        raise refusal(language, key) from None
    assert found is not None
    return Path(found["path"])


def impossible(error: AudioError, video: Path, format: VideoFormat, language: Language) -> Refusal:
    """Why a video cannot have captions, for a visitor who reads `language`."""
    return refusal(language, f"film_{error.kind}", name=video.name, format=format)


def write_film(
    video: Path, translation: Translation, format: VideoFormat, show: Show, language: Language
) -> Path:
    """`video` with captions, as the one file in a new folder, which the caller deletes.

    Raises a Refusal for a visitor who reads `language`.
    """
    folder = Path(tempfile.mkdtemp())
    path = folder / f"{video.stem[:100]}{CAPTIONED}.{format}"
    try:
        add_captions(video, translation, path, format, show)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, AudioError):
            raise impossible(error, video, format, language) from None
        if isinstance(error, FileNotFoundError):
            raise refusal(language, "expired") from None
        if isinstance(error, OSError):
            raise refusal(language, "no_files") from None
        raise
    return path
