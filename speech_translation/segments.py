"""Find the speech in a recording and cut it into spans that the model can take.

The detector is Silero VAD v6.2.3 (`assets/README.md`): trained on many languages, where an energy
threshold takes music and noise for speech, and at 0.2 % of the audio's duration on one core.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from speech_translation.types import SAMPLE_RATE, Seconds, Span

Samples = npt.NDArray[np.float32]

# The detector: one probability per window, which it hears after the end of the window before.
_WINDOW = 512  # samples, 32 ms
_CONTEXT = 64  # samples
_BLOCK = 256  # windows per call; bounds the memory, does not change the result
_MODEL = Path(__file__).with_name("assets") / "silero_vad_16k_sequence.onnx"

# Speech begins at ENTER and lasts until it falls below LEAVE (the defaults of silero-vad).
_ENTER, _LEAVE = 0.5, 0.35

_MIN_SPEECH = round(0.15 * SAMPLE_RATE)  # shorter is a click or a knock; "yes" lasts 0.3 s
_MIN_PAUSE = round(0.5 * SAMPLE_RATE)  # a shorter pause does not end an utterance
_PAD = round(0.15 * SAMPLE_RATE)  # kept on each side: onsets and endings are soft
_HOP = SAMPLE_RATE // 100  # step in which the quietest point is looked for
_MIN_INPUT = SAMPLE_RATE // 2  # the model's shortest input


class Utterance(NamedTuple):
    """Speech between two pauses: where it is in the recording, and its samples after `cut`."""

    span: Span
    samples: Samples


_session: Any = None
_session_lock = threading.Lock()


def find_segments(samples: Samples, max_seconds: Seconds = 30.0) -> list[Span]:
    """Spans of speech in `samples` (float32 `(n,)`, 16 kHz), in order and disjoint.

    A span is an utterance: it ends where a pause of half a second begins. One that is longer than
    `max_seconds` (at least 1) is cut in its last third, in the longest pause there or, where there
    is none, at the quietest point; the pieces adjoin. Silence and noise give no span.
    """
    if max_seconds < 1:
        raise ValueError(f"max_seconds must be at least 1, not {max_seconds:g}")
    return spans_of(speech_probabilities(samples), samples, max_seconds)


def speech_probabilities(samples: Samples) -> Samples:
    """Probability of speech in each window of 512 `samples`: float32 `(ceil(n / 512),)`."""
    return _Silero().hear(samples)


def spans_of(probabilities: Samples, samples: Samples, max_seconds: Seconds = 30.0) -> list[Span]:
    """The second half of `find_segments`: the spans in `samples` of which the detector said this.

    `probabilities` is what `speech_probabilities` gives.
    """
    spans: list[Span] = []
    for region in _pad(_regions(probabilities), len(samples)):
        spans += _split(region, samples, probabilities, int(max_seconds * SAMPLE_RATE))
    return spans


def cut(samples: Samples, span: Span) -> Samples:
    """The samples of `span`, followed by silence up to the 0.5 s that the model needs."""
    piece = samples[span.start : span.end]
    return np.pad(piece, (0, max(0, _MIN_INPUT - len(piece))))


class SpeechStream:
    """`find_segments` for audio that is still coming.

    It gives the same spans, whatever the size of the chunks, but for an utterance longer than
    `max_seconds` (at least 1): that is cut once it is so long, as if it ended there. It keeps the
    audio of the utterance under way and forgets what was before.
    """

    def __init__(self, max_seconds: Seconds = 30.0) -> None:
        self._longest = int(max_seconds * SAMPLE_RATE)
        self._silero = _Silero()
        self._regions = _Regions()
        self._done = 0  # the end of the last utterance given out
        self._origin = 0  # of the two arrays that follow, at a window's start
        self._samples = np.empty(0, np.float32)
        self._probabilities = np.empty(0, np.float32)

    @property
    def current(self) -> Utterance | None:
        """The utterance under way, as far as it was heard; None in silence."""
        region = self._regions.current
        return self._utterance(self._spans(region)[-1]) if region else None

    def push(self, samples: Samples) -> list[Utterance]:
        """Hear the next samples (float32 `(n,)`, 16 kHz); return the utterances that have ended."""
        self._samples = np.concatenate([self._samples, samples])
        unheard = len(self._samples) - self._heard
        return self._hear(unheard // _WINDOW * _WINDOW)

    def finish(self) -> list[Utterance]:
        """Hear the rest: there are no more samples. Return the utterances that end with it."""
        ended = self._hear(len(self._samples) - self._heard)
        region = self._regions.current
        return ended + [self._utterance(span) for span in self._spans(region)] if region else ended

    @property
    def _heard(self) -> int:
        """How many of the samples kept the detector has heard."""
        return self._regions.heard - self._origin

    def _hear(self, count: int) -> list[Utterance]:
        probabilities = self._silero.hear(self._samples[self._heard : self._heard + count])
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        spans: list[Span] = []
        for probability in probabilities.tolist():
            if region := self._regions.hear(probability):
                spans += self._spans(region)
            elif region := self._regions.current:
                spans += self._spans(region)[:-1]
            if spans:
                self._done = spans[-1].end
        ended = [self._utterance(span) for span in spans]
        needed = max(self._done, self._regions.start - _PAD) // _WINDOW * _WINDOW
        self._samples = self._samples[needed - self._origin :]
        self._probabilities = self._probabilities[(needed - self._origin) // _WINDOW :]
        self._origin = needed
        return ended

    def _spans(self, region: Span) -> list[Span]:
        """What was not given out yet of a region, padded, and cut where it is too long."""
        start = max(region.start - _PAD, self._done) - self._origin
        end = min(region.end + _PAD - self._origin, self._heard, len(self._samples))
        pieces = _split(Span(start, end), self._samples, self._probabilities, self._longest)
        return [Span(self._origin + start, self._origin + end) for start, end in pieces]

    def _utterance(self, span: Span) -> Utterance:
        kept = Span(span.start - self._origin, span.end - self._origin)
        return Utterance(span, cut(self._samples, kept))


def _detector() -> Any:
    """The detector's session, shared by all threads: a call keeps its state to itself."""
    global _session
    with _session_lock:
        if _session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3  # it warns about unused initializers in the file
            _session = onnxruntime.InferenceSession(
                _MODEL, options, providers=["CPUExecutionProvider"]
            )
        return _session


