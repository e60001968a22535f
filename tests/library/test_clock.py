"""A recording's own clock: gaps, overlaps, several recordings in one file, damage, sound tracks."""

import io
import json
import logging
import re
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soxr
from clips import clip
from listening import FAST, heard, speech, spoken
from recordings import RATE, black, encoded, film, tracks, voice, wav

from speech_translation import (
    AudioError,
    Direction,
    Language,
    cli,
    load_audio,
    load_engine,
    translate,
)
from speech_translation.clock import Frame
from speech_translation.segments import find_segments, span_of
from speech_translation.timeline import Timeline
from speech_translation.tracks import Track, Wanted, choose
from speech_translation.types import RemarkKind

BOXES = [("matroska", "libopus"), ("webm", "libopus"), ("mp4", "aac"), ("mpegts", "aac")]


@pytest.mark.parametrize(("kind", "codec"), BOXES)
def test_sound_that_begins_after_the_picture_keeps_its_time(kind: str, codec: str) -> None:
    pictures = kind != "webm"  # which takes no MPEG-4; its time begins at zero anyway
    samples, remarks = heard(film(kind, codec, speech(), lambda t: t + 4, pictures))
    assert spoken(samples) == [pytest.approx((4.36, 7.05), abs=0.1)]
    assert not samples[: int(3.9 * RATE)].any()
    assert remarks == ["from 0.0 to 4.0 s it holds no sound"]


@pytest.mark.parametrize("codec", ["pcm_s16le", "libmp3lame"])
def test_the_sound_of_an_avi_begins_where_its_header_says(codec: str) -> None:
    """Its frames have no stamps, but the head of each stream has a beginning."""
    plain = film("avi", codec, speech(), lambda t: t)
    head = plain.index(b"auds") + 20  # scale, rate and beginning
    scale, rate = (int.from_bytes(plain[head + 4 * i :][:4], "little") for i in (0, 1))
    late = plain[: head + 8] + round(4 * rate / scale).to_bytes(4, "little") + plain[head + 12 :]
    samples, remarks = heard(late)
    assert spoken(samples) == [pytest.approx((4.36, 7.05), abs=0.1)]
    assert remarks == ["from 0.0 to 4.0 s it holds no sound"]
    assert spoken(load_audio(plain)) == [pytest.approx((0.36, 3.05), abs=0.1)]


@pytest.mark.parametrize("codec", ["libmp3lame", "aac", "ac3"])
def test_empty_chunks_of_an_avi_are_silence(codec: str) -> None:
    """FFmpeg writes one for each frame that is not there; its decoder does not count them."""
    end = len(speech()) / FAST
    twice = np.concatenate([speech(), speech()])
    samples, remarks = heard(film("avi", codec, twice, lambda t: t + 5 * (t > end - 0.01)))
    first, second = spoken(samples)
    assert first == pytest.approx((0.38, 3.05), abs=0.1)
    assert second == pytest.approx((0.38 + end + 5, 3.05 + end + 5), abs=0.1)
    (said,) = remarks
    assert said.startswith("from 3.")
    assert said.endswith("it holds no sound")
    samples, _ = heard(film("avi", codec, speech(), lambda t: t + 4))
    assert spoken(samples)[-1] == pytest.approx((4.38, 7.05), abs=0.1)


@pytest.mark.parametrize(("kind", "codec"), BOXES)
def test_a_gap_is_silence(kind: str, codec: str) -> None:
    end = len(speech()) / FAST
    twice = np.concatenate([speech(), speech()])
    samples, remarks = heard(
        film(kind, codec, twice, lambda t: t + 5 * (t > end - 0.01), kind != "webm")
    )
    first, second = spoken(samples)
    assert first == pytest.approx((0.36, 3.05), abs=0.1)
    assert second == pytest.approx((0.36 + end + 5, 3.05 + end + 5), abs=0.1)
    (said,) = remarks
    assert said.startswith("from 3.")
    # Of a broadcast, which is written without a pause, it is a loss.
    assert said.endswith("it holds no sound" if kind != "mpegts" else "could not be decoded")


