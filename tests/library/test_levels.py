"""Quiet speech and channels that cancel each other are heard; silence and noise are not."""

from functools import cache

import numpy as np
import pytest
import soxr
from clips import CLIPS, DIRECTIONS, clip, reference
from recordings import RATE, wav

from evaluation.invented import sounds
from speech_translation import Engine, LiveTranslator, load_audio, load_engine, translate
from speech_translation.levels import (
    WINDOW,
    Mixer,
    StreamLevel,
    StreamScale,
    at_working_level,
    blocks_at_working_level,
)
from speech_translation.segments import find_segments, span_of

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = [name for name in CLIPS if name[-2:] in ("_1", "_2")]


@cache
def engine() -> Engine:
    return load_engine("phrasebook", "cpu")


@cache
def full_scale(name: str) -> np.ndarray:
    """A bundled clip whose peak is 0 dBFS."""
    samples = clip(name)
    return samples / np.abs(samples).max()


def text(name: str, samples: np.ndarray) -> str:
    clipped = np.clip(samples, -1, 1).astype(np.float32)
    return translate(clipped, engine(), DIRECTIONS[name[:2]]).text


def bang() -> np.ndarray:
    """A knock at full scale, 0.1 s."""
    return np.random.default_rng(0).standard_normal(1600) * np.exp(-np.arange(1600) / 300)


@pytest.mark.parametrize("level", [0, -12, -24, -36, -48, -54, -60])
@pytest.mark.parametrize("name", SHORT)
def test_every_level_gives_the_reference(name: str, level: float) -> None:
    assert text(name, full_scale(name) * 10 ** (level / 20)) == reference(name)


@pytest.mark.parametrize("level", [-36, -48])
def test_the_samples_of_a_quiet_16_bit_file_suffice(level: float) -> None:
    for name in SHORT:
        quiet = load_audio(wav(full_scale(name) * 10 ** (level / 20)))
        assert text(name, quiet) == reference(name)


@pytest.mark.parametrize("name", SHORT)
def test_clipped_speech_and_a_constant_do_no_harm(name: str) -> None:
    loud = full_scale(name)
    assert text(name, 1.5 * loud) == reference(name)
    assert text(name, 0.5 * loud + 0.3) == reference(name)
    assert text(name, 0.004 * loud + 0.1) == reference(name)


@pytest.mark.parametrize("peak", [2, 4, 100])
@pytest.mark.parametrize("name", ["en_1", "ja_1"])
def test_a_float_file_above_full_scale_gives_the_reference(name: str, peak: float) -> None:
    loud = load_audio(wav(peak * full_scale(name), subtype="FLOAT"))
    assert np.abs(loud).max() <= 1
    assert text(name, loud) == reference(name)


@pytest.mark.parametrize("size", [1, 300, 512, 16_000, 10**6])
def test_a_stream_above_full_scale_gets_softer_once_and_for_all(size: int) -> None:
    speech = full_scale("en_1").astype(np.float32)
    sound = np.concatenate([0.3 * speech, 100 * speech, 0.3 * speech])
    sound[1000:1600] = 90 * bang()[:600]  # too short to count
    scale = StreamScale()
    heard = np.concatenate([scale.hear(x) for x in np.split(sound, range(size, len(sound), size))])
    assert len(heard) == len(sound)
    assert np.abs(heard).max() <= 1
    first, last = len(speech), 2 * len(speech)
    np.testing.assert_array_equal(heard[1600:first], sound[1600:first])
    np.testing.assert_array_equal(heard[last:], sound[last:] / 128)
    loud = np.abs(speech) > 0.02
    assert np.mean(np.abs(heard[first:last][loud]) == 1) < 0.3  # until it was known


