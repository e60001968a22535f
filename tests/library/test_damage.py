"""Recordings that are cut short, damaged, or follow each other in one file."""

import io
import random
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from clips import clip
from listening import FAST, heard, speech, spoken
from recordings import RATE, encoded, film, wav

from speech_translation import AudioError, load_audio, parts
from speech_translation.clock import Frame
from speech_translation.parts import MOST_PARTS, find_parts
from speech_translation.timeline import Timeline
from speech_translation.types import Direction, RemarkKind, Segment, Translation
from speech_translation.video import add_captions

LENGTH = len(clip("en_1")) / RATE
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
MISSING = "s sound is missing or could not be decoded"


def resampled(rate: int, times: int = 1) -> np.ndarray:
    return soxr.resample(np.tile(clip("en_1"), times), RATE, rate).astype(np.float32)


@cache
def recording(name: str, times: int = 1) -> bytes:
    """The sentence, so many times, as `name`: a kind of libsndfile's, or a format and a codec."""
    kind, _, codec = name.partition(" ")
    sound = np.tile(clip("en_1"), times)
    if kind == "RIFX":
        file = io.BytesIO()
        soundfile.write(file, sound, RATE, "PCM_16", "BIG", "WAV")
        return file.getvalue()
    if not codec:
        return wav(sound, kind=kind)
    if kind == "OGG":
        return wav(sound, kind=kind, subtype=codec)
    if codec == "libopencore_amrnb":
        return encoded(kind, codec, resampled(8_000, times), 8_000)
    if codec == "wavpack":
        return encoded(kind, codec, sound, RATE)
    pictures, kind = kind.startswith("film/"), kind.removeprefix("film/")
    options = {"moov_size": "30000"} if kind in ("mp4", "mov") else {}  # it comes first
    return film(kind, codec, resampled(FAST, times), lambda t: t, pictures, options)


# Several recordings in one file


def test_every_link_of_an_ogg_chain_is_heard() -> None:
    vorbis = wav(clip("en_1"), kind="OGG", subtype="VORBIS")
    opus = wav(speech(), FAST, kind="OGG", subtype="OPUS")
    slow = wav(speech(22_050), 22_050, kind="OGG", subtype="VORBIS")
    for data in (vorbis + vorbis, opus + opus, vorbis + opus + slow):
        samples, remarks = heard(data)
        parts = 3 if data.endswith(slow) else 2
        assert len(samples) == pytest.approx(parts * len(clip("en_1")), abs=0.05 * RATE)
        assert len(spoken(samples)) == parts
        assert remarks == []


@pytest.mark.parametrize(
    "name",
    [
        *("WAV", "RIFX", "AIFF", "FLAC", "AU", "CAF", "W64", "RF64", "wv wavpack"),
        *("mp4 aac", "mp3 libmp3lame", "webm libopus", "adts aac", "flv aac", "avi libmp3lame"),
        *("asf aac", "amr libopencore_amrnb", "film/matroska aac"),
    ],
)
def test_files_that_were_joined_are_heard_to_the_end(name: str) -> None:
    part = recording(name)
    samples, remarks = heard(part + part)
    assert len(samples) == pytest.approx(2 * len(load_audio(part)), abs=0.1 * RATE)
    assert len(spoken(samples)) == 2
    assert remarks == []


@pytest.mark.parametrize(
    "names",
    [
        ("WAV", "mp3 libmp3lame"),
        ("mp3 libmp3lame", "WAV"),
        ("FLAC", "WAV", "adts aac"),
        ("OGG OPUS", "mp3 libmp3lame", "FLAC"),
        ("mpegts aac", "WAV"),
        ("webm libopus", "mp4 aac", "OGG VORBIS"),
        ("mp4 aac", "mp3 libmp3lame"),
    ],
    ids=" + ".join,
)
def test_joined_files_may_be_of_any_kinds(names: tuple[str, ...]) -> None:
    samples, remarks = heard(b"".join(map(recording, names)))
    assert len(spoken(samples)) == len(names)
    assert len(samples) == pytest.approx(len(names) * LENGTH * RATE, abs=0.15 * RATE)
    assert remarks == []


