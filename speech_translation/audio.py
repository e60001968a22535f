"""Any recording to the one form the model hears: mono float32 at 16 kHz.

The content of a file decides how it is decoded (`decoding`), never its name. A file may hold
several recordings behind each other (`parts`) and several sound tracks beside each other
(`tracks`); `timeline` puts what was decoded on the recording's own clock.
"""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO

from speech_translation.clock import Frame, mp3_seconds
from speech_translation.decoding import (
    NoTrack,
    Unread,
    av_frames,
    for_sndfile,
    header_seconds,
    sndfile_frames,
)
from speech_translation.endings import breaks_off
from speech_translation.errors import AudioError, one_line
from speech_translation.levels import Samples
from speech_translation.parts import MOST_PARTS, Part, file_size, find_parts, window
from speech_translation.timeline import Timeline
from speech_translation.tracks import Wanted
from speech_translation.types import SAMPLE_RATE, Language, Remark, RemarkKind, Seconds

MAX_SECONDS: Seconds = 4 * 3600
"""The longest recording accepted unless the caller says otherwise."""

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("wav", "w64", "flac", "ape", "wv", "aif", "aifc", "aiff", "au", "caf", "wma", "amr"),
        *("mp2", "mp3", "m4a", "m4b", "aac", "ac3", "ogg", "oga", "opus", "spx", "mka"),
        *("webm", "mp4", "m4v", "mov", "mkv", "3gp", "3g2", "avi", "asf", "wmv", "flv", "ogv"),
        *("ts", "mts", "m2ts", "mpg", "mpeg", "vob"),
    )
)
"""What counts as a recording in a folder; a file that is named is decoded whatever its name."""

# Bytes of a stream, which are held in memory. Where a recording is in them, and whether, is known
# only at the end: the index of a film may be the last of it. A device mostly has none.
_LONGEST_STREAM = 4 << 30
_LONGEST_DEVICE = 16 << 20
_PIECE = 1 << 20  # of them that are read at a time

_HEAD = 8000  # bytes in which text has no zero byte, and a transport stream has some

# Samples that an encoder puts around the sound. In the length that an MP3 says they count.
_AROUND = 3 * 1152

_LOGGER = logging.getLogger("speech_translation")
_LOGGER.addHandler(logging.NullHandler())  # else warnings go to standard error unasked


def find_recordings(
    folder: str | os.PathLike[str], left_out: Callable[[Path], bool] = lambda _: False
) -> Iterator[Path | AudioError]:
    """The recordings anywhere below `folder` but those left out, one at a time and in no order.

    Links to folders are not followed, and a pipe, a socket or a device is no recording: whoever
    opens one may wait for ever. A folder that cannot be read, and a `folder` that holds no
    recording at all, give the error to report.
    """
    empty = True
    for found in _below(folder):
        if isinstance(found, AudioError) or not left_out(found):
            empty = False
            yield found
    if empty:
        yield AudioError(f"The folder {os.fspath(folder)} holds no audio or video file.")