@pytest.mark.parametrize("kind", ["mpegts", "flv"])
def test_a_long_gap_is_silence_and_one_that_cannot_be_is_not(kind: str) -> None:
    twice = np.concatenate([speech(), speech()])
    end = len(speech()) / FAST
    for gap in (700.0, 36_000.0):
        data = film(kind, "aac", twice, lambda t, by=gap: t + by * (t > end), pictures=False)
        samples, remarks = heard(data)
        filled = gap if gap < 3600 else 0.0
        assert len(samples) / RATE == pytest.approx(2 * end + filled, abs=0.2)
        assert spoken(samples)[-1][0] == pytest.approx(end + filled + 0.4, abs=0.2)
        (said,) = remarks
        if filled:
            assert said.startswith("from 3.")
            assert f" to {end + gap:.0f}." in said
        else:
            assert said.startswith("at 3.")
            assert "its clock jumps ahead by 10.0 h, too far to be a gap" in said


def test_every_jump_of_a_clock_is_said() -> None:
    timeline = Timeline("It", 60)
    for jump in (0.0, 7200.0, 20.0):
        first, *rest = frames(voice(3), 0)
        for frame in (first._replace(jump=jump), *rest):
            timeline.add(frame._replace(at=None))
    assert [(x.kind, x.start, x.jump) for x in timeline.remarks()] == [
        (RemarkKind.JUMPED, 3.0, "2.0 h"),
        (RemarkKind.JUMPED, 6.0, "20.0 s"),
    ]


def test_the_first_samples_of_a_codec_are_no_delay() -> None:
    for kind, codec in [*BOXES, ("ipod", "aac"), ("mp3", "libmp3lame"), ("ogg", "libopus")]:
        samples, remarks = heard(film(kind, codec, speech(), lambda t: t, pictures=False))
        reference = clip("en_1")
        count = min(len(samples), len(reference))
        spectrum = np.fft.rfft(samples[:count]) * np.conj(np.fft.rfft(reference[:count]))
        shift = int(np.argmax(np.fft.irfft(spectrum)))
        assert min(shift, count - shift) <= 0.07 * RATE, kind  # MPEG-TS has no word for it
        assert remarks == [], kind


@pytest.mark.parametrize("late", [2, 30, 700, 90_000])
def test_fragments_count_from_the_beginning_of_their_stream(late: float) -> None:
    """As of a live stream that somebody began to record in its course."""
    options = {"movflags": "empty_moov+default_base_moof", "frag_duration": "500000"}
    data = bytearray(film("mp4", "aac", speech(), lambda t: t, False, options))
    for box in re.finditer(b"tfdt\1", data):
        at = slice(box.end() + 3, box.end() + 11)
        data[at] = (int.from_bytes(data[at], "big") + late * FAST).to_bytes(8, "big")
    samples, remarks = heard(bytes(data))
    assert spoken(samples) == [pytest.approx((0.36, 3.05), abs=0.1)]
    assert remarks == []


@pytest.mark.parametrize(("kind", "codec"), [("adts", "aac"), ("mp3", "libmp3lame")])
@pytest.mark.parametrize("rates", [(24_000, FAST), (FAST, 24_000)])
def test_sound_without_a_clock_may_change_its_rate(
    kind: str, codec: str, rates: tuple[int, int]
) -> None:
    options = {"write_xing": "0", "id3v2_version": "0"} if kind == "mp3" else {}
    parts = [encoded(kind, codec, speech(rate), rate, options=options) for rate in rates]
    samples, remarks = heard(b"".join(parts))
    expected = spoken(np.concatenate([clip("en_1"), clip("en_1")]))
    np.testing.assert_allclose(spoken(samples), expected, atol=0.2)
    assert remarks == []


