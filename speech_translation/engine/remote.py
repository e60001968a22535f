"""An engine on one or several vLLM servers, over their OpenAI-compatible API.

An automatic direction goes through /chat/completions, which answers with the model's own tag. For a
forced one the tag is put at the beginning of the answer, as in training; a server whose chat
template does not render it is asked through /audio/translations, which sets the same tag but leaves
out the (empty) system turn and tells no probabilities. Which of the two servers take is found out
by asking, and asked again every ten minutes.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import httpx

from speech_translation.engine.base import Request
from speech_translation.engine.prompt import flags_for
from speech_translation.engine.question import Busy, Question, clean, heard
from speech_translation.engine.servers import Server, server_at
from speech_translation.errors import EngineError, ServerUnreachable
from speech_translation.types import Direction, Hypothesis, Seconds

KEY_VARIABLE = "SPEECH_ENGINE_KEY"
TIMEOUT: Seconds = 120.0
CONNECT_TIMEOUT: Seconds = 5.0
IN_FLIGHT = 16
TRIES = 5
FIRST_PAUSE: Seconds = 0.25  # doubled from try to try, and up to as much again at random
SHUNNED: Seconds = 5.0  # for so long a server that failed is asked only if all did
BUSY = {429, 500, 502, 503, 504}
UNRENDERED = {400, 422}
"""What a server answers whose chat template cannot begin an answer."""
ASKED_AGAIN: Seconds = 600.0
"""After so long a server may have another chat template."""

_ASKED_EVERY: Seconds = 0.1  # whether a caller has given up
_HANGING_UP: Seconds = 1.0  # what threads have for noticing that their connections are shut

_log = logging.getLogger(__name__)

T = TypeVar("T")


class _Refused(Exception):
    """The server takes the request itself for wrong."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class RemoteEngine:
    """vLLM servers with the same checkpoint, each given by its URL, which ends in /v1.

    The server with the fewest requests in flight is asked; one that fails is left alone for a
    while. A busy or broken one is tried again, with growing pauses, until `timeout` seconds after
    the request was made. A key is read from the environment, SPEECH_ENGINE_KEY. The environment's
    proxies and SSL_CERT_FILE count, but for servers on this machine or its network.

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
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._servers = [server_at(url.strip().rstrip("/"), headers) for url in urls]
        self._timeout = timeout
        self._choosing = threading.Lock()
        self._prefill: bool | None = None  # whether forced tags can be; None until it is known
        self._ask_again = 0.0  # when a server without the template is asked again
        self._pool = ThreadPoolExecutor(in_flight, "remote")
        self._model = model or self._ask("GET", "/models", _first_model, self._deadline())

    @property
    def model(self) -> str:
        """The name under which the servers serve their model."""
        return self._model

    @property
    def description(self) -> str:
        """Checkpoint, servers and, once it is known, how a direction is forced; for people."""
        how = {
            None: "",
            True: ", prompt of the training",
            False: ", by /audio/translations, confidence unknown",
        }
        urls = ", ".join(server.shown for server in self._servers)
        return f"{self._model} on {urls}{how[self._prefill]}"

    def generate(self, request: Request) -> list[Hypothesis]:
        """See `Engine.generate`. The segments of a batch are sent side by side.

        Who gives up is answered at once, and the servers notice that the connections are shut.
        """
        questions = [Question(request, index) for index in range(len(request.batch))]
        asked = [self._pool.submit(self._translate, question) for question in questions]
        try:
            while wait(asked, _ASKED_EVERY).not_done:
                if request.abandoned:
                    break
        finally:  # by Ctrl-C, too
            for question, future in zip(questions, asked, strict=True):
                if not future.done():
                    question.line.shut()
        if request.abandoned:
            wait(asked, _HANGING_UP)
        return [
            future.result() if future.done() else question.unanswered
            for question, future in zip(questions, asked, strict=True)
        ]

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    def _translate(self, question: Question) -> Hypothesis:
        deadline = self._deadline()
        forced = question.request.direction is not Direction.AUTO
        try:
            if not (forced and self._prefill is False and time.monotonic() < self._ask_again):
                try:
                    hypothesis = self._chat(question, deadline)
                except _Refused as refused:
                    if not forced or refused.status not in UNRENDERED:
                        raise
                    hypothesis = self._audio_translation(question, deadline)
                    self._without_template(refused)
                else:
                    self._prefill = forced or self._prefill
                return hypothesis
            return self._audio_translation(question, deadline)
        except _Refused as refused:
            raise EngineError(f"The server refuses the request: {refused}") from refused
        except EngineError:
            if question.given_up:
                return question.unanswered
            raise

    def _without_template(self, refused: _Refused) -> None:
        """Remember for a while that the servers' template does not begin an answer, and say so."""
        if self._prefill is not False:
            _log.warning(
                "The server does not take the beginning of an answer (%s). A forced direction goes "
                "through /audio/translations, without confidence: start vLLM with "
                "--chat-template deploy/chat_template.jinja.",
                refused,
            )
        self._prefill = False
        self._ask_again = time.monotonic() + ASKED_AGAIN

    def _chat(self, question: Question, deadline: float) -> Hypothesis:
        def listen(reply: httpx.Response) -> Hypothesis:
            return heard(question, _events(reply, deadline))

        body = question.chat() | {"model": self._model}
        return self._ask("POST", "/chat/completions", listen, deadline, question, json=body)

    def _audio_translation(self, question: Question, deadline: float) -> Hypothesis:
        def read(reply: httpx.Response) -> str:
            return clean(str(json.loads(_body(reply, deadline))["text"])).strip()

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
            question,
            data=form,
            files={"file": ("segment.wav", question.wav(), "audio/wav")},
        )
        question.hear(text)
        direction = question.request.direction
        return Hypothesis(text, direction, mean_logprob=math.nan, flags=flags_for(text, direction))

    def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[httpx.Response], T],
        deadline: float,
        question: Question | None = None,
        **content: Any,
    ) -> T:
        """What `read` makes of the answer; another try, elsewhere if possible, where none is whole.

        Raises _Refused for a request that no try would mend, ServerUnreachable when tries or time
        are up, or whoever asks has given up.
        """
        if question is not None:
            content["extensions"] = {"trace": question.line.trace}

        def abandoned() -> bool:
            return question is not None and question.given_up

        for attempt in range(TRIES):
            server = self._take()
            url = server.shown + path
            left = max(deadline - time.monotonic(), 0.001)
            timeout = httpx.Timeout(left, connect=min(left, CONNECT_TIMEOUT))
            try:
                with server.client.stream(
                    method, server.url + path, timeout=timeout, **content
                ) as reply:
                    _check(reply, deadline, url, server.proxy, starting=question is None)
                    return read(reply)
            except (httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout):
                raise ServerUnreachable(
                    f"{url} has not answered within {self._timeout:g} s: is the server overloaded?"
                ) from None
            except (httpx.TransportError, Busy) as error:
                if abandoned():
                    raise ServerUnreachable(f"{url} was not waited for.") from error
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise EngineError(
                        f"The certificate of {url} is signed by nobody who is known here "
                        f"({error}): name the file of its authority in SSL_CERT_FILE."
                    ) from error
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
            until = time.monotonic() + pause
            while not abandoned() and (left := until - time.monotonic()) > 0:
                time.sleep(min(left, _ASKED_EVERY))
        if server.proxy:
            raise ServerUnreachable(
                f"{url} gives no answer through the proxy {server.proxy} ({reason}): check the "
                "proxy and the server, or put the server's name into NO_PROXY."
            )
        raise ServerUnreachable(
            f"{url} gives no answer ({reason}): check that the vLLM server runs and that this is "
            "its address, with /v1 (--engine-url, or SPEECH_ENGINE_URL of a Space)."
        )

    def _take(self) -> Server:
        """The server to ask now; it counts one request more."""
        with self._choosing:
            now = time.monotonic()
            server = min(
                self._servers,
                key=lambda x: (x.shunned_until > now, x.in_flight, random.random()),
            )
            server.in_flight += 1
            return server


def _check(reply: httpx.Response, deadline: float, url: str, proxy: str, *, starting: bool) -> None:
    """Raise what the status of an answer from `url` amounts to.

    What stands before a server that is `starting` says 404 or sends elsewhere until it is there.
    """
    if reply.is_success:
        return
    status = reply.status_code
    said = " ".join(_body(reply, deadline)[:300].decode(errors="replace").split())
    through = f" through the proxy {proxy}" if proxy else ""
    if status == 407:
        raise EngineError(f"The proxy {proxy} asks for a name and a password (407 {said}).")
    if status in {401, 403} and proxy:
        raise EngineError(
            f"{url} says {status}{through}: put the server's key into {KEY_VARIABLE}, or let "
            "the proxy pass the request."
        )
    if status in {401, 403}:
        raise EngineError(f"{url} asks for a key: put it into {KEY_VARIABLE}.")
    if status in BUSY or starting:
        raise Busy(f"{status} {said}".strip())
    raise _Refused(status, f"{url} says{through} {status} {said}")


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
