"""Write a `Translation` as plain text, subtitles (srt, vtt), a table (tsv) or data (json).

A translation has no word timings, so a cue's times are its share of the segment's span, measured
in character width. Widths count half-width characters: a full-width one is two.
"""

from __future__ import annotations

import html
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from speech_translation.files import replace_file
from speech_translation.text import has_japanese
from speech_translation.types import Flags, Language, Segment, Translation

Format = Literal["txt", "srt", "vtt", "tsv", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

MAX_CUE_MS = 7_000
LINE_WIDTH = {Language.ENGLISH: 42, Language.JAPANESE: 40}
"""Half-width characters on one of a cue's two lines: 42 in English, 20 full-width in Japanese."""

_NEVER_FIRST = frozenset(
    "。、，．・：；？！)]}）］｝〕〉》」』】’”,.:;?!…‥ー〜～々ゝゞヽヾ％%℃"
    "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ"
)
_NEVER_LAST = frozenset("([{（［｛〔〈《「『【‘“$￥¥#")
_SENTENCE_END = re.compile(r"[.!?。．！？…]+[\"')\]）」』】’”]*$")
_CLAUSE_END = re.compile(r"[,;:、，；：—–][\"')\]）」』】’”]*$")
_LEANING = re.compile(
    r"(?:Mrs?|Ms|Dr|St|Prof|[A-Z])\.|(?i:a|an|the|this|that|these|those|my|your|his|her|its|our|their"
    r"|i|we|he|she|it|they|you|and|or|but|so|if|as|because|of|to|in|on|at|by|for|from|with|into|about"
    r"|than|is|are|was|were|be|will|would|can|could|should|have|has|had|not|very|no|who|which|when|where)"
)
"""English words that belong to the word after them: an editor does not end a line on one."""

# SRT has no escapes and players read these as styling or line breaks (`<i>`, `{\an8}`, `\N`), so
# each is written as its full-width twin: the reader sees the character, the player does not act.
_SRT_LITERALS = str.maketrans("{}<>\\", "｛｝＜＞＼")


class Cue(NamedTuple):
    """One subtitle: whole milliseconds and one or two lines joined by a newline."""

    start_ms: int
    end_ms: int
    text: str


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
    tsv   a row per segment, empty ones included: start and end in milliseconds, text, flags.
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
            return "start\tend\ttext\tflags\n" + "".join(
                f"{_milliseconds(segment.start)}\t{_milliseconds(segment.end)}\t"
                f"{_single_line(segment.text)}\t{','.join(_sorted(segment.flags))}\n"
                for segment in translation.segments
            )
        case "json":
            return json.dumps(as_data(translation), ensure_ascii=False, indent=2) + "\n"
    raise ValueError(f"unknown caption format {format!r}: choose from {', '.join(FORMATS)}")


def as_data(translation: Translation) -> dict[str, Any]:
    """`translation` as JSON data: the one form of files, `/translate_segments` and downloads.

    text, direction, duration and compute_seconds, rtfx (duration / compute_seconds), tokens, flags,
    and segments: start and end, text, direction, flags, tokens, mean_logprob. Times are seconds.
    Numbers have six decimals, less than a sample; one that is not finite becomes None.
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
                "text": segment.text,
                "direction": segment.direction.value,
                "flags": _sorted(segment.flags),
                "tokens": segment.tokens,
                "mean_logprob": _finite(segment.mean_logprob),
            }
            for segment in translation.segments
        ],
    }


def cues(translation: Translation) -> list[Cue]:
    """Split the segments into cues of at most two lines and 7 s, in order and never overlapping.

    Cues of one segment share its span in proportion to their width. A single line whose share is
    over 7 s, as when one short sentence lies in a long span, shows for 7 s from its start. A cue
    lasts at least 1 ms; a span that is too short or overlaps the one before is moved on for that.
    """
    result: list[Cue] = []
    free_ms = 0
    for segment in translation.segments:
        text = _single_line(segment.text)
        if not _width("".join(text.split())):  # empty, or nothing that can be seen
            continue
        start = max(_milliseconds(segment.start), free_ms)
        span = max(_milliseconds(segment.end) - start, 1)
        parts = _split(text, LINE_WIDTH[_language(segment, text)], span)
        span = max(span, len(parts))
        total = sum(width for _, width in parts)
        begin, before = start, 0
        for number, (lines, width) in enumerate(parts, 1):
            before += width
            # 1 ms for each part and, of what is left, its share.
            end = start + number + (span - len(parts)) * before // total
            free_ms = min(end, begin + MAX_CUE_MS)
            result.append(Cue(begin, free_ms, lines))
            begin = end
    return result


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 0)


def _timestamp(milliseconds: int, point: str) -> str:
    minutes, milliseconds = divmod(milliseconds, 60_000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{point}{milliseconds:03}"


def _sorted(flags: Flags) -> list[str]:
    return sorted(flag.value for flag in flags)


def _finite(number: float) -> float | None:
    return round(number, 6) if math.isfinite(number) else None


def _single_line(text: str) -> str:
    """`text` without control characters, direction marks and line breaks; U+3000 is kept."""
    text = re.sub(r"[^\S\u3000]+", " ", text)
    return "".join(
        char
        for char in text
        if unicodedata.category(char) not in {"Cc", "Cf", "Cs"} or char == "\u200d"  # emoji joiner
    ).strip()


def _language(segment: Segment, text: str) -> Language:
    written = Language.JAPANESE if has_japanese(text) else Language.ENGLISH
    return segment.direction.target or written


def _width(text: str) -> int:
    """Width in half-width characters; marks that combine with the one before take no room."""
    return sum(
        0 if _combines(char) else 2 if unicodedata.east_asian_width(char) in "FW" else 1
        for char in text
    )


def _combines(char: str) -> bool:
    return unicodedata.category(char) in {"Mn", "Me", "Cf"}


class _Break(IntEnum):
    """Where a text may be divided; the value is what dividing there costs."""

    SENTENCE = 0
    CLAUSE = 2
    PHRASE = 5
    LEANING = 8
    WORD = 100


class _Atom(NamedTuple):
    """A piece of text that stays whole, the space after it included, and the break behind it."""

    text: str
    end: _Break


def _split(text: str, limit: int, span_ms: int) -> list[tuple[str, int]]:
    """Divide `text` into cues: lines of at most `limit`, and the width that sets the cue's time.

    The division with the lowest sum of costs wins (dynamic programming over the atoms): 1 per cue,
    the break it ends on, a sentence that begins or ends in mid-cue, a cue that is not full, more so
    one that would flash by, and a line whose share of the time is over 7 s.
    """
    atoms = _atoms(text, limit)
    count = len(atoms)
    edges = list(accumulate((_width(atom.text) for atom in atoms), initial=0))
    inked = [edge + _width(atom.text.rstrip()) for edge, atom in zip(edges, atoms, strict=False)]

    def line_end(first: int) -> int:
        """The atom after the last that fits on a line beginning with atom `first`."""
        last = first + 1
        while last < count and inked[last] - edges[first] <= limit:
            last += 1
        return last

    reach = [line_end(first) for first in range(count)] + [count]
    sentences = list(accumulate((atom.end is _Break.SENTENCE for atom in atoms), initial=0))
    room = min(2 * limit, edges[-1] * (MAX_CUE_MS - 1) / span_ms)
    best: list[tuple[float, int]] = [(0.0, 0)] + [(math.inf, 0)] * count
    for first in range(count):
        starts_sentence = first == 0 or atoms[first - 1].end is _Break.SENTENCE
        for last in range(first + 1, reach[reach[first]] + 1):
            width = edges[last] - edges[first]
            if width > max(room, limit) and last > first + 1:
                break
            end = atoms[last - 1].end
            cost = best[first][0] + 1 + end
            if sentences[last - 1] > sentences[first] and not (
                starts_sentence and end is _Break.SENTENCE
            ):
                cost += 2
            fill = width / room
            cost += max(1 - fill, 0) ** 2 + 8 * max(1 - 2 * fill, 0) ** 2 + 2 * max(fill - 1, 0)
            best[last] = min(best[last], (cost, first))

    parts = []
    last = count
    while last:
        first = best[last][1]
        parts.append((_lines(atoms[first:last], limit), edges[last] - edges[first]))
        last = first
    return parts[::-1]


def _lines(atoms: Sequence[_Atom], limit: int) -> str:
    """One line if the atoms fit, else two: near the middle, at the best break."""
    text = "".join(atom.text for atom in atoms)
    if _width(text.strip()) <= limit:
        return text.strip()

    choices = []
    at = 0
    for atom in atoms[:-1]:
        at += len(atom.text)
        first, second = text[:at].strip(), text[at:].strip()
        widths = _width(first), _width(second)
        if max(widths) <= limit:
            cost = atom.end + 10 * abs(widths[0] - widths[1]) / limit
            choices.append((cost, f"{first}\n{second}"))
    return min(choices)[1]


def _atoms(text: str, limit: int) -> list[_Atom]:
    """The pieces of `text` between which a line may end; only one wider than `limit` is cut."""
    atoms = []
    phrases = _joined(_phrases(text), math.inf)
    for phrase, following in zip(phrases, [*phrases[1:], ""], strict=True):
        pieces = _joined(phrase, limit) if _width(phrase.rstrip()) > limit else [phrase]
        atoms += [_Atom(piece, _Break.WORD) for piece in pieces[:-1]]
        atoms.append(_Atom(pieces[-1], _break_between(phrase, following)))
    return atoms


def _phrases(text: str) -> Iterator[str]:
    """Words with the space after them, and the phrases of Japanese between spaces."""
    for word in re.findall(r"\S+\s*", text):
        if has_japanese(word):
            *phrases, last = _japanese_parser().parse(word.rstrip())
            yield from phrases
            yield last + word[len(word.rstrip()) :]
        else:
            yield word


@cache
def _japanese_parser() -> Any:
    import budoux

    return budoux.load_default_japanese_parser()


def _joined(pieces: Iterable[str], limit: float) -> list[str]:
    """Join pieces that no line break may part (kinsoku), as long as the result fits `limit`."""
    result: list[str] = []
    for piece in pieces:
        if result and not _may_part(result[-1], piece) and _width(result[-1] + piece) <= limit:
            result[-1] += piece
        else:
            result.append(piece)
    return result


def _may_part(before: str, after: str) -> bool:
    left, right = before.rstrip()[-1:], after[0]
    return not (
        right in _NEVER_FIRST
        or left in _NEVER_LAST
        or right.isspace()
        or _combines(right)
        or left == "\u200d"
    )


def _break_between(phrase: str, following: str) -> _Break:
    word = phrase.strip()
    if not following:
        return _Break.SENTENCE
    if _LEANING.fullmatch(word):
        return _Break.LEANING
    # "8 a.m. today": a small letter after the full stop goes on with the sentence.
    if _SENTENCE_END.search(word) and not following[0].islower():
        return _Break.SENTENCE
    if _CLAUSE_END.search(word) or phrase.endswith("\u3000"):
        return _Break.CLAUSE
    return _Break.PHRASE
