"""Whether a recording sounds like the other direction than the one that was asked for.

Speech in the target language is transcribed instead of translated, and with confidence, so only the
model's own language tag shows the mistake. It is asked about a few short stretches of speech: of
one alone, a name or a number, it may be sure and wrong.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence

import numpy as np

from speech_translation.engine import Engine, Request
from speech_translation.engine.base import Cancelled
from speech_translation.languages import SWITCH, TOLD, Vote
from speech_translation.segments import cut
from speech_translation.types import SAMPLE_RATE, Direction, Segment, Span

_log = logging.getLogger(__name__)

_ASKED = 3
_LENGTHS = (TOLD, SAMPLE_RATE, 0)  # samples; the shorter ones count where there are too few


def regions(segment: Segment) -> tuple[Span, ...]:
    """Where somebody speaks in a segment."""
    return tuple(Span(round(a * SAMPLE_RATE), round(b * SAMPLE_RATE)) for a, b in segment.speech)


def telling(samples: np.ndarray, found: Sequence[tuple[Span, ...]]) -> list[np.ndarray]:
    """Up to three stretches of speech without a pause, from all over a recording; none without.

    `samples` are float32 (n,) at 16 kHz, `found` their segments. Long stretches tell more, of which
    the beginning suffices.
    """
    spoken = [region for segment in found for region in segment]
    for least in _LENGTHS:
        lasting = [region for region in spoken if region.end - region.start >= least]
        if len(lasting) >= _ASKED:
            break
    last = len(lasting) - 1
    chosen = sorted({number * last // (_ASKED - 1) for number in range(_ASKED)} if lasting else ())
    begun = [Span(a, min(b, a + TOLD)) for a, b in (lasting[number] for number in chosen)]
    return [cut(samples, [region]) for region in begun]


def other_direction(
    engine: Engine,
    stretches: Sequence[np.ndarray],
    asked: Direction,
    cancelled: Cancelled | None = None,
) -> Direction | None:
    """The direction that the model itself surely names for `stretches`, if it is not `asked`.

    They are judged together. None too where it was cancelled, and where the model fails: the
    visitor has a result by now, which must not be lost for an offer.
    """
    if asked is Direction.AUTO or not stretches:
        return None
    for_other = 0.0
    try:
        for first in range(0, len(stretches), engine.batch_size):
            some = list(stretches[first : first + engine.batch_size])
            heard = engine.generate(Request(some, only_direction=True, cancelled=cancelled))
            if cancelled is not None and cancelled():
                return None
            for stretch, named in zip(some, heard, strict=True):
                vote = Vote(named.direction, named.mean_logprob, len(stretch) / SAMPLE_RATE)
                for_other += -vote.evidence if named.direction is asked else vote.evidence
    except Exception as error:
        # Where and what, without the message: that may quote the visitor.
        place = "".join(traceback.format_tb(error.__traceback__))
        _log.warning("No other direction could be asked for.\n%s%s", place, type(error).__name__)
        return None
    return asked.spoken if for_other > SWITCH else None
