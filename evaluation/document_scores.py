"""Scores of translated documents side by side, with intervals, by sacreBLEU.

Sentences of a talk resemble each other, so a bootstrap sample draws talks, and from each drawn talk
its sentences; all policies are scored on the same draws (paired).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.bootstrap import RESAMPLES, of_metric, percentiles
from evaluation.metrics import bleu_tokenizers, made
from speech_translation.types import Language

Documents = Sequence[Sequence[str]]
"""For each talk its sentences."""


def compare_documents(
    hypotheses: Mapping[str, Documents],
    references: Documents,
    target: Language,
    *,
    base: str,
    resamples: int = RESAMPLES,
) -> dict[str, dict[str, Any]]:
    """For each metric its signature, and for each name the score, and its share of that of `base`.

    Both with their 95 % intervals: `{"chrF2": {"signature": ..., "scores": {name: {"score": x,
    "interval": [a, b], "share": y, "share_interval": [a, b]}}}}`; `at_least` has, for each pair of
    names, the share of the draws in which the first one's score is that of the second or more.
    """
    draws = drawn([len(document) for document in references], resamples)
    flat_references = [sentence for document in references for sentence in document]
    results = {}
    for title, metric in _metrics(target).items():
        scores, samples = dict[str, float](), dict[str, np.ndarray]()
        for name, documents in hypotheses.items():
            texts = [sentence for document in documents for sentence in document]
            statistics = of_metric(metric, texts, flat_references)
            scores[name] = statistics.whole
            samples[name] = statistics.drawn(draws)
        whole = np.maximum(samples[base], 1e-9)
        results[title] = {
            "signature": str(metric.get_signature()),
            "scores": {
                name: {
                    "score": scores[name],
                    "interval": percentiles(samples[name]),
                    "share": scores[name] / max(scores[base], 1e-9),
                    "share_interval": percentiles(samples[name] / whole),
                }
                for name in hypotheses
            },
            "at_least": {
                f"{a} {b}": float((samples[a] >= samples[b]).mean())
                for a in hypotheses
                for b in hypotheses
                if a != b
            },
        }
    return results


def drawn(sizes: Sequence[int], resamples: int, seed: int = 1) -> np.ndarray:
    """How often each draw takes each sentence, of talks of these sizes: `(resamples, n)`."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    counts = np.zeros((resamples, starts[-1]), np.int64)
    for row in counts:
        for talk in rng.integers(len(sizes), size=len(sizes)):
            chosen = starts[talk] + rng.integers(sizes[talk], size=sizes[talk])
            np.add.at(row, chosen, 1)
    return counts


def _metrics(target: Language) -> dict[str, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    return {"chrF2": CHRF(), "BLEU": made(lambda: BLEU(tokenize=bleu_tokenizers(target)[0]))}
