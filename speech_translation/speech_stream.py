"""Divide speech into segments while it is spoken."""

from __future__ import annotations

import numpy as np

from speech_translation.detector import Detector, Regions
from speech_translation.levels import WINDOW, Samples, StreamLevel
from speech_translation.segments import SENTENCE, Policy, Utterance, cut, divide, padded, span_of
from speech_translation.types import SAMPLE_RATE, Seconds, Span


class SpeechStream:
    """`find_segments` for audio that is still coming.

    It gives the same segments, whatever the size of the chunks, as long as none has to be cut for
    its length: that is done once it is too long, by what was heard until then. It listens harder to
    a quiet beginning (`StreamLevel`), where the first region may so begin elsewhere. It keeps the
    audio of the segment under way and forgets what was before.
    """

    def __init__(self, policy: Policy = SENTENCE) -> None:
        self._policy = policy
        self._detector = Detector()
        self._level = StreamLevel()
        self._stretches = Regions()
        self._ended: list[Span] = []  # regions of the segment under way; a stretch may add to them
        self._done = 0  # the end of the last segment given out
        self._origin = 0  # of the two arrays that follow, at a window's start
        self._samples = np.empty(0, np.float32)
        self._probabilities = np.empty(0, np.float32)

    @property
    def current(self) -> Utterance | None:
        """The segment under way, as far as it was heard; None in silence."""
        regions = self._regions
        return self._utterances([tuple(regions)])[0] if regions else None

    @property
    def pause(self) -> Seconds:
        """How long nothing was said after the last region of the segment under way."""
        regions = self._regions
        return (self._stretches.heard - regions[-1].end) / SAMPLE_RATE if regions else 0.0

    def push(self, samples: Samples) -> list[Utterance]:
        """Hear the next samples (float32 `(n,)`, 16 kHz); return the segments that have ended."""
        self._samples = np.concatenate([self._samples, samples])
        unheard = len(self._samples) - self._heard
        return self._hear(unheard // WINDOW * WINDOW)

    def finish(self) -> list[Utterance]:
        """Hear the rest: there are no more samples. Return the segments that end with it."""
        return self._hear(len(self._samples) - self._heard) + self.take()

    def take(self, until: int | None = None) -> list[Utterance]:
        """End the segment under way here, or after its regions that end before sample `until`."""
        regions = self._regions
        following = None
        if until is not None:
            later = [region.start for region in regions if region.end > until]
            following = later[0] if later else None
            regions = [region for region in regions if region.end <= until]
        return self._give(self._divided(regions), following) if regions else []

    @property
    def _heard(self) -> int:
        """How many of the samples kept the detector has heard."""
        return self._stretches.heard - self._origin

    @property
    def _regions(self) -> list[Span]:
        """What was not given out yet."""
        regions = self._ended + self._stretches.current
        return [Span(max(r.start, self._done), r.end) for r in regions if r.end > self._done]

    def _hear(self, count: int) -> list[Utterance]:
        heard = self._level.hear(self._samples[self._heard : self._heard + count])
        probabilities = self._detector.hear(heard)
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        ended: list[Utterance] = []
        for probability in probabilities.tolist():
            self._ended += self._stretches.hear(probability)
            regions = self._regions
            if not regions:
                continue
            silent = self._stretches.start - regions[-1].end  # a click does not end it
            if silent >= self._policy.ends * SAMPLE_RATE or self._no_more(regions):
                ended += self._give(self._divided(regions))
            elif self._too_long(regions):
                first, *later = self._divided(regions, goes_on=True)
                if later:  # else its padding is too much, and is left out
                    ended += self._give([first], later[0][0].start)
        self._forget()
        return ended

    def _too_long(self, regions: list[Span]) -> bool:
        start, end = span_of(regions)
        return (end - start) / SAMPLE_RATE + 2 * self._policy.pad > self._policy.longest

    def _no_more(self, regions: list[Span]) -> bool:
        """Whether whatever comes after this pause would make the segment too long."""
        longest = self._policy.longest * SAMPLE_RATE
        return not self._stretches.speaking and self._stretches.start - regions[0].start > longest

    def _divided(self, regions: list[Span], *, goes_on: bool = False) -> list[tuple[Span, ...]]:
        """`regions` in segments, without padding."""
        kept = [region.moved(-self._origin) for region in regions]
        segments = divide(kept, self._probabilities, self._samples, self._policy, goes_on=goes_on)
        return [tuple(region.moved(self._origin) for region in s) for s in segments]

    def _give(
        self, segments: list[tuple[Span, ...]], following: int | None = None
    ) -> list[Utterance]:
        """End `segments`; speech that was heard already goes on at sample `following`."""
        utterances = self._utterances(segments, following)
        # A region can end in the silence behind the last sample.
        self._done = max(utterances[-1].span.end, segments[-1][-1].end)
        self._ended = [region for region in self._ended if region.end > self._done]
        self._stretches.forget(self._done)
        return utterances

    def _utterances(
        self, segments: list[tuple[Span, ...]], following: int | None = None
    ) -> list[Utterance]:
        """Segments with their padding and their samples."""
        end = min(self._stretches.heard, self._origin + len(self._samples))
        if following is not None:
            end = (segments[-1][-1].end + following) // 2
        widened = padded(segments, Span(self._done, end), self._policy)
        return [
            Utterance(regions, cut(self._samples, [r.moved(-self._origin) for r in regions]))
            for regions in widened
        ]

    def _forget(self) -> None:
        regions = self._regions
        begin = min(regions[0].start if regions else self._stretches.start, self._stretches.start)
        begin -= round(self._policy.pad * SAMPLE_RATE)
        needed = max(self._done, begin) // WINDOW * WINDOW
        self._samples = self._samples[needed - self._origin :]
        self._probabilities = self._probabilities[(needed - self._origin) // WINDOW :]
        self._origin = needed
