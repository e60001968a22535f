"""What several files of these tests need."""

import pytest

from speech_translation import cli


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model can be had, nor is one asked for."""

    def load_engine(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(cli, "load_engine", load_engine)
