"""A run as its card on the page hears of it: plain data, several times a second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from speech_translation.captions import as_data
from speech_translation.types import Direction, Segment, Show, Translation
from speech_translation.video import own_format
from web.browser_files import playable
from web.html import remark_words
from web.refusals import Refusal
from web.service import Service
from web.streaming import Update
from web.texts import words

News = dict[str, Any]


def run(
    service: Service,
    path: str | None,
    asked: str,
    terms: str | None,
    request: gr.Request,
    *,
    transcript: bool = False,
) -> Iterator[News]:
    """Translate an upload. Each news has a `state`, of which done, partial and refused are last.

    waiting (with `place`), reading, working (`done`, `total`, `left` in seconds, `segments`,
    `growing`); done and partial have all of the result; refused has a `message`, and is `hopeless`
    where the recording itself is at fault. Messages and remarks are in both languages. `film` is
    the container, if any, in which a video can be given back with captions. The run that the same
    visitor had before ends. With `transcript` segments have what was said, too.
    """
    service.stop(request)
    yield {"state": "reading" if service.loading.finished else "loading"}
    try:
        last, told = None, None
        updates = service.updates(path, asked, terms, request, offer=True, transcript=transcript)
        for last in updates:
            if last.translation is not None:
                continue
            news = {"state": "waiting", "place": last.place} if last.place else _working(last)
            # Only what is new: to tell a crowd five times a second that it waits keeps it waiting.
            if told is None or news | {"left": None} != told | {"left": None}:
                yield news
            told = news
        assert last is not None
        assert last.translation is not None
        assert path is not None
        yield _result(last, last.translation) | {
            "sound": playable(path, last.translation),
            "film": own_format(path),
        }
        other = service.other_direction(Direction(asked), last, request)
        if other is not None:
            yield _result(last, last.translation) | {"other": other.value}
    except Refusal as refused:
        hopeless = refused.key.startswith("audio_")
        yield {"state": "refused", "message": refused.words, "hopeless": hopeless}


def _working(update: Update) -> News:
    return {
        "state": "working",
        "done": update.done,
        "total": update.total,
        "left": update.left,
        "segments": _segments(update.segments),
        "growing": _segments(update.growing),
    }


def _result(last: Update, translation: Translation) -> News:
    data = as_data(translation, _show(translation.segments))
    partial = bool(last.missing)
    return {
        "state": "partial" if partial else "done",
        "segments": data["segments"],
        "duration": data["duration"],
        "message": None if last.missing == words("stopped") else last.missing,
        "remarks": remark_words(translation),
        "figures": {
            "duration": f"{translation.translated:.1f} s",
            "compute": f"{translation.compute_seconds:.1f} s",
            "speed": f"{translation.rtfx:.1f}",
            "tokens": translation.tokens,
            "raw": {name: data[name] for name in ("compute_seconds", "tokens", "remarks")},
        },
    }


def _segments(segments: Sequence[Segment]) -> list[News]:
    translation = Translation(segments, Direction.AUTO, 0.0)
    data: list[News] = as_data(translation, _show(segments))["segments"]
    return data


def _show(segments: Sequence[Segment]) -> Show:
    """Both texts, where what was said is written down."""
    written = any(segment.source_text for segment in segments)
    return Show.BOTH if written else Show.TRANSLATION
