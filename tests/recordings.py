"""Recordings in every container, made by libsndfile and FFmpeg's libraries."""

import io

import av
import numpy as np
import soundfile

RATE = 16_000


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
                picture = av.VideoFrame(64, 48, "yuv420p")
                for plane in picture.planes:  # else it is whatever the memory held
                    plane.update(bytes(plane.buffer_size))
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