class _Silero:
    """A listener: what it has heard stays with it from call to call."""

    def __init__(self) -> None:
        self._hidden = self._cell = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)

    def hear(self, samples: Samples) -> Samples:
        """Probability of speech in each window, float32 `(ceil(n / 512),)`.

        Nothing can follow samples that do not fill their last window: silence is put there.
        """
        detector = _detector()
        probabilities = [np.empty(0, np.float32)]
        for start in range(0, len(samples), _BLOCK * _WINDOW):
            block = samples[start : start + _BLOCK * _WINDOW]
            silence = np.zeros(-len(block) % _WINDOW)
            block = np.concatenate([self._context, block, silence], dtype=np.float32)
            self._context = block[-_CONTEXT:]
            windows = np.lib.stride_tricks.sliding_window_view(block, _CONTEXT + _WINDOW)
            values, self._hidden, self._cell = detector.run(
                None, {"input": windows[::_WINDOW], "h": self._hidden, "c": self._cell}
            )
            probabilities.append(values)
        return np.concatenate(probabilities)


class _Regions:
    """Stretches of speech, window by window; a short pause does not end one."""

    def __init__(self) -> None:
        self.heard = 0  # samples
        self._start: int | None = None
        self._end = 0
        self._speaking = False

    @property
    def start(self) -> int:
        """Where the region under way begins or, where there is none, the next can begin."""
        return self.heard if self._start is None else self._start

    @property
    def current(self) -> Span | None:
        """The region under way, its last pause left out; None if too short to be speech."""
        if self._start is None or self._end - self._start < _MIN_SPEECH:
            return None
        return Span(self._start, self._end)

    def hear(self, probability: float) -> Span | None:
        """Take the next window; return the region of which it is now known that it has ended."""
        start, self.heard = self.heard, self.heard + _WINDOW
        self._speaking = probability >= (_LEAVE if self._speaking else _ENTER)
        if self._speaking:
            self._start = start if self._start is None else self._start
            self._end = self.heard
        elif self._start is not None and self.heard - self._end >= _MIN_PAUSE:
            ended, self._start = self.current, None
            return ended
        return None


def _regions(probabilities: Samples) -> list[Span]:
    """Stretches of speech, joined over short pauses; what is too short to be speech is left out."""
    regions = _Regions()
    ended = [regions.hear(probability) for probability in probabilities.tolist()]
    return [region for region in [*ended, regions.current] if region]


def _pad(regions: list[Span], length: int) -> list[Span]:
    """Widen every region by the padding; `_MIN_PAUSE` keeps them apart."""
    return [Span(max(0, region.start - _PAD), min(length, region.end + _PAD)) for region in regions]


def _split(span: Span, samples: Samples, probabilities: Samples, longest: int) -> list[Span]:
    """`span` in adjoining pieces of at most `longest` and at least a third of `longest` samples."""
    pieces = []
    while span.end - span.start > longest:
        latest = min(span.start + longest, span.end - longest // 3)
        point = _quietest(samples, probabilities, Span(latest - longest // 3, latest))
        pieces.append(Span(span.start, point))
        span = Span(point, span.end)
    return [*pieces, span]


def _quietest(samples: Samples, probabilities: Samples, within: Span) -> int:
    """Where to cut: the middle of the quietest 0.1 s in the longest pause, or else anywhere."""
    first = -(-within.start // _WINDOW)
    silent = np.concatenate(
        [[False], probabilities[first : within.end // _WINDOW] < _LEAVE, [False]]
    )
    edges = np.flatnonzero(silent[1:] != silent[:-1]).reshape(-1, 2)
    if len(edges):
        begin, end = (first + edges[np.argmax(edges[:, 1] - edges[:, 0])]) * _WINDOW
        within = Span(int(begin), int(end))
    hops = samples[within.start : within.end]
    hops = hops[: len(hops) // _HOP * _HOP].reshape(-1, _HOP)
    width = min(10, len(hops))
    energy = np.convolve(np.square(hops, dtype=np.float64).mean(axis=1), np.ones(width), "valid")
    return within.start + int(energy.argmin()) * _HOP + width * _HOP // 2
