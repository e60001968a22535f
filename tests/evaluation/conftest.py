"""Judges to ask, and hypotheses to judge."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judging import Answer, Endpoint, write

from speech_translation.engine import chat
from speech_translation.types import Direction

EN_JA, JA_EN = Direction.EN_JA, Direction.JA_EN


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Endpoint]]:
    """Start judges; they end with the test."""
    started = list[Endpoint]()

    def start(answer: Answer) -> Endpoint:
        started.append(Endpoint(answer))
        threading.Thread(target=started[-1].serve_forever, args=(0.01,), daemon=True).start()
        return started[-1]

    yield start
    for endpoint in started:
        endpoint.shutdown()
        endpoint.server_close()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, and have no key in the environment."""
    monkeypatch.setattr(chat, "PAUSES", (0.0, 0.0))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def one(tmp_path: Path) -> list[Path]:
    """A system with one hypothesis."""
    return [write(tmp_path, "ours", [("It is here.", JA_EN)])]


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two systems with seven hypotheses each, the last of the other direction."""
    lines = [(f"{i}", JA_EN) for i in range(6)] + [("はい。", EN_JA)]
    return [
        write(tmp_path, "ours", lines),
        write(tmp_path, "whisper", [(f"w{text}", direction) for text, direction in lines]),
    ]
