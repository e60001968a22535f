"""Recordings of every kind: what is decoded, at which scale, and what that takes."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from recordings import RATE, encoded, level, voice, wav
from scripts import run

from speech_translation import audio
from speech_translation.audio import load_audio
from speech_translation.errors import AudioError


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


@pytest.mark.parametrize("kind", ["zero", "urandom"])
def test_a_device_that_never_ends_is_an_error(kind: str) -> None:
    said = rf"^{kind} is a device and gives more than 16 MB: save it as a file first\.$"
    with pytest.raises(AudioError, match=said):  # the device says that it can seek
        load_audio(f"/dev/{kind}")


@pytest.mark.parametrize("content", [b"y\n", wav(voice())], ids=["text", "recording"])
def test_a_pipe_that_never_ends_is_an_error(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "_LONGEST_STREAM", 20 << 20)
    said = r"^It gives more than 20 MB: save it as a file first\.$"
    with pytest.raises(AudioError, match=said) as caught:
        load_audio(Stream(content * 10_000, endless=True), name="It")
    assert caught.value.kind == "too_long"


def test_a_long_stream_is_read_wherever_its_recording_is() -> None:
    """QuickTime may lack its `ftyp` and has its index at the end; rubbish may come first."""
    sound = np.tile(voice(1.0, 48_000), 180)
    film = encoded("mov", "pcm_s16le", sound, 48_000).replace(b"ftyp", b"free", 1)
    for content in (film, os.urandom(300) + wav(sound, 48_000)):
        assert len(content) > 17_000_000
        expected = load_audio(content)
        assert len(expected) == 180 * RATE
        np.testing.assert_array_equal(load_audio(Stream(content)), expected)


def test_a_stream_that_does_not_wait_is_not_at_its_end() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb") as late:
        late.write(wav(voice())[:5000])
        late.flush()
        with pytest.raises(AudioError, match=r"^It does not wait for what is not there yet: "):
            load_audio(stream, name="It")


@pytest.mark.parametrize("kind", ["wav", "mp3", "twice"])
def test_a_file_object_need_not_say_where_it_sought(kind: str) -> None:
    """As those that somebody wrote for an archive or a store."""

    class Silent(io.BytesIO):
        def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
            super().seek(offset, whence)
            return None  # type: ignore[return-value]

    mp3 = encoded("mp3", "libmp3lame", voice(), RATE)
    data = {"wav": wav(voice()), "mp3": mp3, "twice": wav(voice()) + wav(voice())}[kind]
    np.testing.assert_array_equal(load_audio(Silent(data)), load_audio(data))


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


def test_64_bit_integers_are_read() -> None:
    data = bytearray(wav(voice()))
    data[34:36] = (64).to_bytes(2, "little")  # each eight bytes count as one sample
    assert np.isfinite(load_audio(bytes(data))).all()
