"""Write a `Translation` as plain text, subtitles (srt, vtt), a table (tsv) or data (json)."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import Any, Literal, get_args

from speech_translation.cues import Cue, cues, milliseconds, single_line
from speech_translation.files import replace_file
from speech_translation.readings import readings as furigana
from speech_translation.readings import romaji
from speech_translation.types import Flags, Language, Remark, Segment, Show, Translation

__all__ = ["FORMATS", "Cue", "Format", "as_data", "cues", "render", "write"]

Format = Literal["txt", "srt", "vtt", "tsv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

# SRT has no escapes and players read these as styling or line breaks (`<i>`, `{\an8}`, `\N`), so
# each is written as its full-width twin: the reader sees the character, the player does not act.
_SRT_LITERALS = str.maketrans("{}<>\\", "｛｝＜＞＼")


def write(
    translation: Translation,
    path: str | Path,
    format: Format,
    show: Show | str = Show.TRANSLATION,
    *,
    readings: bool = False,
) -> None:
    """Write `translation` to `path` in UTF-8: the whole file, or no change at all.

    Raises ValueError for an unknown format or `show`, OSError when the folder is missing or not
    writable.
    """
    replace_file(Path(path), render(translation, format, show, readings=readings))


def render(
    translation: Translation,
    format: Format,
    show: Show | str = Show.TRANSLATION,
    *,
    readings: bool = False,
) -> str:
    """Return `translation` as the content of a file in `format`.

    txt   `Translation.text` as it stands, so the file holds what the command line prints.
    srt   cues; characters that players would act on become their full-width twins.
    vtt   cues; `&`, `<` and `>` escaped.
    tsv   a row per segment, empty ones included: start and end in milliseconds, text, flags and
          the direction that it took.
    json  everything: `as_data`.

    `show` says of which text: the translation, what was said (source), or both. Of both, txt has a
    paragraph for each segment with a line for each text, cues have a line for each, and tsv has
    columns for each. What nobody wrote down is empty. With `readings`, tsv has the column romaji,
    and json what `as_data` says; that needs SudachiPy.

    Raises ValueError for an unknown format or `show`.
    """
    show = Show(show)
    match format:
        case "txt":
            return _plain(translation, show) + "\n"
        case "srt":
            return "\n".join(
                f"{number}\n{_timestamp(cue.start_ms, ',')} --> {_timestamp(cue.end_ms, ',')}\n"
                f"{as_srt_text(cue.text)}\n"
                for number, cue in enumerate(cues(translation, show), 1)
            )
        case "vtt":
            return "WEBVTT\n" + "".join(
                f"\n{_timestamp(cue.start_ms, '.')} --> {_timestamp(cue.end_ms, '.')}\n"
                f"{html.escape(cue.text, quote=False)}\n"
                for cue in cues(translation, show)
            )
        case "tsv":
            return _table(translation, show, readings)
        case "json":
            data = as_data(translation, show, readings=readings)
            return json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    raise ValueError(f"unknown caption format {format!r}: choose from {', '.join(FORMATS)}")


def as_srt_text(text: str) -> str:
    """`text` with the full-width twins of the characters that players of SRT act on."""
    return text.translate(_SRT_LITERALS)


def _plain(translation: Translation, show: Show) -> str:
    if show is Show.TRANSLATION:
        return translation.text
    if show is Show.SOURCE:
        return translation.source_text
    pairs = [(segment.text, segment.source_text) for segment in translation.segments]
    return "\n\n".join("\n".join(filter(None, pair)) for pair in pairs if any(pair))


def _table(translation: Translation, show: Show, readings: bool) -> str:
    columns = ["start", "end", "text", "flags", "direction", "source_text", "source_flags"]
    if show is Show.TRANSLATION:
        columns = columns[:5]
    elif show is Show.SOURCE:
        columns = [column for column in columns if column not in ("text", "flags")]
    columns += ["romaji"] if readings else []
    rows = [columns]
    for segment in translation.segments:
        cells = {
            "start": str(milliseconds(segment.start)),
            "end": str(milliseconds(segment.end)),
            "text": single_line(segment.text),
            "flags": ",".join(_sorted(segment.flags)),
            "direction": segment.direction.value,
            "source_text": single_line(segment.source_text),
            "source_flags": ",".join(_sorted(segment.source_flags)),
            "romaji": romaji(_japanese(segment, show)) if readings else "",
        }
        rows.append([cells[column] for column in columns])
    return "".join("\t".join(row) + "\n" for row in rows)


def as_data(
    translation: Translation, show: Show | str = Show.TRANSLATION, *, readings: bool = False
) -> dict[str, Any]:
    """`translation` as JSON data: the one form of files, `/translate_segments` and downloads.

    text, direction, duration and compute_seconds, rtfx (what is translated of it, in seconds, by
    compute_seconds), tokens, flags, remarks on the recording (kind, text, and start and end or
    numbers; the kind untranslated says what a part lacks that was stopped or broke off), and
    segments: start and end, regions, text, direction, flags, tokens, mean_logprob. Times are
    seconds. Regions are the pairs of start and end between which somebody speaks; a segment that
    names none is speech throughout and has one, its own start and end. Numbers have six decimals,
    less than a sample; one that is not finite becomes None.

    Unless `show` is the translation alone, there are source_text and, in segments, source_flags
    too, and words with start, end and text where an aligner has timed them. If it is the source
    alone, there is no text. With `readings`, segments have those of their
    Japanese text, if it is shown: pairs of a piece and its kana, which is empty for what is read as
    it stands, and romaji. Raises SpeechTranslationError if SudachiPy, which they need, is missing.
    """
    show = Show(show)
    data: dict[str, Any] = {
        "direction": translation.direction.value,
        "duration": _finite(translation.duration),
        "compute_seconds": _finite(translation.compute_seconds),
        "tokens": translation.tokens,
        "rtfx": _finite(translation.rtfx),
        "flags": _sorted(translation.flags),
        "remarks": [_remarked(remark) for remark in translation.remarks],
        **_texts(translation, show),
    }
    data["segments"] = [
        {
            "start": _finite(segment.start),
            "end": _finite(segment.end),
            "regions": [[_finite(start), _finite(end)] for start, end in segment.speech],
            **_texts(segment, show),
            "direction": segment.direction.value,
            "flags": _sorted(segment.flags),
            **({} if show is Show.TRANSLATION else {"source_flags": _sorted(segment.source_flags)}),
            "tokens": segment.tokens,
            "mean_logprob": _finite(segment.mean_logprob),
            **_timed(segment, show),
            **(_read(_japanese(segment, show)) if readings else {}),
        }
        for segment in translation.segments
    ]
    return data


def _remarked(remark: Remark) -> dict[str, Any]:
    """The kind of a remark, its text, and what it says in numbers."""
    numbers: dict[str, Any] = {
        "start": _finite(remark.start),
        "end": _finite(remark.end),
        "number": remark.number,
        "of": remark.of,
        "languages": list(remark.languages),
    }
    if not remark.end:
        del numbers["start"]
    said = {name: value for name, value in numbers.items() if value or name == "start"}
    return {"kind": remark.kind.value, "text": str(remark), **said}


def _timed(segment: Segment, show: Show) -> dict[str, Any]:
    """The words of what is said, where that is shown and they have been timed."""
    if show is Show.TRANSLATION or not segment.words:
        return {}
    return {
        "words": [
            {"start": _finite(start), "end": _finite(end), "text": text}
            for start, end, text in segment.words
        ]
    }


def _japanese(segment: Segment, show: Show) -> str:
    """The Japanese text of a segment, if it is shown."""
    if segment.direction.target is Language.JAPANESE:
        return "" if show is Show.SOURCE else segment.text
    return "" if show is Show.TRANSLATION else segment.source_text


def _read(japanese: str) -> dict[str, Any]:
    return {"readings": [list(piece) for piece in furigana(japanese)], "romaji": romaji(japanese)}


def _texts(of: Translation | Segment, show: Show) -> dict[str, str]:
    text = {} if show is Show.SOURCE else {"text": of.text}
    return text if show is Show.TRANSLATION else {**text, "source_text": of.source_text}


def _timestamp(milliseconds: int, point: str) -> str:
    minutes, milliseconds = divmod(milliseconds, 60_000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{point}{milliseconds:03}"


def _sorted(flags: Flags) -> list[str]:
    return sorted(flag.value for flag in flags)


def _finite(number: float) -> float | None:
    return round(number, 6) if math.isfinite(number) else None
