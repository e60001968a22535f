"""Speech that is cut while it comes: the same segments, and nothing kept for longer than needed."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from clips import PEOPLE, without_pauses
from cutting import RATE, Clips, limited, silence, spans, trimmed
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import traced

from speech_translation.audio import load_audio
from speech_translation.segments import (
    POLICIES,
    Policy,
    Utterance,
    cut,
    find_segments,
)
from speech_translation.speech_stream import SpeechStream


def streamed(
    samples: np.ndarray, sizes: Iterator[int], policy: Policy = POLICIES["sentence"]
) -> list[Utterance]:
    """What a stream gives for `samples` in chunks of these sizes."""
    stream = SpeechStream(policy)
    return streamed_into(stream, samples, sizes) + stream.finish()


def streamed_into(
    stream: SpeechStream, samples: np.ndarray, sizes: Iterator[int]
) -> list[Utterance]:
    utterances = []
    at = 0
    while at < len(samples):
        size = next(sizes)
        utterances += stream.push(samples[at : at + size])
        at += size
    return utterances


@pytest.mark.parametrize("size", [1, 37, 512, 8_000, 48_000, 10**9])
@pytest.mark.parametrize("name", ["sentence", "pause"])
def test_a_stream_gives_the_segments_of_the_whole(clips: Clips, size: int, name: str) -> None:
    sound = clips.japanese[1][: 2 * RATE]
    if size > 100:
        parts = [silence(0.7), clips.japanese[0], silence(4), *clips.english, silence(1)]
        sound = np.concatenate([*parts, silence(4), clips.japanese[1]])[: -2 * RATE]  # in a word
    utterances = streamed(sound, itertools.repeat(size), POLICIES[name])
    assert [utterance.regions for utterance in utterances] == find_segments(sound, POLICIES[name])
    for regions, samples in utterances:
        np.testing.assert_array_equal(samples, cut(sound, regions))


def test_a_stream_that_begins_with_a_quiet_room_loses_nothing(clips: Clips) -> None:
    """It cannot know yet that the speech will be loud, and listens harder than the whole does."""
    room = 3e-4 * np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    for speech in clips.all:
        sound = np.concatenate([room, 0.5 / np.abs(speech).max() * speech])
        early = [utterance.span for utterance in streamed(sound, itertools.repeat(4_000))]
        whole = spans(sound)
        assert [span.end for span in early] == [span.end for span in whole]
        assert [span.start for span in early[1:]] == [span.start for span in whole[1:]]
        assert early[0].start < whole[0].start + POLICIES["sentence"].pad * RATE


@given(sizes=st.lists(st.integers(300, 3 * RATE), min_size=1))
@settings(max_examples=15)
def test_a_stream_cuts_alike_however_it_is_fed(sizes: list[int]) -> None:
    speech = np.concatenate([without_pauses(load_audio(path)) for path in PEOPLE])
    speech = np.concatenate([silence(1), speech[: 8 * RATE], silence(1)])
    (whole,) = spans(speech)
    utterances = streamed(speech, itertools.cycle(sizes), limited(2.0))
    at_once = streamed(speech, iter([10**9]), limited(2.0))
    assert [u.regions for u in utterances] == [u.regions for u in at_once]
    assert len(utterances) > 3
    assert all(u.span.end - u.span.start <= 2 * RATE for u in utterances)
    assert all(a.span.end <= b.span.start for a, b in itertools.pairwise(utterances))
    assert (utterances[0].span.start, utterances[-1].span.end) == whole


@pytest.mark.parametrize("seconds", [1.0, 1.5, 5.0])
@pytest.mark.parametrize("pad", [0.0, 0.15, 0.25])
def test_a_stream_keeps_to_short_segments_too(seconds: float, pad: float) -> None:
    sound = np.random.default_rng(0).standard_normal(8 * RATE).astype(np.float32) * 0.1
    policy = Policy(longest=seconds, wanted=(0, seconds), pad=pad)
    stream = SpeechStream(policy)
    stream._detector = AlwaysSpeech()  # type: ignore[assignment]
    utterances = streamed_into(stream, sound, itertools.repeat(4_000)) + stream.finish()
    assert all(u.span.end - u.span.start <= seconds * RATE for u in utterances)
    assert all(a.span.end == b.span.start for a, b in itertools.pairwise(utterances))
    assert (utterances[0].span.start, utterances[-1].span.end) == (0, len(sound) // 512 * 512)


class AlwaysSpeech:
    """A detector to which everything is speech."""

    def hear(self, samples: np.ndarray) -> np.ndarray:
        return np.ones(len(samples) // 512, np.float32)


def test_a_stream_forgets_what_it_gave_out_in_talk_without_a_pause() -> None:
    # A dip of 0.2 s every second: short of the half second that ends a stretch of speech.
    stream = SpeechStream()
    windows = np.tile(np.r_[np.full(25, 0.9), np.full(6, 0.1)], 600).astype(np.float32)
    stream._detector = FromList(windows)  # type: ignore[assignment]
    sound = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    given = list[Utterance]()
    for _ in range(len(windows) * 512 // RATE):
        given += stream.push(sound)
        assert len(stream._regions) < 40
        assert len(stream._stretches.current) < 40
    assert all(a.span.end <= b.span.start for a, b in itertools.pairwise(given))
    assert len(given) > 20


class FromList:
    """A detector that was told what to say."""

    def __init__(self, probabilities: np.ndarray) -> None:
        self.probabilities = probabilities
        self.at = 0

    def hear(self, samples: np.ndarray) -> np.ndarray:
        first, self.at = self.at, self.at + len(samples) // 512
        return self.probabilities[first : self.at]


def test_a_stream_that_has_to_cut_does_so_in_the_pause() -> None:
    # Speech to the detector, but for a short dip every five seconds, where the sound falls too.
    sound = np.random.default_rng(0).standard_normal(70 * RATE).astype(np.float32) * 0.1
    probabilities = np.ones(len(sound) // 512, np.float32)
    for at in range(5, 70, 5):
        probabilities[at * RATE // 512 : at * RATE // 512 + 3] = 0.1
        sound[at * RATE : at * RATE + 1536] = 0
    stream = SpeechStream()
    stream._detector = Scripted(probabilities)  # type: ignore[assignment]
    utterances = streamed_into(stream, sound, itertools.repeat(4_000)) + stream.finish()
    assert len(utterances) >= 3
    for utterance, following in itertools.pairwise(utterances):
        middle = (utterance.span.end + following.span.start) / 2 / RATE
        assert middle % 5 == pytest.approx(0.04, abs=0.06)
        assert utterance.span.end <= following.span.start


class Scripted:
    """A detector that says what it was told."""

    def __init__(self, probabilities: np.ndarray) -> None:
        self.left = probabilities

    def hear(self, samples: np.ndarray) -> np.ndarray:
        count = -(-len(samples) // 512)
        said, self.left = self.left[:count], self.left[count:]
        return said


def test_what_can_have_no_more_is_not_kept() -> None:
    word = np.concatenate([trimmed(load_audio(PEOPLE[1]))[:RATE], silence(31)])
    stream = SpeechStream(POLICIES["whole"])
    assert len(streamed_into(stream, word, itertools.repeat(8_000))) == 1
    assert stream.current is None


def test_a_stream_gives_up_what_it_is_told_to(clips: Clips) -> None:
    voice = trimmed(clips.english[0])
    sound = np.concatenate([voice, silence(1), voice, silence(1), voice, silence(1)])
    stream = SpeechStream()
    assert stream.push(sound) == []
    assert stream.current is not None
    assert stream.pause == pytest.approx(1, abs=0.3)
    end = len(voice) + RATE // 2
    (first,) = stream.take(end)
    assert first.span.end <= end
    (rest,) = stream.take()
    assert rest.span.start >= end
    assert stream.current is None
    assert stream.take() == stream.finish() == []
    later = stream.push(np.concatenate([voice, silence(4)]))
    assert later[0].span.start >= len(sound) - RATE


def test_a_stream_keeps_only_the_utterance_under_way(clips: Clips) -> None:
    sound = clips.english[0]
    stream = SpeechStream()
    assert stream.current is None
    ended = stream.push(sound[: 2 * RATE])
    assert ended == []
    assert stream.current is not None
    start, end = stream.current.span
    assert 0 <= start < end <= 2 * RATE
    np.testing.assert_array_equal(stream.current.samples, sound[start:end])
    stream.push(sound[2 * RATE :])
    stream.push(silence(4))
    assert stream.current is None
    with traced() as held:
        for _ in range(5):
            streamed_into(stream, np.concatenate([sound, silence(4)]), itertools.repeat(RATE // 2))
        assert held() < sound.nbytes / 2
