"""What can be said about a hypothesis from its text alone: its script, and whether it loops."""

from __future__ import annotations

import re

from speech_translation.types import Language

JAPANESE = (
    r"\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
)
"""Kana, kanji, iteration and long vowel marks, as the inside of a regular expression's class."""

_JAPANESE = re.compile(f"[{JAPANESE}]")

# A short unit must come back six times before it is a loop ("no, no, no" is speech), a long one
# three times. Both are found in "I think. I think. ...", which qwen-asr 0.0.6 lets pass: it looks
# for 20 repeats.
_LOOP = re.compile(r"(.{1,11}?)\1{5,}|(.{12,200}?)\2{2,}", re.DOTALL)
_LOOP_LENGTH = 18


def has_japanese(text: str) -> bool:
    """Whether any kana or kanji occurs."""
    return _JAPANESE.search(text) is not None


def wrong_script(text: str, target: Language) -> bool:
    """Whether `text` cannot be `target`: kana or kanji in English, words without any in Japanese.

    Digits and signs alone ("150", "3:30") belong to both languages.
    """
    if target is Language.ENGLISH:
        return has_japanese(text)
    return not has_japanese(text) and any(c.isalpha() for c in text)


def repeated(text: str) -> bool:
    """Whether a stretch of at least 18 characters is one unit over and over."""
    return any(len(match[0]) >= _LOOP_LENGTH for match in _LOOP.finditer(text))


def echoed(text: str, terms: str) -> bool:
    """Whether `text` says nothing but names and terms that the model was given."""
    words = re.findall(r"\w+", text.casefold())
    given = re.sub(r"\W+", "", terms.casefold())
    return bool(words) and all(word in given for word in words)
