"""Intervals and p by bootstrap over sentences, for every score that the benchmark has.

A sentence is drawn with all of its readings. FLEURS has 350 sentences and twice as many recordings
of them: readings of one sentence, which share a reference, are no new information, and drawn one by
one they would make intervals too small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
FLOOR = 1 / (RESAMPLES + 1)
"""The smallest p that so many draws can find: none of them was as far off."""

SEED = 1
MEASURED = 30
"""Fewer sentences are an example: they have neither interval nor p."""


Interval = tuple[float, float]
"""The 2.5th and the 97.5th percentile of a score's draws: it need not lie in their middle."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a corpus's score is computed from: a row for each line, `(n, k)`, and of their sum."""

    rows: np.ndarray
    score: Callable[[np.ndarray], float]

    @property
    def whole(self) -> float:
        """The score of all lines."""
        return self.score(self.rows.sum(axis=0))

    def drawn(self, counts: np.ndarray) -> np.ndarray:
        """The score of each draw: `counts`, `(draws, n)`, says how often each line is in it."""
        return np.array([self.score(row) for row in counts @ self.rows])


def of_metric(metric: Any, texts: Sequence[str], references: Sequence[str]) -> Statistics:
    """Of a metric of sacreBLEU, which sums statistics of its lines."""
    rows = np.array(metric._extract_corpus_statistics(list(texts), [list(references)]))
    return Statistics(rows, lambda row: float(metric._compute_score_from_stats(list(row)).score))


def of_mean(values: Sequence[float | None]) -> Statistics:
    """Of a mean over lines; None is a line without a value, which does not count."""
    rows = np.array([(0.0, 0.0) if value is None else (value, 1.0) for value in values])
    return Statistics(rows, lambda row: float(row[0] / row[1]) if row[1] else float("nan"))


def sentences(references: Sequence[str]) -> np.ndarray:
    """The number of each line's sentence, `(n,)`: lines of one sentence share its reference."""
    numbers = dict[str, int]()
    return np.array([numbers.setdefault(text, len(numbers)) for text in references])


def draws(groups: np.ndarray, resamples: int = RESAMPLES) -> np.ndarray | None:
    """How often each draw takes each line, `(resamples, n)`, of lines in `groups` `(n,)`.

    None where there are fewer than MEASURED groups.
    """
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < MEASURED:
        return None
    rng = np.random.default_rng(SEED)
    taken = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return taken[:, groups]


def interval(statistics: Statistics, counts: np.ndarray | None) -> Interval | None:
    """The 95 % interval of a score; None for an example."""
    return None if counts is None else percentiles(statistics.drawn(counts))


def percentiles(drawn: np.ndarray) -> Interval:
    """The 95 % interval of what was drawn; a draw without a value does not count."""
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def in_brackets(interval: Sequence[float] | None, digits: int = 1) -> str:
    """An interval as it stands behind its score, with a space before it; "" for none."""
    return "" if interval is None else " [{:.{n}f}, {:.{n}f}]".format(*interval, n=digits)


def p_value(a: Statistics, b: Statistics, counts: np.ndarray | None) -> float | None:
    """p of the difference between two systems on the same lines; None for an example.

    By paired bootstrap, two-sided: the share of draws whose difference is as far from the mean of
    all draws as the difference found is from 0. sacreBLEU's is about half of it, since it looks at
    one side.
    """
    if counts is None:
        return None
    found = abs(a.whole - b.whole)
    differences = a.drawn(counts) - b.drawn(counts)
    shifted = np.abs(differences - differences.mean())
    return float((shifted >= found).sum() + 1) / (len(counts) + 1)
