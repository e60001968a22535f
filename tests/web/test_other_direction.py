"""The offer of the other direction: made where the model is sure, and never at a result's cost."""

import shutil
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from clips import CLIPS, DIRECTIONS, EXAMPLES, clip, reference
from recordings import encoded

from speech_translation.audio import load_audio
from speech_translation.engine import Engine, Request, load_engine
from speech_translation.errors import EngineError
from speech_translation.other_direction import other_direction, telling
from speech_translation.segments import find_segments
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Span
from web import zerogpu
from web.browser_files import keep_sound, playable
from web.loading import Loading
from web.service import Service
from web.settings import Settings
from web.streaming import Update
from web.texts import words


class FailsWhenAsked:
    """The embedded checkpoint, which translates and fails to name a direction."""

    def __init__(self, error: Exception) -> None:
        self._engine = load_engine("phrasebook")
        self._error = error
        self.description, self.batch_size = "fails when asked", self._engine.batch_size
        self.asked = 0

    def generate(self, request: Request) -> list[Hypothesis]:
        if request.only_direction:
            self.asked += 1
            raise self._error
        return self._engine.generate(request)


def service(load: Callable[[], Engine]) -> Service:
    loading = Loading(load, "phrasebook")
    loading.run()
    return Service(Settings(), loading)


def last_update(service: Service, path: Path, asked: Direction) -> Update:
    *_, last = service.updates(str(path), asked.value, "", None, offer=True)
    return last


@pytest.mark.parametrize(
    ("name", "asked", "offered"),
    [
        ("ja_1", Direction.EN_JA, Direction.JA_EN),
        ("en_1", Direction.JA_EN, Direction.EN_JA),
        ("en_1", Direction.EN_JA, None),
    ],
)
def test_the_direction_that_was_heard_is_offered(
    name: str, asked: Direction, offered: Direction | None, tmp_path: Path
) -> None:
    heard = service(lambda: load_engine("phrasebook"))
    upload = tmp_path / "upload.flac"
    upload.write_bytes((EXAMPLES / f"{name}.flac").read_bytes())
    last = last_update(heard, upload, asked)
    upload.unlink()  # nobody decodes it a second time
    assert heard.other_direction(asked, last) is offered


@pytest.mark.parametrize("name", CLIPS)
def test_no_recording_is_taken_for_the_other_language(name: str) -> None:
    samples, engine = clip(name), load_engine("phrasebook")
    stretches = telling(samples, find_segments(samples))
    right, wrong = DIRECTIONS[name[:2]], DIRECTIONS["ja" if name[:2] == "en" else "en"]
    assert other_direction(engine, stretches, wrong) is right
    assert other_direction(engine, stretches, right) is None
    assert other_direction(engine, stretches, wrong, lambda: True) is None


def test_a_few_stretches_from_all_over_a_recording_are_asked_about() -> None:
    sound = np.arange(600 * SAMPLE_RATE, dtype=np.float32) / (600 * SAMPLE_RATE)
    found = [(Span(n * 10 * SAMPLE_RATE, (n * 10 + 8) * SAMPLE_RATE),) for n in range(60)]
    starts = [stretch[0] for stretch in telling(sound, found)]
    assert starts == pytest.approx([0, 29 / 60, 59 / 60], abs=1e-3)
    assert telling(sound, []) == []
    assert len(telling(sound, found[:1])) == 1


FAILURES = [EngineError("The server is away."), ValueError("secret")]


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_a_model_that_fails_at_this_question_costs_no_result(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FailsWhenAsked(error)
    fails = service(lambda: engine)
    last = last_update(fails, EXAMPLES / "ja_1.flac", Direction.EN_JA)
    assert fails.other_direction(Direction.EN_JA, last) is None
    assert engine.asked == 1
    assert type(error).__name__ in caplog.text
    assert "secret" not in caplog.text


def test_who_has_stopped_and_a_space_that_ends_are_not_kept_by_the_question() -> None:
    engine = FailsWhenAsked(FAILURES[0])
    heard = service(lambda: engine)
    last = last_update(heard, EXAMPLES / "ja_1.flac", Direction.EN_JA)
    assert heard.other_direction(Direction.EN_JA, replace(last, missing=words("stopped"))) is None
    heard.shutdown.requested = True
    assert heard.other_direction(Direction.EN_JA, last) is None
    assert engine.asked == 0


class WaitsWhenAsked(FailsWhenAsked):
    """Says nothing to the question until nobody wants to know."""

    begun = threading.Event()

    def generate(self, request: Request) -> list[Hypothesis]:
        while request.only_direction and request.cancelled and not request.cancelled():
            self.begun.set()
            time.sleep(0.01)
        return self._engine.generate(request)


def test_stop_ends_the_question_too() -> None:
    engine = WaitsWhenAsked(FAILURES[0])
    heard = service(lambda: engine)
    visitor = gr.Request(session_hash="visitor")
    last = last_update(heard, EXAMPLES / "ja_1.flac", Direction.EN_JA)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(heard.other_direction, Direction.EN_JA, last, visitor)
        try:
            assert engine.begun.wait(20)
            heard.stop(visitor)
            assert answer.result(20) is None
        finally:
            heard.shutdown.requested = True


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_on_a_borrowed_gpu_it_costs_no_result_either(error: Exception) -> None:
    zerogpu.prepare(FailsWhenAsked(error))
    samples = clip("en_two_sentences")
    assert telling(samples, find_segments(samples))  # the question is asked
    *_, last = zerogpu.stream(samples, 8, Direction.EN_JA, "", threading.Event(), offer=True)
    assert (last.text, last.missing, last.other) == (reference("en_two_sentences"), None, None)


def film(folder: Path) -> Path:
    """A video of the kind that no browser plays."""
    path = folder / "talk.mkv"
    path.write_bytes(encoded("matroska", "pcm_s16le", clip("en_1"), SAMPLE_RATE))
    return path


def test_an_upload_that_is_deleted_meanwhile_is_heard_all_the_same(tmp_path: Path) -> None:
    """Uploads are kept for an hour; two hours of speech may take longer on a CPU."""
    heard, path = service(lambda: load_engine("phrasebook")), film(tmp_path)
    for update in heard.updates(str(path), "en2ja", "", None, offer=True):
        path.unlink(missing_ok=True)  # nobody decodes it a second time, outside of the line
        last = update
    assert last.translation is not None
    sound = load_audio(playable(str(path), last.translation))
    np.testing.assert_allclose(sound, clip("en_1"), atol=1e-4)


def test_a_folder_that_is_gone_costs_no_result(tmp_path: Path) -> None:
    (tmp_path / "upload").mkdir()
    heard, path = service(lambda: load_engine("phrasebook")), film(tmp_path / "upload")
    for update in heard.updates(str(path), "en2ja", "", None, offer=True):
        shutil.rmtree(path.parent, ignore_errors=True)
        last = update
    assert last.translation is not None
    assert last.text == reference("en_1")
    assert playable(str(path), last.translation) == ""


def test_the_sound_for_the_page_is_written_without_a_copy_of_it(tmp_path: Path) -> None:
    samples = np.zeros(600 * SAMPLE_RATE, np.float32)
    tracemalloc.start()
    keep_sound(str(tmp_path / "talk.mkv"), samples)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "talk.heard.wav").stat().st_size == 44 + 2 * len(samples)
    assert most < samples.nbytes / 4
