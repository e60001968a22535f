"""Divide a translation into subtitles: cues of at most two lines, for as long as the text is said.

With both texts a cue has a line of each: the translation, and below it what was said. Texts get
their times from the speech (`layout`). Widths count half-width characters: a full-width one is two.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from speech_translation.atoms import Atom, Break, atoms_of, width_of
from speech_translation.bilingual import Pair, Text, divide
from speech_translation.layout import LONG_PAUSE_MS, MAX_CUE_MS, Edge, Layout
from speech_translation.text import has_japanese
from speech_translation.types import Language, Seconds, Segment, Show, Translation, Word
from speech_translation.words import word_times

LINE_WIDTH = {Language.ENGLISH: 42, Language.JAPANESE: 40}
"""Half-width characters on one of a cue's two lines: 42 in English, 20 full-width in Japanese."""


class Cue(NamedTuple):
    """One subtitle: whole milliseconds and one or two lines joined by a newline."""

    start_ms: int
    end_ms: int
    text: str


def cues(translation: Translation, show: Show | str = Show.TRANSLATION) -> list[Cue]:
    """Split the segments into cues of at most two lines and 7 s, in order and never overlapping.

    A cue shows while its text is said, as far as width and pauses tell: it ends with its region of
    speech and never lies over a pause of a second. A single line that is said for over 7 s, as when
    one short sentence lies in a long region, shows for 7 s from its start. A cue lasts at least
    1 ms; one whose region is too short or overlaps the one before is moved on for that.

    `show` says of which text. Of both, the first line is the translation and the second one what
    was said; a line stays where the other language needs more of them. A segment that has only one
    of the texts has cues as if that were asked for.
    """
    show = Show(show)
    result: list[Cue] = []
    free_ms = 0
    for segment in translation.segments:
        regions = _regions(segment, free_ms)
        text = source = None
        if show is not Show.SOURCE:
            text = _laid(segment.text, segment.direction.target, regions)
        if show is not Show.TRANSLATION:
            source = _laid(segment.source_text, segment.direction.source, regions, segment.words)
        for cue in _divided(text, source):
            begin = max(cue.start_ms, free_ms)
            free_ms = max(begin + 1, min(cue.end_ms, begin + MAX_CUE_MS))
            result.append(Cue(begin, free_ms, cue.text))
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


def _laid(
    text: str,
    language: Language | None,
    regions: Sequence[tuple[int, int]],
    words: Sequence[Word] = (),
) -> Text | None:
    """A text in its pieces, over the regions of speech; None if there is nothing to be seen.

    Where its `words` have been timed, it has their times.

    Without a language its script tells which it is.
    """
    text = single_line(text)
    if not width_of("".join(text.split())):
        return None
    written = Language.JAPANESE if has_japanese(text) else Language.ENGLISH
    limit = LINE_WIDTH[language or written]
    atoms = atoms_of(text, limit)
    times = word_times(atoms, words) or Layout(atoms, regions).times()
    return Text(atoms, times, limit)


def _divided(text: Text | None, source: Text | None) -> list[Cue]:
    """The cues of a segment, whose times may still overlap those of the one before."""
    if text is None or source is None:
        only = text or source
        if only is None:
            return []
        atoms, times, limit = only
        return [
            Cue(times[first].go, times[last].stop, _lines(atoms[first:last], limit))
            for first, last in _split(atoms, times, limit)
        ]
    edges = divide(text, source)
    above = _parts(text, [edge.text for edge in edges])
    below = _parts(source, [edge.source for edge in edges])
    lines = ["\n".join(pair) for pair in zip(above, below, strict=True)]
    return [Cue(*time, line) for time, line in zip(_times(source, edges), lines, strict=True)]


def _times(source: Text, edges: Sequence[Pair]) -> Iterator[tuple[int, int]]:
    """When the cues between the edges show: while the source's part is said.

    A part that stands through several cues has its time divided among them.
    """
    moves = [n for n, (first, last) in enumerate(pairwise(edges)) if first.source < last.source]
    for begin, end in pairwise([0, *moves[1:], len(edges) - 1]):
        start, stop = source.times[edges[begin].source].go, source.times[edges[end].source].stop
        length = max(stop - start, 0)
        times = [start + length * number // (end - begin) for number in range(end - begin + 1)]
        yield from pairwise(times)


def _parts(text: Text, edges: Sequence[int]) -> list[str]:
    """What stands between the edges; where that is nothing, what stood there before, or will."""
    parts = [
        "".join(atom.text for atom in text.atoms[first:last]).strip()
        for first, last in pairwise(edges)
    ]
    shown = next(part for part in parts if part)
    for number, part in enumerate(parts):
        shown = parts[number] = part or shown
    return parts


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