@pytest.mark.parametrize(
    ("codecs", "options"),
    [
        (("aac", "aac"), {"mpegts_start_pid": "0x200"}),
        (("aac", "ac3"), {"mpegts_start_pid": "0x200", "mpegts_pmt_start_pid": "0x1010"}),
        (("aac", "mp2"), {}),
        (("aac", "libopus"), {"mpegts_start_pid": "0x200"}),
        (("ac3", "eac3"), {"mpegts_m2ts_mode": "1"}),
    ],
)
def test_sound_that_moves_to_other_streams_is_heard(
    codecs: tuple[str, str], options: dict[str, str]
) -> None:
    """As at the splices of a broadcast, between programmes and around advertisements."""
    disc = {name: value for name, value in options.items() if "m2ts" in name}
    data = b"".join(
        film("mpegts", codecs[i % 2], speech(), lambda t, i=i: i * LENGTH + t, False, said)
        for i, said in enumerate((disc, options, disc))
    )
    samples, remarks = heard(data)
    assert len(samples) == pytest.approx(3 * len(clip("en_1")), abs=0.2 * RATE)
    assert [start for start, _ in spoken(samples)] == pytest.approx([0.4, 3.8, 7.1], abs=0.2)
    assert remarks == []


def moving(times: int) -> list[bytes]:
    """The packets of a transport stream whose sound moves so many times to other streams."""
    sound = speech()[: FAST // 5]
    programmes = [
        film("mpegts", "mp2", sound, float, False, {"mpegts_start_pid": f"{start}"})
        for start in (0x100, 0x200)
    ]
    data = b"".join(programmes[i % 2] for i in range(times + 1))
    return [data[at : at + 188] for at in range(0, len(data), 188)]


class Counted(io.BytesIO):
    """Counts the bytes that are read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_a_stream_is_searched_once_however_often_its_sound_moves() -> None:
    packets = moving(19)
    file = Counted(b"".join(packets) + packets[-1] * (40_000_000 // 188))
    assert len(find_parts(file)) == 20
    assert file.count < 4 * len(file.getvalue())  # once for what begins, once for tables


def test_sound_may_move_before_the_table_of_programmes_has_come_again() -> None:
    packets = moving(1)
    first, *more = (i for i, packet in enumerate(packets) if packet[1:3] == b"\x40\0")
    _, second = (i for i, packet in enumerate(packets) if packet[1:3] == b"\x40\x11")
    left_out = {i for i in more if i <= second + 1}
    assert first + 1 < second
    data = b"".join(packet for i, packet in enumerate(packets) if i not in left_out)
    assert len(find_parts(io.BytesIO(data))) == 2


@pytest.mark.parametrize(("place", "bit"), [(17, 0), (19, 3), (19, 7), (10, 0)])
def test_a_table_that_is_damaged_or_of_what_comes_next_moves_no_sound(place: int, bit: int) -> None:
    data = bytearray(recording("mpegts aac", times=3))
    whole = load_audio(bytes(data))
    tables = [at for at in range(0, len(data), 188) if data[at + 1 : at + 3] == b"\x50\0"]
    for at in tables[2:-1:2]:
        data[at + place] ^= 1 << bit
        if place == 10:  # it only comes next, and then the sound is another stream
            data[at + 19] ^= 1
            data[at + 22 : at + 26] = mpeg_crc(data[at + 5 : at + 22]).to_bytes(4, "big")
    samples, remarks = heard(bytes(data))
    np.testing.assert_array_equal(samples, whole)
    assert remarks == []


def mpeg_crc(table: bytes) -> int:
    """By ISO 13818-1, annex A."""
    crc = 0xFFFFFFFF
    for byte in table:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (crc >> 31) * 0x104C11DB7
    return crc


@pytest.mark.parametrize("name", ["mp3 libmp3lame", "FLAC"])
@pytest.mark.parametrize("brand", [b"avif", b"heic", b"isom"])
def test_a_picture_in_front_of_the_sound_is_no_recording(name: str, brand: bytes) -> None:
    picture = bytes(40) + b"\0\0\0\x20ftyp" + brand + bytes(400)
    size = len(picture)
    length = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    samples, remarks = heard(b"ID3\x04\0\0" + length + picture + recording(name))
    assert len(spoken(samples)) == 1
    assert remarks == []


def test_what_follows_and_is_no_recording_is_left_alone() -> None:
    rubbish = random.Random(1).randbytes(50_000)
    for name in ("WAV", "FLAC", "OGG VORBIS", "mp4 aac", "webm libopus", "mp3 libmp3lame"):
        samples, remarks = heard(recording(name) + bytes(4000) + rubbish)
        assert len(spoken(samples)) == 1
        assert not any("recordings in it" in said for said in remarks), name


def test_a_link_that_is_no_sound_is_said_and_the_others_are_heard() -> None:
    part = recording("OGG VORBIS")
    broken = part[:28] + bytes(len(part) - 28)
    for data in (part + broken, part + broken[:100] + part):
        samples, remarks = heard(data)
        assert len(samples) >= len(clip("en_1"))
        assert remarks == [] or "could not be decoded" in remarks[0]
    silent = encoded("mp4", None, speech(), FAST, video="mpeg4")
    samples, remarks = heard(recording("WAV") + silent)
    assert len(spoken(samples)) == 1
    assert remarks == ["1 of the 2 recordings in it could not be decoded"]


def test_more_recordings_than_are_decoded_are_said() -> None:
    part = wav(np.full(160, 0.1, np.float32))
    samples, remarks = heard(part * (MOST_PARTS + 1))
    assert len(samples) == 160 * MOST_PARTS
    assert remarks == [f"only the first {MOST_PARTS} recordings in it are decoded: split it"]
    assert heard(part * MOST_PARTS)[1] == []


@pytest.mark.parametrize("length", [1 << 45, 1 << 62, 1 << 63, (1 << 64) - 1])
def test_a_length_beyond_every_file_is_its_end(length: int, tmp_path: Path) -> None:
    film = recording("mp4 aac")
    box = b"\0\0\0\1free" + length.to_bytes(8, "big")
    path = tmp_path / "a.m4a"
    path.write_bytes(film + box + b"x" * 8)
    np.testing.assert_array_equal(load_audio(path), load_audio(film))
    np.testing.assert_array_equal(load_audio(path.read_bytes()), load_audio(film))
    for head in (
        b"caff\0\1\0\0free" + length.to_bytes(8, "big"),
        ASF_HEADER + length.to_bytes(8, "little"),
        b"\x1aE\xdf\xa3\x01" + (length & (1 << 56) - 1).to_bytes(7, "big"),
        b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + length.to_bytes(8, "little"),
    ):
        path.write_bytes(head + b"x" * 100)
        for source in (path, path.read_bytes()):
            with pytest.raises(AudioError, match="holds no sound"):
                load_audio(source)


# Cut short

CUT = [
    *("WAV", "RIFX", "AIFF", "FLAC", "AU", "CAF", "W64", "RF64", "wv wavpack", "mp3 libmp3lame"),
    *("mp4 aac", "film/mp4 aac", "mov pcm_s16le", "webm libopus", "film/matroska aac", "asf aac"),
    *("flv aac", "avi libmp3lame", "film/avi pcm_s16le"),
]


@pytest.mark.parametrize("name", CUT)
def test_an_end_that_is_missing_is_said(name: str) -> None:
    data = recording(name, times=3)
    whole, remarks = heard(data)
    assert remarks == []
    samples, remarks = heard(data[: int(0.6 * len(data))])
    assert 0.25 * len(whole) < len(samples) < 0.75 * len(whole)
    assert len(remarks) == 1
    start, end = (float(word) for word in remarks[0].split()[1:4:2])
    assert start == pytest.approx(len(samples) / RATE, abs=0.1)
    assert end == pytest.approx(len(whole) / RATE, abs=0.3)
    assert remarks[0].endswith(MISSING)


NO_LENGTH = [
    *("OGG VORBIS", "OGG OPUS", "ogg libopus", "ogg flac", "adts aac", "ac3 ac3", "eac3 eac3"),
    *("amr libopencore_amrnb", "mpegts aac", "film/mpegts aac", "mpeg ac3", "film/vob mp2"),
]


@pytest.mark.parametrize("name", NO_LENGTH)
def test_where_a_file_breaks_off_that_says_no_length_is_said(name: str) -> None:
    data = recording(name, times=3)
    whole, remarks = heard(data)
    assert remarks == []
    for share in (0.6, 0.61):
        samples, remarks = heard(data[: int(share * len(data)) | 1])  # between no two packets
        assert 0.5 * len(whole) < len(samples) < 0.7 * len(whole)
        assert remarks == [f"it breaks off at {len(samples) / RATE:.1f} s: its end is missing"]
    link = data[: int(0.6 * len(data)) | 1]
    assert len(heard(link + recording("WAV"))[1]) == 1


def test_where_a_fragmented_mp4_breaks_off_is_said() -> None:
    options = {"movflags": "empty_moov+default_base_moof", "frag_duration": "500000"}
    data = film("mp4", "aac", resampled(FAST, 3), lambda t: t, False, options)
    whole, remarks = heard(data)
    assert remarks == []
    for share in (0.6, 0.61):
        samples, remarks = heard(data[: int(share * len(data))])
        assert 0.5 * len(whole) < len(samples) < 0.7 * len(whole)
        assert remarks == [f"it breaks off at {len(samples) / RATE:.1f} s: its end is missing"]
    assert heard(data + b"\0\1\0\0junk")[1] == []


@pytest.mark.parametrize("name", NO_LENGTH)
def test_an_end_that_is_overwritten_is_said(name: str) -> None:
    data = recording(name, times=3)
    end = int(0.8 * len(data))
    samples, remarks = heard(data[:end] + random.Random(4).randbytes(len(data) - end))
    assert len(spoken(samples)) >= 2
    assert len(remarks) == 1 or name.startswith("amr")  # some of the rubbish may be frames
    start, *_ = (float(word) for word in remarks[0].split() if word[0].isdigit())
    assert start == pytest.approx(0.8 * 3 * LENGTH, abs=1.0)  # a page of Ogg has a second


@pytest.mark.parametrize("rate", [44_100, 16_000, 8_000])
@pytest.mark.parametrize("name", ["mp3 libmp3lame", "mp2 mp2"])
def test_where_mpeg_sound_breaks_off_that_says_no_length_is_said(name: str, rate: int) -> None:
    kind, codec = name.split()
    if codec == "mp2" and rate < 16_000:
        rate = 48_000
    options = {"write_xing": "0"} if kind == "mp3" else {}
    data = encoded(kind, codec, resampled(rate, 3), rate, options=options)
    assert heard(data)[1] == []
    for share in (0.6, 0.61):
        samples, remarks = heard(data[: int(share * len(data)) | 1])
        assert remarks == [f"it breaks off at {len(samples) / RATE:.1f} s: its end is missing"]


@pytest.mark.parametrize("following", ["OGG VORBIS", "OGG OPUS", "ogg flac"])
@pytest.mark.parametrize("name", ["OGG VORBIS", "OGG OPUS", "ogg libopus"])
def test_behind_a_torn_page_the_next_link_is_heard_whole(name: str, following: str) -> None:
    data, more = recording(name, times=3), recording(following)
    for share in (0.3, 0.6, 0.61):
        torn = data[: int(share * len(data)) | 1]
        alone, said = heard(torn)
        samples, remarks = heard(torn + more)
        assert len(samples) == pytest.approx(len(alone) + len(heard(more)[0]), abs=0.05 * RATE)
        assert (
            remarks == said == [f"it breaks off at {len(alone) / RATE:.1f} s: its end is missing"]
        )


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_what_nobody_knew_when_it_was_written_is_not_missing(length: int) -> None:
    data = bytearray(recording("WAV"))
    for at in (4, 40):
        data[at : at + 4] = length.to_bytes(4, "little")
    samples, remarks = heard(bytes(data))
    assert len(samples) == len(clip("en_1"))
    assert remarks == []


@pytest.mark.parametrize("kind", ["WAV", "RF64"])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_wave_goes_on_behind_a_length_that_is_too_small(kind: str, share: float) -> None:
    """As of a recorder that was killed between its two lengths."""
    whole = np.tile(clip("en_1"), 3)
    data = bytearray(wav(whole, kind=kind))
    length = round(share * len(whole)) * 2
    at = data.index(b"data") + 4
    place = slice(at, at + 4) if kind == "WAV" else slice(28, 36)
    data[place] = length.to_bytes(place.stop - place.start, "little")
    np.testing.assert_allclose(load_audio(bytes(data)), whole, atol=1e-4)


def test_a_wave_of_more_than_4_gb_goes_on_behind_its_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which are the true ones modulo 2**32, and agree with each other."""
    sound = wav(clip("en_1"))
    path = tmp_path / "long.wav"
    monkeypatch.setattr(parts, "_search", lambda file, start, size, *_: size)  # takes minutes
    path.write_bytes(sound)
    with path.open("r+b") as file:
        file.seek((1 << 32) + len(sound) - 4)  # all between is a hole on the disk
        file.write(b"\1\2\3\4")
        assert [part.longer for part in find_parts(file)] == [True]
        file.seek(0, io.SEEK_END)
        file.write(b"\1" * 100_000)
        assert [part.longer for part in find_parts(file)] == [False]


CHUNK = (100_000).to_bytes(4, "little") + random.Random(5).randbytes(100_000)
BEHIND = {
    "cut id3": b"id3 " + CHUNK[:-9000],
    "cut LIST": b"LIST" + CHUNK[:-9000],
    "copyright": b"\xa9xyz" + CHUNK,
    "nameless": bytes(4) + CHUNK,
    "padded by 2": bytes(2) + b"LIST" + CHUNK,
    "padded by 4 kB": bytes(4096) + b"id3 " + CHUNK,
}
RUBBISH = {
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF" + CHUNK,
    "ZIP": b"PK\3\4\x14\0" + CHUNK,
    "XML": b'<?xml version="1.0"?>' + b"<a>b</a>" * 12_500,
    "random": CHUNK[4:],
}


@pytest.mark.parametrize("kind", ["WAV", "RF64"])
@pytest.mark.parametrize("name", [*BEHIND, *RUBBISH])
def test_what_follows_the_sound_of_a_wave_is_not_heard(name: str, kind: str) -> None:
    sound = wav(clip("en_1"), kind=kind)
    behind = (BEHIND | RUBBISH)[name]
    np.testing.assert_array_equal(load_audio(sound + behind), load_audio(sound))
    if name in BEHIND:  # the file's length may be that of all
        data = bytearray(sound + behind)
        place = slice(4, 8) if kind == "WAV" else slice(20, 28)
        data[place] = (len(data) - 8).to_bytes(place.stop - place.start, "little")
        np.testing.assert_array_equal(load_audio(bytes(data)), load_audio(sound))


def test_sound_that_ends_before_the_picture_or_the_captions_is_whole(tmp_path: Path) -> None:
    shorter = film("matroska", "aac", speech()[: 2 * FAST], lambda t: t * 1.65)
    source, captioned = tmp_path / "talk.mkv", tmp_path / "captioned.mkv"
    source.write_bytes(recording("film/matroska aac"))
    last = Segment(1.0, 9.0, "郵便局まで。", Direction.EN_JA)
    add_captions(source, Translation([last], Direction.EN_JA, 9.0), captioned, "mkv")
    with av.open(str(captioned)) as container:
        assert container.duration > 7e6  # and the sound lasts for 3.3 s
    for data in (shorter, captioned.read_bytes()):
        assert not any("missing" in said for said in heard(data)[1])


# Damage


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        *("mp3 libmp3lame", "adts aac", "ac3 ac3", "mp4 aac", "film/mp4 aac", "ogg libopus"),
        *("mpegts aac", "flac flac", "webm libopus", "matroska libmp3lame", "film/matroska aac"),
        *("asf libmp3lame", "flv libmp3lame", "avi libmp3lame", "film/avi libmp3lame"),
        *("amr libopencore_amrnb", "OGG VORBIS", "wv wavpack"),
    ],
)
def test_damage_is_said_and_the_rest_keeps_its_time(name: str, zero: bool) -> None:
    times = 4  # a film of Matroska's is damaged up to its next cluster, after 5 s
    data = recording(name, times)
    whole = load_audio(data)
    middle, size = int(0.42 * len(data)), len(data) // 12
    rubbish = bytes(size) if zero else random.Random(3).randbytes(size)
    samples, remarks = heard(data[:middle] + rubbish + data[middle + size :])
    near = 0.6 if name == "adts aac" else 0.4  # it has no clock, and quiet sound takes fewer bytes
    assert len(samples) == pytest.approx(len(whole), abs=near * RATE)
    first, *_, last = spoken(samples)
    assert first == pytest.approx(spoken(whole)[0], abs=0.1)
    assert last[1] == pytest.approx(spoken(whole)[-1][1], abs=near)
    if name.startswith("amr"):  # some of the rubbish may be frames
        assert remarks
        assert all("missing" in said for said in remarks)
    else:
        assert [said[-len(MISSING) :] for said in remarks] == [MISSING]


