"""Texts that captions have to take, how wide their lines are, and cues made of them."""

import unicodedata

from hypothesis import strategies as st

from speech_translation.cues import Cue, cues
from speech_translation.types import Direction, Segment, Translation

EN, JA, AUTO = Direction.JA_EN, Direction.EN_JA, Direction.AUTO

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


def translation(*segments: tuple[float, float, str], direction: Direction = EN) -> Translation:
    """Segments by their seconds and text, of a minute."""
    return Translation(
        [Segment(start, end, text, direction) for start, end, text in segments], direction, 60.0
    )


def one(text: str, seconds: float, direction: Direction = EN) -> list[Cue]:
    """The cues of a segment that takes `seconds`."""
    return cues(translation((0.0, seconds, text), direction=direction))


def said(text: str, *regions: tuple[float, float], direction: Direction = EN) -> list[Cue]:
    """The cues of a segment that is spoken in `regions`."""
    segment = Segment(regions[0][0], regions[-1][1], text, direction, regions=regions)
    return cues(Translation([segment], direction, 60.0))
