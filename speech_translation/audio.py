"""Any recording to the one form the model hears: mono float32 at 16 kHz.

libsndfile decodes the containers it knows exactly, FFmpeg's libraries (PyAV) everything else and
whatever libsndfile gives up on. The content decides, never the file's name.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from speech_translation.errors import AudioError, one_line
from speech_translation.process import owned
from speech_translation.types import SAMPLE_RATE, Seconds

Samples = npt.NDArray[np.float32]

MAX_SECONDS: Seconds = 4 * 3600
"""The longest recording accepted unless the caller says otherwise."""

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("wav", "flac", "mp3", "ogg", "oga", "opus", "aif", "aiff", "m4a", "aac"),
        *("webm", "mp4", "m4v", "mov", "mkv", "3gp", "amr"),
    )
)
"""What counts as a recording in a folder; a file that is named is decoded whatever its name."""

# MP3 is left to PyAV: libmpg123, inside libsndfile, writes its complaints to standard error.
_SNDFILE_MAGIC = {b"RIFF", b"RF64", b"FORM", b"caff", b".snd", b"fLaC", b"OggS"}

# Only what carries its sound within itself: no playlists, no manifests, no lists of other files.
_AV_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,w64,wav,wv"
)

_BLOCK = 1 << 18  # values read at a time, all channels counted: 1 MiB
_NOTHING = np.empty(0, np.float32)
_RATES = range(1_000, 768_001)  # Hz; a header that claims another rate is broken
# Values a second: 768 kHz in stereo, 192 kHz in 8 channels, 48 kHz in 32. A few bytes of FLAC can
# claim five times as much silence, and decoding it takes that much longer.
_DENSEST = 1_536_000
# Bytes that FFmpeg may allocate at once: a film's index of 12 hours fits. It believes an MP4's
# counts, so that 3 kB could take gigabytes.
_ALLOCATION = 64 << 20


def find_recordings(folder: str | os.PathLike[str]) -> Iterator[Path | AudioError]:
    """The recordings anywhere below `folder`, one at a time and in no order.

    Links to folders are not followed. A folder that cannot be read, and a `folder` that holds no
    recording at all, give the error to report.
    """
    empty = True
    for found in _below(folder):
        empty = False
        yield found
    if empty:
        yield AudioError(f"The folder {os.fspath(folder)} holds no audio or video file.")


def _below(folder: str | os.PathLike[str]) -> Iterator[Path | AudioError]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _below(entry.path)
                elif Path(entry.name).suffix.lower() in EXTENSIONS:
                    yield Path(entry.path)
    except OSError as error:
        yield AudioError(f"The folder {os.fspath(folder)} cannot be read ({error.strerror}).")


class _Unread(Exception):
    """A decoder could not read the file, or not all of it."""


def load_audio(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    max_seconds: Seconds = MAX_SECONDS,
    *,
    name: str | None = None,
) -> Samples:
    """Decode a recording to mono at 16 kHz: float32 `(n,)` in [-1, 1].

    Channels are averaged and loudness is kept; peaks over full scale are clipped. What is broken or
    missing inside a file is skipped. Memory is that of the result plus a constant, except that
    a source that cannot seek, like a pipe, is first read whole.

    Args:
        source: a path, the bytes of a file, or a binary file object, which is read from its start
            (from where it is, if it cannot seek) and left open.
        max_seconds: the longest recording to accept; decoding stops as soon as it is passed.
        name: what to call the recording in errors, instead of the path's last part.

    Raises:
        AudioError: missing, unreadable, empty, not audio, without a sound track, with samples that
            are not numbers, or longer than `max_seconds`.
    """
    if name is None:
        name = Path(source).name if isinstance(source, str | os.PathLike) else ""
        name = name or "The recording"
    name = one_line(name)
    if isinstance(source, str | os.PathLike):
        try:
            with _open(source, name) as file:
                return _load(file, max_seconds, name)
        except FileNotFoundError:
            raise AudioError(f"{name} does not exist. Check the path.") from None
        except IsADirectoryError:
            raise AudioError(f"{name} is a folder. Give the audio files in it.") from None
        except OSError as error:
            raise AudioError(
                f"{name} cannot be read ({error.strerror}). Check the file and its permissions."
            ) from error
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    if not hasattr(source, "read") or isinstance(source, io.TextIOBase):
        raise TypeError(
            "A recording is a path, the bytes of a file or a file that is open in binary mode, not "
            f"{type(source).__name__}."
        )
    return _load(source, max_seconds, name)


def _open(source: str | os.PathLike[str], name: str) -> BinaryIO:
    try:
        return open(source, "rb")
    except ValueError:  # a zero byte, or half a character
        raise AudioError(f"{name} cannot be the name of a file. Check the path.") from None


def _load(file: BinaryIO, max_seconds: Seconds, name: str) -> Samples:
    if not file.seekable():
        file = io.BytesIO(file.read())
    file.seek(0)
    magic = file.read(4)
    if not magic:
        raise AudioError(f"{name} is empty (0 bytes). Record or copy it again.")

    def seek(offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return file.seek(offset, whence)
        except (OSError, ValueError):  # a broken header can send a decoder before the start
            return -1

    # Both decoders would also look at a file object's name, and stumble over one that is no string.
    nameless = SimpleNamespace(read=file.read, seek=seek, tell=file.tell)
    for decode in [_sndfile_blocks, _av_blocks] if magic in _SNDFILE_MAGIC else [_av_blocks]:
        file.seek(0)
        try:
            return _collect(decode(nameless, name), max_seconds, name)
        except _Unread:
            continue
    raise AudioError(
        f"{name} holds no sound that can be decoded: it is not audio, or it is empty, broken or "
        "cut short. Export it again, for example as wav, flac or mp3."
    )


def _collect(blocks: Iterator[tuple[int, Samples]], max_seconds: Seconds, name: str) -> Samples:
    """Mix, resample and join blocks of `(rate, samples[frames, channels])`."""
    import soxr

    joined = bytearray()  # grows in place, so that joining never holds the audio twice
    stream, stream_rate = None, SAMPLE_RATE

    def add(samples: Samples) -> None:
        joined.extend(np.clip(samples, -1, 1).data)
        if len(joined) > max_seconds * SAMPLE_RATE * samples.itemsize:
            raise AudioError(
                f"{name} is longer than the limit of {max_seconds:g} seconds. "
                "Split it, or raise max_seconds (--max-seconds on the command line)."
            )

    for rate, block in blocks:
        if rate not in _RATES or rate * block.shape[1] > _DENSEST:
            raise _Unread
        if rate != stream_rate:
            if stream:
                add(stream.resample_chunk(_NOTHING, last=True))
            stream = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1)
            stream_rate = rate
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
            mono = block @ np.full(block.shape[1], 1 / block.shape[1], np.float32)
        if not np.isfinite(mono).all():
            raise AudioError(
                f"{name} contains samples that are not numbers (NaN or infinite). "
                "Export it again, for example as 16-bit wav."
            )
        add(stream.resample_chunk(mono) if stream else mono)
    if stream:
        add(stream.resample_chunk(_NOTHING, last=True))
    if not joined:
        raise _Unread
    return np.frombuffer(joined, np.float32)


def _sndfile_blocks(file: SimpleNamespace, name: str) -> Iterator[tuple[int, Samples]]:
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            left = sound.frames
            while len(block := sound.read(_BLOCK // sound.channels, "float32", always_2d=True)):
                left -= len(block)
                yield sound.samplerate, block
    except soundfile.LibsndfileError as error:
        raise _Unread from error
    if left > 0:
        raise _Unread  # libsndfile stops at a broken frame; FFmpeg finds the next whole one


@functools.cache
def _audio_decoders() -> str:
    import av

    names = []
    for name in av.codec.codecs_available:
        with contextlib.suppress(av.codec.codec.UnknownCodecError):  # it only encodes
            if av.Codec(name, "r").type == "audio":
                names.append(name)
    return ",".join(names)


def _av_blocks(file: SimpleNamespace, name: str) -> Iterator[tuple[int, Samples]]:
    import av

    if owned():  # it holds for all of the process
        with contextlib.suppress(AttributeError):  # Windows does not find it through PyAV's library
            ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(_ALLOCATION))
    try:
        # FFmpeg would follow a playlist or reference to any file or address it names. With these
        # two options it reads these formats and opens nothing but `file`.
        only_this = {"format_whitelist": _AV_FORMATS, "protocol_whitelist": "none"}
        # Of a video it would also decode some pictures, and its video decoders break most often.
        only_this["codec_whitelist"] = _audio_decoders()
        # Old tags are often not UTF-8 (Shift JIS above all); nobody reads them here.
        container = av.open(file, container_options=only_this, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise _Unread from error
    with container:
        track = container.streams.best("audio")
        if track is None:
            raise AudioError(f"{name} has no sound track. Choose a file with sound.")
        for stream in container.streams:
            if stream is not track:
                stream.discard = av.stream.Discard.all
        packets = container.demux(track)
        while True:
            try:
                packet = next(packets)
            except IndexError:  # of a stream that begins in mid-file, which PyAV does not expect
                packets = container.demux(track)
                continue
            except (StopIteration, av.error.FFmpegError):
                break
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                yield frame.sample_rate, _to_float(frame)


def _to_float(frame: Any) -> Samples:
    """The samples of a PyAV frame as float32 `[frames, channels]`, integers scaled to [-1, 1)."""
    planes = frame.layout.nb_channels if frame.format.is_planar else 1
    if planes >= 8 or frame.format.name.startswith("s64"):
        import av

        # PyAV 18 finds no end to so many planes and reads beyond them, and knows no 64-bit integer.
        (frame,) = av.AudioResampler("flt").resample(frame)
    raw = frame.to_ndarray()
    raw = raw.T if frame.format.is_planar else raw.reshape(frame.samples, -1)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
        samples: Samples = raw.astype(np.float32)
    if raw.dtype.kind in "iu":
        half = 2.0 ** (8 * raw.itemsize - 1)
        samples = (samples - half * (raw.dtype.kind == "u")) / half
    return samples
