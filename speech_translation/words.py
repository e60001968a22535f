"""The times of a text's pieces from those of its words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import accumulate

from speech_translation.atoms import Atom
from speech_translation.layout import Edge
from speech_translation.types import Word


def word_times(atoms: Sequence[Atom], words: Sequence[Word]) -> list[Edge] | None:
    """The times of each edge of the atoms, as `Layout.times` gives them; None if words are missing.

    Words and atoms are matched by their letters and digits: an aligner leaves out all else, and
    parts Japanese otherwise than lines do.
    """
    owners = [word for word in words for _ in range(_letters(word.text))]
    edges = list(accumulate((_letters(atom.text) for atom in atoms), initial=0))
    if not owners or edges[-1] != len(owners):
        return None
    last = len(owners) - 1
    return [
        Edge(_ms(owners[max(edge - 1, 0)].end), _ms(owners[min(edge, last)].start))
        for edge in edges
    ]


def _letters(text: str) -> int:
    return sum(char == "'" or unicodedata.category(char)[0] in "LN" for char in text)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
