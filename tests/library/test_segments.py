import hashlib
import importlib.util
import itertools
import re
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
from clips import PEOPLE, ROOT, clip, without_pauses
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_translation import segments
from speech_translation.audio import load_audio
from speech_translation.segments import (
    SpeechStream,
    Utterance,
    cut,
    find_segments,
    spans_of,
    speech_probabilities,
)
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
    """The repository's recordings and, where SPEECH_HUMAN names more, those of Japanese people."""
    english = [load_audio(PEOPLE[0]), load_audio(PEOPLE[-1])]
    if request.param == "in the repository":
        return Clips(english, [clip("ja_1"), clip("ja_2")])
    speech_clip: Callable[[str], np.ndarray] = request.getfixturevalue("speech_clip")
    names = ("common_voice_ja_38852485_16k", "common_voice_ja_38833628_16k")
    return Clips(english, [speech_clip(f"ja/{name}.wav") for name in names])


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


@pytest.mark.parametrize("gap", [0.9, 2.0])
def test_every_clip_of_a_recording_is_found_where_it_is(clips: Clips, gap: float) -> None:
    parts, truth, at = [silence(gap)], [], gap
    for whole in (clips.english[0], *clips.japanese, clips.english[0]):
        part = trimmed(whole)
        truth.append((at, at + len(part) / RATE))
        parts += [part, silence(gap)]
        at += len(part) / RATE + gap
    spans = [span.seconds for span in find_segments(np.concatenate(parts))]
    for start, end in truth:
        inside = [span for span in spans if span[1] > start and span[0] < end]
        assert inside, (start, end)
        assert inside[0][0] == pytest.approx(start, abs=0.3)
        assert inside[-1][1] == pytest.approx(end, abs=0.3)
    assert len(spans) <= len(truth) + 2  # a speaker's own long pause may divide a clip


@pytest.mark.parametrize("max_seconds", [1.0, 2.5, 7.3, 30.0])
def test_cutting_loses_and_doubles_nothing(clips: Clips, max_seconds: float) -> None:
    speech = np.concatenate([*map(without_pauses, clips.all * 3), silence(2)])
    whole = find_segments(speech, max_seconds=1e6)
    pieces = find_segments(speech, max_seconds)
    longest = int(max_seconds * RATE)
    assert max(end - start for start, end in whole) > longest
    assert all(end - start <= longest for start, end in pieces)
    merged: list[Span] = []
    for piece in pieces:
        if merged and piece.start == merged[-1].end:
            merged[-1] = Span(merged[-1].start, piece.end)
            assert piece.end - piece.start >= longest // 3 - 1  # no tiny leftover
        else:
            merged.append(piece)
    assert merged == whole


def test_a_long_utterance_is_cut_in_its_pause(clips: Clips) -> None:
    # A pause of 0.25 s does not end an utterance; this one lies in the last third of 10 s.
    voice = without_pauses(clips.english[0])
    first, second = voice[: 4 * RATE], voice[RATE : 3 * RATE]
    recording = np.concatenate([first, first, silence(0.25), second, first])
    start, end = 8.0, 8.25
    spans = find_segments(recording, 10.0)
    assert len(spans) == 2
    assert start <= spans[0].seconds[1] <= end


