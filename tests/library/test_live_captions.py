"""When a live caption is fixed, on a stand-in for the engine."""

from collections.abc import Sequence

import numpy as np
import pytest
from live_talk import RATE, SURE, Clock, StandIn, as_microphone, feed, silence, talk

from speech_translation.engine import Request
from speech_translation.errors import EngineError
from speech_translation.growing_text import rest
from speech_translation.live import LiveTranslator
from speech_translation.types import Direction, Flag, Hypothesis

LOOP = Hypothesis("no " * 20, Direction.EN_JA, 60, -0.2, frozenset({Flag.REPEATED}))


OPEN = Hypothesis("駅は", Direction.EN_JA, 4, -0.01)
TWO = Hypothesis("駅です。次は", Direction.EN_JA, 8, -0.01)
TOLD = Hypothesis("駅はどこかと聞かれました。", Direction.EN_JA, 8, -0.01)


def test_a_long_pause_behind_a_full_stop_fixes_the_caption() -> None:
    translator = LiveTranslator(StandIn())
    feed(translator, np.concatenate([talk(2), silence(0.3), talk(2)]), 1_600)
    assert translator.segments == ()
    assert translator.tentative
    feed(translator, silence(2.2), 1_600)
    assert translator.segments == ()
    feed(translator, silence(0.6), 1_600)
    (segment,) = translator.segments
    assert segment.text == SURE.text
    assert (segment.start, segment.end) == pytest.approx((0, 4.4), abs=0.2)
    assert (translator.settled, translator.tentative) == ("", "")


def test_without_a_full_stop_the_line_waits_for_the_rest() -> None:
    engine = StandIn([OPEN])
    translator = LiveTranslator(engine, partial_every=100)
    feed(translator, np.concatenate([talk(2), silence(2.5)]), 1_600)
    assert translator.segments == ()
    assert translator.tentative == OPEN.text
    engine.answers = [TOLD]
    feed(translator, np.concatenate([talk(2), silence(2.8)]), 1_600)
    (segment,) = translator.segments
    assert segment.text == TOLD.text
    assert segment.start == pytest.approx(0, abs=0.2)
    assert segment.end == pytest.approx(6.5, abs=0.3)
    assert len(segment.regions) == 2


def test_a_pause_that_no_sentence_survives_fixes_the_line() -> None:
    translator = LiveTranslator(StandIn([OPEN]))
    feed(translator, np.concatenate([talk(2), silence(3.3)]), 1_600)
    assert [segment.text for segment in translator.segments] == [OPEN.text]


def test_a_sentence_is_over_when_it_still_ends_after_more_was_said() -> None:
    engine = StandIn([SURE, TWO])
    translator = LiveTranslator(engine, partial_every=100)
    feed(translator, np.concatenate([talk(2), silence(0.8), talk(2)]), 1_600)
    (segment,) = translator.segments
    assert segment.text == SURE.text
    assert segment.end == pytest.approx(2, abs=0.3)
    translator.finish()
    assert translator.segments[1].start == pytest.approx(2.8, abs=0.3)


def test_a_full_stop_that_the_rest_takes_back_fixes_nothing() -> None:
    engine = StandIn([SURE, TOLD])
    translator = LiveTranslator(engine, partial_every=100)
    feed(translator, np.concatenate([talk(2), silence(0.8), talk(3), silence(2.8)]), 1_600)
    (segment,) = translator.segments
    assert segment.text == TOLD.text
    assert segment.start == pytest.approx(0, abs=0.2)
    assert segment.end == pytest.approx(5.8, abs=0.3)


