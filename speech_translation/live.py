"""Speech translated while it is spoken: a line that grows, and a caption for each sentence."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import numpy as np

from speech_translation.engine import WINDOW, Engine
from speech_translation.engine.base import Cancelled
from speech_translation.growing_text import GrowingLine, rest
from speech_translation.microphone import Microphone, floats_of
from speech_translation.segments import SENTENCE, Policy, Utterance
from speech_translation.session import RETRY_FLAGS, Session
from speech_translation.speech_stream import SpeechStream
from speech_translation.text import sentence_ends
from speech_translation.translate import common_direction
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Hypothesis,
    Seconds,
    Segment,
    Span,
    Translation,
)

_CLOSED: Seconds = 0.1  # after its end a window is surely closed

# A sentence that the model ends at a pause is over when the pause has lasted, or when the model,
# having heard what follows, still ends it there. Its full stop alone proves little: a model that
# was trained on sentences ends every piece of one so. Somebody in a telephone conference pauses for
# 2.0 s inside of a sentence (docs/segmentation.md).
_PAUSE: Seconds = 0.5
_LASTED: Seconds = 2.5
_FOLLOWS: Seconds = 1.0

_STEP = SAMPLE_RATE // 4  # between two looks; their places do not depend on the chunks


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
        direction: Direction | str = Direction.AUTO,
        *,
        context: str = "",
        partial_every: Seconds = 1.0,
        policy: Policy = SENTENCE,
        transcriber: Engine | None = None,
        clock: Callable[[], Seconds] = time.monotonic,
        cancelled: Cancelled | None = None,
    ) -> None:
        """`direction`, `context`, `policy`, `transcriber` and `cancelled` as of `iter_translate`.

        The line is renewed at most once in `partial_every` seconds, first when an utterance has
        lasted as long, and takes at most half of the time. `clock` gives the time in seconds.
        """
        self.segments: tuple[Segment, ...] = ()
        direction = Direction(direction)
        self._asked = direction
        self._policy = policy
        self._session = Session(
            engine,
            direction,
            context,
            policy=policy,
            transcriber=transcriber,
            cancelled=cancelled,
        )
        self._batch_size = engine.batch_size
        self._partial_every = partial_every
        self._clock = clock
        self._lock = threading.Lock()
        self._finished = False
        self._microphone = Microphone()
        self._speech = SpeechStream(policy)
        self._unheard = np.empty(0, np.float32)
        self._ended: list[Utterance] = []  # and not translated yet
        self._line = GrowingLine()
        self._line_span: Span | None = None  # the speech that the line was made from
        self._heard = 0  # samples
        self._sentence: tuple[Utterance, Hypothesis] | None = None  # that may be over
        self._asked_at = 0  # how much had been said when that was last looked into
        self._line_due = -math.inf  # when it may be renewed
        self._free = -math.inf  # when the last translation has had its half of the time
        self._cost: tuple[Seconds, Seconds] = 0.0, 1.0  # of the last translation, for how much
        self._windows = 0  # of the utterance under way, that were worked on
        self._late: Seconds = 0.0  # how long the chunk that comes next has to wait
        self._next = -math.inf  # when it comes
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

        Chunks follow each other without a gap; their `rate` (Hz) may change. Floats that are louder
        than full scale for 0.3 s make the rest of the talk softer. A caption is fixed
        when a sentence is over, when nothing is said for `policy.ends`, or when it is too
        long.

        Raises AudioError for samples that are not finite, which are left out, and EngineError when
        the engine fails: what it was to translate is kept and tried again by the next call.
        TypeError or ValueError for what is no chunk of sound.
        """
        if not rate > 0:
            raise ValueError(f"The rate of a chunk is in Hz and above 0, not {rate}.")
        floats = floats_of(samples)
        with self._lock:
            if self._finished:
                raise RuntimeError("This talk is finished. Start a new LiveTranslator.")
            began = self._clock()
            heard = self._microphone.heard(floats, rate)
            self._unheard = np.concatenate([self._unheard, heard])
            seconds = len(floats) / rate
            self._duration += seconds
            self._next = began - self._late + seconds
            try:
                self._fix()
                while len(self._unheard):
                    self._listen()
                self._renew()
                self._work_ahead()
            finally:
                self._compute_seconds += self._clock() - began
                self._late = max(0.0, self._clock() - self._next)

    def finish(self) -> None:
        """The talk is over: fix what was said last. Safe to call again, as after an EngineError."""
        with self._lock:
            began = self._clock()
            if not self._finished:
                self._finished = True
                self._unheard = np.concatenate([self._unheard, self._microphone.drained()])
            self._fix()
            while len(self._unheard):
                self._listen()
            utterance, sentence = self._speech.current, self._sentence
            if utterance and sentence and not _spoken(utterance, since=sentence[0].span.end):
                self._fix_sentence()
            self._ended += self._speech.finish()
            self._fix()
            self._begin_line()
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

    def _fix(self) -> None:
        """Turn the utterances that have ended into captions."""
        while self._ended:
            batch = self._ended[: self._batch_size]
            began = self._clock()
            self.segments += tuple(self._session.batch(batch))
            self._note_cost(began, batch)
            self._begin_line()
            self._ended = self._ended[len(batch) :]

    def _begin_line(self) -> None:
        self._line = GrowingLine()
        self._sentence = None
        self._windows = 0

    def _listen(self) -> None:
        """Hear up to the next look, and see whether a sentence is over."""
        count = _STEP - self._heard % _STEP
        step, self._unheard = self._unheard[:count], self._unheard[count:]
        self._heard += len(step)
        self._ended += self._speech.push(step)
        self._fix()
        if self._heard % _STEP == 0:
            self._look()

    def _look(self) -> None:
        utterance, pause = self._speech.current, self._speech.pause
        if utterance is None:
            return
        said = _spoken(utterance, since=self._asked_at)
        ends = said > 0 and pause >= _PAUSE
        if self._sentence is None:
            if ends:
                self._ask(utterance)
        elif _spoken(utterance, since=self._sentence[0].span.end) == 0:
            if pause >= _LASTED:
                self._fix_sentence()
        elif _seconds([utterance]) > self._policy.wanted[1]:
            self._fix_sentence()  # before it has to be cut where nothing ends
        elif ends or (said >= _FOLLOWS and self._has_time(utterance)):
            self._ask(utterance)

    def _ask(self, utterance: Utterance) -> None:
        """Have the model say whether a sentence ends here, or ended where it seemed to."""
        hypothesis = self._translated(utterance)
        if hypothesis is None:
            return
        self._asked_at = utterance.span.end
        if hypothesis.flags & RETRY_FLAGS:
            return
        text = hypothesis.text
        if self._sentence is not None:
            before = self._sentence[1].text
            if behind := rest(text, after=before):
                self._fix_sentence(behind)
                return
            if text != before:
                self._sentence = None  # it did not end there
        if self._speech.pause >= _PAUSE and sentence_ends(text)[-1:] == [len(text)]:
            self._sentence = (utterance, hypothesis)

    def _translated(self, utterance: Utterance) -> Hypothesis | None:
        """What is being said, as far as it was heard; the line shows it.

        None where the language has changed: what was said before is made a caption.
        """
        began = self._clock()
        *others, piece = self._session.by_language([utterance])
        if others:
            self._ended += self._speech.take(others[-1][0].span.end)
            self._fix()
            return None
        (hypothesis,) = self._session.translated([piece])
        self._note_cost(began, [utterance])
        self._line_span = utterance.span
        self._line_due = began + self._partial_every
        self._free = began + 2 * self._cost[0]
        if not hypothesis.flags & RETRY_FLAGS:
            self._line.renew(hypothesis.text)
        return hypothesis

    def _fix_sentence(self, behind: str = "") -> None:
        """Make the sentence that is over a caption, as it was translated when it ended.

        The line goes on with what has been heard `behind` it.
        """
        assert self._sentence is not None
        utterance, hypothesis = self._sentence
        (source,) = self._session.transcribed([utterance], [hypothesis])  # first: it may fail
        self._speech.take(utterance.span.end)
        self._asked_at = utterance.span.end
        self.segments += (self._session.segment(utterance, hypothesis, source),)
        self._begin_line()
        self._line.renew(behind)

    def _renew(self) -> None:
        """Translate what is being said, as far as it was heard, if it is time and there is time.

        While a sentence may be over, asking about its end renews the line.
        """
        utterance = self._speech.current
        if self._sentence is not None or utterance is None or self._clock() < self._line_due:
            return
        if utterance.span == self._line_span:
            return
        if _seconds([utterance]) >= self._partial_every and self._has_time(utterance):
            self._translated(utterance)

    def _has_time(self, utterance: Utterance) -> bool:
        """Whether it can be translated for more than a caption.

        Half of the time stays free, and the chunk that comes next waits for at most
        `partial_every`. What this costs is judged by the last translation.
        """
        cost, length = self._cost
        late = max(0.0, self._clock() - self._next)
        expected = late + cost * min(1.0, _seconds([utterance]) / length)
        return self._clock() >= self._free and expected <= self._partial_every

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


def _spoken(utterance: Utterance, since: int) -> Seconds:
    """How long somebody speaks in `utterance` after sample `since`, pauses left out."""
    return sum(max(0, end - max(start, since)) for start, end in utterance.regions) / SAMPLE_RATE


def _seconds(utterances: list[Utterance]) -> Seconds:
    return sum(end - start for start, end in (x.span for x in utterances)) / SAMPLE_RATE
