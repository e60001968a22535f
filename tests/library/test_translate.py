"""The pipeline on a scripted engine; test_end_to_end.py runs it on the real one."""

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from clips import PEOPLE

from speech_translation.audio import load_audio
from speech_translation.captions import render
from speech_translation.engine import Request, load_engine
from speech_translation.errors import AudioError
from speech_translation.live import LiveTranslator
from speech_translation.segments import find_segments
from speech_translation.session import Memory, Session
from speech_translation.translate import batches, iter_translate, translate
from speech_translation.types import Direction, Flag, Hypothesis, Segment, Span

SURE = Hypothesis("駅です。", Direction.EN_JA, tokens=4, mean_logprob=-0.01)
UNSURE = Hypothesis("A fog.", Direction.JA_EN, 3, -3.0, frozenset({Flag.LOW_CONFIDENCE}))
ENGLISH = Hypothesis("A fog.", Direction.JA_EN, 3, -0.01)
LOOP = Hypothesis("no " * 20, Direction.JA_EN, 60, -0.2, frozenset({Flag.REPEATED}))


@dataclass
class ScriptedEngine:
    """Answers from a list, and remembers what it was asked."""

    answers: list[Hypothesis]
    batch_size: int = 1
    description: str = "scripted"
    named: list[Direction] = field(default_factory=list)
    """What it names for one region after another, surely; then Japanese text."""
    calls: list[dict[str, Any]] = field(default_factory=list)

    def generate(self, request: Request) -> list[Hypothesis]:
        if request.only_direction:
            named = [self.named.pop(0) if self.named else Direction.EN_JA for _ in request.batch]
            return [Hypothesis("", direction, 0, -1e-5) for direction in named]
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
    """Three times the same short sentence, four seconds before each: a change of subject."""
    clip = load_audio(PEOPLE[1])
    silence = np.zeros(64_000, np.float32)
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


def test_each_segment_takes_the_direction_that_the_model_names(
    three_utterances: np.ndarray,
) -> None:
    named = [Direction.EN_JA, Direction.JA_EN, Direction.EN_JA]
    engine = ScriptedEngine([SURE, SURE, ENGLISH], batch_size=3, named=list(named))
    segments = list(iter_translate(three_utterances, engine))
    assert [segment.direction for segment in segments] == named
    assert [segment.text for segment in segments] == ["駅です。", "A fog.", "駅です。"]
    # Those of one direction are translated together.
    assert [(call["direction"], len(call["lengths"])) for call in engine.calls] == [
        (Direction.EN_JA, 2),
        (Direction.JA_EN, 1),
    ]


def test_a_change_of_language_cuts_a_segment() -> None:
    clip = load_audio(PEOPLE[1])
    pause = np.zeros(12_000, np.float32)
    together = np.concatenate([clip, pause, clip, pause, clip])
    regions = len(find_segments(together)[0])
    assert len(find_segments(together)) == 1
    assert regions >= 3
    named = [Direction.EN_JA] * (regions - 1) + [Direction.JA_EN]
    engine = ScriptedEngine([SURE, ENGLISH], named=named)
    first, second = iter_translate(together, engine)
    assert (first.direction, second.direction) == (Direction.EN_JA, Direction.JA_EN)
    assert len(first.regions) == regions - 1
    assert first.end == first.regions[-1][1] <= second.start == second.regions[0][0]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_one_doubtful_name_turns_nothing_whatever_the_batch(
    three_utterances: np.ndarray, batch_size: int
) -> None:
    class Doubting(ScriptedEngine):
        def generate(self, request: Request) -> list[Hypothesis]:
            heard = super().generate(request)
            doubted = Hypothesis("", Direction.JA_EN, 0, -0.02)
            return [doubted if h.direction is Direction.JA_EN else h for h in heard]

    named = [Direction.EN_JA, Direction.JA_EN, Direction.EN_JA]
    engine = Doubting([SURE, SURE, SURE], batch_size=batch_size, named=named)
    segments = list(iter_translate(three_utterances, engine))
    assert [segment.direction for segment in segments] == [Direction.EN_JA] * 3


