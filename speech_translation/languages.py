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

from speech_translation.types import SAMPLE_RATE, Direction, Seconds

SWITCH = 3.0
"""Nats. A piece of its own needs twice that against its neighbours: a probability of 0.998."""

TOLD = 3 * SAMPLE_RATE
"""Samples at the beginning of a region from which the model tells its language; more would only
cost."""

_SUREST = 10.0  # nats; a model can be surer than it has reason to be
_WHOLE: Seconds = 1.5  # what is shorter says less about its language: "um", "no"
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


def directions(votes: Sequence[Vote], before: Direction = Direction.AUTO) -> list[Direction]:
    """The direction of each piece; `before` is that of the piece before the first, if known.

    The talk is taken to go on behind the last piece as it was before the first, or as most of it
    is: so at its ends, too, a change needs twice `SWITCH`. AUTO for all where nothing was named and
    nothing is known.
    """
    if before is Direction.AUTO:
        if all(vote.evidence == 0 for vote in votes):
            return [Direction.AUTO] * len(votes)
        before = max(_BOTH, key=lambda d: sum(v.evidence for v in votes if v.direction is d))
    around = {direction: 0.0 if direction is before else SWITCH for direction in _BOTH}
    costs = around
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
    path = [min(_BOTH, key=lambda d: costs[d] + around[d])]
    for step in reversed(came_from[1:]):
        path.append(step[path[-1]])
    return path[::-1] if votes else []
