"""Divide a translation and what was said into cues of two lines, one in each language.

The two texts have their sentences in the same order, but not what is inside of them. So sentences
are taken in pairs where there are as many of both, and inside of a pair the texts are divided in
proportion to how long they are. Short pairs share a cue.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from speech_translation.atoms import Atom, Break, width_of
from speech_translation.layout import LONG_PAUSE_MS, MAX_CUE_MS, Edge

_APART = 30.0
"""Of dividing a pair at places that are all of it apart, beside the costs of the two `Break`s."""

_ALONE = 12.0
"""Of a line that stands through two cues, because the other language is so much longer."""

_SCRAP, _NARROW = 8.0, 0.2
"""Of a part that takes less than a fifth of a line, though its text is longer."""

_MID_SENTENCE = 2.0
"""Of an end of a sentence in mid-cue, unless whole sentences share the cue; as in one language."""

_NEAR = 5
"""Places of the other text that are looked at for each place of one: the nearest and best."""

_MOST_ATOMS = 300
"""Of both texts of a pair. Only texts that loop have more: they are divided in proportion alone."""


class Text(NamedTuple):
    """A text in pieces, the times of their edges, and the width of a line."""

    atoms: Sequence[Atom]
    times: Sequence[Edge]
    limit: int

    @property
    def sentences(self) -> list[int]:
        """The edges at which sentences begin and end."""
        ends = [n for n, atom in enumerate(self.atoms, 1) if atom.end is Break.SENTENCE]
        return [0, *ends]


class Pair(NamedTuple):
    """An edge of the translation and one of what was said, which belong together."""

    text: int
    source: int


class _Place(NamedTuple):
    """Where a cue may end, and what that has to do with the pair of sentences around it."""

    apart: float
    """How far the two edges lie apart, as shares of the pair."""

    whole: tuple[float, float]
    """How many lines each text of the pair takes."""


def divide(text: Text, source: Text) -> list[Pair]:
    """The edges between the cues, from the beginning of both texts to their ends.

    Each part of a text fits one line. One part of the two may be empty, where a short sentence is a
    long one in the other language. The time is linear in the length of the texts.
    """
    ends = [Pair(*pair) for pair in zip(text.sentences, source.sentences, strict=False)]
    if len(text.sentences) != len(source.sentences):
        ends = [Pair(0, 0), Pair(len(text.atoms), len(source.atoms))]
    lines = _Line(text), _Line(source)
    places = {ends[0]: _Place(0.0, (0.0, 0.0))}
    for begin, end in pairwise(ends):
        one, other = (_Stretch(*each) for each in zip(lines, begin, end, strict=True))
        whole = one.whole, other.whole
        for place in _places(one, other):
            apart = abs(one.share(place.text) - other.share(place.source))
            places.setdefault(place, _Place(apart, whole))
    best = _best(lines, ends, places)
    path = [ends[-1]]
    while path[-1] != ends[0]:
        path.append(best[path[-1]][1])
    return path[::-1]


def _best(
    lines: tuple[_Line, _Line], ends: Sequence[Pair], places: dict[Pair, _Place]
) -> dict[Pair, tuple[float, Pair]]:
    """For each place on a way, the lowest sum of costs of the cues before it, and the one before.

    A cue costs 1, the breaks it ends on, how far these lie apart, a sentence that ends in mid-cue,
    and what it is not filled. An edge at which one text stands is paid for once. (Dynamic
    programming.)
    """
    rows = dict[int, list[int]]()
    for place in sorted(places):
        rows.setdefault(place.text, []).append(place.source)
    best = {ends[0]: (0.0, ends[0])}
    for last in sorted(places)[1:]:
        found = places[last]
        for first in _before(lines, rows, last):
            if first not in best:
                continue
            fills = lines[0].fill(first.text, last.text), lines[1].fill(first.source, last.source)
            fill = max(*fills, lines[1].length(first.source, last.source) / MAX_CUE_MS)
            here = best[first][0] + 1 + (_APART * found.apart if min(fills) > 0 else _ALONE)
            for line, begin, end, full, whole in zip(
                lines, first, last, fills, found.whole, strict=True
            ):
                here += line.cost(end) if begin < end else 0.0
                here += _SCRAP if 0 < full < min(_NARROW, whole) else 0.0
            inside = bisect_right(ends, first), bisect_left(ends, last)
            shared = ends[inside[0] - 1] == first and last in ends[inside[1] : inside[1] + 1]
            here += _MID_SENTENCE if inside[0] < inside[1] and not shared else 0.0
            here += max(1 - fill, 0) ** 2 + 8 * max(1 - 2 * fill, 0) ** 2 + 2 * max(fill - 1, 0)
            if last not in best or here < best[last][0]:
                best[last] = here, first
    return best


def _before(lines: tuple[_Line, _Line], rows: dict[int, list[int]], last: Pair) -> Iterator[Pair]:
    """The places at which a cue may begin that ends at `last`, the nearest first."""
    lowest = lines[1].reach[last.source]
    for text in range(last.text, lines[0].earliest[last.text] - 1, -1):
        row = rows.get(text, ())
        for number in range(bisect_right(row, last.source) - 1, -1, -1):
            if row[number] < lowest:
                break
            if (text, row[number]) != last:
                yield Pair(text, row[number])


class _Line:
    """A text, to be laid on lines."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self.widths = list(accumulate((width_of(atom.text) for atom in text.atoms), initial=0))
        self._inked = [
            width + width_of(atom.text.rstrip())
            for width, atom in zip(self.widths, text.atoms, strict=False)
        ]
        self.earliest = self._earliest(over_pauses=True)
        """For each edge, the first one from which the text up to it fits one line."""
        self.reach = self._earliest(over_pauses=False)
        """The same, where what lies between is not said over a long pause."""

    def _earliest(self, *, over_pauses: bool) -> list[int]:
        result = [0]
        first = 0
        for last in range(1, len(self.widths)):
            while self.fill(first, last) > 1:
                first += 1
            stop, go = self._text.times[last - 1]
            if not over_pauses and go - stop >= LONG_PAUSE_MS:
                first = last - 1
            result.append(first)
        return result

    def fill(self, first: int, last: int) -> float:
        """How much of a line the text between two edges takes; one piece alone always fits."""
        if first == last:
            return 0.0
        share = (self._inked[last - 1] - self.widths[first]) / self._text.limit
        return min(share, 1.0) if last == first + 1 else share

    def cost(self, edge: int) -> float:
        """What it costs to divide the text there; nothing at its end."""
        return 0.0 if edge in (0, len(self._text.atoms)) else self._text.atoms[edge - 1].end

    def length(self, first: int, last: int) -> int:
        """How long the text between two edges is said, in ms."""
        times = self._text.times
        return max(times[last].stop - times[first].go, 0) if first < last else 0


