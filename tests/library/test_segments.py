import hashlib
import importlib.util
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
from clips import PEOPLE, ROOT, clip, without_pauses
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import traced

from speech_translation import detector
from speech_translation.audio import load_audio
from speech_translation.detector import speech_probabilities
from speech_translation.process import NO_TELEMETRY
from speech_translation.segments import (
    POLICIES,
    Policy,
    Utterance,
    cut,
    find_segments,
    segments_of,
    span_of,
)
from speech_translation.speech_stream import SpeechStream
from speech_translation.types import Span

RATE = 16_000
DETECTOR = ROOT / "speech_translation" / "assets" / "silero_vad_16k_sequence.onnx"


class Clips(NamedTuple):
    """Two in each language; the first are one utterance each."""

    english: list[np.ndarray]
    japanese: list[np.ndarray]

    @property
    def all(self) -> list[np.ndarray]:
        return self.english + self.japanese


@pytest.fixture(scope="module", params=["in the repository", "of people"])
def clips(request: pytest.FixtureRequest) -> Clips:
    """The repository's recordings and, where SPEECH_HUMAN names more, those of Japanese people.

    These begin with speech: the room before it is a subject of its own, below.
    """
    english = [load_audio(PEOPLE[0]), load_audio(PEOPLE[-1])]
    if request.param == "in the repository":
        return Clips(english, [clip("ja_1"), clip("ja_2")])
    speech_clip: Callable[[str], np.ndarray] = request.getfixturevalue("speech_clip")
    names = ("common_voice_ja_38852485_16k", "common_voice_ja_38833628_16k")
    return Clips(english, [trimmed(speech_clip(f"ja/{name}.wav")) for name in names])


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def trimmed(clip: np.ndarray) -> np.ndarray:
    """From the first to the last sounding 20 ms: where the truth about an utterance is known."""
    frames = clip[: len(clip) // 320 * 320].reshape(-1, 320)
    loud = np.flatnonzero(np.sqrt((frames**2).mean(1)) > 0.02 * np.abs(clip).max())
    return clip[loud[0] * 320 : (loud[-1] + 1) * 320]


def noises() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    time = np.arange(20 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * f * time) for f in (220, 277, 330)) * (1 - time % 0.5 * 2) * 0.2
    knock = np.r_[rng.standard_normal(800) * np.exp(-np.arange(800) / 100), np.zeros(15_200)]
    return {
        "empty": silence(0),
        "one sample": np.ones(1, np.float32),
        "silence": silence(20),
        "white": rng.standard_normal(20 * RATE) * 0.1,
        "faint": rng.standard_normal(20 * RATE) * 0.001,
        "full scale": rng.uniform(-1, 1, 20 * RATE),
        "hum": np.sin(2 * np.pi * 50 * time) * 0.3,
        "chords": chord,
        "knocks": np.tile(knock * 0.3, 20),
    }


@pytest.mark.parametrize("name", noises())
def test_what_is_not_speech_gives_no_span(name: str) -> None:
    assert find_segments(noises()[name].astype(np.float32)) == []


def spans(samples: np.ndarray, policy: Policy = POLICIES["sentence"]) -> list[Span]:
    """The segments, each from its first region to its last."""
    return [span_of(regions) for regions in find_segments(samples, policy)]


def limited(seconds: float) -> Policy:
    """Segments of at most so many seconds, as long as they can be."""
    return Policy(longest=seconds, wanted=(seconds / 3, seconds))


@pytest.mark.parametrize("gap", [0.9, 2.0, 4.0])
def test_every_clip_of_a_recording_is_found_where_it_is(clips: Clips, gap: float) -> None:
    parts, truth, at = [silence(gap)], [], gap
    for whole in (clips.english[0], *clips.japanese, clips.english[0]):
        part = trimmed(whole)
        truth.append((at, at + len(part) / RATE))
        parts += [part, silence(gap)]
        at += len(part) / RATE + gap
    segments = find_segments(np.concatenate(parts))
    regions = [region.seconds for segment in segments for region in segment]
    for start, end in truth:
        inside = [region for region in regions if region[1] > start and region[0] < end]
        assert inside, (start, end)
        assert inside[0][0] == pytest.approx(start, abs=0.3)
        assert inside[-1][1] == pytest.approx(end, abs=0.3)
    if gap > 3:  # long enough to be a change of subject
        assert len(segments) == len(truth)
    assert len(find_segments(np.concatenate(parts), POLICIES["pause"])) >= len(truth)


