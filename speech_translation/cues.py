"""Divide a translation into subtitles: cues of at most two lines, for as long as the text is said.

The text gets its times from the speech (`layout`). Widths count half-width characters: a full-width
one is two.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from speech_translation.atoms import Atom, Break, atoms_of, width_of
from speech_translation.layout import LONG_PAUSE_MS, Edge, Layout
from speech_translation.text import has_japanese
from speech_translation.types import Language, Seconds, Segment, Translation

MAX_CUE_MS = 7_000
LINE_WIDTH = {Language.ENGLISH: 42, Language.JAPANESE: 40}
"""Half-width characters on one of a cue's two lines: 42 in English, 20 full-width in Japanese."""


class Cue(NamedTuple):
    """One subtitle: whole milliseconds and one or two lines joined by a newline."""

    start_ms: int
    end_ms: int
    text: str


def cues(translation: Translation) -> list[Cue]:
    """Split the segments into cues of at most two lines and 7 s, in order and never overlapping.

    A cue shows while its text is said, as far as width and pauses tell: it ends with its region of
    speech and never lies over a pause of a second. A single line that is said for over 7 s, as when
    one short sentence lies in a long region, shows for 7 s from its start. A cue lasts at least
    1 ms; one whose region is too short or overlaps the one before is moved on for that.
    """
    result: list[Cue] = []
    free_ms = 0
    for segment in translation.segments:
        text = single_line(segment.text)
        if not width_of("".join(text.split())):  # empty, or nothing that can be seen
            continue
        limit = LINE_WIDTH[_language(segment, text)]
        atoms = atoms_of(text, limit)
        times = Layout(atoms, _regions(segment, free_ms)).times()
        for first, last in _split(atoms, times, limit):
            begin = max(times[first].go, free_ms)
            free_ms = max(begin + 1, min(times[last].stop, begin + MAX_CUE_MS))
            result.append(Cue(begin, free_ms, _lines(atoms[first:last], limit)))
    return result


def milliseconds(seconds: Seconds) -> int:
    """`seconds` as a cue's time: whole milliseconds, none before the recording."""
    return max(round(seconds * 1000), 0)


def single_line(text: str) -> str:
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


def _regions(segment: Segment, free_ms: int) -> list[tuple[int, int]]:
    """Where somebody speaks in `segment`, in ms: in order, not before `free_ms`, none empty."""
    start_ms = max(milliseconds(segment.start), free_ms)
    regions = list[tuple[int, int]]()
    for start, end in segment.speech:
        region = max(milliseconds(start), free_ms), milliseconds(end)
        if region[0] < region[1]:
            regions.append(region)
            free_ms = region[1]
    return regions or [(start_ms, start_ms + 1)]


def _split(atoms: Sequence[Atom], times: Sequence[Edge], limit: int) -> list[tuple[int, int]]:
    """Divide a text into cues of at most two lines: their first atoms and those after their last.

    The division with the lowest sum of costs wins (dynamic programming over the atoms): 1 per cue,
    the break it ends on, a sentence that begins or ends in mid-cue, a cue that is not full, more so
    one that would flash by, and a line that is said for over 7 s.
    """
    count = len(atoms)
    edges = list(accumulate((width_of(atom.text) for atom in atoms), initial=0))
    inked = [edge + width_of(atom.text.rstrip()) for edge, atom in zip(edges, atoms, strict=False)]

    def line_end(first: int) -> int:
        """The atom after the last that fits on a line beginning with atom `first`."""
        last = first + 1
        while last < count and inked[last] - edges[first] <= limit:
            last += 1
        return last

    reach = [line_end(first) for first in range(count)] + [count]
    sentences = list(accumulate((atom.end is Break.SENTENCE for atom in atoms), initial=0))
    best: list[tuple[float, int]] = [(0.0, 0)] + [(math.inf, 0)] * count
    for first in range(count):
        starts_sentence = first == 0 or atoms[first - 1].end is Break.SENTENCE
        for last in range(first + 1, reach[reach[first]] + 1):
            if last > first + 1 and times[last - 1].go - times[last - 1].stop >= LONG_PAUSE_MS:
                break
            width = edges[last] - edges[first]
            length = times[last].stop - times[first].go
            fill = max(width / (2 * limit), length / (MAX_CUE_MS - 1))
            if fill > 1 and width > limit and last > first + 1:
                break
            end = atoms[last - 1].end
            cost = best[first][0] + 1 + end
            if sentences[last - 1] > sentences[first] and not (
                starts_sentence and end is Break.SENTENCE
            ):
                cost += 2
            cost += max(1 - fill, 0) ** 2 + 8 * max(1 - 2 * fill, 0) ** 2 + 2 * max(fill - 1, 0)
            best[last] = min(best[last], (cost, first))

    parts = []
    last = count
    while last:
        first = best[last][1]
        parts.append((first, last))
        last = first
    return parts[::-1]


def _lines(atoms: Sequence[Atom], limit: int) -> str:
    """One line if the atoms fit, else two: near the middle, at the best break."""
    text = "".join(atom.text for atom in atoms)
    if width_of(text.strip()) <= limit:
        return text.strip()

    choices = []
    at = 0
    for atom in atoms[:-1]:
        at += len(atom.text)
        first, second = text[:at].strip(), text[at:].strip()
        widths = width_of(first), width_of(second)
        if max(widths) <= limit:
            cost = atom.end + 10 * abs(widths[0] - widths[1]) / limit
            choices.append((cost, f"{first}\n{second}"))
    return min(choices)[1]
