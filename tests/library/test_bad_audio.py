"""Recordings that are missing, broken or hostile. Every message names the file and the way out."""

import random
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from recordings import RATE, encoded, level, voice, wav
from scripts import run

from speech_translation.audio import claimed_seconds, load_audio
from speech_translation.errors import AudioError


def fails(source: Path | bytes, words: str) -> None:
    with pytest.raises(AudioError) as caught:
        load_audio(source)
    message = str(caught.value)
    assert message.startswith(source.name if isinstance(source, Path) else "The recording")
    assert words in message


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    fails(tmp_path / "missing.wav", "does not exist. Check the path.")
    fails(tmp_path, "is a folder. Give the audio files in it.")
    empty = tmp_path / "empty.wav"
    empty.touch()
    fails(empty, "is empty (0 bytes)")
    fails(b"", "is empty (0 bytes)")


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    loop = tmp_path / "loop.wav"  # a link to itself fails for root too, unlike a permission
    loop.symlink_to(loop)
    fails(loop, "cannot be read (")


def without_samples() -> bytes:
    return wav(np.zeros(0))


def without_index() -> bytes:
    return encoded("mp4", "aac", voice(), RATE)[:5_000]  # the moov atom stands at the end


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"RIFF",
        b"Good morning. " * 500,
        b"%PDF-1.7\n" * 500,
        b"\x89PNG\r\n\x1a\n" + bytes(5_000),
        bytes(100_000),
        random.Random(1).randbytes(100_000),
        without_samples(),
        without_index(),
    ],
)
def test_what_is_not_audio(data: bytes) -> None:
    fails(data, "holds no sound that can be decoded")


def test_a_video_without_sound() -> None:
    fails(encoded("mp4", None, voice(), RATE, video="libx264"), "has no sound track. Choose")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers(bad: float) -> None:
    sound = voice()
    sound[10_000] = bad
    fails(wav(sound, subtype="FLOAT"), "not numbers")
    fails(wav(np.stack([sound, -sound], 1), 44_100, "FLOAT"), "not numbers")


def test_the_given_name_is_used() -> None:
    with pytest.raises(AudioError, match=r"^my talk is empty"):
        load_audio(b"", name="my talk")


def test_a_truncated_file_gives_what_it_holds() -> None:
    half = wav(voice())[:24_044]
    np.testing.assert_allclose(load_audio(half), voice()[:12_000], atol=1e-4)
    fragments = {"movflags": "empty_moov+default_base_moof", "frag_duration": "200000"}
    for data in (
        encoded("mp4", "aac", voice(), RATE, options=fragments),
        encoded("adts", "aac", voice(), RATE),
        encoded("mp3", "libmp3lame", voice(), RATE),
        wav(voice(), kind="FLAC"),
        encoded("webm", "libopus", voice(rate=48_000), 48_000),
    ):
        decoded = load_audio(data[: len(data) * 2 // 3])
        assert 0.4 < len(decoded) / RATE < 1.4


def test_streams_that_begin_in_mid_file_are_heard() -> None:
    sound = voice(rate=44_100)
    plain = encoded("mpegts", "aac", sound, 44_100)
    with_pictures = encoded("mpegts", "aac", sound, 44_100, video="mpeg4")  # in other streams
    decoded = load_audio(plain + with_pictures + plain)
    assert len(decoded) == pytest.approx(3 * len(load_audio(plain)), abs=0.1 * RATE)


def test_a_header_without_a_length() -> None:
    # What a recorder leaves behind that writes to a pipe or is killed.
    data = bytearray(wav(voice()))
    for claimed in (0, 0xFFFFFFFF):
        data[40:44] = claimed.to_bytes(4, "little")
        np.testing.assert_allclose(load_audio(bytes(data)), voice(), atol=1e-4)


@pytest.mark.parametrize("length", [-1e9, -5.0, 0.0, float("nan"), float("inf"), -float("inf")])
def test_a_length_that_cannot_be_is_none(length: float, tmp_path: Path) -> None:
    data = encoded("webm", "libopus", voice(rate=48_000), 48_000)
    at = data.index(b"\x44\x89\x88") + 3
    path = tmp_path / "a.webm"
    path.write_bytes(data)
    assert claimed_seconds(path) == pytest.approx(1.5, abs=0.1)
    path.write_bytes(data[:at] + struct.pack(">d", length) + data[at + 8 :])
    assert claimed_seconds(path) is None


def test_asking_for_a_length_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    long = wav(voice(), kind="W64")
    mp3 = encoded("mp3", "libmp3lame", voice(), RATE)
    beyond = long[:16] + (1 << 62).to_bytes(8, "little") + long[24:]
    path = tmp_path / "a"
    for data in (b"not audio", long, beyond, mp3, mp3 + mp3, mp3 + bytes(20_000)):
        path.write_bytes(data)
        claimed_seconds(path)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_a_broken_packet_is_skipped() -> None:
    sound = voice(4)
    for data in (
        wav(sound, kind="FLAC"),
        encoded("mp3", "libmp3lame", sound, RATE),
        encoded("adts", "aac", sound, RATE),
        encoded("matroska", "aac", sound, RATE),
        encoded("ogg", "libopus", voice(4, 48_000), 48_000),
    ):
        middle = len(data) // 2
        broken = data[:middle] + random.Random(3).randbytes(40) + data[middle + 40 :]
        decoded = load_audio(broken)
        assert len(decoded) > 2.5 * RATE
        end = slice(-RATE, -RATE // 4)
        assert level(decoded[end]) == pytest.approx(level(sound[end]), abs=1)


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{0}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {1}\n",
        "ffconcat version 1.0\nfile '{0}'\n",
    ],
)
def test_a_playlist_reaches_no_other_file(tmp_path: Path, playlist: str) -> None:
    secret = tmp_path / "secret.mp3"
    secret.write_bytes(encoded("mp3", "libmp3lame", voice(), RATE))
    path = tmp_path / "list.m3u8"
    path.write_text(playlist.format(secret, secret.name))
    with av.open(str(path), options={"safe": "0"}) as followed:  # FFmpeg alone does follow it
        assert next(followed.decode(audio=0)).samples
    fails(path, "holds no sound")
    fails(path.read_bytes(), "holds no sound")


def pointing_at(movie: bytes, target: Path) -> bytes:
    """The movie with its sound in the file `target`: an alias record stands for "in this file"."""
    itself = b"\0\0\0\x0curl \0\0\0\x01"
    path = str(target).encode() + b"\0" * (len(str(target)) % 2)
    record = bytes(150) + b"\0\x02" + len(path).to_bytes(2, "big") + path + b"\xff\xff\0\0"
    alias = (12 + len(record)).to_bytes(4, "big") + b"alis" + bytes(4) + record
    pointing = bytearray(movie.replace(itself, alias))
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = movie.index(box) - 4  # the boxes stand behind the sound, in each other
        size = int.from_bytes(movie[at : at + 4], "big") + len(alias) - len(itself)
        pointing[at : at + 4] = size.to_bytes(4, "big")
    return bytes(pointing)


def test_an_external_reference_inside_a_movie_is_not_followed(tmp_path: Path) -> None:
    movie = encoded("mov", "pcm_s16le", 0 * voice(), RATE)
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(movie.index(b"mdat") + 4) + wav(voice())[44:])
    path = tmp_path / "movie.mov"
    path.write_bytes(pointing_at(movie, secret))
    willing = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(path), options=willing) as followed:  # FFmpeg alone can be made to
        assert any(frame.to_ndarray().any() for frame in followed.decode(audio=0))
    fails(path, "holds no sound")
    fails(path.read_bytes(), "holds no sound")


