"""A translation as it grows, stops and fails."""

import threading
import time

import numpy as np
import pytest

from speech_translation.engine import load_engine
from speech_translation.errors import EngineError
from speech_translation.segments import POLICIES
from speech_translation.types import Direction, Hypothesis
from web.streaming import stream


def long_recording() -> np.ndarray:
    from speech_translation.audio import load_audio

    return np.tile(load_audio("examples/en_long.flac"), 3)


def test_text_only_grows_and_the_last_update_is_whole() -> None:
    engine = load_engine("phrasebook")
    event = threading.Event()
    updates = list(stream(long_recording(), engine, Direction.EN_JA, "", event, POLICIES["pause"]))
    last = updates[-1]
    assert last.translation is not None
    assert last.text == last.translation.text
    assert len(last.translation.segments) == 66
    done = [update.done for update in updates]
    assert done == sorted(done)
    assert all(update.translation is None for update in updates[:-1])


def test_who_stops_keeps_what_was_finished() -> None:
    engine, stopped = load_engine("phrasebook"), threading.Event()
    for update in stream(long_recording(), engine, Direction.EN_JA, "", stopped, POLICIES["pause"]):
        if update.done > 0:
            stopped.set()
    assert update.translation is not None
    assert 0 < len(update.translation.segments) < 66


def test_the_generation_ends_when_nobody_reads_on() -> None:
    engine = load_engine("phrasebook")
    updates = stream(long_recording(), engine, Direction.EN_JA, "", threading.Event())
    next(updates)
    updates.close()
    deadline = time.monotonic() + 60
    while any(thread.name == "translate" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_error_reaches_whoever_reads() -> None:
    class Broken:
        description, batch_size = "broken", 1

        def generate(self, _: object) -> list[Hypothesis]:
            raise EngineError("The model failed.")

    with pytest.raises(EngineError, match=r"The model failed\."):
        list(stream(long_recording(), Broken(), Direction.EN_JA, "", threading.Event()))
