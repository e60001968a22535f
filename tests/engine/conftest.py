"""Stand-ins for vLLM servers, and engines that wait for them in milliseconds."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from vllm_stand_in import Server

from speech_translation.engine import remote


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers; they end with the test."""
    started = list[Server]()

    def start(*args: Any, **options: Any) -> Server:
        started.append(Server(*args, **options))
        threading.Thread(target=started[-1].serve_forever, args=(0.01,), daemon=True).start()
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for a millisecond between two tries; have no key in the environment."""
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.delenv(remote.KEY_VARIABLE, raising=False)
