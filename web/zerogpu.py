"""What changes on ZeroGPU, where a GPU is lent for the seconds of one call.

Hugging Face's `spaces` can be installed anywhere; the environment variable SPACES_ZERO_GPU says
that the Space really runs on ZeroGPU. There `spaces` forks a worker that has the GPU and runs one
decorated function in it, here `on_gpu`. What goes in and out is pickled. The main process only
emulates CUDA: it must not use the engine.

Each call counts against a daily quota of the visitor and is refused when less is left than it asks
for. So a call is one batch of segments: a long recording is several short calls, and the seconds
that finding its segments takes are not the visitor's.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial

import gradio as gr
import numpy as np

from speech_translation.detector import speech_probabilities
from speech_translation.engine import Engine
from speech_translation.engine.prompt import token_budget
from speech_translation.errors import SpeechTranslationError
from speech_translation.other_direction import other_direction, telling
from speech_translation.segments import SENTENCE, Policy, Utterance, find_segments
from speech_translation.session import Memory, Session
from speech_translation.translate import batches
from speech_translation.types import SAMPLE_RATE, Direction, Language, Seconds, Segment, Span
from web.quota import WORKER, explained
from web.refusals import Refusal, log_place
from web.streaming import Growth, Update, ticks
from web.texts import Words, words

ACTIVE = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as `spaces` reads it

# What a call takes. None was ever made on a Space: these are estimates, on the safe side.
_START: Seconds = 6.0  # CUDA begins, and 4 GB of weights come from the disk
_BESIDE: Seconds = 3.0  # prompts, and what the model names for the regions
_STEP: Seconds = 0.03
"""A decode step, of one segment or of eight. The authors of the checkpoint published 45.8 tokens
per second (evaluation/results/published.json), which is 0.022."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What a worker needs to know: plain data."""

    utterances: list[Utterance]
    ahead: list[Utterance]
    direction: Direction
    context: str
    policy: Policy
    memory: Memory
    stretches: Sequence[np.ndarray] = ()
    """Speech, to ask whether it sounds like the other direction: float32 (n,) at 16 kHz."""
    transcript: bool = False
    """Whether what is said is written down, too."""


@dataclass(frozen=True, slots=True)
class News:
    """What a worker has done since its last news: plain data."""

    segments: list[Segment]
    texts: dict[Span, str]
    """Those that grow."""
    memory: Memory
    other: Direction | None = None


_engine: Engine | None = None
_transcriber: Engine | None = None


def prepare(engine: Engine, transcriber: Engine | None = None) -> None:
    """Keep the engines for the workers, which begin as copies of this process.

    To be called before the server starts.
    """
    global _engine, _transcriber
    _engine, _transcriber = engine, transcriber
    speech_probabilities(np.zeros(SAMPLE_RATE, np.float32))  # loads the detector: not during a fork
    # `spaces` sends the visitor's token in an address, and httpx logs addresses.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def gpu_seconds(batch: Batch) -> int:
    """How long to borrow the GPU: at most 21 s, since no segment is longer than 30 s.

    What is said takes as long again to be written down.

    A visitor without an account has 120 s a day, and today's hardware counts each as 1.5.
    """
    return round(_START + _decoding(batch) * (1 + batch.transcript) + _BESIDE)


def _decoding(batch: Batch) -> Seconds:
    """How long it takes to decode a batch, if a segment of it has no end."""
    return _STEP * token_budget(max(len(utterance.samples) for utterance in batch.utterances))