def test_a_talk_above_full_scale_is_understood() -> None:
    """As of a program that gives the numbers of 16 bits as floats."""
    sound = np.concatenate([np.zeros(RATE // 2), 32768 * clip("en_1"), np.zeros(3 * RATE)])
    talk = LiveTranslator(engine(), DIRECTIONS["en"])
    for chunk in np.split(sound.astype(np.float32), range(4000, len(sound), 4000)):
        talk.push(chunk, RATE)
    talk.finish()
    assert talk.translation().text == reference("en_1")


@pytest.mark.parametrize("name", ["en_1", "ja_1"])
def test_a_bang_does_not_hide_quiet_speech(name: str) -> None:
    quiet = 0.004 * full_scale(name)
    pause = np.zeros(4 * RATE)
    for sound in (np.r_[bang(), pause, quiet], np.r_[quiet, pause, bang()]):
        assert text(name, sound) == reference(name)


@pytest.mark.parametrize("name", ["en_1", "ja_1"])
def test_hum_that_is_louder_does_not_hide_quiet_speech(name: str) -> None:
    speech = clip(name)
    time = np.arange(len(speech)) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 2, 3))
    spoken = speech[np.abs(speech) > 0.01 * np.abs(speech).max()]
    # -40 dBFS below -33 dBFS.
    sound = 10**-2 * speech / np.std(spoken) + 10 ** (-33 / 20) * hum / np.std(hum)
    assert text(name, sound) == reference(name)


@pytest.mark.parametrize("name", ["en_1", "ja_1"])
def test_a_quiet_speaker_between_loud_ones_is_heard(name: str) -> None:
    speech, pause = full_scale(name), np.zeros(RATE)
    sound = np.r_[speech, pause, 0.2 * speech, pause, speech]
    assert text(name, sound).count(reference(name)) == 3


@pytest.mark.parametrize("level", [-14, -20, -26, -32, -40])
@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_speaker_beside_a_louder_one_is_heard(lang: str, level: float) -> None:
    one, other, pause = full_scale(f"{lang}_1"), full_scale(f"{lang}_2"), np.zeros(RATE)
    quiet = 10 ** (level / 20) * other
    for equal, unlike in (
        ((one, pause, other), (one, pause, quiet)),
        ((other, pause, one), (quiet, pause, one)),
    ):
        (expected,), (found,) = (
            find_segments(np.concatenate(x).astype(np.float32)) for x in (equal, unlike)
        )
        assert np.abs(np.subtract(found, expected)).max() <= 3 * WINDOW
        if lang == "en":
            heard = text("en_1", np.concatenate(unlike))
            assert reference("en_1") in heard
            assert reference("en_2") in heard


def test_long_pauses_are_heard_near_loud_speech_and_far_from_it() -> None:
    loud, quiet = full_scale("en_1"), 0.01 * full_scale("en_2")
    pause = np.zeros(100 * RATE)
    pause[RATE : RATE + len(quiet)] = pause[50 * RATE : 50 * RATE + len(quiet)] = quiet
    sound = np.concatenate([pause, loud, pause, loud, pause]).astype(np.float32)
    found = [region.seconds[0] for regions in find_segments(sound) for region in regions]
    first, then = 100, 200 + len(loud) / RATE
    quiets = [
        pause + near
        for pause in (0, *(at + len(loud) / RATE for at in (first, then)))
        for near in (1, 50)
    ]
    assert found == pytest.approx([at + 0.35 for at in sorted([first, then, *quiets])], abs=0.2)


def test_what_a_room_adds_to_speech_is_not_heard_as_speech() -> None:
    """Noise in the pauses, and a hall that still sounds after the last word."""
    random = np.random.default_rng(2)
    speech = full_scale("en_talk")
    fall = random.standard_normal(RATE) * 10 ** (-3 * np.arange(RATE) / RATE)  # 60 dB in a second
    hall = np.convolve(speech, fall / np.sqrt(np.sum(fall**2)))
    for sound in (
        0.7 * np.r_[speech, np.zeros(RATE - 1)] + 0.2 * hall,
        np.r_[speech, np.zeros(8 * RATE)],
    ):
        for noise in (0.0, 1e-4, 1e-3, 1e-2):
            noisy = (sound + noise * random.standard_normal(len(sound))).astype(np.float32)
            assert find_segments(noisy)[-1][-1].end < len(speech) + RATE / 2


def test_quiet_speech_is_found_where_loud_speech_is() -> None:
    loud = clip("en_long")
    for factor in (2**-6, 2**-9):
        found, expected = find_segments(loud * np.float32(factor)), find_segments(loud)
        assert [len(regions) for regions in found] == [len(regions) for regions in expected]
        for quiet, right in zip(map(span_of, found), map(span_of, expected), strict=True):
            assert np.abs(np.subtract(quiet, right)).max() <= 2 * WINDOW


def test_ordinary_speech_is_not_touched() -> None:
    for name in CLIPS:
        samples = clip(name)
        assert all(np.shares_memory(block, samples) for block in blocks_at_working_level(samples))
        for regions in find_segments(samples):
            assert at_working_level(samples, regions) is samples
        np.testing.assert_array_equal(StreamLevel().hear(samples), samples)


@pytest.mark.parametrize("factor", [0.1, 0.01, 0.003])
def test_quiet_noise_stays_noise(factor: float) -> None:
    for label, samples, *_ in sounds(20, seed=3):
        if label in ("silence", "noise"):
            assert not find_segments(samples * np.float32(factor)), label


@pytest.mark.parametrize("factor", [0.1, 0.01])
def test_quiet_noise_beside_loud_speech_stays_noise(factor: float) -> None:
    loud = full_scale("en_1")
    for label, samples, *_ in sounds(20, seed=4):
        sound = np.concatenate([loud, np.float32(factor) * samples, loud])
        for region in (region for regions in find_segments(sound) for region in regions):
            assert region.start < len(loud) or region.end > len(sound) - len(loud), label


def test_quiet_speech_is_heard_live() -> None:
    room = 1e-4 * np.random.default_rng(1).standard_normal(RATE)
    sound = np.concatenate([room, 0.004 * full_scale("en_1")])
    live = LiveTranslator(engine(), DIRECTIONS["en"])
    for start in range(0, len(sound), 4000):
        live.push(sound[start : start + 4000], RATE)
    live.finish()
    assert live.translation().text == reference("en_1")


# Channels


@pytest.mark.parametrize("share", [-1.0, -0.5])
def test_a_channel_that_is_the_negative_of_another_is_turned(share: float) -> None:
    speech = clip("en_1")
    for rate, kind in ((RATE, "WAV"), (48_000, "OGG")):
        decoded = load_audio(
            wav(
                np.stack([speech, share * speech], 1),
                rate,
                kind=kind,
                subtype="PCM_16" if kind == "WAV" else "VORBIS",
            )
        )
        power = np.mean(decoded**2) / np.mean(speech**2)
        assert power == pytest.approx(((1 - share) / 2) ** 2, rel=0.05)
    assert text("en_1", load_audio(wav(np.stack([speech, -speech], 1)))) == reference("en_1")


def test_a_constant_and_hum_in_both_channels_hide_nothing() -> None:
    speech = clip("en_1")
    hum = 0.2 * np.sin(2 * np.pi * 50 * np.arange(len(speech)) / RATE) + 0.1
    mixed = Mixer().mix(np.stack([speech + hum, hum - speech], 1).astype(np.float32), RATE)
    assert abs(np.corrcoef(np.diff(mixed), np.diff(speech))[0, 1]) > 0.9


@pytest.mark.parametrize("rate", [RATE, 48_000])
@pytest.mark.parametrize("below", [0, 6, 10])
def test_noise_in_both_channels_hides_no_crossed_wires(below: float, rate: int) -> None:
    """Hiss that both channels share, as of one amplifier, so much below speech."""
    noise = np.random.default_rng(5)
    for name in SHORT:
        speech = soxr.resample(clip(name), RATE, rate)
        loud = np.abs(speech) > 0.01 * np.abs(speech).max()
        hiss = noise.standard_normal(len(speech)) * speech[loud].std() * 10 ** (-below / 20)
        crossed = Mixer().mix(np.stack([speech + hiss, hiss - speech], 1).astype(np.float32), rate)
        both = Mixer().mix(np.stack([speech + hiss, speech + hiss], 1).astype(np.float32), rate)
        assert abs(np.corrcoef(crossed, speech)[0, 1]) > 0.95
        np.testing.assert_allclose(both, speech + hiss, atol=1e-5)


def test_a_cable_that_is_changed_in_the_middle_hides_nothing() -> None:
    speech = np.tile(clip("en_1"), 2)
    turns = np.repeat([-1, 1], len(clip("en_1")))
    mixed = load_audio(wav(np.stack([speech, turns * speech], 1)))
    assert [span_of(x) for x in find_segments(mixed)] == [span_of(x) for x in find_segments(speech)]


def test_speech_in_any_channel_is_heard() -> None:
    english, japanese = clip("en_1"), clip("ja_1")
    for channel in range(6):
        sound = np.zeros((len(english), 6), np.float32)
        sound[:, channel] = english
        assert text("en_1", load_audio(wav(sound))) == reference("en_1")
    both = np.zeros((len(english) + len(japanese) + 4 * RATE, 2), np.float32)
    both[: len(english), 0] = english
    both[-len(japanese) :, 1] = -japanese  # another person, behind a cable with crossed wires
    found = [span_of(regions) for regions in find_segments(load_audio(wav(both)))]
    assert len(found) == 2
    assert found[1].start > len(english)


def test_signs_that_change_do_not_click() -> None:
    time = np.arange(RATE) / RATE
    tone = (np.sin(2 * np.pi * 200 * time) * (0.6 + 0.4 * np.cos(20 * time))).astype(np.float32)
    mixer = Mixer()
    first = mixer.mix(np.stack([tone, tone], 1), RATE)
    second = mixer.mix(np.stack([tone, -tone], 1), RATE)
    np.testing.assert_array_equal(np.abs(second[RATE // 10 :]), np.abs(tone[RATE // 10 :]))
    assert np.abs(np.diff(np.r_[first, second])).max() < 1.5 * np.abs(np.diff(tone)).max()


def test_a_live_talk_with_crossed_wires_is_heard() -> None:
    speech = clip("en_1")
    live = LiveTranslator(engine(), DIRECTIONS["en"])
    live.push(np.stack([speech, -speech], 1), RATE)
    live.finish()
    assert live.translation().text == reference("en_1")