@pytest.mark.parametrize(
    "name", ["mp3 libmp3lame", "mp2 mp2", "adts aac", "ac3 ac3", "amr libopencore_amrnb"]
)
def test_a_hole_in_sound_without_a_clock_is_said(name: str) -> None:
    data = recording(name, times=3)
    whole = load_audio(data)
    cut, hole = int(0.4 * len(data)) | 1, len(data) // 5
    samples, remarks = heard(data[:cut] + data[cut + hole :])
    start, *_ = (float(word) for word in remarks[0].split() if word[0].isdigit())
    assert start == pytest.approx(0.4 * len(whole) / RATE, abs=0.3)
    hole_said = f"at {start} s sound is missing, and nobody knows how much"
    if name.startswith("mp3"):  # its first frame says how many there are: the end lacks some
        assert len(remarks) == 2
        assert remarks[0] == hole_said
        assert remarks[1].endswith(MISSING)
        assert len(samples) == pytest.approx(0.8 * len(whole), abs=0.3 * RATE)
    else:
        assert remarks == [hole_said]
        cut = int(0.3 * len(data)) | 1
        hole //= 4
        remarks = heard(data[:cut] + data[cut + hole : 2 * cut] + data[2 * cut + hole :])[1]
        for said in remarks:
            begin, *until = (word for word in said.split() if word[0].isdigit())
            assert until != [begin]
        begins = [float(said.split()[1]) * RATE / len(whole) for said in remarks]
        assert [begins[0], begins[-1]] == pytest.approx([0.3, 0.55], abs=0.12)


