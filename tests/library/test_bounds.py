"""Numbers of a command line: what is refused, and in which words."""

import argparse
import math
from collections.abc import Callable

import pytest

from speech_translation.bounds import bounded


@pytest.mark.parametrize(
    ("read", "text", "wrong"),
    [
        (bounded(int, 1), "0", "'0' is not at least 1"),
        (bounded(int, 1), "-" + 400 * "9", f"'-{400 * '9'}' is not at least 1"),  # no float
        (bounded(int, 1), "1.5", "'1.5' is not a whole number"),
        (bounded(float), "loud", "'loud' is not a number"),
        (bounded(float), "nan", "'nan' is not a number"),
        (bounded(float), "inf", "'inf' is not finite"),
        (bounded(float, 0, 0.9), "0.95", "'0.95' is not between 0 and 0.9"),
        (bounded(float, above=0), "0", "'0' is not above 0"),
        (bounded(float, above=0, endless=True), "nan", "'nan' is not above 0"),
        (bounded(float, above=0, named=" (or PORT)"), "", "'' is not a number (or PORT)"),
    ],
)
def test_a_number_that_cannot_be_is_refused(
    read: Callable[[str], float], text: str, wrong: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        read(text)
    assert str(refused.value) == wrong


def test_bounds_themselves_are_taken_and_what_is_endless_if_it_may_be() -> None:
    assert (bounded(int, 1)("1"), bounded(float, 0, 0.9)("0.9")) == (1, 0.9)
    assert bounded(float, above=0, endless=True)("inf") == math.inf
    assert bounded(int, 1)(400 * "9") == 10**400 - 1