def on_gpu(batch: Batch) -> Generator[News, None, None]:
    """Translate a batch in the worker. Yields five times a second, so that it can be ended.

    Raises gr.Error alone, since `spaces` hands on the words of no other error.
    """
    assert _engine is not None
    stopped = threading.Event()
    finished, texts = list[Segment](), dict[Span, str]()
    other: Direction | None = None
    # A spoilt segment is tried again in halves. The GPU may be taken away when its time is over.
    retry = _decoding(batch) * (1 + batch.transcript) / 2
    last_retry = time.monotonic() + gpu_seconds(batch) - _START - retry
    session = Session(
        _engine,
        batch.direction,
        batch.context,
        texts.__setitem__,
        stopped.is_set,
        batch.policy,
        memory=batch.memory,
        time_to_retry=lambda: time.monotonic() < last_retry,
        transcriber=_transcriber if batch.transcript else None,
    )

    def work() -> None:
        nonlocal other
        finished.extend(session.batch(batch.utterances, batch.ahead))
        if batch.stretches and not stopped.is_set():
            other = other_direction(_engine, batch.stretches, batch.direction, stopped.is_set)

    try:
        told = 0
        # The GPU goes to somebody else when this function ends: nothing may compute any more.
        for _ in ticks(work, stopped, wait=True):
            segments = finished[told:]
            told += len(segments)
            yield News(segments, texts.copy(), batch.memory)
        yield News(finished[told:], {}, session.memory, other)
    except SpeechTranslationError as error:
        raise gr.Error(str(error), title=WORKER, print_exception=False) from None
    except Exception as error:
        log_place(error)
        raise gr.Error("", title=WORKER, print_exception=False) from None


lent: Callable[[Batch], Generator[News, None, None]] = on_gpu
"""`on_gpu`, on a borrowed GPU where one has to be borrowed."""

if ACTIVE:
    import spaces

    lent = spaces.GPU(duration=gpu_seconds)(on_gpu)


def _news(batch: Batch) -> Generator[list[News], None, None]:
    """What is new of a call, five times a second, also while it waits in line for a GPU.

    When the caller stops reading, the call ends at its next news.
    """
    heard, over = queue.SimpleQueue[News](), threading.Event()

    def work() -> None:
        with closing(lent(batch)) as call:  # to close it ends the work of its worker
            for news in call:
                heard.put(news)
                if over.is_set():
                    return

    def new() -> list[News]:
        return [heard.get() for _ in range(heard.qsize())]

    # `spaces` finds in the context of the request whose quota it is.
    in_request = partial(copy_context().run, work)
    try:
        for _ in ticks(in_request, over):
            yield new()
    except Exception:
        yield new()  # what was finished before
        raise
    yield new()


def stream(
    samples: np.ndarray,
    batch_size: int,
    direction: Direction,
    context: str,
    stopped: threading.Event,
    policy: Policy = SENTENCE,
    *,
    language: Language = Language.ENGLISH,
    offer: bool = False,
    transcript: bool = False,
) -> Generator[Update, None, None]:
    """Translate as `web.streaming.stream` does, with a borrowed GPU for each batch of segments.

    Has to be read in the context of the visitor's request. With `offer` the last update tells
    whether the recording sounds like the other direction. When no GPU is lent, what was finished is
    the result, and the last update says why the rest is missing; without anything finished, a
    Refusal says it in `language`.
    """
    growth = Growth(len(samples) / SAMPLE_RATE, direction)
    found = find_segments(samples, policy)
    memory, other = Memory(direction, {}), None
    missing: Words | None = None
    asked = offer and direction is not Direction.AUTO
    stretches = telling(samples, found) if asked else []
    try:
        for utterances, ahead in batches(samples, found, direction, batch_size):
            batch = Batch(
                utterances, ahead, direction, context, policy, memory, stretches, transcript
            )
            stretches = []
            with closing(_news(batch)) as call:
                for news in call:
                    for one in news:
                        memory, other = one.memory, other or one.other
                        growth.finished += one.segments
                        growth.growing = one.texts
                    yield growth.so_far()
                    if stopped.is_set():
                        break
            if stopped.is_set():
                break
            growth.done = utterances[-1].span.seconds[1]
    except Exception as error:
        if isinstance(error, gr.Error):
            title, message = error.title, str(error.message)
            missing = {each: explained(title, message, each) for each in Language}
        else:  # what lends the GPUs does not answer
            log_place(error)
            missing = words("broken")
        if not growth.finished:
            raise Refusal(missing[language], missing) from None
    yield replace(growth.whole(), other=other, missing=missing)