@pytest.mark.parametrize(
    ("before", "after", "over"),
    [
        ("駅です。", "駅です。次は", True),
        ("駅です。", "駅です。", False),
        ("駅です。", "駅ですか、それとも", False),
        ("駅です。", "まったく別のことを言った。次は", False),
        ("It is here.", "It is here. And then", True),
        ("It is here.", "It is her umbrella.", False),
        ("It is 3.5 km.", "It is 3.5 km. So", True),
        ("One. Two.", "One. Two. Three", True),
        ("One. Two.", "One. Two three.", False),
        ("Well.", "Well...", False),
        ("I met Mr.", "I met Mr. Smith.", False),
        ("It leaves at 8 a.m.", "It leaves at 8 a.m. on Monday.", False),
        ("It is here.", "It is her umbrella. And then", False),
        ("The chair of the committee.", "The chair of the committee was absent. So", False),
        ("We met on Monday. The chair.", "We met on Monday. The chair was absent. So", False),
        ("彼は昨日東京で。", "彼は昨日東京で友人に会った。その後", False),
        ("「行け。」", "「行け。」と彼は言った。", False),
        ("「行け。」", "「行け。」と彼は言った。その後", False),
        ("He said it again. " * 20, "He said that again. " * 20 + "Then", True),
        ("He said, “Go.”", "He said, “Go.” And then", True),
    ],
)
def test_when_a_sentence_is_over(before: str, after: str, over: bool) -> None:
    assert bool(rest(after, after=before)) is over


class EndsEverything(StandIn):
    """Knows when each word of a talk ends; writes a full stop behind every piece, as a model does
    that was trained on sentences."""

    def __init__(self, sound: np.ndarray, words: Sequence[tuple[float, str]]) -> None:
        super().__init__()
        self.sound, self.words = sound.tobytes(), words

    def generate(self, request: Request) -> list[Hypothesis]:
        if request.only_direction:
            return super().generate(request)
        return [Hypothesis(self.heard(x), Direction.JA_EN, 5, -0.01) for x in request.batch]

    def heard(self, samples: np.ndarray) -> str:
        first = np.flatnonzero(samples)[0]
        at = self.sound.index(samples[first : first + 1_600].tobytes()) // 4 - first
        begin, end = at / RATE, (at + len(samples)) / RATE
        text = " ".join(word for time, word in self.words if begin < time <= end)
        text = text[:1].upper() + text[1:]
        return text if not text or text.endswith(".") else text + "."


def captions(*parts: tuple[float, str]) -> list[str]:
    """The captions of a talk: so many seconds with these words, or without any."""
    voice, sound, words, at = talk(60), [silence(0.5)], list[tuple[float, str]](), 0.5
    for seconds, text in parts:
        said = text.split()
        words += [(at + seconds * n / len(said) - 0.05, w) for n, w in enumerate(said, 1)]
        first, at = round(at * RATE), at + seconds
        sound.append(voice[first : round(at * RATE)] if said else silence(seconds))
    whole = np.concatenate(sound)
    clock = Clock()
    translator = LiveTranslator(EndsEverything(whole, words), Direction.JA_EN, clock=clock)
    feed(translator, whole, 1_600, clock=clock)
    translator.finish()
    return [segment.text for segment in translator.segments]


CHAIR = "The chair of the committee was absent that morning."
VOTE = "So we postponed the vote until the next week."
TRAIN = (
    "The chair of the committee who had promised to bring the figures for the last quarter and who "
    "had told everybody that nothing would keep him from coming this time was absent again because "
    "the train from the north had been cancelled in the night."
)


@pytest.mark.parametrize("pause", [0.6, 1.2, 2.0])
def test_half_a_sentence_is_no_caption_though_the_model_ends_it(pause: float) -> None:
    half, rest = "The chair of the committee", "was absent that morning."
    assert captions((2, half), (pause, ""), (1.6, rest), (0.3, ""), (3, VOTE), (3, "")) == [
        f"{CHAIR} {VOTE}"
    ]
    assert captions((2, half), (pause, ""), (1.6, rest), (0.9, ""), (3, VOTE), (3, "")) == [
        CHAIR,
        VOTE,
    ]


def test_a_half_is_not_remembered_when_no_pause_follows() -> None:
    half = "The chair of the committee"
    assert captions((2, half), (0.7, ""), (24, TRAIN[len(half) :]), (3, "")) == [TRAIN]


