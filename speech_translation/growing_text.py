"""A text that grows with its speech: what of it has settled, and whether a sentence has ended."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from itertools import takewhile

from speech_translation.text import JAPANESE, sentence_ends, split_sentences

# What settles as one: a kana or kanji, or a word of another script, and the space after it.
_UNIT = re.compile(rf"(?:[{JAPANESE}]|[^{JAPANESE}\s]+)\s*")

# A sentence that ended is repeated, and hardly longer than before; so is the first half of one that
# did not, but it is longer then.
_ALIKE = 0.6  # share of its letters
_LONGER = 1.25  # times its letters, and
_FEW = 2  # letters more


class GrowingLine:
    """A translation that grows, and how much of it has settled.

    What two in succession begin with alike is settled, but for their last word, which may be half
    heard: local agreement (Liu, Spanakis and Niehues 2020).
    """

    def __init__(self) -> None:
        self.settled = self.tentative = ""
        self._last: list[str] = []

    def renew(self, text: str) -> None:
        """Take the next translation of the longer speech."""
        units = _UNIT.findall(text)
        settled = _UNIT.findall(self.settled)
        pairs = zip(self._last[:-1], units[:-1], strict=False)
        agreed = [unit for unit, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        if agreed[: len(settled)] == settled:
            settled = agreed
        self._last = units
        self.settled = "".join(settled)
        self.tentative = "".join(units[_continuation(settled, units) :])


def _continuation(settled: list[str], units: list[str]) -> int:
    """Where `units` go on after `settled`, even if they begin otherwise: by what they share."""
    shared = SequenceMatcher(None, settled, units, autojunk=False).find_longest_match()
    return shared.b - shared.a + len(settled)


def rest(text: str, after: str) -> str:
    """What `text`, of longer speech, says behind the sentence that ends where `after` ends.

    Empty if none ends there. It need not say the same words before: what follows may put another
    light on them.
    """
    count, ends = len(sentence_ends(after)), sentence_ends(text)
    if not count or len(ends) < count:
        return ""
    before, now = split_sentences(after)[count - 1], split_sentences(text)[count - 1]
    alike = SequenceMatcher(None, before, now, autojunk=False).ratio() >= _ALIKE
    ended = alike and len(now) <= _LONGER * len(before) + _FEW
    return text[ends[count - 1] :].strip() if ended else ""
