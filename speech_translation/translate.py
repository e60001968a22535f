"""The one pipeline: audio -> segments -> batches -> hypotheses -> segments of text, streamed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TypedDict, Unpack

import numpy as np

from speech_translation.audio import MAX_SECONDS, load_audio
from speech_translation.engine.base import Aligner, Cancelled, Engine
from speech_translation.errors import AudioError
from speech_translation.segments import SENTENCE, Policy, Utterance, cut, find_segments
from speech_translation.session import OnSpan, Session
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Remark,
    Seconds,
    Segment,
    Span,
    Translation,
)

Source = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray
Progress = Callable[[Seconds, Seconds], None]

_AHEAD = 2
"""Segments after a batch that have a say in its languages: one doubtful name must not end it."""


class Options(TypedDict, total=False):
    """What `translate` and `iter_translate` may be told beside a recording and its direction."""

    context: str
    """Names and terms that may occur."""

    batch_size: int | None
    """Segments at a time; None for what suits the engine."""

    max_seconds: Seconds
    """A longer recording is refused."""

    track: int | str | None
    """Which of several sound tracks: its number, from 1, or its language. Without it, that in the
    language that `direction` translates, or the one that a player takes."""

    transcriber: Engine | None
    """What writes down what is said, beside the translation: the engine itself, if its checkpoint
    can, or another one. It names no directions: it is told the language that is spoken."""

    aligner: Aligner | None
    """What tells when the words that were written down are said; without it the regions of the
    segments stand."""

    policy: Policy
    """How speech is divided into segments: sentences or a few of them, unless said otherwise."""

    progress: Progress | None
    """Hears `(done, total)`, seconds of audio."""

    on_text: OnSpan | None
    """Hears `(span, text)` while the text of a span grows."""

    cancelled: Cancelled | None
    """Asked before every token."""


def translate(
    source: Source,
    engine: Engine,
    direction: Direction | str = Direction.AUTO,
    **options: Unpack[Options],
) -> Translation:
    """Translate a recording: a path, bytes, an open file, or float32 samples (n,) at 16 kHz.

    `direction` is a `Direction` or its value, like "en2ja"; `options` are those of `Options`. Once
    cancelled, the result holds the segments that were finished. Raises AudioError for a recording
    that cannot be read or is longer than `max_seconds`, EngineError when the engine fails, and
    TypeError or ValueError, with what is wanted, for an argument that is none of these.
    """
    start = time.monotonic()
    direction = Direction(direction)
    remarks = list[Remark]()
    samples = _samples(source, direction, options, remarks.append)
    segments = tuple(iter_translate(samples, engine, direction, **options))
    return Translation(
        segments=segments,
        direction=common_direction(segments, direction),
        duration=len(samples) / SAMPLE_RATE,
        compute_seconds=time.monotonic() - start,
        tokens=sum(segment.tokens for segment in segments),
        remarks=tuple(remarks),
    )


def iter_translate(
    source: Source,
    engine: Engine,
    direction: Direction | str = Direction.AUTO,
    **options: Unpack[Options],
) -> Iterator[Segment]:
    """Yield the segments of a recording in order, each as soon as it is translated.

    With `direction` AUTO the model names the direction of every segment, and a segment ends where
    the language changes. Once cancelled, nothing more is yielded. Raises what `translate` raises.
    """
    if unknown := sorted(options.keys() - Options.__annotations__.keys()):
        raise TypeError(
            f"There is no option {unknown[0]!r}: use {', '.join(Options.__annotations__)}."
        )
    direction = Direction(direction)
    policy = options.get("policy", SENTENCE)
    progress = options.get("progress")
    session = Session(
        engine,
        direction,
        options.get("context", ""),
        options.get("on_text"),
        options.get("cancelled"),
        policy,
        options.get("batch_size"),
        transcriber=options.get("transcriber"),
        aligner=options.get("aligner"),
    )
    size = session.batch_size
    samples = _samples(source, direction, options)
    total = len(samples) / SAMPLE_RATE
    found = find_segments(samples, policy)
    first = size if options.get("on_text") is None else 1  # who watches sees text after one prompt
    for utterances, ahead in batches(samples, found, direction, size, first):
        yield from session.batch(utterances, ahead)
        if session.stopped:
            return
        if progress is not None:
            progress(utterances[-1].span.seconds[1], total)
    if progress is not None:
        progress(total, total)


def batches(
    samples: np.ndarray,
    found: Sequence[tuple[Span, ...]],
    direction: Direction,
    size: int,
    first: int | None = None,
) -> Iterator[tuple[list[Utterance], list[Utterance]]]:
    """The segments `found` in a recording, up to `size` at a time, and those ahead of them.

    Both are what `Session.batch` takes. There are `first` in the first batch, or `size`.
    """
    ahead = _AHEAD if direction is Direction.AUTO else 0
    begin, count = 0, first or size
    while begin < len(found):
        near = found[begin : begin + count + ahead]
        utterances = [Utterance(regions, cut(samples, regions)) for regions in near]
        yield utterances[:count], utterances[count:]
        begin, count = begin + count, size


def _samples(
    source: Source,
    direction: Direction,
    options: Options,
    remark: Callable[[Remark], object] | None = None,
) -> np.ndarray:
    if isinstance(source, np.ndarray):
        return _checked(source)
    return load_audio(
        source,
        options.get("max_seconds", MAX_SECONDS),
        track=options.get("track"),
        language=direction.source,
        remark=remark,
    )


def _checked(samples: np.ndarray) -> np.ndarray:
    """Samples of a caller as float32. What the model would take for silence or noise is refused."""
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise ValueError(
            "Samples are mono floats in [-1, 1] at 16 kHz, of shape (n,), not "
            f"{samples.dtype} of shape {samples.shape}: load_audio makes them of any recording."
        )
    samples = samples.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise AudioError("The samples contain values that are not numbers (NaN or infinite).")
    return samples


def common_direction(segments: Sequence[Segment], asked: Direction) -> Direction:
    """The one direction of all segments with text, else what was asked for."""
    named = {segment.direction for segment in segments if segment.text}
    return named.pop() if len(named) == 1 else asked
