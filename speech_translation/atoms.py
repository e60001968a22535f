"""The pieces of a text that stay whole on a line, and what it costs to part two of them.

English is parted between words, Japanese between phrases (BudouX), neither where kinsoku forbids.
Widths count half-width characters: a full-width one is two.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from speech_translation.text import has_japanese, sentence_ends

_NEVER_FIRST = frozenset(
    "。、，．・：；？！)]}）］｝〕〉》」』】’”,.:;?!…‥ー〜～々ゝゞヽヾ％%℃"
    "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ"
)
_NEVER_LAST = frozenset("([{（［｛〔〈《「『【‘“$￥¥#")
_CLAUSE_END = re.compile(r"(?:[,;:、，；：—–…]|\.\.\.)[\"')\]）」』】’”]*$")
_LEANING = re.compile(
    r"(?:Mrs?|Ms|Dr|St|Prof|[A-Z])\.|(?i:a|an|the|this|that|these|those|my|your|his|her|its|our|their"
    r"|i|we|he|she|it|they|you|and|or|but|so|if|as|because|of|to|in|on|at|by|for|from|with|into|about"
    r"|than|is|are|was|were|be|will|would|can|could|should|have|has|had|not|very|no|who|which|when|where)"
)
"""English words that belong to the word after them: an editor does not end a line on one."""


class Break(IntEnum):
    """Where a text may be divided; the value is what dividing there costs."""

    SENTENCE = 0
    CLAUSE = 2
    PHRASE = 5
    LEANING = 8
    WORD = 100


class Atom(NamedTuple):
    """A piece of text that stays whole, the space after it included, and the break behind it."""

    text: str
    end: Break


def atoms_of(text: str, limit: int) -> list[Atom]:
    """The pieces of `text` between which a line may end; only one wider than `limit` is cut."""
    atoms = []
    phrases = _joined(_phrases(text), math.inf)
    for phrase, following in zip(phrases, [*phrases[1:], ""], strict=True):
        pieces = _joined(phrase, limit) if width_of(phrase.rstrip()) > limit else [phrase]
        atoms += [Atom(piece, Break.WORD) for piece in pieces[:-1]]
        atoms.append(Atom(pieces[-1], _break_between(phrase, following)))
    return atoms


def width_of(text: str) -> int:
    """Width in half-width characters; marks that combine with the one before take no room."""
    return sum(
        0 if _combines(char) else 2 if unicodedata.east_asian_width(char) in "FW" else 1
        for char in text
    )


def _combines(char: str) -> bool:
    return unicodedata.category(char) in {"Mn", "Me", "Cf"}


def _phrases(text: str) -> Iterator[str]:
    """Words with the space after them, and the phrases of Japanese between spaces."""
    for word in re.findall(r"\S+\s*", text):
        if has_japanese(word):
            *phrases, last = japanese_phrases(word.rstrip())
            yield from phrases
            yield last + word[len(word.rstrip()) :]
        else:
            yield word


def japanese_phrases(text: str) -> list[str]:
    """The phrases of Japanese text (bunsetsu), by BudouX."""
    phrases: list[str] = _parser().parse(text)
    return phrases


@cache
def _parser() -> Any:
    import budoux

    return budoux.load_default_japanese_parser()


def _joined(pieces: Iterable[str], limit: float) -> list[str]:
    """Join pieces that no line break may part (kinsoku), as long as the result fits `limit`."""
    result = list[list[str]]()
    width, last = 0.0, ""
    for piece in pieces:
        more = width_of(piece)
        if result and not _may_part(last, piece) and width + more <= limit:
            result[-1].append(piece)
            width += more
        else:
            result.append([piece])
            width = more
        last = piece if piece.strip() else last + piece
    return ["".join(parts) for parts in result]


def _may_part(before: str, after: str) -> bool:
    left, right = before.rstrip()[-1:], after[0]
    return not (
        right in _NEVER_FIRST
        or left in _NEVER_LAST
        or right.isspace()
        or _combines(right)
        or left == "\u200d"
    )


def _break_between(phrase: str, following: str) -> Break:
    word = phrase.strip()
    if not following:
        return Break.SENTENCE
    if _LEANING.fullmatch(word):
        return Break.LEANING
    if len(word) in sentence_ends(phrase + following):
        return Break.SENTENCE
    if _CLAUSE_END.search(word) or phrase.endswith("\u3000"):
        return Break.CLAUSE
    return Break.PHRASE