@pytest.mark.parametrize("seconds", [1.0, 2.5, 7.3, 30.0])
def test_cutting_loses_and_doubles_nothing(clips: Clips, seconds: float) -> None:
    speech = np.concatenate([*map(without_pauses, clips.all * 3), silence(2)])
    probabilities = speech_probabilities(speech)
    pieces = spans(speech, limited(seconds))
    longest = int(seconds * RATE)
    assert len(pieces) > len(speech) / longest / 2
    assert all(end - start <= longest for start, end in pieces)
    covered = np.zeros(len(speech), int)
    for start, end in pieces:
        covered[start:end] += 1
    assert covered.max() == 1
    surely = np.repeat(probabilities >= 0.5, 512)[: len(speech)]
    assert (covered[surely] == 0).mean() < 0.01  # what is left out is in no stretch of speech


def test_a_pause_inside_of_a_sentence_does_not_cut(clips: Clips) -> None:
    voice = without_pauses(clips.english[0])
    recording = np.concatenate([voice[: 2 * RATE], silence(1.6), voice[: 3 * RATE]])
    ((first, second),) = find_segments(recording)
    assert second.start - first.end == pytest.approx(1.6 * RATE, abs=0.3 * RATE)
    assert len(find_segments(recording, POLICIES["pause"])) == 2
    assert len(find_segments(recording, POLICIES["whole"])) == 1


def test_what_is_too_long_is_cut_in_its_longest_pauses(clips: Clips) -> None:
    voice = np.resize(without_pauses(clips.english[0]), 9 * RATE)
    pauses = (0.4, 1.2, 0.4, 1.2, 0.4)  # the longer ones make segments of 19 s
    parts = [part for pause in pauses for part in (voice, silence(pause))]
    recording = np.concatenate([*parts, voice])
    cuts = [span.end / RATE for span in spans(recording)[:-1]]
    assert cuts == pytest.approx([18.6, 38.2], abs=0.4)


