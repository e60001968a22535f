"""Decode a file to frames of sound, each with its time by the file's own clock.

libsndfile decodes the containers it knows exactly, FFmpeg's libraries (PyAV) everything else and
whatever libsndfile gives up on. `timeline` puts the frames where they belong.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np

from speech_translation.clock import Clock, Decoded, Frame
from speech_translation.errors import AudioError
from speech_translation.levels import Samples
from speech_translation.parts import Part, file_size, window
from speech_translation.process import owned
from speech_translation.skipped import Skipped
from speech_translation.tracks import Track, Wanted, choose
from speech_translation.types import Seconds

# Only what carries its sound within itself: no playlists, no manifests, no lists of other files.
_AV_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,w64,wav,wv"
)

ONLY_THIS_FILE = {"format_whitelist": _AV_FORMATS, "protocol_whitelist": "none"}
"""Options of FFmpeg, which would follow a playlist or reference to any file or address it names.
With these it reads these formats and opens nothing but the file that it was given."""

_BLOCK = 1 << 18  # values read at a time, all channels counted: 1 MiB
# Bytes that FFmpeg may allocate at once: a film's index of 12 hours fits. It believes an MP4's
# counts, so that 3 kB could take gigabytes.
_ALLOCATION = 64 << 20

# Frames of AMR in a pause of speech, by their type and size in bytes: there is nothing in them, or
# the noise behind the speaker, which FFmpeg cannot decode. Each lasts as long as any other.
_AMR_PAUSES = {"amrnb": {(8, 6), (15, 1)}, "amrwb": {(9, 6), (15, 1)}}
_AMR_FRAMES = 50  # a second

# Their blocks have checksums. Otherwise FFmpeg decodes damage to silence, and says nothing.
_SUMMED = {"wavpack", "ape"}
_TRIES = 3  # after errors in a container


# MP3 is left to PyAV: libmpg123, inside libsndfile, writes its complaints to standard error.
# So is Ogg: behind a damaged page libsndfile goes on too early, and repeats what it skipped.
_SNDFILE_MAGIC = {b"RIFF", b"RIFX", b"RF64", b"FORM", b"caff", b".snd", b"fLaC"}


class Unread(Exception):
    """A decoder could not read the file, or not all of it."""


class NoTrack(AudioError):
    """A file has no sound track."""


def for_sndfile(file: BinaryIO, part: Part) -> bool:
    """Whether a part of a file is of the kinds that libsndfile is asked for."""
    file.seek(part.start)
    return file.read(4) in _SNDFILE_MAGIC


def sndfile_frames(file: SimpleNamespace) -> Iterator[Frame]:
    """What libsndfile makes of a file. Raises Unread, also behind the last frame."""
    try:
        import soundfile
    except OSError as error:  # where it comes without libsndfile
        raise ImportError(str(error), name="soundfile") from error
    try:
        again = _opened_again(file)  # may be 0, where standard input is closed
        with soundfile.SoundFile(file if again is None else again) as sound:
            left = sound.frames
            while len(block := sound.read(_BLOCK // sound.channels, "float32", always_2d=True)):
                left -= len(block)
                yield Frame(sound.samplerate, block)
    except soundfile.LibsndfileError as error:
        raise Unread from error
    if left > 0:
        raise Unread  # libsndfile stops at a broken frame; FFmpeg finds the next whole one


def _opened_again(file: SimpleNamespace) -> int | None:
    """A descriptor of the same file with a place of its own; None where the system gives none.

    With it libsndfile reads by itself. Python's file takes it the interpreter's lock every 8 kB,
    and in a busy Space each time may be 5 ms.
    """
    if file.descriptor is None:
        return None
    try:
        return os.open(f"/proc/self/fd/{file.descriptor}", os.O_RDONLY)
    except OSError:  # only Linux has it
        return None


def av_frames(file: SimpleNamespace, name: str, wanted: Wanted) -> Iterator[Frame]:
    """What FFmpeg makes of the wanted track. Raises Unread, and AudioError if there is no track."""
    import av

    with _opened(file) as container:
        if not container.streams.audio:
            raise NoTrack(f"{name} has no sound track. Choose a file with sound.", "no_track")
        track = _track(container, name, wanted)
        skipped = Skipped(file, set(container.format.name.split(",")), track.index)
        for stream in container.streams:
            if stream is not track and not skipped.needs_all:
                stream.discard = av.stream.Discard.all
        if track.codec_context is not None and track.codec_context.name in _SUMMED:
            track.codec_context.options = {"err_detect": "crccheck+explode"}
        clock = Clock(container, track, file)
        held = None  # until it is known whether the next one agrees with its time
        for decoded in _decoded(container, track, clock, skipped):
            if held is not None:
                yield clock.stamped(held, decoded)
            held = decoded
        if held is not None:
            yield clock.stamped(held, None)
        if (missing := clock.missing()) is not None:
            yield missing


def _opened(file: Any) -> Any:
    """A container that FFmpeg reads. Raises Unread."""
    import av

    if owned():  # it holds for all of the process
        with contextlib.suppress(AttributeError):  # Windows does not find it through PyAV's library
            ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(_ALLOCATION))
    try:
        # Of a video it would also decode some pictures, and its video decoders break most often.
        only_this = ONLY_THIS_FILE | {"codec_whitelist": _audio_decoders()}
        if file.longer:
            only_this |= {"ignore_length": "1"}
        # Old tags are often not UTF-8 (Shift JIS above all); nobody reads them here.
        return av.open(file, container_options=only_this, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise Unread from error


def header_seconds(file: BinaryIO) -> Seconds | None:
    """How long a file says that it is; None if it does not. Nothing is decoded, and it may lie."""
    import av
    import soundfile

    whole = Part(0, file_size(file))
    seconds: Seconds | None = None
    if for_sndfile(file, whole):
        with (
            contextlib.suppress(soundfile.LibsndfileError),
            soundfile.SoundFile(window(file, whole)) as sound,
        ):
            seconds = sound.frames / sound.samplerate
    if seconds is None:
        with contextlib.suppress(Unread), _opened(window(file, whole)) as container:
            seconds = (container.duration or 0) / av.time_base
    return seconds if seconds is not None and 0 < seconds < math.inf else None


def _track(container: Any, name: str, wanted: Wanted) -> Any:
    """The stream of the wanted track."""
    import av

    streams = container.streams.audio
    best = container.streams.best("audio") or streams[0]
    aside = av.stream.Disposition.comment | av.stream.Disposition.visual_impaired
    tracks = [
        Track(
            stream.metadata.get("language", ""),
            aside=bool(stream.disposition & aside),
            best=stream is best,
            unread=stream.codec_context is None,
        )
        for stream in streams
    ]
    return streams[choose(tracks, wanted, name)]


def _decoded(container: Any, track: Any, clock: Clock, skipped: Skipped) -> Iterator[Decoded]:
    """The frames of a track, in the order of the file."""
    import av

    streams = list(container.streams) if skipped.needs_all else [track]
    codec = track.codec_context  # none if nothing decodes it
    spoken = codec is not None and codec.name.startswith("amr")
    packets = container.demux(*streams)
    damaged, rest, tries = False, 0.0, 0
    while True:
        try:
            packet = next(packets)
        except IndexError:  # of a stream that begins in mid-file, which PyAV does not expect
            packets = container.demux(*streams)
            continue
        except StopIteration:
            return
        except av.error.FFmpegError:
            damaged, tries = True, tries + 1
            clock.broken = True
            if tries > _TRIES:
                return
            packets = container.demux(*streams)
            continue
        if lost := skipped.before(packet):
            clock.skip(lost)
            damaged = True
        rest += float(skipped.empty * (track.time_base or 0))
        if packet.stream is not track:
            clock.count(packet, 0.0)
            continue
        if spoken and _is_pause(packet):
            time = None if packet.pts is None else float(packet.pts * packet.time_base)
            silence = np.zeros((codec.sample_rate // _AMR_FRAMES, 1), np.float32)
            decoded = Decoded(codec.sample_rate, silence, time, damaged)
            clock.count(packet, decoded.length)
            damaged = False
            yield decoded
            continue
        # A frame of AMR says of itself whether it is whole. Damage would be heard as others.
        if spoken and packet.size and bytes(packet)[0] & 0x87 != 0x04:
            damaged = clock.lose(packet) or damaged
            continue
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            damaged = clock.lose(packet) or damaged
            continue
        for frame in frames:
            if not frame.samples or not frame.sample_rate:
                continue
            time = None if frame.pts is None else frame.time
            decoded = Decoded(frame.sample_rate, _to_float(frame), time, damaged, rest)
            clock.count(packet, decoded.length)
            damaged, rest = False, 0.0
            yield decoded


def _is_pause(packet: Any) -> bool:
    """Whether a packet is a frame of AMR without speech."""
    if not packet.size:
        return False
    kind = bytes(packet)[0] >> 3 & 15
    return (kind, packet.size) in _AMR_PAUSES.get(packet.stream.codec_context.name, ())


@functools.cache
def _audio_decoders() -> str:
    import av

    names = []
    for name in av.codec.codecs_available:
        with contextlib.suppress(av.codec.codec.UnknownCodecError):  # it only encodes
            if av.Codec(name, "r").type == "audio":
                names.append(name)
    return ",".join(names)


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
