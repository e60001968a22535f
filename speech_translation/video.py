"""A visitor's own video with caption tracks in it, which players show on request.

Pictures and sound are copied as they are, and nothing is encoded again.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, get_args

from speech_translation.captions import as_srt_text
from speech_translation.clock import JITTER, beginning
from speech_translation.cues import Cue, cues
from speech_translation.decoding import ONLY_THIS_FILE
from speech_translation.enclosed import enclose
from speech_translation.errors import AudioError, one_line
from speech_translation.files import disk_is_full, replacing
from speech_translation.parts import find_parts
from speech_translation.types import Language, RemarkKind, Show, Translation

VideoFormat = Literal["mkv", "mp4"]
VIDEO_FORMATS: tuple[VideoFormat, ...] = get_args(VideoFormat)

CAPTIONED = ".captions"
"""What is added to the name of a recording that has captions now."""

_CONTAINERS = {"mkv": "matroska", "mp4": "mp4"}
_CODECS = {"mkv": "subrip", "mp4": "mov_text"}
_MUST = {"audio": "sound", "video": "pictures"}  # what a container must hold, in words
_SHOWN = {*_MUST, "subtitle"}
_ISO_639_2 = {Language.ENGLISH: "eng", Language.JAPANESE: "jpn"}
_SEVERAL = "mul"  # of ISO 639-2, for several languages
_OTHER_TIMES = {RemarkKind.JUMPED, RemarkKind.REPEATED}  # in the file than in its translation
_MILLISECOND = Fraction(1, 1000)
_REORDERED = 16  # pictures at most are decoded before one that is shown sooner, in H.264 and HEVC

# FFmpeg makes the description of an MP4's text track from this (libavcodec/movtextenc.c).
_STYLE = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, \
Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


class _Captions(NamedTuple):
    """A caption track: what a player calls it, its language and its cues."""

    title: str
    language: str
    cues: Sequence[Cue]


def add_captions(
    video: str | os.PathLike[str],
    translation: Translation,
    path: str | Path,
    format: VideoFormat,
    show: Show | str = Show.BOTH,
) -> None:
    """Write `video` to `path`, a whole file or none, with captions as tracks of their own.

    Both texts are two tracks; the first one is shown unless the viewer chooses. Their languages are
    stated. Sound, pictures and, where the container can hold them, captions of its own, covers and
    attached files are kept as they are.

    Raises AudioError for a recording that has no pictures, is several joined ones or, by the
    translation's remarks, has a clock that jumps or comes again, and for what the container cannot
    hold; OSError when the folder is missing or not writable.
    """
    import av

    name = _name(video)
    if any(remark.kind in _OTHER_TIMES for remark in translation.remarks):
        raise AudioError(
            f"The clock of {name} jumps or goes back, and a player follows it, so that captions in "
            "it would stand elsewhere than the words: convert it first, or use --format srt.",
            "clock",
        )
    tracks = list(_tracks(translation, Show(show)))
    try:
        with (
            _single(video, name) as file,
            av.open(file, container_options=ONLY_THIS_FILE, metadata_errors="replace") as source,
            replacing(Path(path)) as written,
            av.open(written, "w", format=_CONTAINERS[format]) as target,
        ):
            _copy(video, source, target, tracks, format)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and disk_is_full(error):
            raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
        # What FFmpeg logged last says more than the name of its error, which is of a file of ours.
        reason = error.log[2].strip() if error.log else error.strerror
        raise _impossible(video, format, reason) from error


def require_captionable(video: str | os.PathLike[str], format: VideoFormat) -> None:
    """Raise AudioError where `add_captions` will refuse a recording, whatever is said in it.

    To be asked before the translation, which takes long. What cannot be read passes: decoding its
    sound tells more.
    """
    import av

    with (
        contextlib.suppress(OSError, ValueError, av.error.FFmpegError),
        _single(video, _name(video)) as file,
        av.open(file, container_options=ONLY_THIS_FILE, metadata_errors="replace") as source,
        av.open(io.BytesIO(), "w", format=_CONTAINERS[format]) as target,
    ):
        _kept(video, source, target, format)


def _name(video: str | os.PathLike[str]) -> str:
    return one_line(Path(video).name)


def own_format(video: str | os.PathLike[str]) -> VideoFormat | None:
    """The container in which a video stays nearest to what it is.

    None for what is no video, or one that neither container can hold.
    """
    import av

    try:
        with (
            open(video, "rb") as file,
            av.open(file, container_options=ONLY_THIS_FILE, metadata_errors="replace") as source,
        ):
            if not _has_pictures(source):
                return None
            own: VideoFormat = "mp4" if "mp4" in source.format.name.split(",") else "mkv"
    except (av.error.FFmpegError, OSError):
        return None
    holding = _holding(video)
    return own if own in holding else next(iter(holding), None)


def _has_pictures(source: Any) -> bool:
    """Whether there are pictures that move: a cover is none."""
    import av

    cover = av.stream.Disposition.attached_pic
    return any(not stream.disposition & cover for stream in source.streams.video)


def _single(video: str | os.PathLike[str], name: str) -> BinaryIO:
    """The file, open, where it is one recording: FFmpeg copies the first of several."""
    file = open(video, "rb")  # noqa: SIM115
    try:
        if (count := len(find_parts(file)) if file.read(1) else 1) > 1:
            raise AudioError(
                f"{name} is {count} recordings joined into one file, and only the first can be "
                "copied with captions: make them one with a video editor, split them, or use "
                "--format srt.",
                "joined",
            )
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _impossible(video: str | os.PathLike[str], format: VideoFormat, reason: str) -> AudioError:
    others = [other for other in _holding(video) if other != format]
    advice = " or ".join(f"--format {other}" for other in (*others, "srt"))
    return AudioError(
        f"{_name(video)} cannot be written as {format} with captions ({reason}): use {advice}.",
        "container",
    )


def _holding(video: str | os.PathLike[str]) -> list[VideoFormat]:
    """The containers that can hold all that is seen and heard in a video."""
    import av

    holding = list[VideoFormat]()
    with (
        contextlib.suppress(OSError, av.error.FFmpegError),
        open(video, "rb") as file,
        av.open(file, container_options=ONLY_THIS_FILE, metadata_errors="replace") as source,
    ):
        for format in VIDEO_FORMATS:
            with av.open(io.BytesIO(), "w", format=_CONTAINERS[format]) as target:
                if all(_held(stream, target) for stream in _own(source) if stream.type in _MUST):
                    holding.append(format)
    return holding


def _own(source: Any) -> list[Any]:
    """The streams of a video that are seen and heard; a cover is none."""
    import av

    cover = av.stream.Disposition.attached_pic
    return [x for x in source.streams if x.type in _SHOWN and not x.disposition & cover]


def _coded(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "?"


def _held(stream: Any, target: Any) -> bool:
    return _coded(stream) in target.supported_codecs


def _tracks(translation: Translation, show: Show) -> Iterator[_Captions]:
    for wanted, title in ((Show.TRANSLATION, "Translation"), (Show.SOURCE, "Original")):
        if show not in (wanted, Show.BOTH):
            continue
        languages = {
            segment.direction.target if wanted is Show.TRANSLATION else segment.direction.source
            for segment in translation.segments
            if (segment.text if wanted is Show.TRANSLATION else segment.source_text)
        }
        known = [_ISO_639_2[language] for language in languages if language]
        language = known[0] if len(languages) == len(known) == 1 else _SEVERAL
        yield _Captions(title, language, cues(translation, wanted))


def _kept(
    video: str | os.PathLike[str], source: Any, target: Any, format: VideoFormat
) -> list[Any]:
    """The streams of a video that are copied: all that are seen and heard.

    Raises AudioError where there are no pictures, or the container cannot hold one of them.
    """
    if not _has_pictures(source):
        raise AudioError(
            f"{_name(video)} has no pictures, so captions cannot be tracks of it: use --format "
            "srt.",
            "no_pictures",
        )
    for stream in _own(source):
        if stream.type in _MUST and not _held(stream, target):
            reason = f"it does not hold {_MUST[stream.type]} in {_coded(stream)}"
            raise _impossible(video, format, reason)
    return [stream for stream in _own(source) if _held(stream, target)]


def _copy(
    video: str | os.PathLike[str],
    source: Any,
    target: Any,
    tracks: Sequence[_Captions],
    format: VideoFormat,
) -> None:
    import av

    zero = beginning(source) or 0.0
    late = max(0.0, zero)  # a broadcast's clock begins anywhere, and players begin at zero
    copies = dict[int, Any]()
    for stream in _kept(video, source, target, format):
        copy = target.add_stream_from_template(stream)
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        if stream.type == "subtitle":
            copy.disposition &= ~av.stream.Disposition.default
        copies[stream.index] = copy
    covers = enclose(video, source, target)
    target.metadata.update(source.metadata)
    with contextlib.suppress(ValueError, av.error.FFmpegError):  # they are no reason to fail
        target.set_chapters([_earlier(chapter, late) for chapter in source.chapters()])
    packets = sorted(
        (
            packet
            for number, track in enumerate(tracks)
            for packet in _packets(target, track, zero - late, format, shown=number == 0)
        ),
        key=lambda packet: packet.pts,
        reverse=True,
    )
    target.mux(covers)
    for packet in _timed(source.demux(*(source.streams[index] for index in copies))):
        ticks = round(late / packet.time_base)
        packet.dts -= ticks
        if packet.pts is not None:
            packet.pts -= ticks
        while packets and packets[-1].pts * _MILLISECOND <= packet.dts * packet.time_base:
            target.mux(packets.pop())
        packet.stream = copies[packet.stream.index]
        target.mux(packet)
    for packet in reversed(packets):
        target.mux(packet)


def _earlier(chapter: Any, seconds: float) -> Any:
    ticks = round(seconds / chapter["time_base"])
    return chapter | {name: max(0, chapter[name] - ticks) for name in ("start", "end")}


def _timed(packets: Iterable[Any]) -> Iterator[Any]:
    """What the streams hold, each packet with the time at which it is decoded.

    Matroska says it of no packet. FFmpeg finds it, but not for the first pictures of a stream where
    pictures are decoded before others that are shown sooner.
    """
    waiting = defaultdict[int, list[Any]](list)
    last = dict[int, int]()
    for packet in packets:
        if not packet.size or (packet.dts is None and packet.pts is None):
            continue  # the end of a stream, or a torn piece before its first whole packet
        held = waiting[packet.stream_index]
        held.append(packet)
        if packet.dts is not None or len(held) > _REORDERED:
            yield from _dated(held, last)
            held.clear()
    for held in filter(None, waiting.values()):
        yield from _dated(held, last)


def _dated(held: Sequence[Any], last: dict[int, int]) -> Iterator[Any]:
    """Packets of one stream; only the last has its time, if any. `last` is that of each stream."""
    stream, time = held[-1].stream_index, held[-1].dts
    for packet in reversed(held):
        if packet.dts is None:
            earliest = min(other.pts for other in held if other.pts is not None)
            time = earliest if time is None else min(time - (packet.duration or 1), packet.pts)
            packet.dts = time = max(time, last.get(stream, time))
    for packet in held:
        over = last.get(stream, packet.dts - 1) - packet.dts
        # A splice may overlap by a frame, and a container takes no time twice, rounded to its own.
        if over >= 0 and over * packet.time_base < JITTER and packet.stream.type != "subtitle":
            packet.dts += over + ceil(_MILLISECOND / packet.time_base)
            if packet.pts is not None:
                packet.pts = max(packet.pts, packet.dts)
        last[stream] = packet.dts
        yield packet


def _packets(
    target: Any, track: _Captions, zero: float, format: VideoFormat, *, shown: bool
) -> Iterator[Any]:
    """A new caption track of `target` and what it holds. Cues count from `zero`, in seconds."""
    import av

    stream = target.add_stream(_CODECS[format])
    stream.metadata.update({"language": track.language, "title": track.title})
    if shown:
        stream.disposition = av.stream.Disposition.default
    stream.codec_context.time_base = _MILLISECOND
    stream.codec_context.subtitle_header = _STYLE
    stream.codec_context.open(strict=False)
    for cue in track.cues:
        text = (cue.text if format == "mp4" else as_srt_text(cue.text)).encode("utf-8", "replace")
        packet = av.Packet(len(text).to_bytes(2, "big") + text if format == "mp4" else text)
        packet.stream, packet.time_base = stream, _MILLISECOND
        packet.pts = packet.dts = cue.start_ms + round(zero * 1000)
        packet.duration = cue.end_ms - cue.start_ms
        yield packet
