"""ZeroGPU is told by the environment: `spaces` may be installed on any machine."""

import importlib
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from speech_translation.types import SAMPLE_RATE
from web import zerogpu
from web.streaming import stream


@pytest.fixture
def borrowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is put on a GPU by `spaces`, which stands in for the package of that name."""
    functions = list[Any]()

    def gpu(duration: Callable[..., int]) -> Callable[[Any], Any]:
        return lambda function: functions.append((function, duration)) or function

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    yield functions
    monkeypatch.undo()
    importlib.reload(zerogpu)


@pytest.mark.parametrize("value", [None, "", "false", "0"])
def test_spaces_alone_changes_nothing(
    borrowed: list[Any], monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    else:
        monkeypatch.setenv("SPACES_ZERO_GPU", value)
    importlib.reload(zerogpu)
    assert not zerogpu.ACTIVE
    assert zerogpu.generate is stream
    assert borrowed == []


@pytest.mark.parametrize("value", ["true", "1", "True"])
def test_zerogpu_lends_a_gpu_for_the_time_of_a_translation(
    borrowed: list[Any], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", value)
    importlib.reload(zerogpu)
    assert zerogpu.ACTIVE
    ((function, duration),) = borrowed
    assert function is stream
    assert duration(np.zeros(100 * SAMPLE_RATE, np.float32), "engine", "auto") == 80
