"""A text laid over the regions of speech in which it was said, as its translation.

A translation has no word timings. What is known is where somebody speaks (`Segment.regions`) and
how wide the text is: the text is laid over the regions in order, as if spoken at one rate, but so
that a sentence rather ends where a pause is.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from speech_translation.atoms import Atom, Break, width_of
from speech_translation.types import Seconds

LONG_PAUSE_MS = 1_000
"""No cue lies over a pause of so long: nobody reads for a second what nobody says."""

MAX_CUE_MS = 7_000

# How long a text is spoken, in half-width characters (least squares over the sentences of
# evaluation/data): a kana of a translation stands for 0.07 s of speech, a kanji for twice as much,
# a digit, which is half as wide, for more; and a sentence lasts 0.6 s more than its characters.
_KANJI_MORE = 2
_DIGIT_MORE = 1
_SENTENCE_MORE = 16

# Costs are negative logarithms of probabilities. The squared error of that length is 0.05 to 0.08
# s² a second, over the same sentences. The two variances and `_told` were chosen on recordings
# assembled as in tests/library/test_cue_times.py; half or twice as much changes little.
_RATE_VARIANCE: Seconds = 0.08
_PLACE_VARIANCE = 0.04  # s², however short: the detector does not hear soft sounds
_BREAK_COST = 0.4  # of a pause in the middle of a sentence, for each unit of its `Break`
_SILENT_COST = 2.0  # of a region without text, beside its length
_PIECE = 10
"""Half-width characters: no sentence is divided at a pause so near its ends, but for a clause."""

_MOST_EDGES = 100
"""Where a pin may be. Only a text that loops has more in 30 s; the time grows with their square."""


class Edge(NamedTuple):
    """Times at the edge between two atoms, in ms: what is before it stops, what follows goes on.

    They differ where a pause lies.
    """

    stop: int
    go: int


def _spoken_lengths(atoms: Sequence[Atom]) -> list[float]:
    """How long each atom is spoken; the last sentence ends with the last atom."""
    lengths = list[float]()
    sentence = list[int]()
    for atom in atoms:
        kanji = sum("\u3400" <= char <= "\u9fff" for char in atom.text)
        digits = sum(char.isdigit() for char in atom.text)
        sentence.append(width_of(atom.text) + _KANJI_MORE * kanji + _DIGIT_MORE * digits)
        if atom.end is Break.SENTENCE:
            slower = 1 + _SENTENCE_MORE / max(sum(sentence), 1)
            lengths += [length * slower for length in sentence]
            sentence = []
    return lengths


class _Pin(NamedTuple):
    """An edge of the text at an edge of the regions: so many atoms, so many regions are before."""

    atoms: int
    regions: int


class Layout:
    """A text laid over the regions of speech in which it was said."""

    def __init__(self, atoms: Sequence[Atom], regions: Sequence[tuple[int, int]]) -> None:
        self._ends = [atom.end for atom in atoms]
        self._regions = regions
        self._widths = list(accumulate((width_of(atom.text) for atom in atoms), initial=0))
        self._said = list(accumulate(_spoken_lengths(atoms), initial=0.0))
        self._heard = list(accumulate((end - start for start, end in regions), initial=0))  # ms
        self._pauses = [after[0] - before[1] for before, after in pairwise(regions)]

    def times(self) -> list[Edge]:
        """The times of each edge of the atoms.

        Some are pinned to pauses; between two of these, the text is spoken at one rate, pauses left
        out.
        """
        said, heard = self._said, self._heard
        times = [Edge(0, 0)] * len(said)
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
                times[number] = Edge(times[number].stop if pinned else stop, go)
        return times

    def _pins(self) -> list[_Pin]:
        """Which edges of the text lie in which pauses, from its beginning to its end.

        First the ends of sentences are laid over all the speech: a translation has its sentences in
        the order of the speech, but not what is inside of them. Then the text between two of these
        pins is divided: at every long pause, and at others where a clause ends nearby.
        """
        begin, end = _Pin(0, 0), _Pin(len(self._ends), len(self._regions))
        sentences = [n for n, kind in enumerate(self._ends[:-1], 1) if kind is Break.SENTENCE]
        result = [begin]
        for first, last in pairwise(self._path(begin, end, sentences)):
            inside = [
                n for n in range(first.atoms + 1, last.atoms) if self._divides(first, n, last)
            ]
            result += self._path(first, last, inside, divide=True)[1:]
        return result

    def _divides(self, first: _Pin, edge: int, last: _Pin) -> bool:
        """Whether the text between two pins may be divided at `edge`."""
        if self._ends[edge - 1] <= Break.CLAUSE:
            return True
        before = self._widths[edge] - self._widths[first.atoms]
        after = self._widths[last.atoms] - self._widths[edge]
        return self._ends[edge - 1] is Break.PHRASE and min(before, after) >= _PIECE

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
