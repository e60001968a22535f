"""Which direction each piece of a recording takes, by what the model names for it.

One doubtful answer must not turn a talk around, and one sentence in the other language must not be
lost. So the pieces are judged together: the sequence of directions with the lowest sum of costs
wins (Viterbi 1967), where to disagree with the model costs as much as the model is sure, and each
change of direction costs `SWITCH`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from speech_translation.types import Direction, Seconds

SWITCH = 3.0
"""Nats. A piece between two of the other language needs twice that: a probability of 0.998."""

_SUREST = 10.0  # nats; a model can be surer than it has reason to be
_WHOLE: Seconds = 1.0  # what is shorter says less about its language: "um", "no"
_BOTH = (Direction.EN_JA, Direction.JA_EN)


class Vote(NamedTuple):
    """What the model named for one piece of speech; AUTO for neither language."""

    direction: Direction
    logprob: float
    """Natural logarithm of the probability."""

    seconds: Seconds

    @property
    def evidence(self) -> float:
        """Nats by which the model prefers what it named."""
        if self.direction is Direction.AUTO:
            return 0.0
        logprob = min(self.logprob, -math.exp(-_SUREST))
        odds = logprob - math.log(-math.expm1(logprob))
        return max(0.0, min(odds, _SUREST)) * min(1.0, self.seconds / _WHOLE)


def directions(
    votes: Sequence[Vote],
    before: Direction = Direction.AUTO,
    after: Direction = Direction.AUTO,
) -> list[Direction]:
    """The direction of each piece; `before` and `after` are those of its neighbours, if known.

    AUTO for all where nothing was named and nothing is known.
    """
    if before is Direction.AUTO and all(vote.evidence == 0 for vote in votes):
        return [Direction.AUTO] * len(votes)
    costs = {d: SWITCH if before not in (Direction.AUTO, d) else 0.0 for d in _BOTH}
    came_from: list[dict[Direction, Direction]] = []
    for vote in votes:
        step: dict[Direction, Direction] = {}
        reached: dict[Direction, float] = {}
        for direction, other in (_BOTH, _BOTH[::-1]):
            stays = costs[direction] <= costs[other] + SWITCH
            step[direction] = direction if stays else other
            cost = min(costs[direction], costs[other] + SWITCH)
            reached[direction] = cost + (vote.evidence if vote.direction is other else 0.0)
        came_from.append(step)
        costs = reached
    path = [
        min(_BOTH, key=lambda d: costs[d] + (SWITCH if after not in (Direction.AUTO, d) else 0))
    ]
    for step in reversed(came_from[1:]):
        path.append(step[path[-1]])
    return path[::-1] if votes else []
