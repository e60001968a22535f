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
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, TypeVar

import httpx

from speech_translation.engine.answer import Refused, body, check, events, first_model
from speech_translation.engine.base import Request
from speech_translation.engine.prompt import flags_for
from speech_translation.engine.question import (
    Busy,
    Line,
    ListenerFailed,
    Question,
    clean,
    heard,
)
from speech_translation.engine.servers import Server, key_headers, server_at
from speech_translation.errors import EngineError, ServerUnreachable, first_words
from speech_translation.types import Direction, Hypothesis, Seconds

KEY_VARIABLE = "SPEECH_ENGINE_KEY"
TIMEOUT: Seconds = 120.0
CONNECT_TIMEOUT: Seconds = 5.0
IN_FLIGHT = 16
TRIES = 5
FIRST_PAUSE: Seconds = 0.25  # doubled from try to try, and up to as much again at random
SHUNNED: Seconds = 5.0  # for so long a server that failed is asked only if all did
UNRENDERED = {400, 422}
"""What a server answers whose chat template cannot begin an answer."""
ASKED_AGAIN: Seconds = 600.0
"""After so long a server may have another chat template."""

_ASKED_EVERY: Seconds = 0.1  # whether a caller has given up, or the time is over
_HANGING_UP: Seconds = 1.0  # what threads have for noticing that their connections are shut
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)
"""What reading an answer raises that is another program's."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class RemoteEngine:
    """vLLM servers with the same checkpoint, each given by its URL, which ends in /v1.

    The server with the fewest requests in flight is asked; one that fails is left alone for a
    while. If all fail they are tried again, four times, with growing pauses or those that they ask
    for, but until `timeout` seconds after the request was made. A key is read from the environment,
    SPEECH_ENGINE_KEY. The environment's proxies and SSL_CERT_FILE count, but proxies do not for
    servers on this machine or its network.

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
        headers = key_headers(KEY_VARIABLE)
        self._servers = [server_at(url, headers) for url in urls]
        self._timeout = timeout
        self._choosing = threading.Lock()
        self._places = threading.Semaphore(in_flight)
        self._prefill: bool | None = None  # whether forced tags can be; None until it is known
        self._ask_again = 0.0  # when a server without the template is asked again
        self._model = model or self._first_model()

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
        questions = [
            Question(request, index, Line(lambda: request.abandoned))
            for index in range(len(request.batch))
        ]
        asked = [self._begun(x.line, partial(self._translate, x)) for x in questions]
        self._await({future: x.line for future, x in zip(asked, questions, strict=True)})
        if request.abandoned:
            wait(asked, _HANGING_UP)
        return [
            future.result() if future.done() else question.unanswered
            for question, future in zip(questions, asked, strict=True)
        ]

    def _await(self, lines: Mapping[Future[Any], Line]) -> None:
        """Wait until all have their answers or somebody gives up; cut the lines whose time is over.

        A server that sends a byte now and then never lets a read time out. A thread that looks up a
        name cannot be cut: it is left behind, and ServerUnreachable raised.
        """
        urls = ", ".join(server.shown for server in self._servers)
        try:
            while waiting := wait(lines, _ASKED_EVERY).not_done:
                if any(line.given_up for line in lines.values()):
                    break
                for line in (lines[future] for future in waiting):
                    if line.left <= 0:
                        line.shut()
                    if line.left <= -_HANGING_UP:
                        self._still_wanted(line, urls)
        finally:  # by Ctrl-C, too
            for future, line in lines.items():
                if not future.done():
                    line.shut()

    def _first_model(self) -> str:
        line = Line()
        ask = partial(self._ask, "GET", "/models", first_model, line, starting=True)
        asked = self._begun(line, ask)
        self._await({asked: line})
        return asked.result()

    def _begun(self, line: Line, work: Callable[[], T]) -> Future[T]:
        """Do `work` in a thread, when a request more may be in flight.

        No process waits for the thread at its end: it may hang in a name that is looked up.
        """
        done = Future[T]()

        def run() -> None:
            line.open(self._timeout, self._places)
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)
            finally:
                line.done()

        threading.Thread(target=run, name="remote", daemon=True).start()
        return done

    def _translate(self, question: Question) -> Hypothesis:
        forced = question.request.direction is not Direction.AUTO
        try:
            if not (forced and self._prefill is False and time.monotonic() < self._ask_again):
                try:
                    hypothesis = self._chat(question)
                except Refused as refused:
                    if not forced or refused.status not in UNRENDERED:
                        raise
                    hypothesis = self._audio_translation(question)
                    self._without_template(refused)
                else:
                    self._prefill = forced or self._prefill
                return hypothesis
            return self._audio_translation(question)
        except ListenerFailed as failed:
            raise failed.error from None
        except Refused as refused:
            raise EngineError(f"The server refuses the request: {refused}") from refused
        except EngineError:
            if question.line.given_up:
                return question.unanswered
            raise

    def _without_template(self, refused: Refused) -> None:
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

    def _chat(self, question: Question) -> Hypothesis:
        def listen(reply: httpx.Response) -> Hypothesis:
            return heard(question, events(reply))

        content = question.chat() | {"model": self._model}
        return self._ask("POST", "/chat/completions", listen, question.line, json=content)

    def _audio_translation(self, question: Question) -> Hypothesis:
        def read(reply: httpx.Response) -> str:
            return clean(json.loads(body(reply))["text"]).strip()

        assert question.request.direction.target is not None
        form = question.options() | {"model": self._model}
        form["to_language"] = question.request.direction.target.value
        if question.context:
            form["prompt"] = question.context
        text = self._ask(
            "POST",
            "/audio/translations",
            read,
            question.line,
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
        line: Line,
        *,
        starting: bool = False,
        **content: Any,
    ) -> T:
        """What `read` makes of the answer; another try, elsewhere if possible, where none is whole.

        Raises Refused for a request that no try would mend, ServerUnreachable when tries or time
        are up, or whoever asks has given up.
        """
        for attempt in range(TRIES):
            untried, pauses = list(self._servers), list[Seconds]()
            while untried:
                server = self._take(untried)
                untried.remove(server)
                url = server.shown + path
                try:
                    self._still_wanted(line, url)
                    return _answer(server, method, path, read, line, starting, content)
                except Busy as busy:
                    reason = str(busy)
                    pauses.append(busy.pause)
                except Refused as refused:
                    if refused.status != 404 or not untried:  # another one may have the model
                        raise
                    pauses.append(0.0)
                finally:
                    with self._choosing:
                        server.in_flight -= 1
                server.shunned_until = time.monotonic() + SHUNNED
                self._still_wanted(line, url)
            pause = max(FIRST_PAUSE * 2**attempt * (1 + random.random()), min(pauses))
            if attempt == TRIES - 1 or pause > line.left:
                break
            until = time.monotonic() + pause
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(left, _ASKED_EVERY))
                self._still_wanted(line, url)
        if server.proxy:
            raise ServerUnreachable(
                f"{url} gives no answer through the proxy {server.proxy} ({reason}): check the "
                "proxy and the server, or put the server's name into NO_PROXY."
            )
        raise ServerUnreachable(
            f"{url} gives no answer ({reason}): check that the vLLM server runs and that this is "
            "its address, with /v1 (--engine-url, or SPEECH_ENGINE_URL of a Space)."
        )

    def _still_wanted(self, line: Line, url: str) -> None:
        """Raise ServerUnreachable when time is up or whoever asks has given up."""
        if line.left <= 0:
            raise ServerUnreachable(
                f"{url} has not answered within {self._timeout:g} s: is the server overloaded?"
            )
        if line.given_up:
            raise ServerUnreachable(f"{url} was not waited for.")

    def _take(self, servers: Sequence[Server]) -> Server:
        """The one of `servers` to ask now; it counts one request more."""
        with self._choosing:
            now = time.monotonic()
            server = min(
                servers,
                key=lambda x: (x.shunned_until > now, x.in_flight, random.random()),
            )
            server.in_flight += 1
            return server


