"""Divide a translated document at the sentences of its reference, so that it can be scored.

Segments found by a policy are not the sentences that a reference translates. The document is
divided where the sum of the edit distances between its parts and the reference sentences is least,
which is the minimum word error rate segmentation of Matusov et al. 2005 (IWSLT). Words are compared
without case; Japanese, which has no spaces, is compared by characters. Of the divisions that are
equally good the one with most parts that end like a sentence is taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np

from speech_translation.types import Language

_TOKENS = {
    Language.ENGLISH: re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]"),
    Language.JAPANESE: re.compile(r"\S"),
}
_ENDS = frozenset(".!?。！？")
_CLOSING = frozenset("\"'”’」』)）")

_MATCH, _INSERT, _DELETE = 0, 1, 2  # or replace, which is a match that costs
_NEVER = 1 << 60


def resegment(text: str, references: Sequence[str], language: Language) -> list[str]:
    """`text` in as many parts as there are `references`, in order; parts may be empty.

    Nothing is lost: the parts, joined, are the text but for the spaces between them.
    """
    found = list(_TOKENS[language].finditer(text))
    tokens = [_compared(match[0]) for match in found]
    sentences = [[_compared(token) for token in _TOKENS[language].findall(r)] for r in references]
    ends = boundaries(tokens, sentences)
    starts = [match.start() for match in found] + [len(text)]
    places = [0, *(starts[end] for end in ends[:-1]), len(text)]
    return [text[a:b].strip() for a, b in pairwise(places)]


def _compared(token: str) -> str:
    return unicodedata.normalize("NFKC", token).casefold()


def boundaries(tokens: Sequence[str], sentences: Sequence[Sequence[str]]) -> list[int]:
    """Behind how many of `tokens` each of the `sentences` ends; the last one ends behind all."""
    ids = {token: number for number, token in enumerate({*tokens, *chain(*sentences)})}
    heard = np.array([ids[token] for token in tokens], np.int64)
    count = np.arange(len(tokens) + 1)
    # An end in the middle of a sentence costs so little that all of them are less than one edit.
    edit = len(sentences) + 1
    costs = edit * count  # of so many tokens, against the reference so far
    rows = list[tuple[bool, np.ndarray]]()  # whether it is an end; the step for each place
    for sentence in sentences:
        for token in sentence:
            replaced = np.append(_NEVER, costs[:-1] + edit * (heard != ids[token]))
            costs, row = _inserted(np.minimum(replaced, costs + edit), edit)
            row[(row == _MATCH) & (replaced > costs)] = _DELETE
            rows.append((False, row))
        costs, row = _inserted(costs + (~_finished(tokens)).astype(int), edit)
        rows.append((True, row))
    ends = [len(tokens)]
    at = len(tokens)
    for is_end, row in reversed(rows[:-1]):
        while row[at] == _INSERT:
            at -= 1
        if is_end:
            ends.append(at)
        elif row[at] == _MATCH:
            at -= 1
    return ends[::-1]


def _inserted(costs: np.ndarray, edit: int) -> tuple[np.ndarray, np.ndarray]:
    """`costs` where tokens may also be inserted, and where they are."""
    ramp = edit * np.arange(len(costs))
    best = np.minimum.accumulate(costs - ramp) + ramp
    return best, np.where(best < costs, _INSERT, _MATCH).astype(np.int8)


def _finished(tokens: Sequence[str]) -> np.ndarray:
    """Whether a sentence may end behind so many of `tokens`: bool `(len(tokens) + 1,)`."""
    ended = [True]
    for token in tokens:
        ended.append(token in _ENDS or (token in _CLOSING and ended[-1]))
    return np.array(ended)
