"""Where speech is found and cut, on recordings of people and of the repository."""

import hashlib
import importlib.util
import itertools
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from clips import PEOPLE, ROOT, without_pauses
from cutting import RATE, Clips, limited, silence, spans, trimmed
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_translation import detector
from speech_translation.audio import load_audio
from speech_translation.detector import speech_probabilities
from speech_translation.process import NO_TELEMETRY
from speech_translation.segments import (
    POLICIES,
    Policy,
    cut,
    find_segments,
    segments_of,
    span_of,
)
from speech_translation.types import Span

DETECTOR = ROOT / "speech_translation" / "assets" / "silero_vad_16k_sequence.onnx"


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
