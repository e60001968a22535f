"""The line of a live talk: how it settles, and how often it is renewed."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_talk import RATE, Clock, StandIn, feed, silence, talk

from speech_translation.live import LiveTranslator
from speech_translation.types import Direction, Hypothesis


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
