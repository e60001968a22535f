"""Find the speech in a recording and cut it into spans that the model can take.

The detector is Silero VAD v6.2.3 (`assets/README.md`): trained on many languages, where an energy
threshold takes music and noise for speech, and at 0.2 % of the audio's duration on one core.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

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
    probabilities = _speech_probabilities(samples)
    spans: list[Span] = []
    for region in _pad(_regions(probabilities), len(samples)):
        spans += _split(region, samples, probabilities, int(max_seconds * SAMPLE_RATE))
    return spans


def cut(samples: Samples, span: Span) -> Samples:
    """The samples of `span`, followed by silence up to the 0.5 s that the model needs."""
    piece = samples[span.start : span.end]
    return np.pad(piece, (0, max(0, _MIN_INPUT - len(piece))))


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


def _speech_probabilities(samples: Samples) -> Samples:
    """Probability of speech in each window: float32 `(ceil(n / 512),)`."""
    detector = _detector()
    hidden = cell = np.zeros((1, 1, 128), np.float32)
    context = np.zeros(_CONTEXT, np.float32)
    probabilities = [np.empty(0, np.float32)]
    for start in range(0, len(samples), _BLOCK * _WINDOW):
        block = samples[start : start + _BLOCK * _WINDOW]
        block = np.concatenate([context, block, np.zeros(-len(block) % _WINDOW)], dtype=np.float32)
        context = block[-_CONTEXT:]
        windows = np.lib.stride_tricks.sliding_window_view(block, _CONTEXT + _WINDOW)[::_WINDOW]
        values, hidden, cell = detector.run(None, {"input": windows, "h": hidden, "c": cell})
        probabilities.append(values)
    return np.concatenate(probabilities)


def _regions(probabilities: Samples) -> list[Span]:
    """Stretches of speech, joined over short pauses; what is too short to be speech is left out."""
    regions: list[Span] = []
    start = None
    for window, probability in enumerate([*probabilities.tolist(), 0.0]):
        if start is None and probability >= _ENTER:
            start = window * _WINDOW
        elif start is not None and probability < _LEAVE:
            regions.append(Span(start, window * _WINDOW))
            start = None
    joined: list[Span] = []
    for region in regions:
        if joined and region.start - joined[-1].end < _MIN_PAUSE:
            joined[-1] = Span(joined[-1].start, region.end)
        else:
            joined.append(region)
    return [region for region in joined if region.end - region.start >= _MIN_SPEECH]


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