def test_what_an_edit_list_leaves_out_is_left_out() -> None:
    data = bytearray(film("mov", "pcm_s16le", speech(), lambda t: t, pictures=False))
    at = data.index(b"elst") + 4  # version, count, length in 1/1000 s, beginning in samples
    length = int.from_bytes(data[at + 8 : at + 12], "big")
    data[at + 8 : at + 12] = (length - 1000).to_bytes(4, "big")
    data[at + 12 : at + 16] = FAST.to_bytes(4, "big")
    samples, _ = heard(bytes(data))
    expected = load_audio(film("mov", "pcm_s16le", speech(), lambda t: t, pictures=False))[RATE:]
    assert len(samples) == pytest.approx(len(expected), abs=0.05 * RATE)
    np.testing.assert_allclose(samples[800:40_000], expected[800:40_000], atol=1e-3)


def test_what_comes_again_is_left_out_once() -> None:
    whole = load_audio(film("mpegts", "mp2", speech(), lambda t: t, pictures=False))
    first = film("mpegts", "mp2", speech()[: 2 * FAST], lambda t: t, pictures=False)
    second = film("mpegts", "mp2", speech()[FAST:], lambda t: t + 1, pictures=False)
    samples, remarks = heard(first + second)
    assert len(samples) == pytest.approx(len(whole), abs=0.1 * RATE)
    assert spoken(samples) == [pytest.approx(spoken(whole)[0], abs=0.1)]
    assert remarks == ["from 1.0 to 2.0 s it repeats itself; the repetition is left out"]


@pytest.mark.parametrize(("kind", "codec"), [("mpegts", "aac"), ("mpegts", "mp2")])
@pytest.mark.parametrize("back", [0.5, 2.0])
def test_what_only_claims_to_come_again_is_heard(kind: str, codec: str, back: float) -> None:
    """A splice of two programmes whose clocks are a moment apart."""
    other = soxr.resample(clip("ja_1"), RATE, FAST).astype(np.float32)
    ends = len(speech()) / FAST
    first = film(kind, codec, speech(), lambda t: t, pictures=False)
    second = film(kind, codec, other, lambda t: t + ends - back, pictures=False)
    third = film(kind, codec, speech(), lambda t: t + ends - back + len(other) / FAST, False)
    samples, remarks = heard(first + second + third)
    expected = np.concatenate([clip("en_1"), clip("ja_1"), clip("en_1")])
    assert len(samples) == pytest.approx(len(expected), abs=0.3 * RATE)
    np.testing.assert_allclose(spoken(samples), spoken(expected), atol=0.2)
    assert remarks == []


def test_a_gap_after_a_splice_of_two_clocks_has_its_length() -> None:
    other = soxr.resample(clip("ja_1"), RATE, FAST).astype(np.float32)
    late = len(speech()) / FAST - 2
    first = film("mpegts", "mp2", speech(), lambda t: t, pictures=False)
    second = film("mpegts", "mp2", other, lambda t: t + late, pictures=False)
    late += len(other) / FAST + 5
    third = film("mpegts", "mp2", speech(), lambda t: t + late, pictures=False)
    samples, _ = heard(first + second + third)
    expected = np.concatenate([clip("en_1"), clip("ja_1"), np.zeros(5 * RATE), clip("en_1")])
    np.testing.assert_allclose(spoken(samples), spoken(expected), atol=0.2)


