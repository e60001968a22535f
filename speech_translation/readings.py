"""How Japanese text is read: kana for its kanji, and Latin letters for all of it.

The readings are SudachiPy's, an optional package. They are those of words, which context may
change: 4時 is read よじ, and 時 alone じ. Numbers keep their digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from speech_translation.errors import SpeechTranslationError
from speech_translation.text import has_japanese

INSTALL = "pip install sudachipy==0.7.0 sudachidict-core==20261015"

_KANJI = re.compile(r"[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_PUNCTUATION = str.maketrans("。、？！「」『』（）・：；　", '.,?!""""() :; ')
_OPENING = "(「『（"
_SIGNS = ("補助記号", "記号", "空白")
_VOWELS = "aiueo"

# Hepburn's letters; rows of vowels a i u e o.
_ROWS = {
    "あいうえお": ("a", "i", "u", "e", "o"),
    "かきくけこ": ("ka", "ki", "ku", "ke", "ko"),
    "がぎぐげご": ("ga", "gi", "gu", "ge", "go"),
    "さしすせそ": ("sa", "shi", "su", "se", "so"),
    "ざじずぜぞ": ("za", "ji", "zu", "ze", "zo"),
    "たちつてと": ("ta", "chi", "tsu", "te", "to"),
    "だぢづでど": ("da", "ji", "zu", "de", "do"),
    "なにぬねの": ("na", "ni", "nu", "ne", "no"),
    "はひふへほ": ("ha", "hi", "fu", "he", "ho"),
    "ばびぶべぼ": ("ba", "bi", "bu", "be", "bo"),
    "ぱぴぷぺぽ": ("pa", "pi", "pu", "pe", "po"),
    "まみむめも": ("ma", "mi", "mu", "me", "mo"),
    "らりるれろ": ("ra", "ri", "ru", "re", "ro"),
    "ぁぃぅぇぉ": ("a", "i", "u", "e", "o"),
    "やゆよわを": ("ya", "yu", "yo", "wa", "o"),
    "ゃゅょゔん": ("ya", "yu", "yo", "vu", "n"),
    "ゐゑゎゕゖ": ("i", "e", "wa", "ka", "ke"),
}
_LETTERS = {
    kana: word for row, words in _ROWS.items() for kana, word in zip(row, words, strict=True)
}
_PARTICLES = {"は": "わ", "へ": "え", "を": "お"}


class Reading(NamedTuple):
    """A piece of a text, and how it is read in hiragana; empty for what is read as it stands."""

    text: str
    kana: str


class _Word(NamedTuple):
    surface: str
    kana: str
    kind: str
    """Its part of speech."""
    finer: str


def require_readings() -> None:
    """Raise SpeechTranslationError, with what to install, where there is no SudachiPy."""
    _tokenizer()


def readings(text: str) -> list[Reading]:
    """`text` in pieces, of which those in kanji have their reading: 働 はたら, きます.

    Put together the pieces are `text`. Raises SpeechTranslationError without SudachiPy.
    """
    result = list[Reading]()
    for word in _words(text):
        for piece in _furigana(word):
            if not piece.kana and result and not result[-1].kana:
                piece = Reading(result.pop().text + piece.text, "")
            result.append(piece)
    return result


def romaji(text: str) -> str:
    """`text` in Latin letters after Hepburn, with spaces between words.

    Long vowels are spelled as in kana: toukyou, koohii. Raises SpeechTranslationError without
    SudachiPy.
    """
    result = ""
    for kana, attached in _joined(_words(text)):
        letters = _romanised(kana)
        result += ("" if attached or not result else " ") + letters
    return " ".join(result.split())


@cache
def _tokenizer() -> Any:
    try:
        from sudachipy import Dictionary, SplitMode

        return Dictionary().tokenizer(SplitMode.C)
    except (ImportError, AttributeError, RuntimeError) as error:  # or too old, or no dictionary
        raise SpeechTranslationError(
            f"Readings need SudachiPy and its dictionary: run {INSTALL}"
        ) from error


def _words(text: str) -> Iterator[_Word]:
    for morpheme in _tokenizer().tokenize(text):
        kind, finer = morpheme.part_of_speech()[:2]
        yield _Word(morpheme.surface(), _hiragana(morpheme.reading_form()), kind, finer)


def _hiragana(text: str) -> str:
    return "".join(chr(ord(c) - 0x60) if "ァ" <= c <= "ヶ" else c for c in text)


def _furigana(word: _Word) -> list[Reading]:
    """A word, with its reading above its kanji only: the kana at its ends read themselves."""
    text, kana = word.surface, word.kana
    if not _KANJI.search(text) or not kana or _KANJI.search(kana):
        return [Reading(text, "")]
    begin = 0
    while begin < min(len(text), len(kana)) and _hiragana(text[begin]) == kana[begin]:
        begin += 1
    end = 0
    while end < min(len(text), len(kana)) - begin and _hiragana(text[-1 - end]) == kana[-1 - end]:
        end += 1
    last = len(text) - end
    pieces = [
        Reading(text[:begin], ""),
        Reading(text[begin:last], kana[begin : len(kana) - end]),
        Reading(text[last:], ""),
    ]
    return [piece for piece in pieces if piece.text]


def _joined(words: Iterator[_Word]) -> Iterator[tuple[str, bool]]:
    """What is written as one word, in kana, and whether it follows without a space.

    Endings belong to their verbs: 行っ and た are itta.
    """
    held, before = "", ""
    glued = held_glued = False
    for word in words:
        sign = word.kind in _SIGNS
        if not sign and _belongs(word, before):
            held += _spoken(word)
        else:
            if held:
                yield held, held_glued
            held, held_glued = "", glued and (word.surface.isascii() or before in _OPENING)
            glued = False
            if not sign:
                held = _spoken(word)
        if sign and not word.surface.isspace():
            opening = word.surface in _OPENING
            yield word.surface.translate(_PUNCTUATION), held_glued or not opening
            glued = opening or word.surface.isascii()
        before = word.surface if sign else word.kind
    if held:
        yield held, held_glued


def _belongs(word: _Word, before: str) -> bool:
    """Whether a word is part of the one before, whose part of speech is given."""
    if word.kind in ("助動詞", "接尾辞") or word.finer == "接続助詞":
        stems = ("動詞", "形容詞", "助動詞", "接頭辞")
        return before in stems or (word.kind == "接尾辞" and before in ("名詞", "代名詞"))
    return before == "接頭辞"


def _spoken(word: _Word) -> str:
    if word.kind == "助詞":
        return _PARTICLES.get(word.surface, word.kana)
    return word.kana if has_japanese(word.surface) else word.surface


def _romanised(kana: str) -> str:
    result, before, doubled = "", "", False
    for char in _hiragana(kana):
        letters = _LETTERS.get(char, char)
        if char == "っ":
            doubled = True
            continue
        if char == "ー":
            letters = result[-1:] if result[-1:] in _VOWELS else ""
        elif char in "ゃゅょ" and result.endswith("i"):
            result = result[:-1]
            letters = letters[1:] if result.endswith(("sh", "ch", "j")) else letters
        elif char in "ぁぃぅぇぉ" and result and result[-1] in _VOWELS:
            result = result[:-1]
            letters = letters if before not in "うゔ" or result.endswith("v") else "w" + letters
        elif before == "ん" and letters[0] in _VOWELS + "y":
            letters = "'" + letters
        if doubled:
            result += "t" if letters.startswith("ch") else letters[:1]
            doubled = False
        result += letters
        before = char
    return result
