import hashlib
import itertools
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_translation import segments
from speech_translation.segments import SpeechStream, Utterance, cut, find_segments
from speech_translation.types import Span

RATE = 16_000
ENGLISH = ("en/sense_and_sensibility_01_austen_64kb-0870.wav", "en/jfk.flac")
JAPANESE = ("ja/common_voice_ja_38852485_16k.wav", "ja/common_voice_ja_38833628_16k.wav")

Clip = Callable[[str], np.ndarray]


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def without_pauses(clip: np.ndarray) -> np.ndarray:
    """The clip's sounding parts only, so that no pause is left to cut in."""
    frames = clip[: len(clip) // 320 * 320].reshape(-1, 320)
    return frames[np.sqrt((frames**2).mean(1)) > 0.03 * np.abs(clip).max()].ravel()


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
def test_every_clip_of_a_recording_is_found_where_it_is(speech_clip: Clip, gap: float) -> None:
    names = [ENGLISH[0], *JAPANESE, ENGLISH[0]]
    parts, truth, at = [silence(gap)], [], gap
    for name in names:
        part = trimmed(speech_clip(name))
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
def test_cutting_loses_and_doubles_nothing(speech_clip: Clip, max_seconds: float) -> None:
    speech = np.concatenate(
        [without_pauses(speech_clip(name)) for name in ENGLISH + JAPANESE] * 2 + [silence(2)]
    )
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


def test_a_long_utterance_is_cut_in_its_pause(speech_clip: Clip) -> None:
    # A pause of 0.25 s does not end an utterance; this one lies in the last third of 10 s.
    voice = without_pauses(speech_clip(ENGLISH[0]))
    first, second = voice[: 4 * RATE], voice[RATE : 3 * RATE]
    recording = np.concatenate([first, first, silence(0.25), second, first])
    start, end = 8.0, 8.25
    spans = find_segments(recording, 10.0)
    assert len(spans) == 2
    assert start <= spans[0].seconds[1] <= end


def test_without_a_pause_the_quietest_point_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # The detector says speech throughout; the level falls at 8.6 s only.
    sound = np.full(12 * RATE, 0.5, np.float32)
    sound[round(8.5 * RATE) : round(8.7 * RATE)] = 0.01
    probabilities = np.ones(len(sound) // 512, np.float32)
    monkeypatch.setattr(segments, "_speech_probabilities", lambda samples: probabilities)
    first, _ = find_segments(sound, 10.0)
    assert first.seconds[1] == pytest.approx(8.6, abs=0.06)


def test_soft_onsets_are_kept_within_the_recording(speech_clip: Clip) -> None:
    voice = trimmed(speech_clip(JAPANESE[0]))
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


def test_blocks_do_not_change_the_result(
    speech_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = speech_clip(ENGLISH[1])
    in_one = segments._speech_probabilities(clip)
    monkeypatch.setattr(segments, "_BLOCK", 7)
    np.testing.assert_array_equal(segments._speech_probabilities(clip), in_one)


def streamed(samples: np.ndarray, sizes: Iterator[int], longest: float = 30.0) -> list[Utterance]:
    """What a stream gives for `samples` in chunks of these sizes."""
    stream = SpeechStream(longest)
    utterances = []
    at = 0
    while at < len(samples):
        size = next(sizes)
        utterances += stream.push(samples[at : at + size])
        at += size
    return utterances + stream.finish()


@pytest.mark.parametrize("size", [1, 37, 512, 8_000, 48_000, 10**9])
def test_a_stream_gives_the_spans_of_the_whole(speech_clip: Clip, size: int) -> None:
    clip = speech_clip(JAPANESE[0])
    if size > 100:
        clips = [speech_clip(name) for name in JAPANESE + ENGLISH]
        clip = np.concatenate([silence(0.7), *clips])[: -2 * RATE]  # ends within a word
    utterances = streamed(clip, itertools.repeat(size))
    assert [utterance.span for utterance in utterances] == find_segments(clip)
    for span, samples in utterances:
        np.testing.assert_array_equal(samples, cut(clip, span))


@given(sizes=st.lists(st.integers(100, 3 * RATE), min_size=1))
@settings(deadline=None, max_examples=20)
def test_a_stream_cuts_alike_however_it_is_fed(speech_clip: Clip, sizes: list[int]) -> None:
    speech = np.concatenate([without_pauses(speech_clip(name)) for name in ENGLISH])
    speech = np.concatenate([silence(1), speech[: 14 * RATE], silence(1)])
    assert len(find_segments(speech)) == 1
    utterances = streamed(speech, itertools.cycle(sizes), 4.0)
    assert [u.span for u in utterances] == [u.span for u in streamed(speech, iter([10**9]), 4.0)]
    assert len(utterances) > 3
    assert all(4 / 3 * RATE - 1 <= end - start <= 4 * RATE for (start, end), _ in utterances)
    assert all(a.span.end == b.span.start for a, b in itertools.pairwise(utterances))
    (whole,) = find_segments(speech)
    assert (utterances[0].span.start, utterances[-1].span.end) == whole


def test_a_stream_keeps_only_the_utterance_under_way(speech_clip: Clip) -> None:
    clip = speech_clip(ENGLISH[0])
    stream = SpeechStream()
    assert stream.current is None
    ended = stream.push(clip[: 2 * RATE])
    assert ended == []
    assert stream.current is not None
    start, end = stream.current.span
    assert 0 <= start < end <= 2 * RATE
    np.testing.assert_array_equal(stream.current.samples, clip[start:end])
    stream.push(clip[2 * RATE :])
    stream.push(silence(3))
    assert stream.current is None
    assert len(stream._samples) < RATE // 2


def test_threads_share_one_detector_and_not_its_state(
    speech_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [speech_clip(name) for name in ENGLISH + JAPANESE]
    alone = [find_segments(clip) for clip in clips]
    monkeypatch.setattr(segments, "_session", None)
    with ThreadPoolExecutor(8) as pool:
        sessions = list(pool.map(lambda _: segments._detector(), range(8)))
        assert list(pool.map(find_segments, clips * 3)) == alone * 3
    assert len({id(session) for session in sessions}) == 1


def test_the_detector_is_the_documented_file() -> None:
    readme = Path(segments._MODEL).with_name("README.md").read_text()
    documented = re.search(r"sha256: `(\w+)`", readme)
    assert documented
    assert hashlib.sha256(segments._MODEL.read_bytes()).hexdigest() == documented[1]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.4, 1.0]), st.integers(1, 900)), max_size=12))
@settings(deadline=None, max_examples=50)
def test_spans_cover_the_speech_in_order_and_none_is_over_30_seconds(
    stretches: list[tuple[float, int]],
) -> None:
    probabilities = np.repeat([p for p, _ in stretches], [n for _, n in stretches])
    samples = np.random.default_rng(1).standard_normal(len(probabilities) * 512, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "_speech_probabilities", lambda samples: probabilities)
        spans = find_segments(samples)
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
