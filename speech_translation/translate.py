"""The one pipeline: audio -> segments -> batches -> hypotheses -> segments of text, streamed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TypedDict, Unpack

import numpy as np

from speech_translation.audio import MAX_SECONDS, load_audio
from speech_translation.engine.base import Cancelled, Engine, Prefills, Request
from speech_translation.segments import Utterance, cut, find_segments
from speech_translation.text import echoed
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
OnSpan = Callable[[Span, str], None]

RETRY_FLAGS = frozenset({Flag.REPEATED, Flag.TRUNCATED})
"""Flags of a text that is not worth showing if there is a better one."""

_RETRY_PENALTY = 1.15
_RETRY_SHORTEST: Seconds = 2.0


class Options(TypedDict, total=False):
    """What `translate` and `iter_translate` may be told beside a recording and its direction."""

    context: str
    """Names and terms that may occur."""

    batch_size: int | None
    """Segments at a time; None for what suits the engine."""

    max_seconds: Seconds
    """A longer recording is refused."""

    progress: Progress | None
    """Hears `(done, total)`, seconds of audio."""

    on_text: OnSpan | None
    """Hears `(span, text)` while the text of a span grows."""

    cancelled: Cancelled | None
    """Asked before every token."""


def translate(
    source: Source,
    engine: Engine,
    direction: Direction = Direction.AUTO,
    **options: Unpack[Options],
) -> Translation:
    """Translate a recording: a path, bytes, an open file, or float32 samples (n,) at 16 kHz.

    `options` are those of `Options`. Once cancelled, the result holds the segments that were
    finished. Raises AudioError for a recording that cannot be read or is longer than
    `max_seconds`, EngineError when the engine fails.
    """
    start = time.monotonic()
    samples = _samples(source, options)
    segments = tuple(iter_translate(samples, engine, direction, **options))
    return Translation(
        segments=segments,
        direction=common_direction(segments, direction),
        duration=len(samples) / SAMPLE_RATE,
        compute_seconds=time.monotonic() - start,
        tokens=sum(segment.tokens for segment in segments),
    )


def iter_translate(
    source: Source,
    engine: Engine,
    direction: Direction = Direction.AUTO,
    **options: Unpack[Options],
) -> Iterator[Segment]:
    """Yield the segments of a recording in order, each as soon as it is translated.

    `direction` AUTO lets the model name its target until the first confident segment; from there
    on that direction is kept. Once cancelled, nothing more is yielded. Raises what `translate`
    raises.
    """
    samples = _samples(source, options)
    total = len(samples) / SAMPLE_RATE
    spans = find_segments(samples)
    size = options.get("batch_size") or engine.batch_size
    progress = options.get("progress")
    session = Session(
        engine,
        direction,
        options.get("context", ""),
        options.get("on_text"),
        options.get("cancelled"),
    )
    for first in range(0, len(spans), size):
        batch = spans[first : first + size]
        yield from session.batch([Utterance(span, cut(samples, span)) for span in batch])
        if session.stopped:
            return
        if progress is not None:
            progress(batch[-1].seconds[1], total)
    if progress is not None:
        progress(total, total)


class Session:
    """One recording, or one talk, on its way through the engine.

    `direction` is what was asked for; AUTO gives way to what the first confident segment names.
    """

    def __init__(
        self,
        engine: Engine,
        direction: Direction,
        context: str = "",
        on_text: OnSpan | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        self.direction = direction
        self._engine = engine
        self._context = context
        self._on_text = on_text
        self._cancelled = cancelled

    @property
    def stopped(self) -> bool:
        """Whether the run was cancelled."""
        return self._cancelled is not None and self._cancelled()

    def batch(self, utterances: Sequence[Utterance]) -> Iterator[Segment]:
        """Translate utterances together, bring them to one direction, mend what was spoilt.

        Once cancelled, nothing more is yielded. Raises EngineError when the engine fails.
        """
        hypotheses = self.generate(utterances)
        if self.direction is Direction.AUTO and not self.stopped:
            self.direction = _confident_direction(hypotheses)
            others = [
                i
                for i, hypothesis in enumerate(hypotheses)
                if self.direction not in (Direction.AUTO, hypothesis.direction)
            ]
            again = self.generate([utterances[i] for i in others]) if others else []
            for i, hypothesis in zip(others, again, strict=True):
                hypotheses[i] = hypothesis
        for utterance, hypothesis in zip(utterances, hypotheses, strict=True):
            results = [(utterance.span, hypothesis)]
            if hypothesis.flags & RETRY_FLAGS and not self.stopped:
                results = self._retry(utterance) or results
            for span, result in results:
                if self.stopped:
                    return
                yield self._segment(span, result)

    def _retry(self, utterance: Utterance) -> list[tuple[Span, Hypothesis]]:
        """Once more, in shorter spans and with repetition made costly; nothing if still spoilt."""
        (start, end), samples = utterance
        parts = [utterance]
        length = (end - start) / SAMPLE_RATE
        if length >= _RETRY_SHORTEST:
            found = find_segments(samples, length / 2)
            parts = [
                Utterance(Span(start + part.start, start + part.end), cut(samples, part))
                for part in found
            ] or parts
        again = self.generate(parts, _RETRY_PENALTY)
        if any(hypothesis.flags & RETRY_FLAGS for hypothesis in again):
            return []
        return [(part.span, hypothesis) for part, hypothesis in zip(parts, again, strict=True)]

    def prefill(self, utterance: Utterance) -> None:
        """Read the beginning of an utterance that still grows, where the engine can."""
        if isinstance(self._engine, Prefills):
            self._engine.prefill(Request([utterance.samples], self.direction, self._context))

    def generate(
        self, utterances: Sequence[Utterance], repetition_penalty: float = 1.0
    ) -> list[Hypothesis]:
        """What the engine says about utterances, in the direction of the run."""
        listener = self._on_text
        on_text = None
        if listener is not None:

            def on_text(index: int, text: str) -> None:
                listener(utterances[index].span, text)

        return self._engine.generate(
            Request(
                [utterance.samples for utterance in utterances],
                self.direction,
                self._context,
                repetition_penalty,
                on_text,
                self._cancelled,
            )
        )

    def _segment(self, span: Span, hypothesis: Hypothesis) -> Segment:
        start, end = span.seconds
        flags = hypothesis.flags
        if echoed(hypothesis.text, self._context):
            flags |= {Flag.TERMS_ECHOED}
        return Segment(
            start,
            end,
            hypothesis.text,
            hypothesis.direction,
            flags,
            hypothesis.tokens,
            hypothesis.mean_logprob,
        )


def _samples(source: Source, options: Options) -> np.ndarray:
    if isinstance(source, np.ndarray):
        return source
    return load_audio(source, options.get("max_seconds", MAX_SECONDS))


def _confident_direction(hypotheses: Sequence[Hypothesis]) -> Direction:
    """The direction the model named for the first segment it was sure of, else AUTO."""
    for hypothesis in hypotheses:
        if hypothesis.direction is not Direction.AUTO and not hypothesis.flags:
            return hypothesis.direction
    return Direction.AUTO


def common_direction(segments: Sequence[Segment], asked: Direction) -> Direction:
    """The one direction of all segments with text, else what was asked for."""
    named = {segment.direction for segment in segments if segment.text}
    return named.pop() if len(named) == 1 else asked
