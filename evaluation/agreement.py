"""How far judges agree, beyond chance, and how a judge's scores follow those of people."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import MEASURED

Ratings = Mapping[Hashable, Mapping[str, float]]
"""For each thing that was rated the score of each rater; a rater may be missing."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """Of a judge with people, over `n` hypotheses: Kendall's tau-b, which WMT ranks metrics by.

    Pearson's r beside it. Both None where there are fewer than MEASURED or no differences.
    """

    n: int
    kendall: float | None
    pearson: float | None


def krippendorff(ratings: Ratings) -> float | None:
    """Krippendorff's alpha for ordinal scores: 1 perfect, 0 chance, below 0 systematic discord.

    None where nothing was rated twice or all scores are the same. After Krippendorff, "Computing
    Krippendorff's alpha-reliability" (2011).
    """
    units = [list(scores.values()) for scores in ratings.values() if len(scores) > 1]
    values = sorted({value for unit in units for value in unit})
    if len(values) < 2:
        return None
    index = {value: i for i, value in enumerate(values)}
    coincidences = np.zeros((len(values), len(values)))
    for unit in units:
        counts = np.bincount([index[value] for value in unit], minlength=len(values))
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = coincidences.sum(axis=1)
    behind = np.cumsum(totals) - totals / 2  # the middle rank of each value
    distance = (behind[:, None] - behind[None, :]) ** 2
    observed = (coincidences * distance).sum()
    expected = (np.outer(totals, totals) * distance).sum() / (totals.sum() - 1)
    return float(1 - observed / expected)


def by_rater(scores: Iterable[tuple[Hashable, str, float]]) -> Ratings:
    """Ratings from rated thing, rater and score; the mean where a rater scored a thing again."""
    gathered: dict[Hashable, dict[str, list[float]]] = {}
    for thing, rater, score in scores:
        gathered.setdefault(thing, {}).setdefault(rater, []).append(score)
    return {
        thing: {rater: sum(values) / len(values) for rater, values in raters.items()}
        for thing, raters in gathered.items()
    }


def correlation(pairs: Sequence[tuple[float, float]]) -> Correlation:
    """Of a judge's score and people's mean for the same hypotheses."""
    from scipy.stats import kendalltau

    ours, theirs = (np.array([pair[i] for pair in pairs]) for i in (0, 1))
    if len(pairs) < MEASURED or not (np.ptp(ours) and np.ptp(theirs)):
        return Correlation(len(pairs), None, None)
    tau = float(kendalltau(ours, theirs).statistic)
    return Correlation(len(pairs), tau, float(np.corrcoef(ours, theirs)[0, 1]))
