"""One segment on its way to a vLLM server: what is sent for it, and what the answer says.

Each request has a connection of its own, which another thread may shut: that ends a request on
which a server sits. A connection of a pool could not be told from the others.
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import re
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from speech_translation.engine.base import Cancelled, Request
from speech_translation.engine.prompt import (
    ASR_TEXT,
    flags_for,
    parse_reply,
    strip_control_tokens,
    tag_of,
    token_budget,
)
from speech_translation.errors import EngineError
from speech_translation.types import SAMPLE_RATE, Direction, Flag, Hypothesis, Seconds

# What a terminal would act on, and halves of characters, which no file can hold: a server's text is
# a stranger's. Lines and tabs stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_TAG_TOKENS = 4  # `language Japanese<asr_text>` has three
_GIVEN_UP = {"abort", "error"}  # what vLLM and SGLang say of an answer that has no end


class Busy(Exception):
    """The server cannot answer now, and asks for a pause of some seconds."""

    def __init__(self, reason: str, pause: Seconds = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class ListenerFailed(Exception):
    """The caller's own function failed, with `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Line:
    """The connection of one request, for whoever waits for the answer, until a time at most.

    It has one of the places for requests in flight, until it is done or shut.
    """

    def __init__(self, abandoned: Cancelled = lambda: False) -> None:
        self._abandoned = abandoned
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._places: threading.Semaphore | None = None
        self._deadline = math.inf
        self._is_shut = False

    def open(self, timeout: Seconds, places: threading.Semaphore) -> None:
        """Wait for a place, and let the time begin that the answer may take."""
        places.acquire()
        self._places = places
        self._deadline = time.monotonic() + timeout

    @property
    def left(self) -> Seconds:
        """How much time is left; not above 0 once it is over."""
        return self._deadline - time.monotonic()

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for the answer any more. That time is over is another matter."""
        return self._abandoned() or (self._is_shut and self.left > 0)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Hear what httpcore does for the request: TLS makes another socket of the first."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
            if self._is_shut:
                self.shut()

    def shut(self) -> None:
        """End the connection, and give up the place: its reader hears that the server has gone."""
        with self._lock:
            self._is_shut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it is over
                    self._socket.shutdown(socket.SHUT_RDWR)
        self.done()

    def done(self) -> None:
        """Give up the place, where that has not happened."""
        with self._lock:
            places, self._places = self._places, None
        if places is not None:
            places.release()


@dataclass(frozen=True, slots=True)
class Question:
    """One segment of a request, as it is sent."""

    request: Request
    index: int
    line: Line

    @property
    def unanswered(self) -> Hypothesis:
        """What a caller gets who has given up."""
        return Hypothesis("", self.request.direction, flags=frozenset({Flag.TRUNCATED}))

    @property
    def samples(self) -> np.ndarray:
        """Of the segment: float32 (n,) at 16 kHz."""
        return self.request.batch[self.index]

    @property
    def context(self) -> str:
        """Names and terms, as the prompt has them."""
        return strip_control_tokens(self.request.context)

    def hear(self, text: str) -> None:
        """Tell the caller of the text so far."""
        if self.request.on_text is not None and text:
            try:
                self.request.on_text(self.index, text)
            except Exception as error:  # not the server's
                raise ListenerFailed(error) from error

    @property
    def tag(self) -> str:
        """The beginning of the answer; empty for an automatic direction."""
        target = self.request.direction.target
        return f"language {target.tag}{ASR_TEXT}" if target else ""

    def options(self) -> dict[str, Any]:
        """What both of the servers' interfaces are told of the generation."""
        return {
            "temperature": 0,
            "repetition_penalty": self.request.repetition_penalty,
            "max_completion_tokens": (
                _TAG_TOKENS if self.request.only_direction else token_budget(len(self.samples))
            ),
        }

    def wav(self) -> bytes:
        """The samples as they are: 32-bit float."""
        file = io.BytesIO()
        soundfile.write(file, self.samples, SAMPLE_RATE, "FLOAT", format="WAV")
        return file.getvalue()

    def chat(self) -> dict[str, Any]:
        """The body of /chat/completions, but for the model's name."""
        sound = {"data": base64.b64encode(self.wav()).decode(), "format": "wav"}
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": self.context},
            {"role": "user", "content": [{"type": "input_audio", "input_audio": sound}]},
        ]
        body = self.options() | {
            "messages": messages,
            "logprobs": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.tag:
            messages.append({"role": "assistant", "content": self.tag})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        return body


def clean(text: str) -> str:
    """A server's text without what a terminal would act on."""
    return _CONTROL.sub("", text)


def heard(question: Question, events: Iterable[dict[str, Any]]) -> Hypothesis:
    """The hypothesis that a streamed chat completion amounts to.

    Raises Busy where the server gives up in the midst of it, and EngineError where its model
    computes no numbers.
    """
    reply, logprobs, tokens, truncated = question.tag, list[tuple[str, float]](), 0, False
    for event in events:
        if event.get("error"):
            raise Busy(clean(str(event["error"]))[:200])
        tokens = int((event.get("usage") or {}).get("completion_tokens") or tokens)
        for choice in event["choices"]:
            piece = clean((choice.get("delta") or {}).get("content") or "")
            reply += piece
            scored = (choice.get("logprobs") or {}).get("content") or ()
            # JSON has no NaN: vLLM sends null.
            logprobs += [(x["token"], _number(x["logprob"])) for x in scored]
            ended_by = choice.get("finish_reason")
            if ended_by in _GIVEN_UP:
                raise Busy(f"it ended the generation: {ended_by}")
            truncated = truncated or ended_by == "length"
            if piece:
                question.hear(parse_reply(reply, growing=True)[1])
        if question.line.given_up:
            break  # the connection is closed, and vLLM ends the generation
    language, text = parse_reply(reply)
    direction = Direction.to(language) if language else Direction.AUTO
    if question.request.only_direction:
        scores = _numbers(logprobs[: _TAG_TOKENS - 1])
        # A server that tells no probability is believed where it says the same twice.
        named = sum(scores) if scores else math.log(0.99)
        return Hypothesis("", direction, tokens, named)
    names = [token for token, _ in logprobs]
    start = names.index(ASR_TEXT) + 1 if ASR_TEXT in names else 0
    scores = _numbers(logprobs[start:])
    mean = sum(scores) / len(scores) if scores else 0.0
    flags = flags_for(text, direction, mean_logprob=mean, truncated=truncated)
    mean = math.nan if text and not scores else mean
    return Hypothesis(text, direction, tokens, mean, flags, tag_of(reply))


def _number(score: float | None) -> float:
    return math.nan if score is None else score


def _numbers(logprobs: Sequence[tuple[str, float]]) -> list[float]:
    """The scores that are numbers. EngineError when there are scores and none is one."""
    scores = [score for _, score in logprobs if math.isfinite(score)]
    if logprobs and not scores:
        raise EngineError(
            "The model computes no numbers on the server: start vLLM with --dtype bfloat16 or "
            "float32."
        )
    return scores