def frames(sound: np.ndarray, start: float, *, back: bool = False) -> Iterator[Frame]:
    """Mono sound at 16 kHz from `start` on, an eighth of a second at a time."""
    for at in range(0, len(sound), RATE // 8):
        yield Frame(RATE, sound[at : at + RATE // 8, None].copy(), start + at / RATE, back)
        back = False


def test_silence_that_comes_again_is_left_out() -> None:
    sound = voice(4)
    sound[RATE : 2 * RATE] = 0
    timeline = Timeline("It", 60)
    for frame in (*frames(sound[: 2 * RATE], 0), *frames(sound[RATE:], 1, back=True)):
        timeline.add(frame)
    np.testing.assert_array_equal(timeline.samples(), sound)
    assert list(map(str, timeline.remarks())) == [
        "from 1.0 to 2.0 s it repeats itself; the repetition is left out"
    ]


@pytest.mark.parametrize("stands", [False, True])
def test_a_clock_that_stays_behind_needs_no_memory(stands: bool) -> None:
    """It goes back again before it has caught up, or stands."""
    sound, again = voice(12), 120
    timeline = Timeline("It", 60)
    for frame in frames(sound[: 10 * RATE], 0):
        timeline.add(frame)
    tracemalloc.start()
    for turn in range(again):
        for frame in frames(sound[5 * RATE : 10 * RATE], 5, back=not (stands and turn)):
            timeline.add(frame._replace(at=5.0) if stands else frame)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for frame in frames(sound[10 * RATE :], 10):
        timeline.add(frame)
    assert most < 16e6  # it is 38 MB of sound
    np.testing.assert_array_equal(timeline.samples(), sound)
    (said,) = map(str, timeline.remarks())
    assert said.startswith("from 5.0 to ")
    assert said.endswith("it repeats itself; the repetition is left out")


def test_one_wrong_stamp_moves_nothing() -> None:
    whole = film("matroska", "pcm_s16le", speech(), lambda t: t, pictures=False)
    block = b"\x81" + (1003).to_bytes(2, "big") + b"\x80"  # milliseconds
    assert whole.count(block) == 1
    data = whole.replace(block, b"\x81" + (3003).to_bytes(2, "big") + b"\x80")
    np.testing.assert_array_equal(load_audio(data), load_audio(whole))


def test_a_clock_that_is_set_anew_goes_on() -> None:
    part = encoded("mpegts", "aac", speech(44_100), 44_100)
    late = film("mpegts", "aac", speech(), lambda t: t + 1000, pictures=False)
    for data in (part + part, late + film("mpegts", "aac", speech(), lambda t: t, pictures=False)):
        samples, _ = heard(data)
        assert len(samples) == pytest.approx(2 * len(clip("en_1")), abs=0.2 * RATE)


def test_sound_that_begins_before_a_clock_of_33_bits_begins_anew() -> None:
    """FFmpeg takes it for a day later than the picture, which begins after that."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpeg") as output:
        screen = output.add_stream("mpeg4", rate=10)
        screen.width, screen.height, screen.pix_fmt = 64, 48, "yuv420p"
        track = output.add_stream("mp2", rate=FAST, layout="mono")
        for index in range(130):
            picture = black()
            picture.pts, picture.time_base = 30 + index, Fraction(1, 10)
            output.mux(screen.encode(picture))
        output.mux(screen.encode(None))
        sound = np.round(np.tile(speech(), 4) * 32767).astype(np.int16)
        for start in range(0, len(sound), 1152):
            frame = av.AudioFrame.from_ndarray(sound[None, start : start + 1152], "s16", "mono")
            frame.sample_rate, frame.time_base, frame.pts = FAST, Fraction(1, FAST), start
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    samples, remarks = heard(file.getvalue())
    assert spoken(samples)[0][0] == pytest.approx(0.39, abs=0.1)
    assert remarks == []


def test_without_a_listener_the_logger_is_told(caplog: pytest.LogCaptureFixture) -> None:
    data = film("matroska", "libopus", speech(), lambda t: t + 4)
    with caplog.at_level(logging.WARNING, "speech_translation"):
        load_audio(data, name="talk.mkv")
    assert caplog.messages == ["talk.mkv: from 0.0 to 4.0 s it holds no sound"]


# Sound tracks


def two_tracks() -> bytes:
    return tracks({"jpn": clip("ja_1"), "eng": clip("en_1")})


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"language": Language.ENGLISH}, 2),
        ({"language": Language.JAPANESE}, 1),
        ({"track": 2}, 2),
        ({"track": "1", "language": Language.ENGLISH}, 1),
        ({"track": "en"}, 2),
        ({"track": "English"}, 2),
        ({"track": "ja-JP"}, 1),
    ],
)
def test_the_wanted_track_is_taken_and_said(options: dict[str, object], number: int) -> None:
    samples, remarks = heard(two_tracks(), **options)
    expected = clip("ja_1" if number == 1 else "en_1")
    np.testing.assert_allclose(samples, expected, atol=1e-4)
    assert remarks == [f"sound track {number} of 2 (jpn, eng) is translated"]


@pytest.mark.parametrize(
    ("languages", "number"),
    [
        (("fra", "jpn", "eng"), 2),
        (("fra", "eng", "jpn"), 2),
        (("fre", "deu"), 1),
        (("", "jpn"), 1),
        (("und", "eng"), 1),
        (("en", "ja"), 1),
    ],
)
def test_of_any_language_a_track_in_one_of_the_pair_is_better(
    languages: tuple[str, ...], number: int
) -> None:
    """The first track is the one that a player takes."""
    found = [Track(language, best=index == 0) for index, language in enumerate(languages)]
    assert choose(found, Wanted(), "It") == number - 1


@pytest.mark.parametrize(
    ("asked", "tag"),
    [("fr", "fra"), ("fra", "fre"), ("French", "fra"), ("zh-TW", "chi"), ("de", "ger")],
)
def test_a_language_has_codes_of_two_and_three_letters(asked: str, tag: str) -> None:
    assert choose([Track("eng", best=True), Track(tag)], Wanted(asked), "It") == 1


@pytest.mark.parametrize("track", [3, 0, "fra"])
def test_a_track_that_is_not_there_is_said(track: int | str) -> None:
    with pytest.raises(AudioError, match=r"^The recording has no sound track .*2 \(jpn, eng\)\.$"):
        load_audio(two_tracks(), track=track)


@pytest.mark.parametrize("language", [None, Language.ENGLISH, Language.JAPANESE])
@pytest.mark.parametrize("unknown", [0, 1])
def test_a_track_that_nothing_decodes_is_not_taken(language: Language | None, unknown: int) -> None:
    """As AC-4 of a broadcast, or a telephone's spatial sound beside the ordinary one."""
    data = bytearray(two_tracks())
    places = [found.start() for found in re.finditer(b"A_FLAC", data)]
    data[places[unknown] : places[unknown] + 6] = b"A_NONE"
    samples, remarks = heard(bytes(data), language=language)
    np.testing.assert_allclose(samples, clip("en_1" if unknown == 0 else "ja_1"), atol=1e-4)
    assert remarks == [f"sound track {2 - unknown} of 2 (jpn, eng) is translated"]


@pytest.mark.parametrize("track", ["en", "fr"])
def test_one_track_without_a_language_is_taken_with_a_remark(track: str) -> None:
    samples, remarks = heard(wav(clip("en_1")), track=track)
    np.testing.assert_array_equal(samples, clip("en_1"))
    assert remarks == ["its only sound track does not say its language, and is translated"]
    for one in (1, None):
        assert not heard(wav(clip("en_1")), track=one)[1], "no language was asked for"
    with pytest.raises(AudioError, match="has no sound track 2: it has 1"):
        load_audio(wav(clip("en_1")), track=2)


def test_the_command_line_says_which_track(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "film.mkv"
    path.write_bytes(two_tracks())
    command = [str(path), "--model", "phrasebook", "--device", "cpu", "--direction"]
    for extra, text in (
        (["en2ja"], "郵便局まで電車でどのくらいかかりますか？"),
        (["ja2en", "--format", "txt"], "I work from 10 o'clock to 6 o'clock."),
        (["auto", "--track", "eng"], "郵便局まで電車でどのくらいかかりますか？"),
    ):
        assert cli.main(command + extra) == 0
        said = capsys.readouterr()
        assert said.out.strip() == text
        number = 1 if extra[0] == "ja2en" else 2
        taken = f"film.mkv: sound track {number} of 2 (jpn, eng) is translated"
        hint = "" if "--track" in extra else "; --track takes another"
        assert f"{taken}{hint}\n" in said.err
    assert cli.main([*command, "en2ja", "--format", "json", "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    remark = "sound track 2 of 2 (jpn, eng) is translated"
    assert [told["text"] for told in json.loads(said.out)["remarks"]] == [remark]
    translation = translate(path, load_engine("phrasebook", "cpu"), Direction.EN_JA)
    assert list(map(str, translation.remarks)) == [remark]
    assert cli.main([*command, "en2ja", "--track", "5"]) == 1
    assert "has no sound track 5" in capsys.readouterr().err
    assert [span_of(x) for x in find_segments(load_audio(path, track=2))]
