"""The offer of the other direction: made where the model is sure, and never at a result's cost."""

import threading
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest
from clips import EXAMPLES, clip, reference

from app import playback
from speech_translation.engine import Engine, Request, load_engine
from speech_translation.errors import EngineError
from speech_translation.other_direction import telling
from speech_translation.segments import find_segments
from speech_translation.translate import translate
from speech_translation.types import Direction, Hypothesis
from web import zerogpu
from web.loading import Loading
from web.service import Service
from web.settings import Settings
from web.streaming import Update

WHOLE = Update("", 1.0, 1.0, 0.0)


class FailsWhenAsked:
    """The embedded checkpoint, which translates and fails to name a direction."""

    def __init__(self, error: Exception) -> None:
        self._engine = load_engine("phrasebook")
        self._error = error
        self.description, self.batch_size = "fails when asked", self._engine.batch_size

    def generate(self, request: Request) -> list[Hypothesis]:
        if request.only_direction:
            raise self._error
        return self._engine.generate(request)


def service(load: Callable[[], Engine]) -> Service:
    loading = Loading(load, "phrasebook")
    loading.run()
    return Service(Settings(), loading)


@pytest.mark.parametrize(
    ("name", "asked", "offered"),
    [
        ("ja_1", Direction.EN_JA, Direction.JA_EN),
        ("en_1", Direction.JA_EN, Direction.EN_JA),
        ("en_1", Direction.EN_JA, None),
    ],
)
def test_the_direction_that_was_heard_is_offered(
    name: str, asked: Direction, offered: Direction | None
) -> None:
    heard = service(lambda: load_engine("phrasebook"))
    assert heard.other_direction(str(EXAMPLES / f"{name}.flac"), asked, WHOLE) is offered


FAILURES = [EngineError("The server is away."), ValueError("secret")]


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_a_model_that_fails_at_this_question_costs_no_result(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    fails = service(lambda: FailsWhenAsked(error))
    assert fails.other_direction(str(EXAMPLES / "ja_1.flac"), Direction.EN_JA, WHOLE) is None
    assert type(error).__name__ in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_on_a_borrowed_gpu_it_costs_no_result_either(error: Exception) -> None:
    zerogpu.prepare(FailsWhenAsked(error))
    samples = clip("en_two_sentences")
    assert telling(samples, find_segments(samples)) is not None  # the question is asked
    *_, last = zerogpu.stream(samples, 8, Direction.EN_JA, "", threading.Event(), offer=True)
    assert (last.text, last.missing, last.other) == (reference("en_two_sentences"), "", None)


def test_an_upload_that_is_deleted_meanwhile_costs_no_result(tmp_path: Path) -> None:
    """Uploads are kept for an hour; two hours of speech may take longer on a CPU."""
    heard = service(lambda: load_engine("phrasebook"))
    translation = translate(EXAMPLES / "ja_1.flac", load_engine("phrasebook"), Direction.JA_EN)
    for name in ("gone.wav", "gone.mkv"):
        gone = str(tmp_path / name)
        assert heard.other_direction(gone, Direction.EN_JA, WHOLE) is None
        assert playback(gone, translation) == gr.update(visible="hidden")
