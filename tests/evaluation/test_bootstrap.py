import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from evaluation.bootstrap import draws, in_brackets, interval, of_mean, p_value, sentences


def values(count: int, shift: float = 0.0) -> list[float]:
    return list(np.random.default_rng(0 if not shift else 1).normal(3 + shift, 1, count))


def test_of_a_mean_the_interval_is_that_of_the_textbook() -> None:
    sample = values(200)
    counts = draws(np.arange(200), 4000)
    half = t.ppf(0.975, 199) * np.std(sample, ddof=1) / np.sqrt(200)
    low, high = interval(of_mean(sample), counts) or (0.0, 0.0)
    assert np.mean(sample) - low == pytest.approx(half, rel=0.08)
    assert high - np.mean(sample) == pytest.approx(half, rel=0.08)


def test_an_interval_of_rare_faults_reaches_further_down_than_up_and_not_over_the_best() -> None:
    """98 right ones of 100: the mean less and more half of a width would end at 100.5."""
    sample = [100.0] * 98 + [0.0, 0.0]
    low, high = interval(of_mean(sample), draws(np.arange(100), 4000)) or (0.0, 0.0)
    assert (low, high) == (95.0, 100.0)
    assert in_brackets((low, high)) == " [95.0, 100.0]"
    assert in_brackets(None) == ""


@pytest.mark.parametrize("shift", [0.01, 0.12, 0.25])
def test_p_of_two_means_is_that_of_the_paired_t_test(shift: float) -> None:
    a, b = values(200), values(200, shift)
    counts = draws(np.arange(200), 4000)
    assert p_value(of_mean(a), of_mean(b), counts) == pytest.approx(
        ttest_rel(a, b).pvalue, abs=0.03
    )


def test_a_sentence_is_drawn_with_all_of_its_readings() -> None:
    groups = sentences(["a", "b", *"cdefghijklmnopqrstuvwxyz0123456789", "a", "b"])
    assert list(groups[-2:]) == [0, 1]
    counts = draws(groups)
    assert counts is not None
    assert (counts[:, 0] == counts[:, -2]).all()
    assert (counts[:, 1] == counts[:, -1]).all()
    assert set(counts[:, 2:-2].sum(axis=1) + counts[:, :2].sum(axis=1)) == {36}


def test_a_line_without_a_value_does_not_count() -> None:
    assert of_mean([4.0, None, 2.0]).whole == 3.0
