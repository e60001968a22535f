"""What is worked on before a recording ends: the same answer, and only the rest left to do."""

import threading
from typing import Any

import numpy as np
import pytest
from clips import DIRECTIONS, clip, without_pauses

from speech_translation import Direction, load_engine
from speech_translation.engine import WINDOW, Prefills, Request
from speech_translation.engine.attention import encode_together
from speech_translation.engine.batching import SharedEngine
from speech_translation.engine.load import load_local
from speech_translation.engine.local import LocalEngine
from speech_translation.live import LiveTranslator
from speech_translation.types import SAMPLE_RATE

FRAMES = round(WINDOW * 100)


def speech(language: str, seconds: float) -> np.ndarray:
    """A sentence over and over: one long segment, whose beginning is as loud as the rest.

    The features of a recording depend on its loudest moment, so a louder one later changes them.
    """
    loud = without_pauses(clip(f"{language}_1"))
    return np.resize(loud, round(seconds * SAMPLE_RATE))


class Work:
    """What the model was given: frames by the encoder, positions by the decoder's prompt."""

    def __init__(self, engine: LocalEngine) -> None:
        thinker = engine.asr.model.thinker
        self.frames: list[int] = []
        self.positions: list[int] = []
        thinker.audio_tower.tower.register_forward_pre_hook(self._encodes)
        thinker.model.layers[0].register_forward_pre_hook(self._reads)

    def _encodes(self, _: Any, inputs: tuple[Any, ...]) -> None:
        self.frames.append(inputs[0].shape[1])

    def _reads(self, _: Any, inputs: tuple[Any, ...]) -> None:
        if inputs[0].shape[1] > 1:
            self.positions.append(inputs[0].shape[1])

    def forget(self) -> None:
        self.frames.clear()
        self.positions.clear()


@pytest.fixture
def engine() -> LocalEngine:
    """One of its own: it has heard nothing yet."""
    return load_local("phrasebook", "cpu", "auto", windowed=True)


@pytest.fixture
def work(engine: LocalEngine) -> Work:
    return Work(engine)


@pytest.fixture
def other_engine() -> LocalEngine:
    """One that shares nothing with it."""
    local = load_engine("phrasebook", "cpu")
    assert isinstance(local, LocalEngine)
    return local