@pytest.mark.parametrize("named", ["ejeeee", "eejjjj", "eeejee"])
def test_a_session_goes_on_where_another_one_stopped(
    three_utterances: np.ndarray, named: str
) -> None:
    six = np.concatenate([three_utterances, three_utterances])
    directions = [Direction.EN_JA if letter == "e" else Direction.JA_EN for letter in named]
    whole = ScriptedEngine([SURE] * 6, named=directions.copy())
    parts = ScriptedEngine([SURE] * 6, named=directions.copy())
    expected = list(iter_translate(six, whole, batch_size=2))
    memory, segments = Memory(Direction.AUTO, {}), list[Segment]()
    for utterances, ahead in batches(six, find_segments(six), Direction.AUTO, 2):
        session = Session(parts, Direction.AUTO, memory=pickle.loads(pickle.dumps(memory)))
        segments += session.batch(utterances, ahead)
        memory = session.memory
    assert segments == expected
    assert parts.named == whole.named == []  # no region was asked about twice


def test_who_cancels_while_languages_are_told_waits_for_no_more(
    three_utterances: np.ndarray,
) -> None:
    asked = []

    class Counting(ScriptedEngine):
        def generate(self, request: Request) -> list[Hypothesis]:
            asked.append(request.only_direction)
            return super().generate(request)

    engine = Counting([SURE, SURE, SURE])
    assert list(iter_translate(three_utterances, engine, cancelled=lambda: bool(asked))) == []
    assert asked == [True]


def test_where_no_language_is_heard_the_model_may_say_so(three_utterances: np.ndarray) -> None:
    nothing = Hypothesis("", Direction.AUTO, 2, -0.1, frozenset({Flag.NO_SPEECH}))
    named = [Direction.EN_JA, Direction.AUTO, Direction.EN_JA]
    engine = ScriptedEngine([SURE, nothing, SURE], named=list(named))
    segments = list(iter_translate(three_utterances, engine))
    assert directions(engine) == named
    assert [segment.text for segment in segments] == ["駅です。", "", "駅です。"]


def test_a_stray_name_where_no_language_is_heard_turns_nothing(
    three_utterances: np.ndarray,
) -> None:
    engine = ScriptedEngine([SURE, UNSURE, SURE, SURE], named=[Direction.EN_JA, Direction.AUTO])
    segments = list(iter_translate(three_utterances, engine))
    assert directions(engine) == [
        Direction.EN_JA,
        Direction.AUTO,
        Direction.EN_JA,  # once more, as the talk goes
        Direction.EN_JA,
    ]
    assert {segment.text for segment in segments} == {"駅です。"}


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
    # All the speech is heard again, and the padding of each part.
    again = [span for segment in translation.segments for span in segment.regions]
    for begin, end in find_segments(clip)[0]:
        heard = sum(max(0, min(b, end / 16_000) - max(a, begin / 16_000)) for a, b in again)
        assert heard == pytest.approx((end - begin) / 16_000)


def test_a_loop_that_stays_is_shown_and_flagged(three_utterances: np.ndarray) -> None:
    engine = ScriptedEngine([LOOP] * 12)
    segments = list(iter_translate(three_utterances, engine, Direction.JA_EN))
    assert len(segments) == 3
    assert all(Flag.REPEATED in segment.flags for segment in segments)
    assert len(engine.calls) == 6  # each once more, not for ever


def test_a_loop_is_not_tried_again_without_the_time(three_utterances: np.ndarray) -> None:
    engine, found = ScriptedEngine([LOOP] * 3), find_segments(three_utterances)
    session = Session(engine, Direction.JA_EN, time_to_retry=lambda: False)
    for utterances, ahead in batches(three_utterances, found, Direction.JA_EN, 3):
        segments = list(session.batch(utterances, ahead))
    assert len(segments) == len(engine.calls) == 3
    assert all(Flag.REPEATED in segment.flags for segment in segments)


def test_stop_keeps_what_was_finished(three_utterances: np.ndarray) -> None:
    engine = ScriptedEngine([SURE, SURE, SURE])

    def stop() -> bool:
        return len(engine.calls) > 1

    seen = list(iter_translate(three_utterances, engine, Direction.EN_JA, cancelled=stop))
    assert len(seen) == 1
    assert len(engine.calls) == 2  # the second was under way; its half text is not passed on


