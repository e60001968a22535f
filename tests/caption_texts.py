"""Texts that captions have to take, for property tests, and how wide their lines are."""

import unicodedata

from hypothesis import strategies as st

words = st.sampled_from(
    [
        *("the", "a", "library", "tomorrow,", "Really?", "Yes.", "Mr.", "2024", "(", ")"),
        *(
            "図書館",
            "は、",
            "です。",
            "「本」",
            "を、",
            "ー",
            "っ",
            "？！",
            "カタカナ" * 6,
            "\u3000",
        ),
        *("🙂", "e\u0301a", "<b>", "{\\i1}", "&amp;", "-->", "\\N", "\u200d", "\u0301"),
    ]
)
texts = st.one_of(
    st.lists(words, max_size=60).map(" ".join),
    st.lists(words, max_size=60).map("".join),
    st.text(max_size=200),
)


def width(line: str) -> int:
    """In columns: a full-width character takes two, a combining one none."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(char) in ("W", "F")
        else 1
        for char in line
    )
