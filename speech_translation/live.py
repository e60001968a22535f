"""Speech translated while it is spoken: a line that grows, and a caption at each pause."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any

import numpy as np

from speech_translation.engine import WINDOW, Engine
from speech_translation.errors import AudioError
from speech_translation.segments import Samples, SpeechStream, Utterance
from speech_translation.text import JAPANESE
from speech_translation.translate import RETRY_FLAGS, Session, common_direction
from speech_translation.types import SAMPLE_RATE, Direction, Seconds, Segment, Span, Translation

# What settles as one: a kana or kanji, or a word of another script, and the space after it.
_UNIT = re.compile(rf"(?:[{JAPANESE}]|[^{JAPANESE}\s]+)\s*")

_CLOSED: Seconds = 0.1  # after its end a window is surely closed

_NOTHING = np.empty(0, np.float32)


class LiveTranslator:
    """A talk on its way from a microphone to captions.

    Give it the sound with `push`, in chunks of any size, and after each look at `segments`, the
    captions that are fixed, and at `settled` and `tentative`, which together are the line that
    grows. `push` translates before it returns; where that takes longer than the chunk lasts, the
    caller's chunks wait, and lines are no longer renewed until captions have caught up. Calls from
    several threads are taken one by one.
    """

    def __init__(
        self,
        engine: Engine,
        direction: Direction = Direction.AUTO,
        *,
        context: str = "",
        partial_every: Seconds = 1.0,
        clock: Callable[[], Seconds] = time.monotonic,
    ) -> None:
        """`direction` and `context` are those of `iter_translate`.

        The line is renewed at most once in `partial_every` seconds, first when an utterance has
        lasted as long, and takes at most half of the time. `clock` gives the time in seconds.
        """
        self.segments: tuple[Segment, ...] = ()
        self._asked = direction
        self._session = Session(engine, direction, context)
        self._batch_size = engine.batch_size
        self._partial_every = partial_every
        self._clock = clock
        self._lock = threading.Lock()
        self._finished = False
        self._rate = SAMPLE_RATE
        self._resampler: Any = None
        self._speech = SpeechStream()
        self._ended: list[Utterance] = []  # and not translated yet
        self._line = _Line()
        self._line_span: Span | None = None  # the speech that the line was made from
        self._line_due = -math.inf  # when it may be renewed
        self._cost: tuple[Seconds, Seconds] = 0.0, 1.0  # of the last translation, for how much
        self._windows = 0  # of the utterance under way, that were worked on
        self._late: Seconds = 0.0  # how long the chunk that comes next has to wait
        self._duration: Seconds = 0.0
        self._compute_seconds: Seconds = 0.0

    @property
    def settled(self) -> str:
        """The start of the growing line: it does not change any more, it only becomes longer.

        Two translations in succession agreed on it. The caption may still say something else.
        """
        return self._line.settled

    @property
    def tentative(self) -> str:
        """The rest of the growing line, which may change."""
        return self._line.tentative

    def push(self, samples: np.ndarray, rate: int) -> None:
        """Hear the next chunk: `(n,)` or `(n, channels)`, signed integers or floats in [-1, 1].

        Chunks follow each other without a gap; their `rate` (Hz) may change. Half a second of
        silence fixes a caption.

        Raises AudioError for samples that are not finite, which are left out, and EngineError when
        the engine fails: what it was to translate is kept and tried again by the next call.
        """
        mono = _mono(samples)
        with self._lock:
            if self._finished:
                raise RuntimeError("This talk is finished. Start a new LiveTranslator.")
            began = self._clock()
            self._ended += self._speech.push(self._resampled(mono, rate))
            seconds = len(mono) / rate
            self._duration += seconds
            try:
                self._fix()
                self._renew(self._late + self._clock() - began - seconds)
                self._work_ahead()
            finally:
                busy = self._clock() - began
                self._compute_seconds += busy
                self._late = max(0.0, self._late + busy - seconds)

    def finish(self) -> None:
        """The talk is over: fix what was said last. Safe to call again, as after an EngineError."""
        with self._lock:
            began = self._clock()
            if not self._finished:
                self._finished = True
                self._ended += self._speech.push(self._drained()) + self._speech.finish()
            self._fix()
            self._line = _Line()
            self._compute_seconds += self._clock() - began

    def translation(self) -> Translation:
        """Everything that is fixed, for captions and downloads."""
        segments = self.segments
        return Translation(
            segments=segments,
            direction=common_direction(segments, self._asked),
            duration=self._duration,
            compute_seconds=self._compute_seconds,
            tokens=sum(segment.tokens for segment in segments),
        )

    def _resampled(self, mono: Samples, rate: int) -> Samples:
        """`mono` at 16 kHz, as far as it is known yet: the filter holds back 30 ms."""
        rest = _NOTHING
        if rate != self._rate:
            import soxr

            same = rate == SAMPLE_RATE
            resampler = None if same else soxr.ResampleStream(rate, SAMPLE_RATE, 1)
            rest = self._drained()
            self._rate, self._resampler = rate, resampler
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono)
        return np.concatenate([rest, mono])

    def _drained(self) -> Samples:
        """What the filter still holds."""
        if self._resampler is None:
            return _NOTHING
        rest: Samples = self._resampler.resample_chunk(_NOTHING, last=True)
        return rest

    def _fix(self) -> None:
        """Turn the utterances that have ended into captions."""
        while self._ended:
            batch = self._ended[: self._batch_size]
            began = self._clock()
            self.segments += tuple(self._session.batch(batch))
            self._note_cost(began, batch)
            self._line = _Line()
            self._windows = 0
            self._ended = self._ended[len(batch) :]

    def _renew(self, late: Seconds) -> None:
        """Translate what is being said, as far as it was heard, if there is time for that.

        There is none when the chunk that comes next, already `late`, would have to wait for more
        than `partial_every`. What this costs is judged by the last translation.
        """
        began = self._clock()
        if began < self._line_due:
            return
        utterance = self._speech.current
        if utterance is None or utterance.span == self._line_span:
            return
        seconds = _seconds([utterance])
        cost, length = self._cost
        expected = max(0.0, late) + cost * min(1.0, seconds / length)
        if seconds < self._partial_every or expected > self._partial_every:
            return
        (hypothesis,) = self._session.generate([utterance])
        self._note_cost(began, [utterance])
        self._line_span = utterance.span
        self._line_due = began + max(self._partial_every, 2 * self._cost[0])
        if not hypothesis.flags & RETRY_FLAGS:
            self._line.renew(hypothesis.text)

    def _work_ahead(self) -> None:
        """Have the windows that have closed worked on, so that the caption needs only the rest."""
        utterance = self._speech.current
        if utterance is None:
            return
        closed = int((_seconds([utterance]) - _CLOSED) // WINDOW)
        if closed > self._windows:
            self._windows = closed
            self._session.prefill(utterance)

    def _note_cost(self, began: Seconds, utterances: list[Utterance]) -> None:
        self._cost = self._clock() - began, _seconds(utterances)


class _Line:
    """A translation that grows, and how much of it has settled.

    What two in succession begin with alike is settled, but for their last word, which may be half
    heard: local agreement (Liu, Spanakis and Niehues 2020).
    """

    def __init__(self) -> None:
        self.settled = self.tentative = ""
        self._last: list[str] = []

    def renew(self, text: str) -> None:
        """Take the next translation of the longer speech."""
        units = _UNIT.findall(text)
        settled = _UNIT.findall(self.settled)
        pairs = zip(self._last[:-1], units[:-1], strict=False)
        agreed = [unit for unit, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        if agreed[: len(settled)] == settled:
            settled = agreed
        self._last = units
        self.settled = "".join(settled)
        self.tentative = "".join(units[_continuation(settled, units) :])


def _continuation(settled: list[str], units: list[str]) -> int:
    """Where `units` go on after `settled`, even if they begin otherwise: by what they share."""
    shared = SequenceMatcher(None, settled, units, autojunk=False).find_longest_match()
    return shared.b - shared.a + len(settled)


def _seconds(utterances: list[Utterance]) -> Seconds:
    return sum(span.end - span.start for span, _ in utterances) / SAMPLE_RATE


def _mono(samples: np.ndarray) -> Samples:
    """The mean of the channels, in [-1, 1]: float32 `(n,)`."""
    if samples.dtype.kind not in "if":
        raise ValueError(f"samples are signed integers or floats, not {samples.dtype}")
    mono = samples.astype(np.float32)
    if samples.dtype.kind == "i":
        mono /= -float(np.iinfo(samples.dtype).min)
    if mono.ndim == 2:
        mono = mono.mean(axis=1)
    if not np.isfinite(mono).all():
        raise AudioError(
            "The microphone delivered samples that are not numbers (NaN or infinite). Choose "
            "another microphone, or reload the page."
        )
    return mono.clip(-1, 1)
