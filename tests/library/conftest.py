"""What several files of these tests need."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from captioned import SOUND
from clips import PEOPLE, clip
from cutting import Clips, trimmed
from recordings import film

from speech_translation import cli
from speech_translation.audio import load_audio


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model can be had, nor is one asked for."""

    def load_engine(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(cli, "load_engine", load_engine)


@pytest.fixture(scope="module", params=["in the repository", "of people"])
def clips(request: pytest.FixtureRequest) -> Clips:
    """The repository's recordings and, where SPEECH_HUMAN names more, those of Japanese people.

    These begin with speech: the room before it is a subject of its own.
    """
    english = [load_audio(PEOPLE[0]), load_audio(PEOPLE[-1])]
    if request.param == "in the repository":
        return Clips(english, [clip("ja_1"), clip("ja_2")])
    speech_clip: Callable[[str], np.ndarray] = request.getfixturevalue("speech_clip")
    names = ("common_voice_ja_38852485_16k", "common_voice_ja_38833628_16k")
    return Clips(english, [trimmed(speech_clip(f"ja/{name}.wav")) for name in names])


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Black pictures and silence."""
    path = tmp_path / "talk.mkv"
    path.write_bytes(film("matroska", "libopus", SOUND, lambda t: t))
    return path