def test_without_a_pause_the_quietest_point_is_taken() -> None:
    # To the detector all of it is speech; the level falls at 8.6 s only.
    sound = np.full(12 * RATE, 0.5, np.float32)
    sound[round(8.5 * RATE) : round(8.7 * RATE)] = 0.01
    first, _ = spans_of(np.ones(len(sound) // 512, np.float32), sound, 10.0)
    assert first.seconds[1] == pytest.approx(8.6, abs=0.06)


def test_soft_onsets_are_kept_within_the_recording(clips: Clips) -> None:
    voice = trimmed(clips.japanese[0])
    spans = find_segments(np.concatenate([silence(1), voice, silence(1)]))
    assert spans[0].start <= RATE
    assert spans[-1].end >= RATE + len(voice)
    alone = find_segments(voice)
    assert alone[0].start == 0
    assert alone[-1].end <= len(voice)


def test_short_speech_is_padded_to_half_a_second() -> None:
    samples = np.arange(1, RATE + 1, dtype=np.float32)
    piece = cut(samples, Span(100, 2_100))
    assert piece.shape == (8_000,)
    assert piece.dtype == np.float32
    np.testing.assert_array_equal(piece[:2_000], samples[100:2_100])
    assert not piece[2_000:].any()
    np.testing.assert_array_equal(cut(samples, Span(0, RATE)), samples)


def test_a_limit_below_one_second_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        find_segments(silence(1), 0.5)


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


def streamed(samples: np.ndarray, sizes: Iterator[int], longest: float = 30.0) -> list[Utterance]:
    """What a stream gives for `samples` in chunks of these sizes."""
    stream = SpeechStream(longest)
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
def test_a_stream_gives_the_spans_of_the_whole(clips: Clips, size: int) -> None:
    sound = clips.japanese[1][: 2 * RATE]
    if size > 100:
        parts = [silence(0.7), *clips.japanese, *clips.english]
        sound = np.concatenate(parts)[: -2 * RATE]  # ends within a word
    utterances = streamed(sound, itertools.repeat(size))
    assert [utterance.span for utterance in utterances] == find_segments(sound)
    for span, samples in utterances:
        np.testing.assert_array_equal(samples, cut(sound, span))


@given(sizes=st.lists(st.integers(300, 3 * RATE), min_size=1))
@settings(deadline=None, max_examples=15)
def test_a_stream_cuts_alike_however_it_is_fed(sizes: list[int]) -> None:
    speech = np.concatenate([without_pauses(load_audio(path)) for path in PEOPLE])
    speech = np.concatenate([silence(1), speech[: 8 * RATE], silence(1)])
    assert len(find_segments(speech)) == 1
    utterances = streamed(speech, itertools.cycle(sizes), 2.0)
    assert [u.span for u in utterances] == [u.span for u in streamed(speech, iter([10**9]), 2.0)]
    assert len(utterances) > 3
    assert all(2 / 3 * RATE - 1 <= end - start <= 2 * RATE for (start, end), _ in utterances)
    assert all(a.span.end == b.span.start for a, b in itertools.pairwise(utterances))
    (whole,) = find_segments(speech)
    assert (utterances[0].span.start, utterances[-1].span.end) == whole


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
    stream.push(silence(3))
    assert stream.current is None
    tracemalloc.start()
    for _ in range(5):
        streamed_into(stream, np.concatenate([sound, silence(3)]), itertools.repeat(RATE // 2))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < sound.nbytes / 2


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
    spec = importlib.util.spec_from_file_location("unused_segments", segments.__file__)
    assert spec is not None
    assert spec.loader is not None
    unused = importlib.util.module_from_spec(spec)  # as in a process that has heard nothing yet
    spec.loader.exec_module(unused)
    alone = [find_segments(sound) for sound in clips.all]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(unused.find_segments, clips.all * 3)) == alone * 3
    assert len(loaded) == 1


def test_the_detector_is_the_documented_file() -> None:
    documented = re.search(r"sha256: `(\w+)`", DETECTOR.with_name("README.md").read_text())
    assert documented
    assert hashlib.sha256(DETECTOR.read_bytes()).hexdigest() == documented[1]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.4, 1.0]), st.integers(1, 900)), max_size=12))
@settings(deadline=None, max_examples=50)
def test_spans_cover_the_speech_in_order_and_none_is_over_30_seconds(
    stretches: list[tuple[float, int]],
) -> None:
    probabilities = np.repeat([p for p, _ in stretches], [n for _, n in stretches])
    samples = np.random.default_rng(1).standard_normal(len(probabilities) * 512, np.float32)
    spans = spans_of(probabilities, samples)
    assert all(0 <= start < end <= min(len(samples), start + 30 * RATE) for start, end in spans)
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
    covered = np.zeros(len(samples), bool)
    for start, end in spans:
        covered[start:end] = True
    at = 0
    for probability, windows in stretches:
        if probability == 1 and windows >= 5:  # 0.16 s
            assert covered[at : at + windows * 512].all()
        at += windows * 512
