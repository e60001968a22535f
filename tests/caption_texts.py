"""Texts that captions have to take, for property tests."""

from hypothesis import settings
from hypothesis import strategies as st

unhurried = settings(deadline=None, database=None)  # a busy machine is no fault

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
