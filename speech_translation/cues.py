"""Divide a translation into subtitles and give them their times.

A translation has no word timings. What is known is where somebody speaks (`Segment.regions`) and
how wide the text is: the text is laid over the regions in order, as if spoken at one rate, but so
that a sentence rather ends where a pause is (`_Layout`). Then it is divided into cues (`_split`).
Widths count half-width characters: a full-width one is two.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from speech_translation.text import has_japanese
from speech_translation.types import Language, Seconds, Segment, Translation

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


LONG_PAUSE_MS = 1_000
"""No cue lies over a pause of so long: nobody reads for a second what nobody says."""

# How long a text is spoken, in half-width characters (least squares over the sentences of
# evaluation/data): a kana of a translation stands for 0.07 s of speech, a kanji for twice as much,
# a digit, which is half as wide, for more; and a sentence lasts 0.6 s more than its characters.
_KANJI_MORE = 2
_DIGIT_MORE = 1
_SENTENCE_MORE = 16

# Costs are negative logarithms of probabilities. The squared error of that length is 0.05 to 0.08
# s² a second, over the same sentences. The two variances and `_told` were chosen on recordings
# assembled as in tests/library/test_cues.py; half or twice as much changes little.
_RATE_VARIANCE: Seconds = 0.08
_PLACE_VARIANCE = 0.04  # s², however short: the detector does not hear soft sounds
_BREAK_COST = 0.4  # of a pause in the middle of a sentence, for each unit of its `_Break`
_SILENT_COST = 2.0  # of a region without text, beside its length
_PIECE = 10
"""Half-width characters: no sentence is divided at a pause so near its ends, but for a clause."""

_MOST_EDGES = 100
"""Where a pin may be. Only a text that loops has more in 30 s; the time grows with their square."""


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
        if not _width("".join(text.split())):  # empty, or nothing that can be seen
            continue
        limit = LINE_WIDTH[_language(segment, text)]
        atoms = _atoms(text, limit)
        times = _Layout(atoms, _regions(segment, free_ms)).times()
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


class _Edge(NamedTuple):
    """Times at the edge between two atoms, in ms: what is before it stops, what follows goes on.

    They differ where a pause lies.
    """

    stop: int
    go: int


def _regions(segment: Segment, free_ms: int) -> list[tuple[int, int]]:
    """Where somebody speaks in `segment`, in ms: in order, not before `free_ms`, none empty."""
    start_ms = max(milliseconds(segment.start), free_ms)
    regions = list[tuple[int, int]]()
    for start, end in segment.regions or ((segment.start, segment.end),):
        region = max(milliseconds(start), free_ms), milliseconds(end)
        if region[0] < region[1]:
            regions.append(region)
            free_ms = region[1]
    return regions or [(start_ms, start_ms + 1)]


def _spoken_lengths(atoms: Sequence[_Atom]) -> list[float]:
    """How long each atom is spoken; the last sentence ends with the last atom."""
    lengths = list[float]()
    sentence = list[int]()
    for atom in atoms:
        kanji = sum("\u3400" <= char <= "\u9fff" for char in atom.text)
        digits = sum(char.isdigit() for char in atom.text)
        sentence.append(_width(atom.text) + _KANJI_MORE * kanji + _DIGIT_MORE * digits)
        if atom.end is _Break.SENTENCE:
            slower = 1 + _SENTENCE_MORE / max(sum(sentence), 1)
            lengths += [length * slower for length in sentence]
            sentence = []
    return lengths


class _Pin(NamedTuple):
    """An edge of the text at an edge of the regions: so many atoms, so many regions are before."""

    atoms: int
    regions: int


class _Layout:
    """A text laid over the regions of speech in which it was said."""

    def __init__(self, atoms: Sequence[_Atom], regions: Sequence[tuple[int, int]]) -> None:
        self._ends = [atom.end for atom in atoms]
        self._regions = regions
        self._widths = list(accumulate((_width(atom.text) for atom in atoms), initial=0))
        self._said = list(accumulate(_spoken_lengths(atoms), initial=0.0))
        self._heard = list(accumulate((end - start for start, end in regions), initial=0))  # ms
        self._pauses = [after[0] - before[1] for before, after in pairwise(regions)]

    def times(self) -> list[_Edge]:
        """The times of each edge of the atoms.

        Some are pinned to pauses; between two of these, the text is spoken at one rate, pauses left
        out.
        """
        said, heard = self._said, self._heard
        times = [_Edge(0, 0)] * len(said)
        for (first, begin), (last, end) in pairwise(self._pins()):
            width, length = max(said[last] - said[first], 1.0), heard[end] - heard[begin]
            for number in range(first, last + 1):
                share = (said[number] - said[first]) / width
                at = heard[begin] + round(length * share)
                before = max(bisect_left(heard, at) - 1, begin)
                after = min(bisect_right(heard, at), end) - 1
                stop = self._regions[before][0] + at - heard[before]
                go = self._regions[after][0] + at - heard[after]
                # What is before a pin stopped before its pause; what follows goes on after it.
                pinned = number == first and first > 0
                times[number] = _Edge(times[number].stop if pinned else stop, go)
        return times

    def _pins(self) -> list[_Pin]:
        """Which edges of the text lie in which pauses, from its beginning to its end.

        First the ends of sentences are laid over all the speech: a translation has its sentences in
        the order of the speech, but not what is inside of them. Then the text between two of these
        pins is divided: at every long pause, and at others where a clause ends nearby.
        """
        begin, end = _Pin(0, 0), _Pin(len(self._ends), len(self._regions))
        sentences = [n for n, kind in enumerate(self._ends[:-1], 1) if kind is _Break.SENTENCE]
        result = [begin]
        for first, last in pairwise(self._path(begin, end, sentences)):
            inside = [
                n for n in range(first.atoms + 1, last.atoms) if self._divides(first, n, last)
            ]
            result += self._path(first, last, inside, divide=True)[1:]
        return result

    def _divides(self, first: _Pin, edge: int, last: _Pin) -> bool:
        """Whether the text between two pins may be divided at `edge`."""
        if self._ends[edge - 1] <= _Break.CLAUSE:
            return True
        before = self._widths[edge] - self._widths[first.atoms]
        after = self._widths[last.atoms] - self._widths[edge]
        return self._ends[edge - 1] is _Break.PHRASE and min(before, after) >= _PIECE

    def _path(
        self, begin: _Pin, end: _Pin, inside: Sequence[int], *, divide: bool = False
    ) -> list[_Pin]:
        """From `begin` to `end`, the pins of edges `inside` that have the lowest sum of costs.

        Text between two pins costs the square of how much longer or shorter than expected it is
        spoken, by its variance; a pin costs its break, less what the pause tells. With `divide`,
        every long pause has a pin, if need be with no text on one side. (Dynamic programming.)
        """
        if end.regions - begin.regions == 1:
            return [begin, end]
        edges = [begin.atoms, *inside[:: len(inside) // _MOST_EDGES + 1], end.atoms]
        breaks = np.array([_BREAK_COST * self._ends[edge - 1] for edge in edges])
        breaks[[0, -1]] = _SILENT_COST
        lengths = np.array([self._said[edge] for edge in edges], np.float64)
        spoken = self._heard[end.regions] - self._heard[begin.regions]
        lengths *= spoken / 1000 / max(lengths[-1] - lengths[0], 1)
        expected = lengths - lengths[:, None]  # seconds, from an edge (row) to another (column)
        weights = 0.5 / (_RATE_VARIANCE * np.maximum(expected, 0) + _PLACE_VARIANCE)
        backward = np.tril(np.full(expected.shape, np.inf), -1)

        best = {begin.regions: np.array([0.0] + [np.inf] * (len(edges) - 1))}
        origins = dict[int, list[_Pin]]()  # the pins before; they count `edges`, not atoms
        for last in range(begin.regions + 1, end.regions + 1):
            costs = np.full(len(edges), np.inf)
            origins[last] = [_Pin(0, begin.regions)] * len(edges)
            for first in range(last - 1, begin.regions - 1, -1):
                seconds = (self._heard[last] - self._heard[first]) / 1000
                ways = best[first][:, None] + (seconds - expected) ** 2 * weights + backward
                rows = ways.argmin(axis=0)
                found = ways.min(axis=0)
                for column in np.flatnonzero(found < costs):
                    origins[last][column] = _Pin(int(rows[column]), first)
                costs = np.minimum(costs, found)
                if divide and first > begin.regions and self._long(first):
                    break
            if last < end.regions:
                costs += breaks - _told(self._pauses[last - 1])
            best[last] = costs

        path = [_Pin(len(edges) - 1, end.regions)]
        while path[-1].regions > begin.regions:
            path.append(origins[path[-1].regions][path[-1].atoms])
        return [_Pin(edges[pin.atoms], pin.regions) for pin in reversed(path)]

    def _long(self, regions: int) -> bool:
        """Whether the pause after so many regions is long."""
        return self._pauses[regions - 1] >= LONG_PAUSE_MS


def _told(pause_ms: int) -> float:
    """How much more likely the end of a sentence lies in a pause than in none."""
    return 0.5 + 0.25 * math.log1p(pause_ms / 100)


def _split(atoms: Sequence[_Atom], times: Sequence[_Edge], limit: int) -> list[tuple[int, int]]:
    """Divide a text into cues of at most two lines: their first atoms and those after their last.

    The division with the lowest sum of costs wins (dynamic programming over the atoms): 1 per cue,
    the break it ends on, a sentence that begins or ends in mid-cue, a cue that is not full, more so
    one that would flash by, and a line that is said for over 7 s.
    """
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
    best: list[tuple[float, int]] = [(0.0, 0)] + [(math.inf, 0)] * count
    for first in range(count):
        starts_sentence = first == 0 or atoms[first - 1].end is _Break.SENTENCE
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
                starts_sentence and end is _Break.SENTENCE
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
