"""Live captions: the bookkeeping on a stand-in for the engine, the texts on the real one."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import soxr
from clips import CLIPS, clip, reference, without_pauses
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import traced

from evaluation.performance.live_delay import measure
from speech_translation.engine import Request, load_engine
from speech_translation.errors import AudioError, EngineError
from speech_translation.growing_text import rest
from speech_translation.live import LiveTranslator
from speech_translation.segments import POLICIES
from speech_translation.text import sentence_ends
from speech_translation.translate import translate
from speech_translation.types import Direction, Flag, Hypothesis, Segment

RATE = 16_000

SURE = Hypothesis("駅です。", Direction.EN_JA, 4, -0.01)
UNSURE = Hypothesis("A fog.", Direction.JA_EN, 3, -3.0, frozenset({Flag.LOW_CONFIDENCE}))
LOOP = Hypothesis("no " * 20, Direction.EN_JA, 60, -0.2, frozenset({Flag.REPEATED}))


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Call:
    at: float
    batch: list[np.ndarray]
    direction: Direction
    penalty: float


class StandIn:
    """Gives the next answer, or the last one again; takes `cost` seconds for a second of audio."""

    description = "stand-in"

    def __init__(
        self,
        answers: Iterable[Hypothesis | EngineError] = (SURE,),
        *,
        clock: Clock | None = None,
        cost: float = 0.0,
        batch_size: int = 1,
    ) -> None:
        self.answers = list(answers)
        self.clock = clock or Clock()
        self.cost = cost
        self.batch_size = batch_size
        self.calls: list[Call] = []

    def generate(self, request: Request) -> list[Hypothesis]:
        batch = request.batch
        if request.only_direction:
            return [Hypothesis("", Direction.EN_JA, 0, -1e-5) for _ in batch]
        self.calls.append(
            Call(self.clock.now, list(batch), request.direction, request.repetition_penalty)
        )
        self.clock.now += self.cost * sum(map(len, batch)) / RATE
        given = [self.answers.pop(0) if len(self.answers) > 1 else self.answers[0] for _ in batch]
        for answer in given:
            if isinstance(answer, EngineError):
                raise answer
        return [answer for answer in given if isinstance(answer, Hypothesis)]


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def talk(seconds: float) -> np.ndarray:
    """Speech without a pause that would end it."""
    loud = without_pauses(clip("en_long"))
    return np.resize(loud, round(seconds * RATE))  # from the beginning again if need be


def feed(
    translator: LiveTranslator,
    sound: np.ndarray,
    size: int,
    rate: int = RATE,
    clock: Clock | None = None,
) -> None:
    """Push `sound` in chunks that arrive in real time by `clock`, late ones at once."""
    began = clock.now if clock else 0.0
    for start in range(0, len(sound), size):
        if clock:
            clock.now = max(clock.now, began + min(start + size, len(sound)) / rate)
        translator.push(sound[start : start + size], rate)


def as_microphone(sound: np.ndarray, rate: int) -> np.ndarray:
    """16-bit stereo, the right channel at half the level."""
    sound = soxr.resample(sound, RATE, rate).clip(-1, 1)
    return np.stack([sound * 32767, sound * 16384], axis=1).astype(np.int16)


# The embedded checkpoint


def assert_like(live: Iterable[Segment], whole: Iterable[Segment]) -> None:
    live, whole = list(live), list(whole)
    assert [segment.text for segment in live] == [segment.text for segment in whole]
    for a, b in zip(live, whole, strict=True):
        assert (a.start, a.end) == pytest.approx((b.start, b.end), abs=0.1)
        assert (a.direction, a.flags) == (b.direction, b.flags)


LONG_ARE_SLOW = [
    pytest.param(name, marks=pytest.mark.slow) if name.endswith("long") else name
    for name in CLIPS
    if not name.endswith("talk")
]


@pytest.mark.parametrize("name", LONG_ARE_SLOW)
def test_every_sentence_of_a_clip_spoken_live_becomes_a_caption(name: str) -> None:
    engine, sound, clock = load_engine("phrasebook", "cpu"), clip(name), Clock()
    translator = LiveTranslator(engine, clock=clock)
    feed(translator, sound, RATE // 2, clock=clock)
    translator.finish()
    # Their speakers pause after each sentence and nowhere else.
    result, whole = translator.translation(), translate(sound, engine, policy=POLICIES["pause"])
    assert result.text == reference(name)
    assert_like(result.segments, whole.segments)
    assert result.direction == whole.direction
    assert result.duration == pytest.approx(whole.duration)
    assert (translator.settled, translator.tentative) == ("", "")


@pytest.mark.parametrize("name", [name for name in CLIPS if name.endswith("talk")])
def test_a_talk_with_pauses_inside_of_sentences_has_whole_ones_for_captions(name: str) -> None:
    sound, clock = clip(name), Clock()
    translator = LiveTranslator(load_engine("phrasebook", "cpu"), clock=clock)
    feed(translator, sound, RATE // 2, clock=clock)
    translator.finish()
    assert translator.translation().text == reference(name)
    for segment in translator.segments:
        assert sentence_ends(segment.text)[-1:] == [len(segment.text)]


@pytest.mark.parametrize("size", [7, 511, 1_600, 3 * RATE])
def test_the_size_of_the_chunks_does_not_matter(size: int) -> None:
    engine, sound, clock = load_engine("phrasebook", "cpu"), clip("ja_1"), Clock()
    translator = LiveTranslator(engine, clock=clock)
    feed(translator, sound, size, clock=clock)
    translator.finish()
    assert_like(translator.segments, translate(sound, engine, policy=POLICIES["pause"]).segments)


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("name", ["en_two_sentences", "ja_two_sentences"])
def test_a_browsers_microphone_is_understood(name: str, rate: int) -> None:
    engine, sound, clock = load_engine("phrasebook", "cpu"), clip(name), Clock()
    translator = LiveTranslator(engine, clock=clock)
    feed(translator, as_microphone(sound, rate), 4_096, rate, clock=clock)
    translator.finish()
    assert_like(translator.segments, translate(sound, engine, policy=POLICIES["pause"]).segments)


def test_a_sentence_is_fixed_once_the_model_has_gone_on_to_the_next() -> None:
    sound, clock = clip("en_two_sentences"), Clock()
    translator = LiveTranslator(load_engine("phrasebook", "cpu"), clock=clock)
    fixed = list[float]()
    for start in range(0, len(sound), RATE // 10):
        feed(translator, sound[start : start + RATE // 10], RATE // 10, clock=clock)
        fixed += [clock.now] * (len(translator.segments) - len(fixed))
    first, *_ = translator.segments
    # The pause between them has 1.3 s; the next sentence has been heard for a second.
    assert 1.0 < fixed[0] - first.end < 2.8


def test_the_delay_is_measured_from_the_end_of_the_sound() -> None:
    result = measure(clip("en_two_sentences"), load_engine("phrasebook", "cpu"))
    assert len(result.delays) == 2
    assert all(delay > 0.5 for delay in result.delays)
    assert 0 < result.listening < 0.5, "about 0.005 on an idle machine"


# Hearing


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_chunks_meet_without_a_click(rate: int) -> None:
    sound = as_microphone(np.concatenate([talk(5), silence(1)]), rate)
    heard = []
    for size in (len(sound), rate // 2, 441, 97):
        engine = StandIn()
        translator = LiveTranslator(engine, partial_every=100)
        feed(translator, sound, size, rate)
        translator.finish()
        (call,) = engine.calls
        heard.append(call.batch[0])
    for other in heard[1:]:
        np.testing.assert_array_equal(other, heard[0])


def test_every_form_of_sample_is_as_loud() -> None:
    sound = np.concatenate([talk(3), silence(1)]) * 0.9
    heard = []
    for form in (
        sound,
        sound.astype(np.float64),
        (sound * 2**15).astype(np.int16),
        (sound * 2.0**31).astype(np.int32),
        np.stack([sound, sound], axis=1),
    ):
        engine = StandIn()
        LiveTranslator(engine, partial_every=100).push(form, RATE)
        heard.append(engine.calls[0].batch[0])
    for other in heard[1:]:
        np.testing.assert_allclose(other, heard[0], atol=2e-4)


def test_the_rate_may_change_within_a_word() -> None:
    engine = StandIn()
    translator = LiveTranslator(engine, partial_every=100)
    sound = talk(6)
    for part, rate in zip(np.split(sound, 3), (48_000, 44_100, RATE), strict=True):
        feed(translator, soxr.resample(part, RATE, rate), rate // 10, rate)
    translator.finish()
    heard = engine.calls[0].batch[0]
    assert len(heard) == pytest.approx(len(sound), abs=2)
    assert np.corrcoef(heard[:95_000], sound[:95_000])[0, 1] > 0.9  # nothing has moved
    assert translator.translation().duration == pytest.approx(6)


def test_what_is_no_sound_is_refused_and_the_talk_goes_on() -> None:
    translator = LiveTranslator(StandIn())
    translator.push(talk(1), RATE)
    with pytest.raises(AudioError, match="not numbers"):
        translator.push(np.full(100, np.nan, np.float32), RATE)
    with pytest.raises(ValueError, match="uint8"):
        translator.push(np.zeros(100, np.uint8), RATE)
    with pytest.raises(ValueError, match="rate"):
        translator.push(talk(1), 0)
    translator.push(np.empty(0, np.int16), 44_100)
    translator.finish()
    assert len(translator.segments) == 1


SOUND = 1200 * RATE * 4  # bytes of twenty minutes, as the translator works with them


@pytest.mark.slow
def test_a_long_silence_takes_no_more_memory_than_a_short_one() -> None:
    engine = StandIn()
    translator = LiveTranslator(engine)
    rng = np.random.default_rng(0)
    room = (rng.standard_normal(10 * RATE) * 20).astype(np.int16)
    with traced() as held:
        feed(translator, np.tile(room, 6), RATE // 2)
        short = held()
        for _ in range(19 * 6):
            translator.push(room, RATE)
        assert held() - short < SOUND / 10
    translator.finish()
    assert engine.calls == []
    assert translator.segments == ()
    assert translator.translation().flags == {Flag.NO_SPEECH}
    assert translator.translation().duration == 1200


@pytest.mark.slow
def test_a_long_talk_takes_no_more_memory_than_a_short_one() -> None:
    lap = np.concatenate([clip("en_two_sentences"), silence(1), talk(33), silence(3)])
    lap = lap[: len(lap) // RATE * RATE]
    seconds = len(lap) // RATE
    laps = 1200 // seconds + 1
    clock = Clock()
    engine = StandIn(clock=clock)
    translator = LiveTranslator(engine, clock=clock)
    sizes = []
    with traced() as held:
        for _ in range(laps):
            feed(translator, lap, 2 * RATE, clock=clock)
            engine.calls.clear()  # they hold the audio
            sizes.append(held())
    assert sizes[-1] - sizes[0] < SOUND / 10
    starts = np.array([segment.start for segment in translator.segments])
    assert len(starts) >= 2 * laps
    # The silence at the end of a lap ends its last caption; where 33 s without a pause are cut
    # depends on how they fall into chunks.
    for lap_begins in seconds * np.arange(laps):
        assert np.abs(starts - lap_begins - starts[0]).min() < 0.1


# Captions


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


# The line that grows


def lines(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Settled and tentative after each of these translations of one growing sentence."""
    clock = Clock()
    answers = [Hypothesis(text, Direction.AUTO) for text in texts]
    translator = LiveTranslator(StandIn(answers), partial_every=0.5, clock=clock)
    sound = talk(0.5 * (len(texts) + 1))
    translator.push(sound[: RATE // 2], RATE)
    result = []
    for start in range(RATE // 2, len(sound), RATE // 2):
        clock.now += 0.5
        translator.push(sound[start : start + RATE // 2], RATE)
        result.append((translator.settled, translator.tentative))
    return result


def test_words_settle_when_two_translations_agree() -> None:
    assert lines(["I went.", "I went to", "I went to Paris.", "I went to Paris with Tom."]) == [
        ("", "I went."),
        ("I ", "went to"),
        ("I went ", "to Paris."),
        ("I went to ", "Paris with Tom."),
    ]


def test_japanese_settles_by_the_character() -> None:
    assert lines(["駅に", "駅に行き", "駅に行きました。"]) == [
        ("", "駅に"),
        ("駅", "に行き"),
        ("駅に行", "きました。"),
    ]


def test_what_has_settled_stays_and_the_line_goes_on() -> None:
    assert lines(["I will go", "I will go to", "Tomorrow I will go to Paris"])[1:] == [
        ("I will ", "go to"),
        ("I will ", "go to Paris"),
    ]


words = st.lists(st.sampled_from(["a", "b", "c.", "駅", "駅に", "。"]), max_size=6).map(" ".join)


@given(texts=st.lists(words, min_size=1, max_size=5))
@settings(max_examples=50)
def test_settled_text_only_becomes_longer(texts: list[str]) -> None:
    seen = lines(texts)
    for (before, _), (after, _) in itertools.pairwise([("", ""), *seen]):
        assert after.startswith(before)
    assert seen[0] == ("", texts[0])


@pytest.mark.parametrize("size", [800, 8_000])
def test_the_line_is_renewed_once_a_second(size: int) -> None:
    clock = Clock()
    engine = StandIn(clock=clock, cost=0.01)
    feed(LiveTranslator(engine, clock=clock), talk(10), size, clock=clock)
    times = np.array([call.at for call in engine.calls])
    assert np.diff(times).min() == pytest.approx(1)
    assert 7 <= len(times) <= 10


def test_a_pause_does_not_renew_the_line() -> None:
    clock = Clock()
    engine = StandIn(clock=clock)
    translator = LiveTranslator(engine, partial_every=0.1, clock=clock)
    feed(translator, np.concatenate([talk(2), silence(0.3)]), 1_600, clock=clock)
    before = len(engine.calls)
    feed(translator, silence(0.15), 800, clock=clock)
    assert len(engine.calls) == before > 10


def test_lines_take_at_most_half_of_the_time() -> None:
    clock = Clock()
    engine = StandIn(clock=clock, cost=0.2)
    translator = LiveTranslator(engine, clock=clock)
    feed(translator, talk(10), 800, clock=clock)
    assert len(engine.calls) > 4
    heard = sum(len(call.batch[0]) for call in engine.calls) / RATE
    assert translator.translation().compute_seconds == pytest.approx(0.2 * heard)
    for call, following in itertools.pairwise(engine.calls):
        assert following.at - call.at >= 0.2 * 2 * len(call.batch[0]) / RATE


# What a sentence lasts, and what a second of it costs.
@pytest.mark.parametrize(("seconds", "cost"), [(6, 0.5), (6, 0.9), (20, 0.2)])
def test_a_slow_model_leaves_out_lines_and_no_caption(seconds: int, cost: float) -> None:
    clock = Clock()
    engine = StandIn(clock=clock, cost=cost)
    translator = LiveTranslator(engine, clock=clock)
    sentence = np.concatenate([talk(seconds), silence(3)])
    delays: list[float] = []
    calls_when_late = 0
    for start in range(0, 5 * len(sentence), RATE // 2):
        arrival = start / RATE + 0.5
        clock.now = max(clock.now, arrival)
        late, calls = clock.now - arrival, len(engine.calls)
        piece = np.arange(start, start + RATE // 2) % len(sentence)
        translator.push(sentence[piece], RATE)
        fixed = translator.segments[len(delays) :]
        delays += [clock.now - segment.end for segment in fixed]
        if late > 1.5:  # more than the chunk and the second that a line may keep it waiting
            calls_when_late += len(engine.calls) - calls
    assert len(delays) == 5
    assert calls_when_late <= len(delays)
    # The pause, the chunk, the caption's own translation and at most one line before it.
    assert max(delays) < 3 + cost * (seconds + 0.3) + 1.5