def test_random_damage_gives_audio_or_an_audio_error() -> None:
    # In a process of its own: a crash or a word on standard error would show.
    script = """
        import warnings
        from test_bad_audio import fuzz
        warnings.simplefilter("error")
        print(fuzz())
    """
    assert int(run(script)) > 50


def fuzz() -> int:
    """Decode 200 damaged files; the number of those that still gave audio."""
    sound = voice(0.3)
    valid = [
        wav(sound),
        wav(sound, subtype="FLOAT"),
        wav(sound, kind="FLAC"),
        wav(sound, kind="AIFF"),
        encoded("ogg", "libopus", voice(0.3, 48_000), 48_000),
        encoded("mp3", "libmp3lame", sound, RATE),
        encoded("ipod", "aac", sound, RATE),
        encoded("adts", "aac", sound, RATE),
        encoded("webm", "libopus", voice(0.3, 48_000), 48_000),
        encoded("amr", "libopencore_amrnb", voice(0.3, 8_000), 8_000),
    ]
    rng = random.Random(11)
    decoded = 0
    for index in range(200):
        data = bytearray(valid[index % len(valid)])
        reach = len(data) if index % 3 else 64  # every third time the header alone
        for _ in range(rng.choice([1, 4, 30])):
            data[rng.randrange(reach)] = rng.randrange(256)
        if index % 5 == 0:
            del data[rng.randrange(len(data)) :]
        try:
            samples = load_audio(bytes(data), max_seconds=60)
        except AudioError:
            continue
        assert samples.dtype == np.float32
        assert np.abs(samples).max() <= 1
        decoded += 1
    return decoded


def test_a_name_cannot_break_the_sentence_it_is_in() -> None:
    for name in ("two\nlines\x1b[2J.wav", "zero\0byte.wav", "half\ud800character.wav"):
        with pytest.raises(AudioError) as caught:
            load_audio(name)
        assert str(caught.value).isprintable()


def test_an_index_that_claims_millions_of_packets_takes_no_memory() -> None:
    script = """
        from memory import growth
        from recordings import RATE, encoded, voice
        from speech_translation.audio import load_audio
        from speech_translation.errors import AudioError
        from speech_translation.process import own_process
        own_process()
        film = bytearray(encoded("mp4", "aac", voice(), RATE))
        load_audio(bytes(film))
        many = (50_000_000).to_bytes(4, "big")
        sizes, chunks, times = (film.index(name) for name in (b"stsz", b"stsc", b"stts"))
        film[sizes + 8 : sizes + 16] = (1).to_bytes(4, "big") + many
        film[chunks + 16 : chunks + 20] = film[times + 12 : times + 16] = many
        with growth() as grown:
            try:
                load_audio(bytes(film))
            except AudioError:
                pass
        print(grown.peak)
    """
    assert int(run(script)) < 100_000_000  # it was 1.7 GB


def test_a_rate_times_channels_that_nothing_records_is_refused() -> None:
    fails(wav(np.zeros((100, 8)), 655_350, kind="FLAC"), "holds no sound")
    assert not load_audio(wav(np.zeros((48_000, 32)), 48_000)).any()
    assert not load_audio(wav(np.zeros((768_000, 2)), 768_000)).any()
