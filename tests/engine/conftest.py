"""Stand-ins for vLLM servers, and engines that wait for them in milliseconds."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from serving import serving
from vllm_stand_in import Server

from speech_translation.engine import remote


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers; they end with the test."""
    with contextlib.ExitStack() as servers:
        yield lambda *args, **options: servers.enter_context(serving(Server(*args, **options)))


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for a millisecond between two tries; have no key in the environment."""
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.delenv(remote.KEY_VARIABLE, raising=False)
