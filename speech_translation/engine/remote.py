"""An engine on one or several vLLM servers, over their OpenAI-compatible API.

An automatic direction goes through /chat/completions, which answers with the model's own tag. For a
forced one the tag is put at the beginning of the answer, as in training; a server whose chat
template does not render it is asked through /audio/translations, which sets the same tag but leaves
out the (empty) system turn. Which of the two a server takes is found out once.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import numpy as np
import soundfile

from speech_translation.engine.base import Request
from speech_translation.engine.prompt import (
    ASR_TEXT,
    flags_for,
    parse_reply,
    strip_control_tokens,
    token_budget,
)
from speech_translation.errors import EngineError, ServerUnreachable
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Seconds

KEY_VARIABLE = "SPEECH_ENGINE_KEY"
TIMEOUT: Seconds = 120.0
CONNECT_TIMEOUT: Seconds = 5.0
IN_FLIGHT = 16
TRIES = 5
FIRST_PAUSE: Seconds = 0.25  # doubled from try to try, and up to as much again at random
SHUNNED: Seconds = 5.0  # for so long a server that failed is asked only if all did
BUSY = {429, 500, 502, 503, 504}

_TAG_TOKENS = 4  # `language Japanese<asr_text>` has three

T = TypeVar("T")


@dataclass(eq=False)
class _Server:
    url: str
    in_flight: int = 0
    shunned_until: float = 0.0


class _Busy(Exception):
    """The server cannot answer now."""


class _Refused(Exception):
    """The server takes the request itself for wrong."""


@dataclass(frozen=True, slots=True)
class _Question:
    """One segment of a request, as it is sent."""

    request: Request
    index: int

    @property
    def samples(self) -> np.ndarray:
        return self.request.batch[self.index]

    @property
    def context(self) -> str:
        return strip_control_tokens(self.request.context)

    def hear(self, text: str) -> None:
        """Tell the caller of the text so far."""
        if self.request.on_text is not None and text:
            self.request.on_text(self.index, text)

    @property
    def tag(self) -> str:
        """The beginning of the answer; empty for an automatic direction."""
        target = self.request.direction.target
        return f"language {target.tag}{ASR_TEXT}" if target else ""

    def options(self) -> dict[str, Any]:
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


class RemoteEngine:
    """vLLM servers with the same checkpoint, each given by its URL, which ends in /v1.

    The server with the fewest requests in flight is asked; one that fails is left alone for a
    while. A busy or broken one is tried again, with growing pauses, until `timeout` seconds after
    the request was made. A key is read from the environment, SPEECH_ENGINE_KEY.

    Raises ServerUnreachable, here and in `generate`, when no server answers, and EngineError when
    one refuses.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str = "",
        *,
        timeout: Seconds = TIMEOUT,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self.batch_size = in_flight
        self._servers = [_Server(url.rstrip("/")) for url in urls]
        self._timeout = timeout
        self._choosing = threading.Lock()
        self._prefill: bool | None = None  # whether forced tags can be; None until it is known
        key = os.environ.get(KEY_VARIABLE)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_keepalive_connections=in_flight),
        )
        self._pool = ThreadPoolExecutor(in_flight, "remote")
        self._model = model or self._ask("GET", "/models", _first_model, self._deadline())

    @property
    def model(self) -> str:
        """The name under which the servers serve their model."""
        return self._model

    @property
    def description(self) -> str:
        """Checkpoint, servers and, once it is known, how a direction is forced; for people."""
        how = {None: "", True: ", prompt of the training", False: ", by /audio/translations"}
        urls = ", ".join(server.url for server in self._servers)
        return f"{self._model} on {urls}{how[self._prefill]}"

    def generate(self, request: Request) -> list[Hypothesis]:
        """See `Engine.generate`. The segments of a batch are sent side by side."""
        questions = [_Question(request, index) for index in range(len(request.batch))]
        return list(self._pool.map(self._translate, questions))

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    def _translate(self, question: _Question) -> Hypothesis:
        deadline = self._deadline()
        forced = question.request.direction is not Direction.AUTO
        try:
            if not (forced and self._prefill is False):
                try:
                    hypothesis = self._chat(question, deadline)
                except _Refused:
                    if not forced or self._prefill:
                        raise
                    self._prefill = False
                else:
                    self._prefill = self._prefill or forced or None
                    return hypothesis
            return self._audio_translation(question, deadline)
        except _Refused as refused:
            raise EngineError(f"The server refuses the request: {refused}") from refused

    def _chat(self, question: _Question, deadline: float) -> Hypothesis:
        def listen(reply: httpx.Response) -> Hypothesis:
            return _heard(question, _events(reply, deadline))

        body = question.chat() | {"model": self._model}
        return self._ask("POST", "/chat/completions", listen, deadline, json=body)

    def _audio_translation(self, question: _Question, deadline: float) -> Hypothesis:
        def read(reply: httpx.Response) -> str:
            return str(json.loads(_body(reply, deadline))["text"]).strip()

        assert question.request.direction.target is not None
        form = question.options() | {"model": self._model}
        form["to_language"] = question.request.direction.target.value
        if question.context:
            form["prompt"] = question.context
        text = self._ask(
            "POST",
            "/audio/translations",
            read,
            deadline,
            data=form,
            files={"file": ("segment.wav", question.wav(), "audio/wav")},
        )
        question.hear(text)
        direction = question.request.direction
        return Hypothesis(text, direction, flags=flags_for(text, direction))

    def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[httpx.Response], T],
        deadline: float,
        **content: Any,
    ) -> T:
        """What `read` makes of the answer; another try, elsewhere if possible, where none is whole.

        Raises _Refused for a request that no try would mend, ServerUnreachable when tries or time
        are up.
        """
        for attempt in range(TRIES):
            server = self._take()
            url = server.url + path
            left = max(deadline - time.monotonic(), 0.001)
            timeout = httpx.Timeout(left, connect=min(left, CONNECT_TIMEOUT))
            try:
                with self._client.stream(method, url, timeout=timeout, **content) as reply:
                    _check(reply, deadline)
                    return read(reply)
            except (httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
                raise ServerUnreachable(
                    f"{url} has not answered within {self._timeout:g} s: is the server overloaded?"
                ) from None
            except httpx.InvalidURL as error:
                raise EngineError(f"{url} is no address ({error}).") from error
            except (httpx.TransportError, _Busy) as error:
                server.shunned_until = time.monotonic() + SHUNNED
                reason = str(error) or type(error).__name__
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                server.shunned_until = time.monotonic() + SHUNNED
                reason = f"it is not a vLLM server's: {error!r}"[:200]
            finally:
                with self._choosing:
                    server.in_flight -= 1
            pause = FIRST_PAUSE * 2**attempt * (1 + random.random())
            if attempt == TRIES - 1 or time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
        raise ServerUnreachable(
            f"{url} gives no answer ({reason}): check that the vLLM server runs and that this is "
            "its address, with /v1."
        )

    def _take(self) -> _Server:
        """The server to ask now; it counts one request more."""
        with self._choosing:
            now = time.monotonic()
            server = min(
                self._servers,
                key=lambda x: (x.shunned_until > now, x.in_flight, random.random()),
            )
            server.in_flight += 1
            return server


def _check(reply: httpx.Response, deadline: float) -> None:
    if reply.is_success:
        return
    said = " ".join(_body(reply, deadline)[:300].decode(errors="replace").split())
    if reply.status_code in BUSY:
        raise _Busy(f"{reply.status_code} {said}")
    if reply.status_code in {401, 403}:
        raise EngineError(f"{reply.url} asks for a key: put it into {KEY_VARIABLE}.")
    raise _Refused(f"{reply.url} says {reply.status_code} {said}")


def _body(reply: httpx.Response, deadline: float) -> bytes:
    return b"".join(_in_time(reply.iter_bytes(), deadline))


def _in_time(parts: Iterable[T], deadline: float) -> Iterator[T]:
    """`parts` of an answer; ReadTimeout when they go on beyond the deadline."""
    for part in parts:
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer never ends")
        yield part


def _first_model(reply: httpx.Response) -> str:
    return str(json.loads(reply.read())["data"][0]["id"])


def _events(reply: httpx.Response, deadline: float) -> Iterator[dict[str, Any]]:
    """The objects in a stream of server-sent events. ValueError when it ends too early."""
    for line in _in_time(reply.iter_lines(), deadline):
        if line.startswith("data:"):
            data = line[5:].strip()
            if data == "[DONE]":
                return
            yield json.loads(data)
    raise httpx.RemoteProtocolError("the answer broke off")


def _heard(question: _Question, events: Iterable[dict[str, Any]]) -> Hypothesis:
    """The hypothesis that a streamed chat completion amounts to."""
    reply, logprobs, tokens, truncated = question.tag, list[tuple[str, float]](), 0, False
    for event in events:
        if "error" in event:
            raise _Busy(str(event["error"])[:200])
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        for choice in event["choices"]:
            piece = choice["delta"].get("content") or ""
            reply += piece
            scored = (choice.get("logprobs") or {}).get("content") or ()
            # JSON has no NaN: vLLM sends null.
            logprobs += [(x["token"], _number(x["logprob"])) for x in scored]
            truncated = truncated or choice.get("finish_reason") == "length"
            if piece:
                question.hear(parse_reply(reply)[1])
        if question.request.abandoned:
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
    return Hypothesis(text, direction, tokens, mean, flags)


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
