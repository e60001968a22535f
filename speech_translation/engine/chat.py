"""A language model behind an OpenAI-compatible endpoint, asked for one message at a time.

For models that read text: those that judge translations and those that make them. The model of this
project, which hears, is asked by `remote`, which streams, chooses among servers and gives up.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from typing import Any

import httpx

from speech_translation.engine.servers import key_headers, retry_after, server_at
from speech_translation.errors import EngineError, first_words
from speech_translation.types import Seconds

KEY_VARIABLE = "OPENAI_API_KEY"
TIMEOUT: Seconds = 300.0
"""A model that thinks first may take minutes."""
IN_FLIGHT = 16
PAUSES: Sequence[Seconds] = (1.0, 4.0, 16.0)
"""Before a busy or silent server is tried again; up to a quarter more at random."""
LONGEST_PAUSE: Seconds = 60.0
BUSY = {408, 429, 500, 502, 503, 504}
NOT_UNDERSTOOD = {400, 422}
"""What a server answers that does not know structured output."""

_PASSING = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)

# Qwen3, DeepSeek and their like think aloud before they answer, unless a reasoning parser of the
# server takes it out. Chat templates may begin the answer with <think> themselves. Thoughts that
# never end are no answer.
_THOUGHTS = re.compile(r"\A.*</think>|\A\s*<think>.*", re.DOTALL)


class Chat:
    """A model by its name behind `url`, which ends in /v1. Calls may come from several threads.

    The key is read from the environment, OPENAI_API_KEY.
    """

    def __init__(self, url: str, model: str, *, timeout: Seconds = TIMEOUT) -> None:
        self.model = model
        self._server = server_at(url, key_headers(KEY_VARIABLE), kept=IN_FLIGHT)
        self._timeout = timeout
        self._structured = True  # until the server says that it does not know it

    def ask(
        self,
        system: str,
        user: str,
        *,
        seed: int = 0,
        schema: dict[str, Any] | None = None,
    ) -> str:
        """The model's answer at temperature 0, without its thoughts; "" where it is none.

        With `schema`, a JSON schema, the answer is held to it by servers that can. Raises
        EngineError when the server does not answer or refuses.
        """
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        body = {"model": self.model, "temperature": 0, "seed": seed, "messages": messages}
        if schema is not None and self._structured:
            form = {"name": "answer", "strict": True, "schema": schema}
            wanted = {"response_format": {"type": "json_schema", "json_schema": form}}
            try:
                return _answer(self._post(body | wanted))
            except _NotUnderstood:
                self._structured = False
        return _answer(self._post(body))

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        for pause in (*PAUSES, None):
            asked_to_wait = 0.0
            try:
                reply = self._server.client.post(
                    f"{self._server.url}/chat/completions", json=body, timeout=self._timeout
                )
            except httpx.HTTPError as error:
                if pause is None or not isinstance(error, _PASSING):
                    raise self._silent(first_words(error)) from error
            else:
                if reply.is_success:
                    return reply
                if reply.status_code in NOT_UNDERSTOOD and "response_format" in body:
                    raise _NotUnderstood
                if pause is None or reply.status_code not in BUSY:
                    said = " ".join(reply.text.split())[:200]
                    raise self._silent(f"{reply.status_code} {said}".strip())
                asked_to_wait = min(retry_after(reply), LONGEST_PAUSE)
            time.sleep(max(pause * random.uniform(1, 1.25), asked_to_wait))
        raise AssertionError("the last try returns or raises")

    def _silent(self, reason: str) -> EngineError:
        return EngineError(
            f"{self.model} at {self._server.shown}/chat/completions does not answer ({reason}): "
            f"check the address, which ends in /v1, the name of the model and {KEY_VARIABLE}."
        )


class _NotUnderstood(Exception):
    """The server takes a request with structured output for wrong."""


def _answer(reply: httpx.Response) -> str:
    try:
        content = reply.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
    if not isinstance(content, str):
        return ""
    return _THOUGHTS.sub("", content).strip()
