"""What a visitor is told when a request fails, and what the log is told."""

from __future__ import annotations

import sys
import traceback

import gradio as gr
from starlette.responses import JSONResponse

from speech_translation.types import Language
from web.texts import Words, say, words


class Refusal(gr.Error):
    """An error with a sentence for the visitor, which leaves no trace in the log.

    `words` is the sentence in both languages, and `key` its name among the texts, if it is one.
    """

    def __init__(self, message: str, words: Words | None = None, key: str = "") -> None:
        super().__init__(message, print_exception=False)
        self.words = words or dict.fromkeys(Language, message)
        self.key = key


def refusal(language: Language, key: str, **values: object) -> Refusal:
    """A refusal with the text `key`, for a visitor who reads `language`."""
    return Refusal(say(language, key, **values), words(key, **values), key)


STATUS = {
    "no_format": 404,
    "expired": 404,
    "uploads_only": 404,
    "watch_over": 404,
    "long_result": 413,
    "busy": 429,
    "broken": 500,
    "live_failed": 500,
    "ending": 503,
    "live_absent": 503,
    "live_ending": 503,
    "live_full": 503,
    "model_failed": 503,
    "model_away": 503,
    "no_files": 507,
    "no_room": 507,
}
"""The HTTP status of a refusal by its key; all others are the request's fault, and have 400."""


def error_response(refused: Refusal, status: int | None = None) -> JSONResponse:
    """The answer of our own routes: `error` is the sentence, `words` has it in both languages."""
    answer = {"error": refused.message, "words": refused.words}
    return JSONResponse(answer, status or STATUS.get(refused.key, 400))


def log_place(error: BaseException) -> None:
    """Log where `error` was raised, without its message: that may quote the visitor."""
    print(*traceback.format_tb(error.__traceback__), type(error).__name__, file=sys.stderr)
