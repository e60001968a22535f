"""Whether a recording sounds like the other direction than the one that was asked for.

Speech in the target language is transcribed instead of translated, and with confidence, so only the
model's own language tag shows the mistake. It is asked about one short stretch of speech.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence

import numpy as np

from speech_translation.engine import Engine, Request
from speech_translation.languages import SWITCH, Vote
from speech_translation.segments import cut
from speech_translation.types import SAMPLE_RATE, Direction, Segment, Span

_log = logging.getLogger(__name__)


def regions(segment: Segment) -> tuple[Span, ...]:
    """Where somebody speaks in a segment."""
    return tuple(Span(round(a * SAMPLE_RATE), round(b * SAMPLE_RATE)) for a, b in segment.speech)


def telling(samples: np.ndarray, found: Sequence[tuple[Span, ...]]) -> np.ndarray | None:
    """The shortest stretch of speech without a pause that lasts a second; None without speech.

    `samples` are float32 (n,) at 16 kHz, `found` their segments.
    """
    regions = [region for segment in found for region in segment]
    regions.sort(key=lambda region: region.end - region.start)
    lasting = [r for r in regions if r.end - r.start >= SAMPLE_RATE] or regions[-1:]
    return cut(samples, lasting[:1]) if lasting else None


def other_direction(engine: Engine, stretch: np.ndarray, asked: Direction) -> Direction | None:
    """The direction that the model itself surely names for `stretch` (n,), if it is not `asked`.

    None too where the model fails: the visitor has a result by now, which must not be lost for an
    offer.
    """
    seconds = len(stretch) / SAMPLE_RATE
    try:
        answer = engine.generate(Request([stretch], only_direction=True))
    except Exception as error:
        # Where and what, without the message: that may quote the visitor.
        place = "".join(traceback.format_tb(error.__traceback__))
        _log.warning("No other direction could be asked for.\n%s%s", place, type(error).__name__)
        return None
    for heard in answer:
        vote = Vote(heard.direction, heard.mean_logprob, seconds)
        if heard.direction is not asked and vote.evidence > SWITCH:
            return heard.direction
    return None
