"""Clean texts to learn: one form for every mark, and numbers that keep their meaning."""

from __future__ import annotations

import re
import unicodedata

from speech_translation.text import JAPANESE
from speech_translation.types import Language

# Characters that stand for a number by their place or shape: NFKC would turn 10⁶ into 106, 1½ into
# 11⁄2, and ①② into 12. All of Unicode's category No are among them (U+3007 and the like are not).
_NUMBERS = (
    "".join(c for c in map(chr, range(0x80, 0x3400)) if unicodedata.category(c) == "No")
    + "⁺⁻⁼⁽⁾ⁿⁱ₊₋₌₍₎"
)
_EXCEPT_NUMBERS = re.compile(f"[^{re.escape(_NUMBERS)}]+")
# ㎡ and the like, whose NFKC is "m2".
_SQUARES = str.maketrans(
    {
        c: unicodedata.normalize("NFKC", c)[:-1] + "²³"[unicodedata.normalize("NFKC", c)[-1] == "3"]
        for c in "㎟㎠㎡㎢㎣㎤㎥㎦㎨㎯"
    }
)
# Full-width marks are what Japanese is written with, yet NFKC would turn them into ASCII.
_OUTSIDE_MARKS = re.compile(f"[^？！，．：；（）［］｛｝～…‥{re.escape(_NUMBERS)}]+")
_AFTER = rf"(?<=[{JAPANESE}」』）〉》】])"  # only behind Japanese: "3.5", "10:30" and "Dr." stay
_BEFORE = r"(?![0-9A-Za-z])"
_JAPANESE_RULES = [
    (re.compile(pattern), mark)
    for pattern, mark in (
        (r"(?<=[0-9])[．](?=[0-9])", "."),
        (r"(?<=[0-9])[，](?=[0-9])", ","),
        (r"(?<=[0-9])[：](?=[0-9])", ":"),
        ("，", "、"),
        ("．", "。"),
        ("～", "〜"),
        (rf"{_AFTER} ?\?", "？"),
        (rf"{_AFTER} ?!", "！"),
        (rf"{_AFTER} ?,{_BEFORE}", "、"),
        (rf"{_AFTER} ?(?<!\.)\.{_BEFORE}(?!\.)", "。"),
        (rf'["“]([^"“”]*[{JAPANESE}][^"“”]*)["”]', r"「\1」"),
        # Japanese is written without spaces; beside Latin letters they are a matter of style.
        (
            rf"(?<=[{JAPANESE}、。？！「」『』（）]) (?=[{JAPANESE}、。？！「」『』（）])"
            r"|(?<=[、。？！「『（]) | (?=[、。？！」』）])",
            "",
        ),
    )
]
_ENGLISH_MARKS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("“”„‟″「」『』«»", '"'),
        **dict.fromkeys("‐‑‒–−", "-"),
        **dict.fromkeys("—―", " - "),
        "、": ", ",
        "。": ". ",
        "〜": "~",
    }
)


def clean_text(text: str, language: Language) -> str:
    """NFKC with the punctuation of `language`, single spaces, no invisible characters.

    Japanese keeps or gets 、。？！「」 in full width, digits and Latin letters in half width.
    English gets ASCII quotes and dashes. Powers, indices, fractions and circled numbers stay as
    they are written.
    """
    text = text.translate(_SQUARES)
    text = "".join(
        " " if unicodedata.category(c) == "Cc" else c
        for c in text
        if unicodedata.category(c) != "Cf"  # zero-width spaces, marks of direction, soft hyphens
    )
    if language is Language.JAPANESE:
        text = _OUTSIDE_MARKS.sub(_nfkc, text)
        text = " ".join(text.split())
        for pattern, mark in _JAPANESE_RULES:
            text = pattern.sub(mark, text)
    else:
        # The marks first: NFKC breaks "´" into a space and an accent.
        text = _EXCEPT_NUMBERS.sub(_nfkc, text.translate(_ENGLISH_MARKS))
    return " ".join(text.split())


def _nfkc(part: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", part[0])
