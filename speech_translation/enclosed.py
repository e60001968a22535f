"""What lies in a video beside its streams: covers, and the fonts of its captions."""

from __future__ import annotations

import mimetypes
import os
from itertools import islice
from typing import Any

from speech_translation.decoding import ONLY_THIS_FILE

# What an MP4 takes, by FFmpeg's names, and what Matroska calls a cover.
_COVERS = {"mjpeg": "cover.jpg", "png": "cover.png", "bmp": "cover.bmp"}


def enclose(video: str | os.PathLike[str], source: Any, target: Any) -> list[Any]:
    """Give `target` the covers and attachments of `video`, open as `source`, that it can hold.

    Matroska holds files beside the streams, and covers among them; to MP4 a cover is a stream.
    Returns the packets to write before all others.
    """
    import av

    files = target.format.name == "matroska"
    for stream in source.streams if files else ():
        if stream.type == "attachment" and stream.data:
            kind = stream.mimetype or "application/octet-stream"
            target.add_attachment(stream.name or "attachment", kind, stream.data)
    pictures = av.stream.Disposition.attached_pic
    if not any(stream.disposition & pictures for stream in source.streams.video):
        return []
    first = []
    # Opened again: what follows the covers would be gone from `source`.
    with (
        open(video, "rb") as file,
        av.open(file, container_options=ONLY_THIS_FILE, metadata_errors="replace") as again,
    ):
        covers = [stream for stream in again.streams.video if stream.disposition & pictures]
        for packet in islice(again.demux(*covers), len(covers)):
            cover = packet.stream
            name = _COVERS.get(cover.codec_context.name if cover.codec_context else "")
            # A broken picture has no size in pixels, and MP4 takes none without.
            if name is None or not packet.size or not (files or cover.width):
                continue
            if files:
                kind = mimetypes.guess_type(name)[0] or ""
                target.add_attachment(cover.metadata.get("filename", name), kind, bytes(packet))
                continue
            packet.stream = target.add_stream_from_template(cover)
            packet.stream.disposition = cover.disposition
            packet.pts = packet.dts = 0
            first.append(packet)
    return first