def test_without_a_pause_the_quietest_point_is_taken() -> None:
    # To the detector all of it is speech; the level falls at 8.6 s only.
    sound = np.full(12 * RATE, 0.5, np.float32)
    sound[round(8.5 * RATE) : round(8.7 * RATE)] = 0.01
    sound *= 1 + np.random.default_rng(0).random(len(sound), np.float32) / 10
    probabilities = np.ones(len(sound) // 512, np.float32)
    probabilities[round(8.5 * RATE / 512) : round(8.7 * RATE / 512)] = 0.6
    first, _ = segments_of(probabilities, sound, Policy(longest=10, wanted=(2, 10)))
    assert span_of(first).seconds[1] == pytest.approx(8.6, abs=0.06)


@pytest.mark.parametrize(
    "wrong",
    [
        {"longest": 0.5},
        {"longest": 31.0},
        {"wanted": (20.0, 8.0)},
        {"wanted": (-1.0, 8.0)},
        {"longest": 15.0},  # less than what is wanted
        {"ends": 0.0},
        {"breath": float("nan")},
        {"short_cost": -1.0},
        {"pad": 8.0},
    ],
)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Policy(**wrong)


def test_an_hour_of_talk_without_a_pause_is_cut_and_nothing_lost() -> None:
    sound = np.tile(without_pauses(load_audio(PEOPLE[0])), 1000)[: 3600 * RATE]
    segments = segments_of(np.ones(len(sound) // 512, np.float32), sound)
    found = [span_of(regions) for regions in segments]
    assert all(8 * RATE <= end - start <= 30 * RATE for start, end in found)
    assert (found[0].start, found[-1].end) == (0, len(sound) // 512 * 512)
    assert all(a.end == b.start for a, b in itertools.pairwise(found))


def test_one_word_a_minute_is_a_segment_each(clips: Clips) -> None:
    word = trimmed(clips.english[1])[: RATE // 2]
    sound = np.concatenate([part for _ in range(5) for part in (silence(60), word)])
    for name, policy in POLICIES.items():
        found = spans(sound, policy)
        assert all(end - start <= 30 * RATE for start, end in found), name
        assert len(found) == 5, name


def test_speech_over_music_and_two_people_at_once_are_heard(clips: Clips) -> None:
    voice, other = trimmed(clips.english[0]), trimmed(clips.japanese[0])
    music = np.resize(noises()["chords"].astype(np.float32), len(voice)) * 0.2
    both = voice[: min(len(voice), len(other))] + other[: len(voice)]
    for sound in (voice + music, both):
        (segment,) = find_segments(np.concatenate([silence(2), sound, silence(2)]))
        start, end = span_of(segment).seconds
        assert start == pytest.approx(2, abs=0.4)
        assert end == pytest.approx(2 + len(sound) / RATE, abs=0.4)


def test_soft_onsets_are_kept_within_the_recording(clips: Clips) -> None:
    voice = trimmed(clips.japanese[0])
    found = spans(np.concatenate([silence(1), voice, silence(1)]))
    assert found[0].start <= RATE
    assert found[-1].end >= RATE + len(voice)
    alone = spans(voice)
    assert alone[0].start == 0
    assert alone[-1].end <= len(voice)


def test_short_speech_is_padded_to_half_a_second() -> None:
    samples = np.arange(1, RATE + 1, dtype=np.float32)
    piece = cut(samples, [Span(100, 1_000), Span(1_500, 2_100)])
    assert piece.shape == (8_000,)
    assert piece.dtype == np.float32
    np.testing.assert_array_equal(piece[:2_000], samples[100:2_100])
    assert not piece[2_000:].any()
    np.testing.assert_array_equal(cut(samples, [Span(0, RATE)]), samples)


def test_the_detector_reports_nothing_to_anybody(tmp_path: Path) -> None:
    code = (
        "import os, numpy, speech_translation.detector as detector\n"
        "detector.speech_probabilities(numpy.zeros(16_000, numpy.float32))\n"
        f"assert {NO_TELEMETRY!r} not in os.environ\n"
    )
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(tmp_path))
    given = {name: value for name, value in os.environ.items() if name != NO_TELEMETRY}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=given | homes, check=True)
    assert list(tmp_path.iterdir()) == []  # it keeps what it reports in a cache folder


def test_the_detector_hears_a_long_recording_as_in_one_call(clips: Clips) -> None:
    sound = np.concatenate(clips.all)[: 15 * RATE]
    sound = sound[: len(sound) // 512 * 512]
    windows = np.stack(
        [np.r_[np.zeros(64, np.float32), sound][at:][:576] for at in range(0, len(sound), 512)]
    )
    state = np.zeros((1, 1, 128), np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(DETECTOR, options, providers=["CPUExecutionProvider"])
    in_one_call, *_ = session.run(None, {"input": windows, "h": state, "c": state})
    assert len(in_one_call) > 400  # the library asks for fewer at a time
    np.testing.assert_allclose(speech_probabilities(sound), in_one_call, atol=1e-6)


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


def test_threads_share_one_detector_and_not_its_state(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *args, **options: loaded.append(args) or load(*args, **options),
    )
    spec = importlib.util.spec_from_file_location("unused_detector", detector.__file__)
    assert spec is not None
    assert spec.loader is not None
    unused = importlib.util.module_from_spec(spec)  # as in a process that has heard nothing yet
    spec.loader.exec_module(unused)
    alone = [speech_probabilities(sound).tolist() for sound in clips.all]
    with ThreadPoolExecutor(8) as pool:
        heard = pool.map(unused.speech_probabilities, clips.all * 3)
        assert [probabilities.tolist() for probabilities in heard] == alone * 3
    assert len(loaded) == 1


def test_the_detector_is_the_documented_file() -> None:
    documented = re.search(r"sha256: `(\w+)`", DETECTOR.with_name("README.md").read_text())
    assert documented
    assert hashlib.sha256(DETECTOR.read_bytes()).hexdigest() == documented[1]


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.4, 1.0]), st.integers(1, 900)), max_size=12),
    st.sampled_from([*POLICIES.values(), limited(1.0), limited(5.0)]),
)
@settings(max_examples=50)
def test_segments_cover_the_speech_in_order_and_none_is_too_long(
    stretches: list[tuple[float, int]], policy: Policy
) -> None:
    probabilities = np.repeat([p for p, _ in stretches], [n for _, n in stretches])
    samples = np.random.default_rng(1).standard_normal(len(probabilities) * 512, np.float32)
    segments = segments_of(probabilities, samples, policy)
    found = [span_of(regions) for regions in segments]
    longest = round(policy.longest * RATE)
    assert all(0 <= start < end <= min(len(samples), start + longest) for start, end in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    regions = [region for segment in segments for region in segment]
    assert all(a.start < a.end <= b.start for a, b in itertools.pairwise(regions))
    covered = np.zeros(len(samples), bool)
    for start, end in regions:
        covered[start:end] = True
    at = 0
    for probability, windows in stretches:
        if probability == 1 and windows >= 5:  # 0.16 s
            assert covered[at : at + windows * 512].all()
        at += windows * 512
