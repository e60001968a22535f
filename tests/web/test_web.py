"""The Space's pieces without Gradio: texts, HTML, loading, and a translation as it grows."""

import re
import threading
import time

import numpy as np
import pytest
from clips import clip

from speech_translation.engine import Request, load_engine
from speech_translation.errors import EngineError
from speech_translation.live import LiveTranslator
from speech_translation.segments import POLICIES
from speech_translation.types import Direction, Flag, Hypothesis, Language, Segment
from web.html import progress_bar, segment_table, status
from web.live import LiveSessions, Session
from web.streaming import stream
from web.texts import clock, interface_language, say, texts


def test_both_languages_say_the_same_things() -> None:
    english, japanese = texts()["en"], texts()["ja"]
    assert list(english) == list(japanese)
    names = re.compile(r"\{(\w+)\}")
    for key in english:
        assert set(names.findall(english[key])) == set(names.findall(japanese[key])), key


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        ("en-US,en;q=0.9,ja;q=0.8", "en"),
        ("fr,ja;q=0.5,en;q=0.7", "en"),
        ("en;q=0.2, ja;q=0.3", "ja"),
        ("fr-FR", "en"),
        ("", "en"),
        (None, "en"),
        ("ja;q=x", "ja"),
    ],
)
def test_the_browser_chooses_the_language(header: str | None, language: str) -> None:
    assert interface_language(header).value == language


def test_times_are_short() -> None:
    assert [clock(x) for x in (0, 5.9, 65, 3723)] == ["0:00", "0:05", "1:05", "1:02:03"]


def test_what_a_model_writes_is_text_and_never_html() -> None:
    evil = '<img src=x onerror="alert(1)">'
    table = segment_table(
        [Segment(0, 1, evil, Direction.EN_JA, frozenset({Flag.REPEATED}))], Language.ENGLISH
    )
    assert "<img" not in table
    assert "&lt;img" in table
    assert "repeats itself" in table
    assert 'lang="ja"' in table
    assert "<img" not in status(evil)


def test_progress_says_how_much_is_left() -> None:
    bar = progress_bar(30, 90, 61, Language.ENGLISH)
    assert "0:30 of 1:30" in bar
    assert "about 1:01 left" in bar
    assert "left" not in progress_bar(0, 90, None, Language.ENGLISH)


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


def test_every_text_can_be_filled_in() -> None:
    values = dict.fromkeys(
        (
            "time",
            "done",
            "total",
            "left",
            "duration",
            "compute",
            "speed",
            "tokens",
            "megabytes",
            "direction",
            "segments",
            "reason",
            "ahead",
            "model",
            "description",
            "needed",
            "wait",
        ),
        "7",
    )
    for language in Language:
        for key in texts()[language.value]:
            assert "{" not in say(language, key, **values)


class FailsOnce:
    """An engine that fails when it is first to translate."""

    description, batch_size, failed = "stand-in", 1, False

    def generate(self, request: Request) -> list[Hypothesis]:
        if request.only_direction:
            return [Hypothesis("", Direction.EN_JA, 0, -1e-5) for _ in request.batch]
        if not self.failed:
            self.failed = True
            raise EngineError("The server is away.")
        return [Hypothesis("駅です。", Direction.EN_JA, 4, -0.01) for _ in request.batch]


def test_a_talk_outlives_a_failure_of_the_engine_with_its_last_words() -> None:
    talk = Session(LiveTranslator(FailsOnce(), Direction.EN_JA, partial_every=100))
    assert talk.take(0, clip("en_1"), 16_000, last=False)
    with pytest.raises(EngineError):
        talk.take(1, np.empty(0, np.float32), 16_000, last=True)
    assert not talk.finished
    assert talk.take(1, np.empty(0, np.float32), 16_000, last=True)
    assert talk.finished
    assert [segment.text for segment in talk.translator.segments] == ["駅です。"]


def test_a_talk_that_is_being_translated_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    talks = LiveSessions(FailsOnce, limit=2)
    busy, idle = (Session(LiveTranslator(FailsOnce())) for _ in range(2))
    talks._sessions |= {"busy": busy, "idle": idle}
    later = time.monotonic() + 121
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with busy.lock:
        talks._forget_idle()
    assert set(talks._sessions) == {"busy"}
