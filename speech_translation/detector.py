"""Hear where somebody speaks: the probability of speech, and the regions that it makes.

The detector is Silero VAD v6.2.3 (`assets/README.md`): trained on many languages, where an energy
threshold takes music and noise for speech, and at 0.2 % of the audio's duration on one core.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from speech_translation.levels import (
    REACH,
    WINDOW,
    Samples,
    blocks_at_working_level,
    is_quiet,
    once_more,
    speech_level,
)
from speech_translation.process import NO_TELEMETRY
from speech_translation.types import SAMPLE_RATE, Span

# Speech begins at ENTER and lasts until it falls below LEAVE (the defaults of silero-vad).
ENTER, LEAVE = 0.5, 0.35

_CONTEXT = 64  # samples
_BLOCK = 256  # windows per call; bounds the memory, does not change the result
_MODEL = Path(__file__).with_name("assets") / "silero_vad_16k_sequence.onnx"

_MIN_SPEECH = round(0.15 * SAMPLE_RATE)  # shorter is a click or a knock; "yes" lasts 0.3 s
_APART = round(0.5 * SAMPLE_RATE)  # what lies closer together is judged as one

# What is heard only once it is amplified counts where it lasts and is sure. The room still sounds
# for a while after loud speech.
_SURELY, _SURE = round(0.3 * SAMPLE_RATE), 0.8
_DYING = 7 * WINDOW  # 0.2 s

_session: Any = None
_session_lock = threading.Lock()


def speech_probabilities(samples: Samples) -> Samples:
    """Probability of speech in each window of 512 `samples`: float32 `(ceil(n / 512),)`.

    Quiet sound is heard at a working level: beside loud speech, once more between its regions.
    """
    detector = Detector()
    heard = [detector.hear(block) for block in blocks_at_working_level(samples)]
    probabilities = np.concatenate(heard) if heard else np.empty(0, np.float32)
    for start, end in _beside_loud(samples, regions_of(probabilities)):
        if (quiet := once_more(samples[start:end])) is None:
            continue
        found = Detector().hear(quiet)
        for region in regions_of(found):
            first, last = region.start // WINDOW, region.end // WINDOW
            if last - first >= _SURELY // WINDOW and found[first:last].mean() >= _SURE:
                here = slice(start // WINDOW + first, start // WINDOW + last)
                probabilities[here] = np.maximum(probabilities[here], found[first:last])
    return probabilities


def _beside_loud(samples: Samples, regions: Sequence[Span]) -> Iterator[Span]:
    """What lies between loud regions and was heard at their level: half a minute on each side."""
    loud = [r for r in regions if not is_quiet(speech_level(samples[r.start : r.end]))]
    for before, after in pairwise([None, *loud, None]):
        start = 0 if before is None else before.end + _DYING
        end = len(samples) if after is None else after.start
        if end - start <= 2 * REACH and loud:
            pieces = [Span(start, end)]
        else:
            pieces = [Span(start, start + REACH)] if before is not None else []
            pieces += [Span(end - REACH, end)] if after is not None else []
        yield from (piece for piece in pieces if piece.end - piece.start >= _APART)


class Detector:
    """A listener: what it has heard stays with it from call to call.

    It says one probability for each window of 512 samples, having heard the one before.
    """

    def __init__(self) -> None:
        self._hidden = self._cell = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)

    def hear(self, samples: Samples) -> Samples:
        """Probability of speech in each window, float32 `(ceil(n / 512),)`.

        Nothing can follow samples that do not fill their last window: silence is put there.
        """
        session = _shared_session()
        probabilities = [np.empty(0, np.float32)]
        for start in range(0, len(samples), _BLOCK * WINDOW):
            block = samples[start : start + _BLOCK * WINDOW]
            silence = np.zeros(-len(block) % WINDOW)
            block = np.concatenate([self._context, block, silence], dtype=np.float32)
            self._context = block[-_CONTEXT:]
            windows = np.lib.stride_tricks.sliding_window_view(block, _CONTEXT + WINDOW)
            values, self._hidden, self._cell = session.run(
                None, {"input": windows[::WINDOW], "h": self._hidden, "c": self._cell}
            )
            probabilities.append(values)
        return np.concatenate(probabilities)


class Regions:
    """The regions of speech, window by window, down to the shortest pause between them.

    Regions that lie within half a second of each other are one stretch; a stretch that is too short
    to be speech is left out.
    """

    def __init__(self) -> None:
        self.heard = 0
        """Samples."""
        self._stretch: list[Span] = []
        self._first = 0  # where it begins
        self._begin: int | None = None  # of the region under way

    @property
    def current(self) -> list[Span]:
        """The regions of the stretch under way; none as long as it is too short to be speech."""
        regions = self._stretch
        if self._begin is not None:
            regions = [*regions, Span(self._begin, self.heard)]
        if not regions or regions[-1].end - self.start < _MIN_SPEECH:
            return []
        return regions

    @property
    def start(self) -> int:
        """Where the stretch under way begins or, where there is none, the next can begin."""
        if self._stretch:
            return self._first
        return self.heard if self._begin is None else self._begin

    @property
    def speaking(self) -> bool:
        """Whether the last window was speech."""
        return self._begin is not None

    def hear(self, probability: float) -> list[Span]:
        """Take the next window; return the regions of a stretch that is now known to have ended."""
        start, self.heard = self.heard, self.heard + WINDOW
        if probability >= (LEAVE if self.speaking else ENTER):
            self._begin = start if self._begin is None else self._begin
        elif self._begin is not None:
            self._first = self.start
            self._stretch.append(Span(self._begin, start))
            self._begin = None
        if self._stretch and not self.speaking and self.heard - self._stretch[-1].end >= _APART:
            ended, self._stretch = self.current, []
            return ended
        return []

    def forget(self, before: int) -> None:
        """Drop the regions of the stretch that end before this sample, but for the last one."""
        last = self._stretch[-1:]
        self._stretch = [region for region in self._stretch[:-1] if region.end > before] + last


def regions_of(probabilities: Samples) -> list[Span]:
    """Where there is speech, in samples: in order, with any pause between two of them."""
    regions = Regions()
    ended = [region for p in probabilities.tolist() for region in regions.hear(p)]
    return ended + regions.current


def _shared_session() -> Any:
    """The detector's session, shared by all threads: a call keeps its state to itself."""
    global _session
    with _session_lock:
        if _session is None:
            onnxruntime = _silent_onnxruntime()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3  # it warns about unused initializers in the file
            _session = onnxruntime.InferenceSession(
                _MODEL, options, providers=["CPUExecutionProvider"]
            )
        return _session


def _silent_onnxruntime() -> Any:
    """The module. Its wheels report each start to their makers, unless told before the import."""
    told = os.environ.get(NO_TELEMETRY)
    os.environ[NO_TELEMETRY] = "1"
    try:
        import onnxruntime
    finally:
        if told is None:
            del os.environ[NO_TELEMETRY]
        else:
            os.environ[NO_TELEMETRY] = told
    return onnxruntime


def _forget_session() -> None:
    """Begin anew in a forked process: locks may have been copied from threads that it lacks."""
    global _session, _session_lock
    _session, _session_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forget_session)
