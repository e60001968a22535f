import io
import os
import random
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from recordings import encoded, wav
from scripts import run

from speech_translation import audio
from speech_translation.audio import claimed_seconds, load_audio
from speech_translation.errors import AudioError

RATE = 16_000


def voice(seconds: float = 1.5, rate: int = RATE) -> np.ndarray:
    """A vowel-like sound below 3 kHz whose pitch and loudness move: float32, peak about 0.6."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (120 * time + 3 * np.sin(2 * np.pi * time))
    sound = sum(np.sin(k * phase) / k for k in range(1, 9)) * (0.6 + 0.4 * np.sin(7 * time))
    return (sound * 0.6 / np.abs(sound).max()).astype(np.float32)


def level(sound: np.ndarray) -> float:
    """Root mean square in dB."""
    return float(10 * np.log10(np.mean(np.square(sound, dtype=np.float64))))


def similarity(decoded: np.ndarray, source: np.ndarray) -> float:
    """Greatest correlation over shifts up to 0.15 s: codecs delay the sound."""
    size = 1 << (len(decoded) + len(source)).bit_length()
    spectrum = np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(source, size))
    correlation = np.fft.irfft(spectrum, size)
    near = np.r_[correlation[:2400], correlation[-2400:]]
    return float(near.max() / np.linalg.norm(decoded) / np.linalg.norm(source))


# container, codec, sample rate, lowest similarity
ENCODINGS = {
    "mp3": ("mp3", "libmp3lame", 44_100, 0.99),
    "m4a": ("ipod", "aac", 44_100, 0.99),
    "alac": ("ipod", "alac", 44_100, 0.999),
    "adts": ("adts", "aac", 22_050, 0.99),
    "webm": ("webm", "libopus", 48_000, 0.98),
    "opus": ("ogg", "libopus", 48_000, 0.98),
    "flac": ("flac", "flac", 48_000, 0.999),
    "mka": ("matroska", "ac3", 44_100, 0.99),
    "mov": ("mov", "pcm_s16le", 48_000, 0.999),
    "amr": ("amr", "libopencore_amrnb", 8_000, 0.4),  # keeps the spectrum, not the wave
    "3gp": ("3gp", "libopencore_amrnb", 8_000, 0.4),
    "adpcm wav": ("wav", "adpcm_ima_wav", 16_000, 0.99),
    "mpegts": ("mpegts", "aac", 48_000, 0.99),
    "avi": ("avi", "libmp3lame", 44_100, 0.99),
}


@pytest.mark.parametrize("kind", ENCODINGS)
def test_every_encoding_gives_its_sound_back(kind: str) -> None:
    container, codec, rate, lowest = ENCODINGS[kind]
    decoded = load_audio(encoded(container, codec, voice(rate=rate), rate))
    assert decoded.dtype == np.float32
    assert decoded.ndim == 1
    assert len(decoded) / RATE == pytest.approx(1.5, abs=0.11)
    assert similarity(decoded, voice()) > lowest
    energy = np.sum(decoded**2) / np.sum(voice() ** 2)  # of all, since some codecs add silence
    assert 10 * np.log10(energy) == pytest.approx(0, abs=2.0 if lowest < 0.9 else 0.5)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_a_video_gives_its_sound(container: str) -> None:
    decoded = load_audio(encoded(container, "aac", voice(rate=48_000), 48_000, video="libx264"))
    assert similarity(decoded, voice()) > 0.99


@pytest.mark.parametrize(
    ("kind", "subtype", "error"),
    [
        ("WAV", "PCM_U8", 1 / 128),
        ("WAV", "PCM_16", 1 / 2**15),
        ("WAV", "PCM_24", 1 / 2**23),
        ("WAV", "PCM_32", 1 / 2**23),
        ("WAV", "FLOAT", 0),
        ("WAV", "DOUBLE", 0),
        ("WAV", "ULAW", 0.02),
        ("WAV", "ALAW", 0.02),
        ("AIFF", "PCM_16", 1 / 2**15),
        ("AIFF", "PCM_S8", 1 / 128),
        ("AU", "PCM_16", 1 / 2**15),
        ("CAF", "PCM_24", 1 / 2**23),
        ("W64", "PCM_16", 1 / 2**15),
        ("RF64", "PCM_16", 1 / 2**15),
        ("FLAC", "PCM_16", 1 / 2**15),
        ("FLAC", "PCM_24", 1 / 2**23),
    ],
)
def test_lossless_samples_keep_their_scale(kind: str, subtype: str, error: float) -> None:
    decoded = load_audio(wav(voice(), subtype=subtype, kind=kind))
    np.testing.assert_allclose(decoded, voice(), rtol=0, atol=error)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f64le"])
def test_ffmpegs_integers_have_the_same_scale(codec: str) -> None:
    decoded = load_audio(encoded("matroska", codec, voice(), RATE))
    np.testing.assert_allclose(decoded, voice(), rtol=0, atol=1 / 128 if "u8" in codec else 1e-4)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
def test_full_scale_integers_reach_one(subtype: str) -> None:
    square = np.repeat(np.array([-1.0, 1.0] * 50, np.float32), 80)
    decoded = load_audio(wav(square, subtype=subtype))
    assert decoded.min() == -1
    assert decoded.max() == pytest.approx(1, abs=1 / 100 if subtype == "PCM_U8" else 1 / 2**14)


@pytest.mark.parametrize("kind", ["OGG", "MP3"])
def test_libsndfiles_lossy_formats(kind: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, voice(rate=44_100), 44_100, format=kind)
    assert similarity(load_audio(file.getvalue()), voice()) > 0.99


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rates_and_channels(rate: int, channels: int) -> None:
    sound = np.repeat(voice(rate=rate)[:, None], channels, axis=1)
    decoded = load_audio(wav(sound, rate, "FLOAT"))
    assert len(decoded) == pytest.approx(1.5 * RATE, abs=1)
    middle = slice(800, -800)
    shared = min(len(decoded), len(voice()))
    np.testing.assert_allclose(decoded[:shared][middle], voice()[:shared][middle], atol=0.01)


@pytest.mark.parametrize("container", ["wav", "matroska"])
def test_channels_are_averaged(container: str) -> None:
    left, right = voice(), 0.5 * voice(rate=RATE)[::-1]
    decoded = load_audio(encoded(container, "pcm_s16le", np.stack([left, right]), RATE, "stereo"))
    np.testing.assert_allclose(decoded, (left + right) / 2, atol=1 / 2**14)


@pytest.mark.parametrize(
    ("codec", "layout", "channels"),
    [("aac", "7.1", 8), ("pcm_s16le", "3.0", 3), ("pcm_s16le", "9.1.6", 16)],
)
def test_many_channels_by_ffmpeg(codec: str, layout: str, channels: int) -> None:
    sound = np.repeat(voice(rate=48_000)[None], channels, axis=0)
    decoded = load_audio(encoded("mov", codec, sound, 48_000, layout))
    assert similarity(decoded, voice()) > 0.99


def test_resampling_in_blocks_equals_resampling_at_once() -> None:
    sound = voice(20, 44_100)
    once = soxr.resample(sound, 44_100, RATE, quality="HQ")
    np.testing.assert_allclose(load_audio(wav(sound, 44_100, "FLOAT")), once, atol=1e-4)


def test_what_lies_above_half_the_rate_does_not_fold_down() -> None:
    tone = np.sin(2 * np.pi * 12_000 * np.arange(96_000) / 48_000).astype(np.float32)
    assert level(load_audio(wav(tone, 48_000, "FLOAT"))[800:-800]) < -90


def test_loudness_is_kept_and_peaks_are_clipped() -> None:
    faint = 0.001 * voice()
    np.testing.assert_array_equal(load_audio(wav(faint, subtype="FLOAT")), faint)
    peaked = voice()
    peaked[1000:2000] *= 1e30
    np.testing.assert_array_equal(load_audio(wav(peaked, subtype="FLOAT")), np.clip(peaked, -1, 1))


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_floats_above_full_scale_are_scaled_and_levels_in_them_stay(rate: int) -> None:
    sound = np.r_[voice(rate=rate), 0.01 * voice(rate=rate)]
    loud = np.float32(2**10) * sound / np.abs(sound).max()
    read = load_audio(wav(loud, rate, "FLOAT"))
    expected = load_audio(wav(loud / 2**10, rate, "FLOAT"))
    np.testing.assert_allclose(read, expected, atol=1e-3, rtol=1e-5)


def test_paths_bytes_files_and_pipes_are_equal(tmp_path: Path) -> None:
    data = wav(voice())
    misnamed = tmp_path / "recording.raw"  # the content decides, not the name
    misnamed.write_bytes(data)
    expected = load_audio(data)
    np.testing.assert_array_equal(load_audio(misnamed), expected)
    np.testing.assert_array_equal(load_audio(str(misnamed)), expected)
    with misnamed.open("rb") as file:
        file.seek(100)
        np.testing.assert_array_equal(load_audio(file), expected)
        assert not file.closed
    reader, writer = os.pipe()
    os.write(writer, data[:60_000])
    os.close(writer)
    with open(reader, "rb") as pipe:
        np.testing.assert_array_equal(load_audio(pipe), expected[: (60_000 - 44) // 2])


class Stream(io.RawIOBase):
    """What cannot seek: some bytes, again and again if it is `endless`."""

    def __init__(self, content: bytes, *, endless: bool = False) -> None:
        self._content, self._endless = io.BytesIO(content), endless
        self.most = 64 << 20

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._content.readinto(buffer)
        if not count and self._endless:
            self._content.seek(0)
            count = self._content.readinto(buffer)
        self.most -= count
        assert self.most > 0, "it is read for ever"
        return count


@pytest.mark.parametrize("kind", ["zero", "urandom", "text"])
def test_a_stream_of_no_sound_that_never_ends_is_an_error(kind: str) -> None:
    block = {"zero": bytes(1 << 20), "text": b"y\n" * (1 << 19)}.get(kind) or os.urandom(24 << 20)
    with pytest.raises(AudioError, match=r"^It is no recording: its first 16 MB hold no sound"):
        load_audio(Stream(block, endless=True), name="It")
    if kind != "text":  # the device says that it can seek
        with pytest.raises(AudioError, match=rf"^{kind} is no recording"):
            load_audio(f"/dev/{kind}")


def test_a_recording_that_never_ends_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "_LONGEST_STREAM", 20 << 20)
    with pytest.raises(AudioError, match=r"gives more than .* save it as a file first") as caught:
        load_audio(Stream(wav(voice()), endless=True))
    assert caught.value.kind == "too_long"


def test_of_a_stream_the_beginning_need_not_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of an MP4 is at its end; an MP3 may have zeros before its first frame."""
    monkeypatch.setattr(audio, "_PIECE", 1 << 14)
    monkeypatch.setattr(audio, "_HEAD", 1 << 15)
    film, mp3 = (
        encoded(*kind, voice(20), RATE) for kind in (("mp4", "aac"), ("mp3", "libmp3lame"))
    )
    for content in (film, bytes(1000) + mp3):
        assert len(content) > 1 << 15
        expected = load_audio(content)
        assert len(expected) > 19 * RATE
        np.testing.assert_array_equal(load_audio(Stream(content)), expected)


