import numpy as np
import pytest

from evaluation.agreement import by_rater, correlation, krippendorff

# Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), section C: four observers,
# twelve units, missing values; its ordinal alpha is 0.815.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def test_alpha_is_that_of_the_paper() -> None:
    ratings = {
        unit: {str(i): row[unit] for i, row in enumerate(OBSERVERS) if row[unit] is not None}
        for unit in range(12)
    }
    assert krippendorff(ratings) == pytest.approx(0.815, abs=5e-4)


def test_dice_do_not_agree() -> None:
    """Of the share of scores within 1 of each other, two such judges reach 0.77."""
    dice = np.random.default_rng(0).choice(
        [1, 2, 3, 4, 5], (2, 4000), p=[0.05, 0.05, 0.1, 0.4, 0.4]
    )
    ratings = {i: {"a": float(a), "b": float(b)} for i, (a, b) in enumerate(dice.T)}
    assert (abs(dice[0] - dice[1]) <= 1).mean() > 0.7
    assert krippendorff(ratings) == pytest.approx(0, abs=0.05)


def test_nothing_can_be_said_of_scores_that_are_all_the_same_or_single() -> None:
    assert krippendorff({1: {"a": 4, "b": 4}, 2: {"a": 4, "b": 4}}) is None
    assert krippendorff({1: {"a": 4}, 2: {"b": 1}}) is None


def test_a_judge_who_scores_again_counts_with_the_mean() -> None:
    assert by_rater([(1, "a", 4), (1, "a", 5), (1, "b", 2)]) == {1: {"a": 4.5, "b": 2}}


def test_a_correlation_of_few_is_not_said() -> None:
    pairs = [(i % 5, i % 5) for i in range(40)]
    assert correlation(pairs).kendall == pytest.approx(1)
    assert correlation(pairs[:29]).kendall is None
    assert correlation([(4, i % 5) for i in range(40)]).pearson is None
