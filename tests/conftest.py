from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from speech_translation.audio import load_audio

SPEECH = Path(__file__).resolve().parents[2] / "shared" / "speech"


@pytest.fixture(scope="session")
def speech_clip() -> Callable[[str], np.ndarray]:
    """Human speech by its path, like `en/jfk.flac`, as the model hears it."""
    return cache(lambda path: load_audio(SPEECH / path))
