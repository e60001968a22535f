"""Judges to ask, and hypotheses to judge."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judging import Answer, Endpoint, write
from serving import serving

from speech_translation.engine import chat
from speech_translation.types import Direction

EN_JA, JA_EN = Direction.EN_JA, Direction.JA_EN


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Endpoint]]:
    """Start judges; they end with the test."""
    with contextlib.ExitStack() as judges:
        yield lambda answer: judges.enter_context(serving(Endpoint(answer)))


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
