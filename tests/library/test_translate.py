"""The pipeline on a scripted engine; test_end_to_end.py runs it on the real one."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from clips import PEOPLE

from speech_translation.audio import load_audio
from speech_translation.engine import Request
from speech_translation.translate import iter_translate, translate
from speech_translation.types import Direction, Flag, Hypothesis, Span

SURE = Hypothesis("駅です。", Direction.EN_JA, tokens=4, mean_logprob=-0.01)
UNSURE = Hypothesis("A fog.", Direction.JA_EN, 3, -3.0, frozenset({Flag.LOW_CONFIDENCE}))
LOOP = Hypothesis("no " * 20, Direction.JA_EN, 60, -0.2, frozenset({Flag.REPEATED}))


@dataclass
class ScriptedEngine:
    """Answers from a list, and remembers what it was asked."""

    answers: list[Hypothesis]
    batch_size: int = 1
    description: str = "scripted"
    calls: list[dict[str, Any]] = field(default_factory=list)

    def generate(self, request: Request) -> list[Hypothesis]:
        self.calls.append(
            {
                "lengths": [len(samples) for samples in request.batch],
                "direction": request.direction,
                "penalty": request.repetition_penalty,
            }
        )
        hypotheses = [self.answers.pop(0) for _ in request.batch]
        if request.on_text is not None:
            for index, hypothesis in enumerate(hypotheses):
                request.on_text(index, hypothesis.text)
        return hypotheses


@pytest.fixture(scope="module")
def three_utterances() -> np.ndarray:
    """Three times the same short sentence, a second of silence before each and at the end."""
    clip = load_audio(PEOPLE[1])
    silence = np.zeros(16_000, np.float32)
    return np.concatenate([silence, clip, silence, clip, silence, clip, silence])


def directions(engine: ScriptedEngine) -> list[Direction]:
    return [call["direction"] for call in engine.calls]


def test_segments_come_in_order_with_their_times(three_utterances: np.ndarray) -> None:
    engine = ScriptedEngine([SURE, SURE, SURE], batch_size=2)
    translation = translate(three_utterances, engine, Direction.EN_JA)
    assert translation.text == "駅です。駅です。駅です。"
    assert translation.tokens == 12
    assert translation.duration == pytest.approx(len(three_utterances) / 16_000)
    assert [len(call["lengths"]) for call in engine.calls] == [2, 1]
    starts = [segment.start for segment in translation.segments]
    assert starts == sorted(starts)
    for a, b in zip(translation.segments, translation.segments[1:], strict=False):
        assert a.end <= b.start


def test_silence_never_reaches_the_engine() -> None:
    engine = ScriptedEngine([])
    translation = translate(np.zeros(160_000, np.float32), engine)
    assert translation.text == ""
    assert translation.flags == {Flag.NO_SPEECH}
    assert engine.calls == []


def test_the_first_confident_segment_locks_the_direction(three_utterances: np.ndarray) -> None:
    engine = ScriptedEngine([UNSURE, SURE, SURE])
    segments = list(iter_translate(three_utterances, engine))
    assert directions(engine) == [Direction.AUTO, Direction.AUTO, Direction.EN_JA]
    assert [segment.direction for segment in segments] == [
        Direction.JA_EN,
        Direction.EN_JA,
        Direction.EN_JA,
    ]


def test_a_batch_is_brought_to_the_locked_direction(three_utterances: np.ndarray) -> None:
    engine = ScriptedEngine([UNSURE, SURE, UNSURE, SURE, SURE], batch_size=3)
    translation = translate(three_utterances, engine)
    assert directions(engine) == [Direction.AUTO, Direction.EN_JA]
    assert [len(call["lengths"]) for call in engine.calls] == [3, 2]
    assert translation.direction is Direction.EN_JA
    assert translation.text == "駅です。駅です。駅です。"


def test_a_forced_direction_is_kept(three_utterances: np.ndarray) -> None:
    engine = ScriptedEngine([UNSURE] * 3)
    list(iter_translate(three_utterances, engine, Direction.JA_EN))
    assert directions(engine) == [Direction.JA_EN] * 3


def test_a_loop_is_tried_once_more_in_shorter_spans() -> None:
    clip = load_audio(PEOPLE[0])
    good = Hypothesis("He had leisure.", Direction.JA_EN, 5, -0.1)
    engine = ScriptedEngine([LOOP] + [good] * 9)
    translation = translate(clip, engine, Direction.JA_EN)
    first, second = engine.calls
    assert first["penalty"] == 1.0 < second["penalty"]
    assert max(second["lengths"]) <= first["lengths"][0] / 2
    assert sum(second["lengths"]) <= first["lengths"][0]
    assert Flag.REPEATED not in translation.flags
    assert len(translation.segments) == len(second["lengths"]) > 1


def test_a_loop_that_stays_is_shown_and_flagged(three_utterances: np.ndarray) -> None:
    engine = ScriptedEngine([LOOP] * 12)
    segments = list(iter_translate(three_utterances, engine, Direction.JA_EN))
    assert len(segments) == 3
    assert all(Flag.REPEATED in segment.flags for segment in segments)
    assert len(engine.calls) == 6  # each once more, not for ever


def test_stop_keeps_what_was_finished(three_utterances: np.ndarray) -> None:
    engine = ScriptedEngine([SURE, SURE, SURE])

    def stop() -> bool:
        return len(engine.calls) > 1

    seen = list(iter_translate(three_utterances, engine, Direction.EN_JA, cancelled=stop))
    assert len(seen) == 1
    assert len(engine.calls) == 2  # the second was under way; its half text is not passed on


def test_progress_and_growing_text_are_told(three_utterances: np.ndarray) -> None:
    engine = ScriptedEngine([SURE, SURE, SURE])
    progress: list[tuple[float, float]] = []
    grown: list[tuple[Span, str]] = []
    translate(
        three_utterances,
        engine,
        Direction.EN_JA,
        progress=lambda done, total: progress.append((done, total)),
        on_text=lambda span, text: grown.append((span, text)),
    )
    total = len(three_utterances) / 16_000
    assert progress[-1] == (total, total)
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
    assert [text for _, text in grown] == ["駅です。"] * 3
    assert len({span for span, _ in grown}) == 3