def test_an_unnamed_temporary_file_with_ffmpegs_formats(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp3"
    path.write_bytes(encoded("ipod", "aac", voice(), RATE))
    with open(os.open(path, os.O_RDONLY), "rb") as file:  # its name is a number
        np.testing.assert_array_equal(load_audio(file), load_audio(path))


def test_tags_that_are_not_utf8_do_no_harm() -> None:
    artist = "山田".encode("shift_jis")
    frame = b"TPE1" + (len(artist) + 1).to_bytes(4, "big") + b"\0\0" + b"\3" + artist
    tag = b"ID3\3\0\0\0\0\0" + bytes([len(frame)]) + frame
    assert len(load_audio(tag + encoded("mp3", "libmp3lame", voice(), RATE))) > RATE


def test_the_limit_stops_the_decoding() -> None:
    assert len(load_audio(wav(voice()), max_seconds=1.5)) == 1.5 * RATE

    class Counted(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.read_bytes += len(data)
            return data

    file = Counted(wav(np.zeros(600 * RATE)))
    with pytest.raises(AudioError, match=r"^talk\.wav is longer than the limit of 60 seconds.*max"):
        load_audio(file, max_seconds=60, name="talk.wav")
    assert file.read_bytes < 0.2 * len(file.getvalue())


def test_an_hour_needs_the_memory_of_its_samples() -> None:
    # Stereo at 8 kHz in mu-law: 58 MB encoded; 230 MB of samples as the model hears them.
    script = """
        import io
        import numpy as np, soundfile, soxr
        from memory import growth
        from speech_translation.audio import load_audio
        path = "hour.wav"
        with soundfile.SoundFile(path, "w", 8_000, 2, "ULAW") as file:
            for _ in range(60):
                file.write(np.zeros((60 * 8_000, 2), np.float32))
        load_audio(io.BytesIO(open(path, "rb").read(200_000)))
        with growth() as grown:
            samples = load_audio(path)
        print(len(samples), grown.peak / samples.nbytes)
    """
    length, ratio = map(float, run(script).split())
    assert length == 3600 * RATE
    assert ratio < 1.15


# Bad input. Every message names the file and the way out.


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


def test_a_stream_that_begins_in_mid_file_is_passed_over() -> None:
    sound = voice(rate=44_100)
    plain = encoded("mpegts", "aac", sound, 44_100)
    with_pictures = encoded("mpegts", "aac", sound, 44_100, video="mpeg4")  # in other streams
    decoded = load_audio(plain + with_pictures + plain)
    assert abs(len(decoded) - 2 * len(load_audio(plain))) <= 2


def test_64_bit_integers_are_read() -> None:
    data = bytearray(wav(voice()))
    data[34:36] = (64).to_bytes(2, "little")  # each eight bytes count as one sample
    assert np.isfinite(load_audio(bytes(data))).all()


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
        from test_audio import fuzz
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
        from test_audio import RATE, encoded, load_audio, voice
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
