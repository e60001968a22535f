"""Write a `Translation` as plain text, subtitles (srt, vtt), a table (tsv) or data (json)."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import Any, Literal, get_args

from speech_translation.cues import Cue, cues, milliseconds, single_line
from speech_translation.files import replace_file
from speech_translation.types import Flags, Translation

__all__ = ["FORMATS", "Cue", "Format", "as_data", "cues", "render", "write"]

Format = Literal["txt", "srt", "vtt", "tsv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

# SRT has no escapes and players read these as styling or line breaks (`<i>`, `{\an8}`, `\N`), so
# each is written as its full-width twin: the reader sees the character, the player does not act.
_SRT_LITERALS = str.maketrans("{}<>\\", "｛｝＜＞＼")


def write(translation: Translation, path: str | Path, format: Format) -> None:
    """Write `translation` to `path` in UTF-8: the whole file, or no change at all.

    Raises ValueError for an unknown format, OSError when the folder is missing or not writable.
    """
    replace_file(Path(path), render(translation, format))


def render(translation: Translation, format: Format) -> str:
    """Return `translation` as the content of a file in `format`.

    txt   `Translation.text` as it stands, so the file holds what the command line prints.
    srt   cues; characters that players would act on become their full-width twins.
    vtt   cues; `&`, `<` and `>` escaped.
    tsv   a row per segment, empty ones included: start and end in milliseconds, text, flags and
          the direction that it took.
    json  everything: `as_data`.

    Raises ValueError for an unknown format.
    """
    match format:
        case "txt":
            return translation.text + "\n"
        case "srt":
            return "\n".join(
                f"{number}\n{_timestamp(cue.start_ms, ',')} --> {_timestamp(cue.end_ms, ',')}\n"
                f"{cue.text.translate(_SRT_LITERALS)}\n"
                for number, cue in enumerate(cues(translation), 1)
            )
        case "vtt":
            return "WEBVTT\n" + "".join(
                f"\n{_timestamp(cue.start_ms, '.')} --> {_timestamp(cue.end_ms, '.')}\n"
                f"{html.escape(cue.text, quote=False)}\n"
                for cue in cues(translation)
            )
        case "tsv":
            return "start\tend\ttext\tflags\tdirection\n" + "".join(
                f"{milliseconds(segment.start)}\t{milliseconds(segment.end)}\t"
                f"{single_line(segment.text)}\t{','.join(_sorted(segment.flags))}\t"
                f"{segment.direction}\n"
                for segment in translation.segments
            )
        case "json":
            return json.dumps(as_data(translation), ensure_ascii=False, indent=2) + "\n"
    raise ValueError(f"unknown caption format {format!r}: choose from {', '.join(FORMATS)}")


def as_data(translation: Translation) -> dict[str, Any]:
    """`translation` as JSON data: the one form of files, `/translate_segments` and downloads.

    text, direction, duration and compute_seconds, rtfx (duration / compute_seconds), tokens, flags,
    and segments: start and end, regions, text, direction, flags, tokens, mean_logprob. Times are
    seconds. Regions are the pairs of start and end between which somebody speaks; a segment that
    names none is speech throughout and has one, its own start and end. Numbers have six decimals,
    less than a sample; one that is not finite becomes None.
    """
    return {
        "direction": translation.direction.value,
        "duration": _finite(translation.duration),
        "compute_seconds": _finite(translation.compute_seconds),
        "tokens": translation.tokens,
        "rtfx": _finite(translation.rtfx),
        "flags": _sorted(translation.flags),
        "text": translation.text,
        "segments": [
            {
                "start": _finite(segment.start),
                "end": _finite(segment.end),
                "regions": [[_finite(start), _finite(end)] for start, end in segment.speech],
                "text": segment.text,
                "direction": segment.direction.value,
                "flags": _sorted(segment.flags),
                "tokens": segment.tokens,
                "mean_logprob": _finite(segment.mean_logprob),
            }
            for segment in translation.segments
        ],
    }


def _timestamp(milliseconds: int, point: str) -> str:
    minutes, milliseconds = divmod(milliseconds, 60_000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{point}{milliseconds:03}"


def _sorted(flags: Flags) -> list[str]:
    return sorted(flag.value for flag in flags)


def _finite(number: float) -> float | None:
    return round(number, 6) if math.isfinite(number) else None
