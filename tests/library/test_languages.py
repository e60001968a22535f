"""Which direction each piece of speech takes, by known answers."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_translation.languages import SWITCH, Vote, directions
from speech_translation.types import Direction

EN, JA, NONE = Direction.EN_JA, Direction.JA_EN, Direction.AUTO


def sure(*named: Direction) -> list[Vote]:
    return [Vote(direction, math.log(0.9999), 1.5) for direction in named]


def unsure(direction: Direction, probability: float = 0.9) -> Vote:
    return Vote(direction, math.log(probability), 1.5)


def test_each_sentence_keeps_its_language() -> None:
    talk = [EN, EN, JA, JA, EN, JA]
    assert directions(sure(*talk)) == talk
    assert directions(sure(*talk), before=JA) == talk


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("probability", [0.5, 0.9, 0.95])
def test_one_doubtful_name_flips_nothing(at: int, probability: float) -> None:
    votes = sure(EN, EN, EN, EN, EN)
    votes[at] = unsure(JA, probability)
    assert directions(votes, before=EN) == [EN] * 5


def test_the_ends_of_a_talk_need_as_much_as_its_middle() -> None:
    assert directions([*sure(EN), unsure(JA, 0.98)], before=EN) == [EN, EN]
    assert directions([unsure(JA, 0.98), *sure(EN, EN)]) == [EN, EN, EN]
    assert directions(sure(EN, JA), before=EN) == [EN, JA]
    assert directions(sure(JA, EN, EN)) == [JA, EN, EN]


def test_what_is_too_short_to_tell_flips_nothing() -> None:
    votes = [*sure(JA, JA), Vote(EN, math.log(0.9999), 0.2), *sure(JA)]
    assert directions(votes) == [JA] * 4


def test_several_doubtful_names_are_a_change() -> None:
    votes = [*sure(EN), unsure(JA), unsure(JA), unsure(JA), unsure(JA)]
    assert directions(votes) == [EN, JA, JA, JA, JA]


def test_what_names_no_language_goes_with_its_neighbours() -> None:
    assert directions([*sure(NONE), *sure(EN), *sure(NONE)]) == [EN] * 3
    assert directions(sure(NONE, NONE), before=JA) == [JA, JA]
    assert directions(sure(NONE, NONE)) == [NONE, NONE]
    assert directions([]) == []


@given(
    st.lists(
        st.builds(
            Vote,
            st.sampled_from([EN, JA, NONE]),
            st.floats(-8, -1e-9),
            st.floats(0.01, 30),
        )
    ),
    st.sampled_from([EN, JA, NONE]),
)
def test_the_directions_are_the_cheapest(votes: list[Vote], before: Direction) -> None:
    chosen = directions(votes, before)
    assert len(chosen) == len(votes)
    if NONE in chosen:
        assert set(chosen) == {NONE}
        return

    if before is NONE:
        before = max((EN, JA), key=lambda d: sum(v.evidence for v in votes if v.direction is d))

    def cost(path: list[Direction]) -> float:
        switches = sum(a is not b for a, b in pairwise([before, *path, before]))
        pairs = zip(votes, path, strict=True)
        return SWITCH * switches + sum(v.evidence for v, d in pairs if v.direction is not d)

    for other in ([EN] * len(votes), [JA] * len(votes), [v.direction for v in votes]):
        if NONE not in other:
            assert cost(chosen) <= cost(other) + 1e-6