def _answer(
    server: Server,
    method: str,
    path: str,
    read: Callable[[httpx.Response], T],
    line: Line,
    starting: bool,
    content: Mapping[str, Any],
) -> T:
    """What `read` makes of a server's answer. Busy where another try may succeed."""
    url, left = server.shown + path, max(line.left, 0.001)
    timeout = httpx.Timeout(left, connect=min(left, CONNECT_TIMEOUT))
    try:
        with server.client.stream(
            method,
            server.url + path,
            timeout=timeout,
            extensions={"trace": line.trace},
            **content,
        ) as reply:
            check(reply, url, server.proxy, KEY_VARIABLE, starting=starting)
            return read(reply)
    except httpx.RequestError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise _untrusted(url, server.proxy, str(error)) from error
        raise Busy(first_words(error)) from error
    except _UNREADABLE as error:
        raise Busy(f"it is not a vLLM server's: {error!r}"[:200]) from error


def _untrusted(url: str, proxy: str, reason: str) -> EngineError:
    """What to do about a certificate, by OpenSSL's words."""
    whose = f"{url} or of the proxy {proxy}" if proxy.lower().startswith("https:") else url
    if "expired" in reason or "not yet valid" in reason:
        wrong, remedy = "is out of date", "have it renewed, or set the clock of this machine"
    elif "mismatch" in reason:
        wrong, remedy = "is another server's", "write the name that it is made out to"
    else:
        wrong = "is signed by nobody who is known here"
        remedy = "name the file of its authority in SSL_CERT_FILE"
    return EngineError(f"The certificate of {whose} {wrong} ({reason}): {remedy}.")
