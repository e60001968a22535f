"""A result that a page or a program sends back, as the JSON files have it.

What was corrected by hand is in it, and a Space keeps no results of its own.
"""

from __future__ import annotations

import json
import math
from typing import Any

from speech_translation.translate import common_direction
from speech_translation.types import (
    Direction,
    Flag,
    Language,
    Remark,
    RemarkKind,
    Segment,
    Translation,
)
from web.refusals import refusal

LONGEST_TEXT = 5_000
"""Characters of one text of a segment."""

LONGEST = 400_000
"""Characters of a result, as 4 hours of talk in both languages have."""


MOST_REGIONS = 100
"""Of a segment: it has at most 30 s, and regions are parted by pauses of 0.3 s."""

REGIONS = 10_000
"""Of a result. The time of laying out one segment grows with the square of its regions."""


def posted(body: bytes, language: Language) -> tuple[dict[str, Any], Translation]:
    """The JSON of a request, and the translation that it holds.

    Raises a Refusal, long_result or no_result, for a visitor who reads `language`.
    """
    try:
        data = json.loads(body)
        translation = translation_of(data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise refusal(language, "no_result") from None
    length = sum(len(x.text) + len(x.source_text) for x in translation.segments)
    if length > LONGEST or sum(len(x.regions) for x in translation.segments) > REGIONS:
        raise refusal(language, "long_result", most=LONGEST)
    return data, translation


def translation_of(data: dict[str, Any]) -> Translation:
    """The translation whose `as_data` is `data`; a page sends the direction that was asked for.

    Raises ValueError, TypeError, KeyError or AttributeError for anything else.
    """
    segments = tuple(_segment(segment) for segment in data["segments"])
    return Translation(
        segments,
        common_direction(segments, Direction(data.get("direction", "auto"))),
        _seconds(data["duration"]),
        _seconds(data.get("compute_seconds") or 0),
        int(data.get("tokens") or 0),
        # A result that a browser keeps of an earlier edition has sentences in their place.
        tuple(_remark(said) for said in data.get("remarks", ()) if isinstance(said, dict)),
    )


def _remark(data: dict[str, Any]) -> Remark:
    return Remark(
        RemarkKind(data["kind"]),
        _seconds(data.get("start", 0)),
        _seconds(data.get("end", 0)),
        int(data.get("number", 0)),
        int(data.get("of", 0)),
        tuple(_whole(str(language))[:LONGEST_TEXT] for language in data.get("languages", ())),
    )


def _segment(data: dict[str, Any]) -> Segment:
    text, source = data["text"], data.get("source_text", "")
    for written in (text, source):
        if not isinstance(written, str) or len(written) > LONGEST_TEXT:
            raise ValueError("not a text")
    start, end = _seconds(data["start"]), _seconds(data["end"])
    regions = tuple((_seconds(a), _seconds(b)) for a, b in data.get("regions", ()))
    ordered = start <= end and all(a <= b for a, b in regions)
    if not ordered or len(regions) > MOST_REGIONS:
        raise ValueError("not in order")
    logprob = data.get("mean_logprob")
    return Segment(
        start,
        end,
        _whole(text),
        Direction(data["direction"]),
        frozenset(Flag(flag) for flag in data.get("flags", ())),
        int(data.get("tokens") or 0),
        math.nan if logprob is None else float(logprob),
        regions,
        _whole(source),
        frozenset(Flag(flag) for flag in data.get("source_flags", ())),
    )


def _whole(text: str) -> str:
    """A text without halves of characters, which JSON can name and no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _seconds(value: float) -> float:
    seconds = float(value)
    if not 0 <= seconds < 1e6:
        raise ValueError("not a time")
    return seconds