@pytest.mark.parametrize("direction", [Direction.EN_JA, Direction.AUTO])
def test_who_watches_waits_for_one_segment_only(
    three_utterances: np.ndarray, direction: Direction
) -> None:
    together = list[int]()

    class Counting(ScriptedEngine):
        def generate(self, request: Request) -> list[Hypothesis]:
            if not request.only_direction:
                together.append(len(request.batch))
            return super().generate(request)

    def run(watched: bool) -> list[Segment]:
        named = [Direction.EN_JA] * 6
        engine = Counting([SURE] * 6, batch_size=4, named=named)
        on_text = (lambda span, text: None) if watched else None
        six = np.concatenate([three_utterances, three_utterances])
        return list(iter_translate(six, engine, direction, on_text=on_text))

    assert run(watched=True) == run(watched=False)
    assert together == [1, 4, 1, 4, 2]


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


# What a caller may say


def test_a_direction_may_be_given_by_its_value(three_utterances: np.ndarray) -> None:
    engine = ScriptedEngine([SURE] * 6)
    assert translate(three_utterances, engine, "en2ja").direction is Direction.EN_JA
    assert len(list(iter_translate(three_utterances, engine, "en2ja"))) == 3
    assert {call["direction"] for call in engine.calls} == {Direction.EN_JA}
    assert LiveTranslator(engine, "en2ja").translation().direction is Direction.EN_JA


SECOND = np.zeros(16_000, np.float32)


@pytest.mark.parametrize(
    ("kind", "words", "call"),
    [
        (ValueError, "no direction 'fr2de': use en2ja", lambda e: translate(SECOND, e, "fr2de")),
        (ValueError, "no direction 'None'", lambda e: translate(SECOND, e, None)),
        (ValueError, "no direction 'ja': use", lambda e: list(iter_translate(SECOND, e, "ja"))),
        (ValueError, "no direction 'fr'", lambda e: LiveTranslator(e, "fr")),
        (TypeError, "a path, .* not tuple", lambda e: translate((SECOND, 16_000), e)),
        (TypeError, "a path, .* not list", lambda e: translate([0.0], e)),
        (TypeError, "a path, .* not int", lambda e: list(iter_translate(5, e))),
        (TypeError, "in binary mode", lambda e: translate(io.StringIO("text"), e)),
        (TypeError, "from 1, or a language", lambda e: translate(b"", e, track=2.0)),
        (
            ValueError,
            r"mono .* of shape \(8000, 2\)",
            lambda e: translate(SECOND.reshape(-1, 2), e),
        ),
        (ValueError, r"in \[-1, 1\] .* not int16", lambda e: translate(SECOND.astype("i2"), e)),
        (AudioError, "not numbers", lambda e: translate(SECOND + np.nan, e)),
        (TypeError, "no option 'contxt': use context", lambda e: translate(SECOND, e, contxt="")),
        (TypeError, "not 'pause'", lambda e: translate(SECOND, e, policy="pause")),
        (TypeError, "load_engine returns", lambda e: translate(SECOND, "phrasebook")),
        (TypeError, "load_engine returns", lambda e: LiveTranslator("phrasebook")),
        (TypeError, "not a list", lambda e: LiveTranslator(e).push([0, 0], 16_000)),
        (ValueError, "Hz and above 0", lambda e: LiveTranslator(e).push(SECOND, 0)),
        (ValueError, "not uint8", lambda e: LiveTranslator(e).push(SECOND.astype("u1"), 16_000)),
        (ValueError, "float64 of shape", lambda e: LiveTranslator(e).push(np.ones((9, 0)), 16_000)),
        (ValueError, "choose from txt", lambda e: render(translate(SECOND, e), "doc")),
        (TypeError, "name or the path", lambda e: load_engine(None)),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    kind: type[Exception], words: str, call: Callable[[Any], object]
) -> None:
    with pytest.raises(kind, match=words) as caught:
        call(ScriptedEngine([]))
    assert "\n" not in str(caught.value)