@pytest.mark.parametrize("language", DIRECTIONS)
@pytest.mark.parametrize("seconds", [8.0, 8.5, 16.3, 26.5, 30.0])
def test_the_answer_is_the_same_and_only_the_rest_is_left(
    engine: LocalEngine, other_engine: LocalEngine, work: Work, language: str, seconds: float
) -> None:
    direction = DIRECTIONS[language]
    samples = speech(language, seconds)
    (alone,) = other_engine.generate(Request([samples], direction))
    for closed in range(1, int(seconds // WINDOW) + 1):
        engine.prefill(
            Request([samples[: round((closed * WINDOW + 0.1) * SAMPLE_RATE)]], direction)
        )
    work.forget()
    (ahead,) = engine.generate(Request([samples], direction))
    assert (ahead.text, ahead.tokens) == (alone.text, alone.tokens)
    assert ahead.mean_logprob == pytest.approx(alone.mean_logprob, abs=1e-4)
    if seconds > 8.1:
        assert work.frames[0] < FRAMES + 100
        assert work.positions[0] < 13 * (seconds % WINDOW) + 20  # a second is 13 positions


def test_another_direction_reads_the_recording_no_second_time(
    engine: LocalEngine, work: Work
) -> None:
    samples = speech("ja", 12.0)
    engine.generate(Request([samples], Direction.AUTO))
    whole = work.positions[0]
    work.forget()
    engine.generate(Request([samples], Direction.JA_EN))
    assert work.frames == []
    assert work.positions[0] < whole / 10


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("lengths", [(3.0,), (3.0, 9.5, 17.2), (8.5, 8.0)])
def test_what_was_said_costs_no_second_encoding_and_hardly_a_prompt(
    engine: LocalEngine,
    other_engine: LocalEngine,
    work: Work,
    lengths: tuple[float, ...],
    together: bool,
) -> None:
    batch = [speech("en", seconds) for seconds in lengths]
    alone = [other_engine.generate(Request([samples], Direction.JA_EN))[0] for samples in batch]
    if together:
        encode_together(engine.asr.model.thinker)
    engine.generate(Request(batch, Direction.EN_JA, asked_again=True))
    work.forget()
    said = engine.generate(Request(batch, Direction.JA_EN))
    assert work.frames == []
    assert work.positions == [] or max(work.positions) <= 4  # the tag and what follows it
    assert [x.text for x in said] == [x.text for x in alone]
    for got, wanted in zip(said, alone, strict=True):
        assert got.mean_logprob == pytest.approx(wanted.mean_logprob, abs=1e-4)
    if len(batch) > 1:  # what a batch keeps is given back
        work.forget()
        engine.generate(Request(batch, Direction.EN_JA))
        assert work.positions[0] > 13 * min(lengths)


@pytest.mark.parametrize("lengths", [(3.0, 9.5, 1.2), (20.0, 8.0)])
def test_clips_encoded_together_are_what_they_are_alone(
    engine: LocalEngine, work: Work, lengths: tuple[float, ...]
) -> None:
    batch = [speech("ja", seconds) for seconds in lengths]
    alone = [engine.generate(Request([samples], Direction.JA_EN))[0] for samples in batch]
    encode_together(engine.asr.model.thinker)
    work.forget()
    together = engine.generate(Request(batch, Direction.JA_EN))
    assert work.frames == [sum(round(100 * seconds) for seconds in lengths)]
    assert [x.text for x in together] == [x.text for x in alone]


def test_names_and_terms_are_not_those_of_before(engine: LocalEngine, work: Work) -> None:
    samples = speech("en", 12.0)
    engine.generate(Request([samples], Direction.EN_JA, context="Kyoto"))
    with_terms = work.positions[0]
    work.forget()
    engine.generate(Request([samples], Direction.EN_JA, context="Osaka"))
    assert work.positions[0] > with_terms / 2


def test_a_pass_that_failed_is_not_gone_on_from(
    engine: LocalEngine, other_engine: LocalEngine
) -> None:
    samples = speech("en", 12.0)
    (wanted,) = other_engine.generate(Request([samples], Direction.EN_JA))

    def full(*_: Any) -> None:
        raise MemoryError

    layer = engine.asr.model.thinker.model.layers[1]
    hook = layer.register_forward_pre_hook(full)
    engine.prefill(Request([samples], Direction.EN_JA))  # says nothing: it was only ahead
    hook.remove()
    (got,) = engine.generate(Request([samples], Direction.EN_JA))
    assert (got.text, got.tokens) == (wanted.text, wanted.tokens)
    assert got.mean_logprob == pytest.approx(wanted.mean_logprob, abs=1e-4)


def test_nobody_waits_for_work_that_is_only_ahead(engine: LocalEngine, work: Work) -> None:
    ahead = Request([speech("en", 9.0)], Direction.EN_JA)
    returned = list[bool]()

    def busy() -> bool:
        """Called while the engine generates; ends it."""
        thread = threading.Thread(target=engine.prefill, args=(ahead,), daemon=True)
        thread.start()
        thread.join(60)
        returned.append(not thread.is_alive())
        return True

    engine.generate(Request([speech("ja", 2.0)], Direction.JA_EN, cancelled=busy))
    assert returned == [True]
    assert work.frames == [200]  # those of the request alone


def test_a_talk_is_worked_on_while_it_goes_on(engine: LocalEngine, work: Work) -> None:
    shared = SharedEngine(engine)
    assert isinstance(shared, Prefills)
    translator = LiveTranslator(shared, Direction.EN_JA, partial_every=3600)  # as a slow model
    sound = speech("en", 26.0)
    for start in range(0, len(sound), SAMPLE_RATE // 2):
        translator.push(sound[start : start + SAMPLE_RATE // 2], SAMPLE_RATE)
    assert len(work.frames) == 3  # one for each window that has closed
    work.forget()
    translator.finish()
    assert work.frames[0] < FRAMES + 100
    assert translator.segments