def test_the_line_goes_on_with_what_was_heard_behind_a_caption() -> None:
    translator = LiveTranslator(StandIn([SURE, TWO]), partial_every=100)
    feed(translator, np.concatenate([talk(2), silence(0.8)]), 1_600)
    sound, at = talk(2), 0
    while not translator.segments:
        translator.push(sound[at : at + 1_600], RATE)
        at += 1_600
    assert (translator.settled, translator.tentative) == ("", "次は")


def test_asking_for_the_end_of_a_sentence_leaves_half_of_the_time() -> None:
    clock = Clock()
    engine = StandIn([OPEN, SURE, SURE], clock=clock, cost=0.2)
    translator = LiveTranslator(engine, clock=clock, partial_every=1.0)
    feed(translator, np.concatenate([talk(2), silence(0.8)]), 1_600, clock=clock)
    began, engine.answers = clock.now, [SURE]  # nothing that follows says whether it ended
    feed(translator, talk(12), 1_600, clock=clock)
    busy = sum(0.2 * len(call.batch[0]) / RATE for call in engine.calls if call.at >= began)
    assert len(engine.calls) > 4
    assert busy < 0.6 * (clock.now - began)


def test_finish_keeps_what_is_cut_off_within_a_word() -> None:
    engine = StandIn()
    translator = LiveTranslator(engine, partial_every=100)
    sound = as_microphone(talk(3.21), 48_000)
    feed(translator, sound, 24_000, 48_000)
    assert engine.calls == []
    translator.finish()
    (segment,) = translator.segments
    assert segment.end == pytest.approx(3.21, abs=0.001)
    assert len(engine.calls[0].batch[0]) == pytest.approx(3.21 * RATE, abs=2)


def test_after_finish_nothing_is_taken() -> None:
    translator = LiveTranslator(StandIn())
    translator.push(talk(2), RATE)
    translator.finish()
    before = translator.translation()
    translator.finish()
    with pytest.raises(RuntimeError, match="finished"):
        translator.push(talk(2), RATE)
    assert translator.translation().segments == before.segments


def test_who_does_not_pause_gets_a_caption_within_thirty_seconds() -> None:
    translator = LiveTranslator(StandIn())
    sound = np.concatenate([talk(35), silence(2.8)])
    feed(translator, sound[: 31 * RATE], RATE)
    (first,) = translator.segments
    assert 8 <= first.end <= 30
    feed(translator, sound[31 * RATE :], RATE)
    _, second = translator.segments
    assert second.start == first.end
    assert second.end == pytest.approx(35, abs=0.3)


def test_a_loop_is_tried_once_more_and_never_shown_as_a_line() -> None:
    engine = StandIn([LOOP])
    translator = LiveTranslator(engine)
    translator.push(talk(3), RATE)
    translator.push(silence(2), RATE)
    assert engine.calls
    assert {call.penalty for call in engine.calls} == {1.0}
    assert (translator.segments, translator.settled, translator.tentative) == ((), "", "")
    engine.answers = [LOOP, SURE]
    translator.push(silence(2), RATE)
    assert engine.calls[-1].penalty > 1
    assert {segment.text for segment in translator.segments} == {SURE.text}


def test_a_failing_engine_loses_no_sentence() -> None:
    translator = LiveTranslator(StandIn([EngineError("The server is away."), SURE]))
    sentence = np.concatenate([talk(2), silence(2.8)])
    with pytest.raises(EngineError, match="away"):
        translator.push(sentence, RATE)
    translator.push(sentence, RATE)
    assert [segment.start for segment in translator.segments] == pytest.approx([0, 4.8], abs=0.2)


def test_a_transcriber_that_fails_loses_no_sentence_either() -> None:
    said = Hypothesis("Where is the station?", Direction.JA_EN, 5, -0.01)
    transcriber = StandIn([EngineError("The server is away."), said])
    translator = LiveTranslator(StandIn(), Direction.EN_JA, transcriber=transcriber)
    with pytest.raises(EngineError, match="away"):
        translator.push(np.concatenate([talk(2), silence(2.8)]), RATE)
    translator.finish()
    (segment,) = translator.segments
    assert (segment.text, segment.source_text) == (SURE.text, said.text)
