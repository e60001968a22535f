"""What can be said about a hypothesis from its text: its script, its length, whether it loops."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from speech_translation.types import Flag, Flags, Language, Seconds

JAPANESE = (
    r"\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
)
"""Kana, kanji, iteration and long vowel marks, as the inside of a regular expression's class."""

_JAPANESE = re.compile(f"[{JAPANESE}]")
_KANA = re.compile(r"[\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fd-\u30ff\uff66-\uff9f]")
_KANJI = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_ABBREVIATION = re.compile(r"[A-ZＡ-Ｚ\d\W]{1,12}")
_NAME = re.compile(r"(?<![a-zA-Z])[A-Z][a-zA-Z]*")
# Words of nearly every Chinese sentence, which Japanese has in few compounds.
_CHINESE_WORD = re.compile(
    r"(?<![自無彼没忘])我(?![慢流田欲執])|[你您她們嗎這很]|(?<![国社])是(?![非正認])"
)
_MARK = re.compile(r"[、。，．,.！？!?；：]")

_CLOSING = r"""["'”’)\]」』）】]"""
# What is quoted does not end the sentence that quotes it: 「行け。」と彼は言った。
_QUOTES = "と(?!ころ|ても|にかく|りあえず|もかく)|って|など|なんて|、"
_SENTENCE_END = re.compile(
    r"(?<!\.)(?<!\b[A-Z])(?<!\b(?:Mr|Ms|Dr|St))(?<!\bMrs)(?<!\bProf)"
    rf"[.!?]+(?<!\.\.){_CLOSING}*(?=\s+[^\sa-z]|\s*$|[{JAPANESE}])"
    rf"|[。．！？]++(?:{_CLOSING}++(?!{_QUOTES})|(?!{_CLOSING}))"
)

_SHORT, _LONGEST_TITLE = 12, 24
"""Letters that a Japanese text may have without any kana: as a sentence, and as a title."""

_JAPANESE_SHARE = 0.3

# A short unit must come back six times before it is a loop ("no, no, no" is speech), a long one
# three times. Both are found in "I think. I think. ...", which qwen-asr 0.0.6 lets pass: it looks
# for 20 repeats.
_LOOP = re.compile(r"(.{1,11}?)\1{5,}|(.{12,200}?)\2{2,}", re.DOTALL)
_LOOP_LENGTH = 18


def has_japanese(text: str) -> bool:
    """Whether any kana or kanji occurs."""
    return _JAPANESE.search(text) is not None


def sentence_ends(text: str) -> list[int]:
    """Where the sentences of `text` end: behind the full stop, and the quotes it closes.

    Three points end none, nor does a full stop that belongs to a title, an initial or a number, or
    that a small letter follows.
    """
    return [match.end() for match in _SENTENCE_END.finditer(text)]


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, and what follows the last end, without the spaces between them."""
    edges = [0, *sentence_ends(text), len(text)]
    return [part for first, last in pairwise(edges) if (part := text[first:last].strip())]


def wrong_script(text: str, target: Language) -> bool:
    """Whether `text` cannot be `target`.

    English has no kana and no kanji. Japanese has some: words without any are of another language,
    but for an abbreviation. So are most letters of a text that has few of them, and so is Chinese,
    which is the likeliest mistake of a model that learned it first. Digits and signs alone ("150",
    "3:30") belong to both languages.
    """
    if target is Language.ENGLISH:
        return has_japanese(text)
    japanese = len(_JAPANESE.findall(text))
    letters = sum(c.isalpha() for c in text)
    if not japanese:
        return letters > 0 and _ABBREVIATION.fullmatch(text) is None
    return _chinese(text) or (letters > _SHORT and _mostly_other(text, japanese, letters))


def _chinese(text: str) -> bool:
    """Whether `text` is Chinese: by its simplified forms or, without any kana, its words or length.

    A Japanese title may be long without kana; a sentence of clauses may not.
    """
    kanji = _KANJI.findall(text)
    if not _KANA.search(text):
        clauses = _MARK.search(text.rstrip("。．！？!?. "))
        if len(kanji) > (_SHORT if clauses else _LONGEST_TITLE) or _CHINESE_WORD.search(text):
            return True
    return any(not _in_japanese_standard(c) for c in kanji)


def _in_japanese_standard(kanji: str) -> bool:
    """Whether JIS X 0213 or Microsoft's extension of JIS X 0208 has a character.

    They have what Japanese text and names are written with, and no form that only simplified
    Chinese has, unless it is also a kanji of its own.
    """
    for codec in ("shift_jis_2004", "cp932"):
        try:
            kanji.encode(codec)
        except UnicodeEncodeError:
            continue
        return True
    return False


def _mostly_other(text: str, japanese: int, letters: int) -> bool:
    """Whether less than 30 % of the letters are Japanese; names and abbreviations do not count."""
    named = sum(map(len, _NAME.findall(text)))
    return japanese < _JAPANESE_SHARE * (letters - named)


class _Rate(NamedTuple):
    """Letters of text in a second of speech, and how many letters a digit stands for."""

    least: float
    most: float
    digit: int


# The usual rate is 6.0 (Japanese) and 12.3 (English). Speech carries as much in a second whatever
# its language (39 bits, Coupé et al. 2019, doi 10.1126/sciadv.aaw2594), so a translation has the
# usual rate of its own language. Right text of a few sentences has 0.7 to 1.6 times that rate; the
# limits are half of it and a little more than twice. docs/usage.md says what they catch. The
# English names of the digits have four letters on average.
_RATES = {Language.JAPANESE: _Rate(3.0, 13.0, 2), Language.ENGLISH: _Rate(6.0, 26.0, 4)}

# A drawn-out word may last two seconds; a word is said in one second that the detector half hears.
_DRAWN_OUT: Seconds = 2.0
_UNHEARD: Seconds = 1.0


def length_flags(text: str, target: Language, speech: Seconds) -> Flags:
    """TOO_SHORT or TOO_LONG for a text that its speech can hardly be.

    `speech` is for how long somebody speaks: the regions of a segment without the pauses between
    them. An empty text has no length to judge.
    """
    rate = _RATES[target]
    letters = sum(rate.digit if c.isdigit() else c.isalpha() for c in text)
    if text and letters < rate.least * (speech - _DRAWN_OUT):
        return Flags({Flag.TOO_SHORT})
    if letters > rate.most * (speech + _UNHEARD):
        return Flags({Flag.TOO_LONG})
    return Flags()


def repeated(text: str) -> bool:
    """Whether a stretch of at least 18 characters is one unit over and over."""
    return any(len(match[0]) >= _LOOP_LENGTH for match in _LOOP.finditer(text))


def echoed(text: str, terms: str) -> bool:
    """Whether `text` says nothing but names and terms that the model was given."""
    words = re.findall(r"\w+", text.casefold())
    given = re.sub(r"\W+", "", terms.casefold())
    return bool(words) and all(word in given for word in words)
