"""Live captions: the texts on the embedded checkpoint, and the hearing on a stand-in for it."""

from collections.abc import Iterable

import numpy as np
import pytest
import soxr
from clips import CLIPS, clip, reference
from live_talk import RATE, Clock, StandIn, as_microphone, feed, silence, talk
from memory import traced

from evaluation.performance.live_delay import measure
from speech_translation.engine import load_engine
from speech_translation.errors import AudioError
from speech_translation.live import LiveTranslator
from speech_translation.segments import POLICIES
from speech_translation.text import sentence_ends
from speech_translation.translate import translate
from speech_translation.types import Flag, Segment

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
