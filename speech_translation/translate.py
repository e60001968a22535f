"""The one pipeline: audio -> segments -> batches -> hypotheses -> segments of text, streamed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import numpy as np

from speech_translation.audio import MAX_SECONDS, load_audio
from speech_translation.engine import Cancelled, Engine
from speech_translation.segments import cut, find_segments
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Flag,
    Hypothesis,
    Seconds,
    Segment,
    Span,
    Translation,
)

Source = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray
Progress = Callable[[Seconds, Seconds], None]

_SPOILT = {Flag.REPEATED, Flag.TRUNCATED}
_RETRY_PENALTY = 1.15
_RETRY_SHORTEST: Seconds = 2.0


def translate(
    source: Source,
    engine: Engine,
    direction: Direction = Direction.AUTO,
    *,
    context: str = "",
    batch_size: int | None = None,
    max_seconds: Seconds = MAX_SECONDS,
    progress: Progress | None = None,
    on_text: Callable[[Span, str], None] | None = None,
    cancelled: Cancelled | None = None,
) -> Translation:
    """Translate a recording: a path, bytes, an open file, or float32 samples (n,) at 16 kHz.

    The parameters are those of `iter_translate`. Once cancelled, the result holds the segments
    that were finished. Raises AudioError for a recording that cannot be read or is longer than
    `max_seconds`, EngineError when the engine fails.
    """
    start = time.monotonic()
    samples = source if isinstance(source, np.ndarray) else load_audio(source, max_seconds)
    segments = tuple(
        iter_translate(
            samples,
            engine,
            direction,
            context=context,
            batch_size=batch_size,
            progress=progress,
            on_text=on_text,
            cancelled=cancelled,
        )
    )
    return Translation(
        segments=segments,
        direction=_common_direction(segments, direction),
        duration=len(samples) / SAMPLE_RATE,
        compute_seconds=time.monotonic() - start,
        tokens=sum(segment.tokens for segment in segments),
    )


def iter_translate(
    source: Source,
    engine: Engine,
    direction: Direction = Direction.AUTO,
    *,
    context: str = "",
    batch_size: int | None = None,
    max_seconds: Seconds = MAX_SECONDS,
    progress: Progress | None = None,
    on_text: Callable[[Span, str], None] | None = None,
    cancelled: Cancelled | None = None,
) -> Iterator[Segment]:
    """Yield the segments of a recording in order, each as soon as it is translated.

    `direction` AUTO lets the model name its target until the first confident segment; from there
    on that direction is kept. `context` holds names and terms. `progress(done, total)` counts
    seconds of audio. `on_text(span, text)` hears of text while it grows. `cancelled()` is asked
    before every token; once true nothing more is yielded.
    """
    samples = source if isinstance(source, np.ndarray) else load_audio(source, max_seconds)
    total = len(samples) / SAMPLE_RATE
    spans = find_segments(samples)
    size = batch_size or engine.batch_size
    run = _Run(samples, engine, context, on_text, cancelled)
    for first in range(0, len(spans), size):
        batch = spans[first : first + size]
        for span, hypothesis in run.batch(batch, direction):
            if run.stopped:
                return
            start, end = span.seconds
            yield Segment(
                start,
                end,
                hypothesis.text,
                hypothesis.direction,
                hypothesis.flags,
                hypothesis.tokens,
                hypothesis.mean_logprob,
            )
        direction = run.locked or direction
        if progress is not None:
            progress(batch[-1].seconds[1], total)
    if progress is not None:
        progress(total, total)


class _Run:
    """One recording on its way through the engine."""

    def __init__(
        self,
        samples: np.ndarray,
        engine: Engine,
        context: str,
        on_text: Callable[[Span, str], None] | None,
        cancelled: Cancelled | None,
    ) -> None:
        self._samples = samples
        self._engine = engine
        self._context = context
        self._on_text = on_text
        self._cancelled = cancelled
        self.locked: Direction | None = None

    @property
    def stopped(self) -> bool:
        return self._cancelled is not None and self._cancelled()

    def batch(
        self, spans: Sequence[Span], direction: Direction
    ) -> Iterator[tuple[Span, Hypothesis]]:
        """Translate `spans` together, bring them to one direction, mend what was spoilt."""
        hypotheses = self._generate(spans, direction)
        if direction is Direction.AUTO:
            self.locked = _confident_direction(hypotheses)
        if self.locked is not None and not self.stopped:
            direction = self.locked
            others = [i for i, h in enumerate(hypotheses) if h.direction is not direction]
            again = self._generate([spans[i] for i in others], direction) if others else []
            for i, hypothesis in zip(others, again, strict=True):
                hypotheses[i] = hypothesis
        for span, hypothesis in zip(spans, hypotheses, strict=True):
            if hypothesis.flags & _SPOILT and not self.stopped:
                yield from self._retry(span, hypothesis, direction)
            else:
                yield span, hypothesis

    def _retry(
        self, span: Span, hypothesis: Hypothesis, direction: Direction
    ) -> Iterator[tuple[Span, Hypothesis]]:
        """Once more, in shorter spans and with repetition made costly; the better one is kept."""
        length = (span.end - span.start) / SAMPLE_RATE
        parts = [span]
        if length >= _RETRY_SHORTEST:
            found = find_segments(self._samples[span.start : span.end], length / 2)
            parts = [Span(span.start + p.start, span.start + p.end) for p in found] or [span]
        again = self._generate(parts, direction, _RETRY_PENALTY)
        if any(part.flags & _SPOILT for part in again):
            yield span, hypothesis
        else:
            yield from zip(parts, again, strict=True)

    def _generate(
        self, spans: Sequence[Span], direction: Direction, repetition_penalty: float = 1.0
    ) -> list[Hypothesis]:
        listener = self._on_text
        on_text = None
        if listener is not None:

            def on_text(index: int, text: str) -> None:
                listener(spans[index], text)

        return self._engine.generate(
            [cut(self._samples, span) for span in spans],
            direction,
            context=self._context,
            repetition_penalty=repetition_penalty,
            on_text=on_text,
            cancelled=self._cancelled,
        )


def _confident_direction(hypotheses: Sequence[Hypothesis]) -> Direction | None:
    """The direction the model named for the first segment it was sure of."""
    for hypothesis in hypotheses:
        if hypothesis.direction is not Direction.AUTO and not hypothesis.flags:
            return hypothesis.direction
    return None


def _common_direction(segments: Sequence[Segment], asked: Direction) -> Direction:
    """The one direction of all segments with text, else what was asked for."""
    named = {segment.direction for segment in segments if segment.text}
    return named.pop() if len(named) == 1 else asked
