"""Divide a recording into segments for the model: sentences or a few of them, not breaths.

People pause inside of sentences, and a piece of a sentence cannot be translated: over-segmentation
is what hurts (Fukuda et al. 2022, arXiv 2203.15479). So regions of speech are joined over pauses,
and cut only where the segment would become too long or the pause is too long to lie in a sentence.
Of all the ways to cut, the one with the lowest sum of costs is taken (`divide`). That is the aim of
SHAS's probabilistic divide and conquer (Tsiamas et al. 2022, arXiv 2202.04774), which cuts what is
too long at the least speech-like frame, again and again: but it takes each cut alone, so that a
good first cut may leave bad ones, and it knows of no length that is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from speech_translation.detector import LEAVE, regions_of, speech_probabilities
from speech_translation.levels import WINDOW, Samples, at_working_level
from speech_translation.types import SAMPLE_RATE, Seconds, Span

MODEL_SECONDS: Seconds = 30.0
"""The longest segment: what the model was trained on, and where the published Space cuts."""

_MIN_INPUT = SAMPLE_RATE // 2  # the model's shortest input
_HOP = SAMPLE_RATE // 100  # step in which the quietest point is looked for


@dataclass(frozen=True, slots=True)
class Policy:
    """How speech is divided. Times are seconds, costs are relative to each other."""

    longest: Seconds = MODEL_SECONDS
    """No segment is longer."""

    wanted: tuple[Seconds, Seconds] = (8.0, 20.0)
    """Shorter ones lack context, longer ones are harder. A sentence of FLEURS, on which the model
    is measured, has 10 s; SHAS is best with at most 18 s."""

    ends: Seconds = 3.0
    """A pause that always cuts. A speaker who looks for a word pauses for up to 2 s."""

    short_cost: float = 1.0
    """Of a segment without any length; it falls with the square of what is missing."""

    long_cost: float = 1.0
    """Of a segment of `longest`; it grows with the square of what is too much."""

    half: Seconds = 0.5
    """A cut without a pause costs 1; at a pause of so long half of it, and so on: 1 / (1 + p /
    half). Half a second is the usual limit between pauses in and between sentences."""

    inside_cost: float = 2.0
    """Of a cut through speech, beside the probability of speech there. More than the worst length
    and the worst pause together: a word is cut only if there is no other way."""

    pad: Seconds = 0.15
    """Kept on each side of a segment: onsets and endings are soft."""

    breath: Seconds = 0.3
    """Regions inside of a segment are told apart from this pause on, for the times of captions."""

    def __post_init__(self) -> None:
        """Raise ValueError for a policy that cannot be."""
        shortest, longest = self.wanted
        if not 1 <= self.longest <= MODEL_SECONDS:
            raise ValueError(f"longest must be 1 to {MODEL_SECONDS:g} s, not {self.longest:g}")
        if not 0 <= shortest <= longest <= self.longest:
            raise ValueError(
                f"wanted must rise from 0 to longest ({self.longest:g} s), not be "
                f"{shortest:g} to {longest:g}"
            )
        for name in ("ends", "half", "breath"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name):g}")
        if not 0 <= self.pad <= self.longest / 4:
            raise ValueError(
                f"pad must be 0 to a quarter of longest ({self.longest / 4:g} s), not {self.pad:g}"
            )
        for name in ("short_cost", "long_cost", "inside_cost"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or above, not {getattr(self, name):g}")

    def length_cost(self, seconds: Seconds) -> float:
        """What a segment of so many seconds costs; infinite if it must not be."""
        shortest, longest = self.wanted
        if seconds > self.longest:
            return math.inf
        if seconds < shortest:
            return self.short_cost * (1 - seconds / shortest) ** 2
        if seconds > longest:
            return self.long_cost * ((seconds - longest) / (self.longest - longest)) ** 2
        return 0.0


POLICIES = {
    "sentence": Policy(),
    "pause": Policy(ends=0.5, wanted=(10.0, 30.0)),
    "whole": Policy(ends=math.inf, wanted=(30.0, 30.0)),
}
"""By name. `pause` cuts at every pause of half a second, as if each were the end of a sentence;
`whole` gives the model up to 30 s as one, as the published Space does."""

SENTENCE = POLICIES["sentence"]


class Utterance(NamedTuple):
    """One segment of speech: its regions in the recording, and its samples after `cut`."""

    regions: tuple[Span, ...]
    samples: Samples

    @property
    def span(self) -> Span:
        """From the beginning of the first region to the end of the last."""
        return span_of(self.regions)


def span_of(regions: Sequence[Span]) -> Span:
    """From the beginning of the first region to the end of the last."""
    return Span(regions[0].start, regions[-1].end)


def find_segments(samples: Samples, policy: Policy = SENTENCE) -> list[tuple[Span, ...]]:
    """The segments of `samples` (float32 `(n,)`, 16 kHz), in order and disjoint.

    A segment is its regions of speech: what lies between them are pauses, which the model hears
    too. No segment is longer than `policy.longest`. Silence and noise give none.
    """
    return segments_of(speech_probabilities(samples), samples, policy)


def segments_of(
    probabilities: Samples, samples: Samples, policy: Policy = SENTENCE
) -> list[tuple[Span, ...]]:
    """The second half of `find_segments`: the segments of which the detector said this.

    `probabilities` is what `speech_probabilities` gives.
    """
    segments = divide(regions_of(probabilities), probabilities, samples, policy)
    return padded(segments, Span(0, len(samples)), policy)


def cut(samples: Samples, regions: Sequence[Span]) -> Samples:
    """The samples of a segment, followed by silence up to the 0.5 s that the model needs.

    Quiet speech is brought to a working level, each region by itself.
    """
    span = span_of(regions)
    inside = [region.moved(-span.start) for region in regions]
    piece = at_working_level(samples[span.start : span.end], inside)
    return np.pad(piece, (0, max(0, _MIN_INPUT - len(piece))))


def shorter(utterance: Utterance, policy: Policy) -> list[Utterance]:
    """`utterance` divided once more, by a policy with shorter segments; every region is kept."""
    begin, samples = utterance.span.start, utterance.samples
    regions = [region.moved(-begin) for region in utterance.regions]
    segments = divide(regions, speech_probabilities(samples), samples, policy)
    return [
        Utterance(tuple(region.moved(begin) for region in part), cut(samples, part))
        for part in padded(segments, span_of(regions), policy)
    ]


class _Cut(NamedTuple):
    """A place where a segment may end: there, where the next one begins, and the cost."""

    end: int
    start: int
    cost: float


def divide(
    regions: Sequence[Span],
    probabilities: Samples,
    samples: Samples,
    policy: Policy,
    *,
    goes_on: bool = False,
) -> list[tuple[Span, ...]]:
    """Join `regions` to segments and cut them where that costs least.

    The cost of a division is the sum over its cuts and over the lengths of its segments; the best
    one is found by dynamic programming. With `goes_on` the last segment may be short for nothing:
    more is to come.
    """
    segments: list[tuple[Span, ...]] = []
    first = 0
    for last, region in enumerate(regions):
        pause = regions[last + 1].start - region.end if last + 1 < len(regions) else math.inf
        if pause >= policy.ends * SAMPLE_RATE:
            block = regions[first : last + 1]
            final = goes_on and last + 1 == len(regions)
            segments += _divide_block(block, probabilities, samples, policy, goes_on=final)
            first = last + 1
    return segments


def _divide_block(
    regions: Sequence[Span],
    probabilities: Samples,
    samples: Samples,
    policy: Policy,
    *,
    goes_on: bool,
) -> list[tuple[Span, ...]]:
    """The segments of regions between two pauses that always cut."""
    end = regions[-1].end
    cuts = [_Cut(0, regions[0].start, 0.0)]
    for region, following in zip(regions, [*regions[1:], None], strict=True):
        cuts += _cuts_inside(region, probabilities, samples, policy)
        if following is not None:
            silence = _silence(probabilities, Span(region.end, following.start))
            cost = 1 / (1 + silence / policy.half)
            cuts.append(_Cut(region.end, following.start, cost))
    cuts.append(_Cut(end, end, 0.0))

    pad = 2 * policy.pad
    best: list[tuple[float, int]] = [(0.0, 0)]
    for last in range(1, len(cuts)):
        found = (math.inf, last - 1)
        for first in range(last - 1, -1, -1):
            seconds = (cuts[last].end - cuts[first].start) / SAMPLE_RATE + pad
            # A region alone may be longer by its padding, which is then left out.
            cost = policy.length_cost(
                min(seconds, policy.longest) if first == last - 1 else seconds
            )
            if cost == math.inf:
                break
            if goes_on and last == len(cuts) - 1 and seconds < policy.wanted[0]:
                cost = 0.0
            cost += best[first][0] + cuts[last].cost
            found = min(found, (cost, first))
        best.append(found)

    segments = []
    last = len(cuts) - 1
    while last:
        first = best[last][1]
        begin, end = cuts[first].start, cuts[last].end
        inside = [r for r in regions if r.end > begin and r.start < end]
        segments.append(tuple(Span(max(r.start, begin), min(r.end, end)) for r in inside))
        last = first
    return segments[::-1]


def _cuts_inside(
    region: Span, probabilities: Samples, samples: Samples, policy: Policy
) -> list[_Cut]:
    """The quietest point of each second of a region that is too long to stay whole in any case."""
    longest = int(policy.longest * SAMPLE_RATE)
    if region.end - region.start <= longest // 3:
        return []
    step = min(SAMPLE_RATE, longest // 4)
    cuts = []
    for start in range(region.start + step, region.end - 2 * step, step):
        point = _quietest(samples, Span(start, start + step))
        speech = float(probabilities[min(point // WINDOW, len(probabilities) - 1)])
        cuts.append(_Cut(point, point, policy.inside_cost + speech))
    return cuts


def _silence(probabilities: Samples, pause: Span) -> Seconds:
    """How long a pause lasts, less where the detector is less sure of it."""
    windows = probabilities[pause.start // WINDOW : -(-pause.end // WINDOW)]
    depth = np.clip(1 - windows / LEAVE, 0, 1)
    return float(depth.sum()) * WINDOW / SAMPLE_RATE


def _quietest(samples: Samples, within: Span) -> int:
    """The middle of the quietest 0.1 s."""
    hops = samples[within.start : within.end]
    hops = hops[: len(hops) // _HOP * _HOP].reshape(-1, _HOP)
    width = min(10, len(hops))
    energy = np.convolve(np.square(hops, dtype=np.float64).mean(axis=1), np.ones(width), "valid")
    return within.start + int(energy.argmin()) * _HOP + width * _HOP // 2


def padded(
    segments: Sequence[tuple[Span, ...]], within: Span, policy: Policy
) -> list[tuple[Span, ...]]:
    """Widen segments by the padding, up to the middle of the pause between two of them.

    Nothing goes beyond `within`. Inside of a segment, regions with no more than a breath between
    them become one.
    """
    pad, longest = round(policy.pad * SAMPLE_RATE), int(policy.longest * SAMPLE_RATE)
    breath = policy.breath * SAMPLE_RATE
    widened = []
    for index, regions in enumerate(segments):
        joined = [regions[0]]
        for region in regions[1:]:
            if region.start - joined[-1].end < breath:
                joined[-1] = Span(joined[-1].start, region.end)
            else:
                joined.append(region)
        start, end = span_of(joined)
        pause_before = (start - segments[index - 1][-1].end) // 2 if index else start - within.start
        last = index + 1 == len(segments)
        pause_after = within.end - end if last else (segments[index + 1][0].start - end) // 2
        room = max(0, longest - (end - start)) // 2
        start -= min(pad, pause_before, room)
        end += min(pad, pause_after, room)
        joined[0] = Span(start, joined[0].end)
        joined[-1] = Span(joined[-1].start, end)
        widened.append(tuple(joined))
    return widened