@pytest.mark.parametrize("hours", [3, 8])
def test_a_length_that_an_mp3_claims_adds_no_silence(hours: int) -> None:
    data = bytearray(recording("mp3 libmp3lame", times=3))
    count = data.index(b"Info") + 8
    data[count : count + 4] = (hours * 3600 * FAST // 1152).to_bytes(4, "big")
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    samples, remarks = heard(bytes(data), max_seconds=60)
    assert len(samples) == pytest.approx(3 * len(clip("en_1")), abs=0.3 * RATE)
    assert remarks[0].endswith("nobody knows how much")
    assert remarks[-1].endswith(f" to {hours * 3600:.1f} {MISSING}")


def test_two_broken_frames_apart_are_no_long_gap() -> None:
    """What is known to be missing is not drawn together with what is not."""
    timeline = Timeline("It", 60)

    def add(at: float | None, damaged: bool) -> None:
        sound = np.full((RATE * 9 // 10, 1), 0.1, np.float32)
        timeline.add(Frame(RATE, sound, at, damaged=damaged))

    add(0.0, False)
    add(None, False)
    add(1.8, True)
    add(2.7, True)
    add(4.6, True)  # where 3.6 would have been right behind it
    add(5.5, True)
    add(7.4, True)
    assert [(x.kind, round(x.start, 2), round(x.end, 2)) for x in timeline.remarks()] == [
        (RemarkKind.HOLE, 1.8, 1.8),
        (RemarkKind.HOLE, 2.7, 2.7),
        (RemarkKind.LOST, 3.6, 4.6),
        (RemarkKind.HOLE, 5.5, 5.5),
        (RemarkKind.LOST, 6.4, 7.4),
    ]


@pytest.mark.parametrize("kind", ["adts aac", "mp3 libmp3lame"])
def test_tags_between_segments_of_a_stream_are_no_damage(kind: str) -> None:
    """As in the pieces of a radio's live stream, whose tags say when each begins."""
    container, codec = kind.split()
    options = {"write_xing": "0", "id3v2_version": "0"} if container == "mp3" else {}
    segment = encoded(container, codec, speech(), FAST, options=options)
    stamp = b"PRIV" + (53).to_bytes(4, "big") + bytes(2) + b"com.apple.streaming".ljust(53, b"\0")
    tag = b"ID3\4\0\0\0\0\0" + bytes([len(stamp)]) + stamp
    samples, remarks = heard((tag + segment) * 3)
    assert len(samples) == pytest.approx(3 * len(load_audio(segment)), abs=0.1 * RATE)
    assert remarks == []


@pytest.mark.parametrize("count", [20_000, 100_000])
def test_zeros_behind_the_last_frame_are_no_sound(count: int) -> None:
    part = recording("mp3 libmp3lame", times=3)
    samples, remarks = heard(part + bytes(count))
    assert len(samples) == pytest.approx(len(load_audio(part)), abs=0.1 * RATE)
    assert remarks == []


JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + random.Random(5).randbytes(6_000)


@pytest.mark.parametrize("header", ["0", "1"])
@pytest.mark.parametrize(
    "behind",
    [
        *(value * 2_000 for value in (b"\xff", b"\x55", b"\xaa", b" ")),
        b"LYRICSBEGININD0000200LYR03000" + b"[00:01]la\r\n" * 300 + b"003320LYRICS200",
        "<html><body>ページが見つかりません</body></html>".encode() * 40,
        "ページが見つかりません。".encode("cp932") * 90,
        JPEG,
        JPEG + random.Random(6).randbytes(300_000),
    ],
    ids=["ff", "55", "aa", "spaces", "lyrics", "html", "cp932", "jpeg", "large jpeg"],
)
def test_what_follows_the_last_frame_is_no_missing_end(behind: bytes, header: str) -> None:
    """Players and hosts put such things behind a whole MP3."""
    options = {"write_xing": header}
    part = encoded("mp3", "libmp3lame", resampled(FAST, 3), FAST, options=options)
    samples, remarks = heard(part + behind)
    assert len(samples) == pytest.approx(len(load_audio(part)), abs=0.1 * RATE)
    assert remarks == []


@pytest.mark.parametrize("rate", [44_100, 16_000, 8_000])
def test_nothing_is_missing_where_an_mp3_is_as_long_as_it_says(rate: int) -> None:
    behind = random.Random(6).randbytes(5_000)
    for header, said in (("1", 0), ("0", 1)):
        options = {"write_xing": header}
        part = encoded("mp3", "libmp3lame", resampled(rate, 3), rate, options=options)
        assert len(heard(part + behind)[1]) == said


@pytest.mark.parametrize("name", ["amrnb", "amrwb"])
def test_frames_without_speech_keep_their_time(name: str) -> None:
    if name == "amrnb":
        start, speech_frame, noise = b"#!AMR\n", b"\x3c" + bytes(range(31)), b"\x44" + bytes(5)
    else:
        start, speech_frame, noise = b"#!AMR-WB\n", b"\x0c" + bytes(range(23)), b"\x4c" + bytes(5)
    second = speech_frame * 25 + (noise + b"\x7c" * 7) * 3 + b"\x78"
    for data in (start + second * 20, start + b"\x7c" * 50 + second * 19):
        samples, remarks = heard(data)
        assert len(samples) / RATE == pytest.approx(20, abs=0.01)
        assert remarks == []
    pauses = samples[RATE:].reshape(19, RATE)[:, int(0.55 * RATE) : int(0.95 * RATE)]
    assert np.abs(pauses).max() < 1e-3


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_transport_stream_that_lost_its_middle_keeps_the_time_of_its_end(share: float) -> None:
    data = recording("mpegts aac", times=3)
    whole = load_audio(data)
    cut, hole = int(share * len(data)), len(data) // 5
    samples, remarks = heard(data[:cut] + data[cut + hole :])
    assert len(samples) == pytest.approx(len(whole), abs=0.05 * RATE)
    assert np.corrcoef(samples[-RATE:], whole[-RATE:])[0, 1] > 0.9
    assert len(remarks) == 1
    assert "missing" in remarks[0]


def test_the_index_of_a_long_avi_is_no_damage() -> None:
    data = recording("film/avi pcm_s16le", times=2)
    with av.open(io.BytesIO(data)) as container:
        sound = [packet.pos - 8 for packet in container.demux(audio=0) if packet.size]
    at = sound[len(sound) // 2]
    index = b"ix01" + (600).to_bytes(4, "little") + bytes(600)
    samples, remarks = heard(data[:at] + index + data[at:])
    np.testing.assert_array_equal(samples, load_audio(data))
    assert remarks == []