def _below(folder: str | os.PathLike[str]) -> Iterator[Path | AudioError]:
    folders = [os.fspath(folder)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif _is_recording(entry):
                        yield Path(entry.path)
        except OSError as error:
            yield AudioError(f"The folder {folder} cannot be read ({error.strerror}).")


def _is_recording(entry: os.DirEntry[str]) -> bool:
    """Whether a file is one by its name; so is a link that leads nowhere, which is then said.

    A text is none: .ts and .mts are also the endings of TypeScript's sources.

    "._talk.mp3" is what macOS knows of talk.mp3, on a disk that can hold no more of it.
    """
    if entry.name.startswith("._") or Path(entry.name).suffix.lower() not in EXTENSIONS:
        return False
    try:
        mode = entry.stat().st_mode
    except OSError:
        return True
    if stat.S_ISREG(mode) and entry.name.lower().endswith((".ts", ".mts")):
        return not _is_text(entry.path)
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _is_text(path: str) -> bool:
    """Whether a file has something at its beginning, and no zero byte: git has the same rule."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False  # which whoever decodes it says
    return bool(head) and b"\0" not in head


def load_audio(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    max_seconds: Seconds = MAX_SECONDS,
    *,
    name: str | None = None,
    track: int | str | None = None,
    language: Language | None = None,
    remark: Callable[[Remark], object] | None = None,
) -> Samples:
    """Decode a recording to mono at 16 kHz: float32 `(n,)` in [-1, 1].

    Sample n is what is heard n / 16000 s after the recording's beginning, where the first of sound
    and picture begins: gaps are silence, and what a file repeats is left out once. Channels are
    averaged, without cancelling each other, and loudness is kept; floats that are louder than full
    scale make the whole recording softer, and single peaks over it are clipped. Memory is that of
    the result plus a constant, except that a source that cannot seek, like a pipe, is first read
    whole (`read_stream`).

    Args:
        source: a path, the bytes of a file, or a binary file object, which is read from its start
            (from where it is, if it cannot seek) and left open.
        max_seconds: the longest recording to accept; decoding stops as soon as it is passed.
        name: what to call the recording in errors, instead of the path's last part.
        track: which of several sound tracks: its number, from 1, or its language ("ja", "eng").
        language: what is spoken, if that is known: of several tracks the one in it is taken.
        remark: hears what somebody should know who gets a result: which of several tracks it is of,
            that the only one does not say whether it is in the language of `track`, and from when
            to when the recording is damaged, without sound, or repeats itself.
            Without it they are warnings of the logger `speech_translation`.

    Raises:
        AudioError: missing, unreadable, empty, not audio, without a sound track or without the one
            that is wanted, with samples that are not numbers, or longer than `max_seconds`.
    """
    if name is None:
        name = Path(source).name if isinstance(source, str | os.PathLike) else ""
        name = name or "The recording"
    name = one_line(name)
    if not isinstance(track, int | str | None):
        raise TypeError(f"A sound track is a number, from 1, or a language, not {track!r}.")
    wanted = Wanted(track, language, remark or partial(_LOGGER.warning, "%s: %s", name))
    if isinstance(source, str | os.PathLike):
        try:
            with _open(source, name) as file:
                return _load(file, max_seconds, name, wanted)
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
    return _load(source, max_seconds, name, wanted)


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether it is a pipe or a device: whoever opens or reads one may wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def read_stream(stream: BinaryIO, name: str) -> BinaryIO:
    """All that a pipe or a device gives, to be decoded.

    Some never end. Raises AudioError for more than 4 GB, or 16 MB of a device like /dev/zero.
    """
    device = _is_device(stream)
    limit = _LONGEST_DEVICE if device else _LONGEST_STREAM
    held = io.BytesIO()
    while (data := stream.read(_PIECE)) != b"":
        if data is None:
            raise AudioError(
                f"{name} does not wait for what is not there yet: let it wait (os.set_blocking)."
            )
        held.write(data)
        if held.tell() > limit:
            raise AudioError(
                f"{name} {'is a device and ' if device else ''}gives more than {limit >> 20} MB: "
                "save it as a file first.",
                "too_long",
            )
    return held


def _is_device(stream: BinaryIO) -> bool:
    try:
        return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    except (AttributeError, OSError):  # it is none of the system's
        return False


def claimed_seconds(path: str | os.PathLike[str]) -> Seconds | None:
    """How long the header of a file says that it is; None if it does not say. It may lie."""
    try:
        with open(path, "rb") as file:
            return header_seconds(file)
    except (OSError, ValueError):
        return None


def _open(source: str | os.PathLike[str], name: str) -> BinaryIO:
    try:
        return open(source, "rb")
    except ValueError:  # a zero byte, or half a character
        raise AudioError(f"{name} cannot be the name of a file. Check the path.") from None


def _load(file: BinaryIO, max_seconds: Seconds, name: str, wanted: Wanted) -> Samples:
    if not file.seekable() or not file_size(file):  # some devices only say that they can
        file = read_stream(file, name)
    file.seek(0)
    if not file.read(1):
        raise AudioError(f"{name} is empty (0 bytes). Record or copy it again.", "empty")
    wanted = wanted._replace(say=cache(wanted.say))  # what holds for many parts is said once
    timeline = Timeline(name, max_seconds)
    found = find_parts(file)
    parts = found[:MOST_PARTS]
    unread = list[Part]()
    for part in parts:
        try:
            read = _decode(file, part, timeline, name, wanted)
        except NoTrack:
            if part is parts[-1] and not len(timeline):
                raise
            read = False
        if not read:
            unread.append(part)
    samples = timeline.samples()
    if not len(samples):
        raise AudioError(
            f"{name} holds no sound that can be decoded: it is not audio, or it is empty, broken "
            "or cut short. Export it again, for example as wav, flac or mp3.",
            kind="no_sound",
        )
    if unread:
        wanted.say(Remark(RemarkKind.UNREAD, number=len(unread), of=len(parts)))
    if len(found) > len(parts):
        wanted.say(Remark(RemarkKind.FIRST, number=len(parts)))
    for remark in timeline.remarks():
        wanted.say(remark)
    return samples


def _decode(file: BinaryIO, part: Part, timeline: Timeline, name: str, wanted: Wanted) -> bool:
    """Add a part of a file to the timeline; whether any decoder could read it."""
    decoders: list[Callable[..., Iterator[Frame]]] = []
    # It knows no track by its language, and believes each length.
    if for_sndfile(file, part) and wanted.track is None and not part.longer:
        decoders.append(sndfile_frames)
    decoders.append(partial(av_frames, name=name, wanted=wanted))
    timeline.begin()
    begin = len(timeline)
    for decode in decoders:
        try:
            for frame in decode(window(file, part)):
                timeline.add(frame)
            timeline.settle()
        except Unread:
            timeline.back_to(begin)
            continue
        if len(timeline) > begin:
            timeline.lack(part.lacking / (part.end - part.start))
            said = mp3_seconds(window(file, part), frame.rate)
            heard = (len(timeline) - begin) / SAMPLE_RATE
            whole = said is not None and abs(heard - said) < _AROUND / frame.rate
            if not whole and breaks_off(file, part):
                timeline.break_off()
            return True
    return False
