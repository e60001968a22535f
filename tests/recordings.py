"""Recordings in every container, made by libsndfile and FFmpeg's libraries."""

import io
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import soundfile

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


def wav(sound: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=kind, subtype=subtype)
    return file.getvalue()


def encoded(
    container: str,
    codec: str | None,
    sound: np.ndarray,
    rate: int,
    layout: str = "mono",
    video: str | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """`sound` (and a few black pictures, if a video codec is named) written by FFmpeg."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, container_options=options or {}) as output:
        pictures = output.add_stream(video, rate=25) if video else None
        track = output.add_stream(codec, rate=rate, layout=layout) if codec else None
        if pictures:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for index in range(25):
                picture = black()
                picture.pts = index
                output.mux(pictures.encode(picture))
            output.mux(pictures.encode(None))
        if track:
            packed = np.ascontiguousarray(np.atleast_2d(sound).T, np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
            frame.sample_rate = rate
            output.mux(track.encode(frame))
            output.mux(track.encode(None))
    return file.getvalue()


def black() -> av.VideoFrame:
    """A picture."""
    picture = av.VideoFrame(64, 48, "yuv420p")
    for plane in picture.planes:  # else it is whatever the memory held
        plane.update(bytes(plane.buffer_size))
    return picture


def film(
    kind: str,
    codec: str,
    sound: np.ndarray,
    at: Callable[[float], float],
    pictures: bool = True,
    options: dict[str, str] | None = None,
) -> bytes:
    """`sound` (48 kHz) in a file where its second t has the time stamp `at(t)`."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind, container_options=options or {}) as output:
        track = output.add_stream(codec, rate=48_000, layout="mono")
        if codec == "libmp3lame":
            track.codec_context.format = av.AudioFormat("fltp")
        if pictures:
            screen = output.add_stream("mpeg4", rate=10)
            screen.width, screen.height, screen.pix_fmt = 64, 48, "yuv420p"
            for index in range(int(10 * at(len(sound) / 48_000))):
                picture = black()
                picture.pts, picture.time_base = index, Fraction(1, 10)
                output.mux(screen.encode(picture))
            output.mux(screen.encode(None))
        size = track.codec_context.frame_size or 1024
        for start in range(0, len(sound), size):
            samples = sound[start : start + size]
            if track.codec_context.format.name == "s16":
                samples = np.round(samples * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(
                samples[None], track.codec_context.format.name, "mono"
            )
            frame.sample_rate, frame.time_base = 48_000, Fraction(1, 48_000)
            frame.pts = round(at(start / 48_000) * 48_000)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return file.getvalue()


def tracks(sounds: dict[str, np.ndarray]) -> bytes:
    """Sound tracks at 16 kHz beside each other, by their language in ISO 639-2."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        streams = [output.add_stream("flac", rate=RATE, layout="mono") for _ in sounds]
        for stream, language in zip(streams, sounds, strict=True):
            stream.metadata["language"] = language
        for stream, sound in zip(streams, sounds.values(), strict=True):
            samples = np.round(sound * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
            frame.sample_rate, frame.pts = RATE, 0
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return file.getvalue()