class _Stretch:
    """What one text has of a pair of sentences: from the edge `first` to the edge `last`."""

    def __init__(self, line: _Line, first: int, last: int) -> None:
        self.line, self.first, self.last = line, first, last
        self.whole = line.fill(first, last)
        self.edges = range(first, last + 1)
        self.shares = np.array([self.share(edge) for edge in self.edges])
        self.costs = np.array([line.cost(edge) for edge in self.edges])

    def share(self, edge: int) -> float:
        """How much of the stretch lies before an edge, from 0 to 1."""
        widths = self.line.widths
        begin = widths[self.first]
        return (widths[edge] - begin) / max(widths[self.last] - begin, 1)


def _places(text: _Stretch, source: _Stretch) -> set[Pair]:
    """Where a cue may end inside of a pair: from one to the next of `_steps` there is always a way.

    Besides, each edge of a text with the edges of the other that suit it best.
    """
    steps = _steps(text, source)
    if len(text.edges) + len(source.edges) > _MOST_ATOMS:
        return set(_thinned(steps, text.line, source.line))
    found = set(steps)
    for edge in text.edges:
        found |= {Pair(edge, other) for other in _nearest(text.share(edge), source)}
    for edge in source.edges:
        found |= {Pair(other, edge) for other in _nearest(source.share(edge), text)}
    return found


def _steps(text: _Stretch, source: _Stretch) -> list[Pair]:
    """The edges of both in proportion: at each step one or both of the texts go on by a piece."""
    steps = [Pair(text.first, source.first)]
    while steps[-1] != (text.last, source.last):
        place = steps[-1]
        after = [
            each.share(edge + 1) if edge < each.last else math.inf
            for each, edge in zip((text, source), place, strict=True)
        ]
        steps.append(
            Pair(place.text + (after[0] <= after[1]), place.source + (after[1] <= after[0]))
        )
    return steps


def _thinned(steps: Sequence[Pair], text: _Line, source: _Line) -> Iterator[Pair]:
    """As few of the steps as there must be, each as far as one line of both goes."""
    begin = steps[0]
    yield begin
    for place, following in pairwise(steps):
        earliest = text.earliest[following.text], source.reach[following.source]
        if begin.text < earliest[0] or begin.source < earliest[1]:
            begin = place
            yield begin
    yield steps[-1]


def _nearest(share: float, other: _Stretch) -> list[int]:
    costs = _APART * np.abs(other.shares - share) + other.costs
    return [other.first + int(place) for place in costs.argsort(kind="stable")[:_NEAR]]
