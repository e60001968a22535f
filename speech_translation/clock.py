"""From the stamps of a file to seconds since the recording's beginning.

Formats differ in what their stamps mean, and damaged files in what they leave of them.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from speech_translation.levels import Samples
from speech_translation.parts import id3_length
from speech_translation.types import Seconds

JITTER: Seconds = 0.1
"""Time stamps are rounded and estimated; only what differs by more is a gap or an overlap."""

# A clock that goes back further, or to where it began, was set anew: a broadcast's at a splice, or
# that of the second of two files in one. FFmpeg's own limit.
_SET_ANEW: Seconds = 10.0
_LONGEST_GAP: Seconds = 3600.0  # in a file that does not itself say how long it is
_LATEST_START: Seconds = 600.0

# Their frames follow each other without stamps. FFmpeg counts them, wrongly where the rate changes,
# and what cannot be decoded for a single frame, however many bytes it has.
_COUNTED = {"mp3", "aac", "ac3", "eac3", "amr"}
# FFmpeg counts bytes there, which is wrong for variable rates.
_UNSTAMPED = {"avi"} | _COUNTED
# Their sound may pause. In all others a gap in the stamps is damage.
_PAUSING = {"mov", "matroska", "flv"}
# Their headers say how long they are. Of others FFmpeg estimates it, by bytes or the last stamp.
_SIZED = {"mov", "matroska", "flv", "flac", "wv", "ape", "avi", "aiff", "au", "caf"}
# FFmpeg believes the file's size sooner than their headers, which count in the track's time base.
_COUNTING = {"avi", "aiff", "caf"}
_LONGEST: Seconds = 24 * 3600.0  # a header that says more is broken
# Their time begins at zero by definition, and not where the first stream begins.
_FROM_ZERO = {"mov", "matroska"}
# Their stamps have 33 bits, at 90 kHz. FFmpeg takes sound that begins before they begin anew, and
# before the picture, for more than a day late.
_WRAPPING = {"mpeg", "mpegts"}
_HALF_WRAP: Seconds = (1 << 32) / 90_000
_FIRST_FRAME = 64  # bytes of an MP3 file, in which its length may stand
_COUNT_OF_FRAMES = re.compile(
    rb"(?:Xing|Info)...[\x01\x03\x05\x07\x09\x0b\x0d\x0f](.{4})|VBRI.{10}(.{4})", re.DOTALL
)


class Frame(NamedTuple):
    """A piece of decoded sound; one without samples says that the file should go on until `at`."""

    rate: int
    """Hz."""
    samples: Samples
    """float32 `[frames, channels]`, in [-1, 1] for integers."""
    at: Seconds | None = None
    """When it begins, after the recording's beginning; None for right after the one before."""
    back: bool = False
    """Whether the clock went back there: what was heard already comes again."""
    damaged: bool = False
    """Whether what lies before it could not be decoded, for nobody knows how long if `at` is not
    later than the end of the one before."""
    jump: Seconds = 0.0
    """By how much the clock jumps before it, further than can be believed."""


class Decoded(NamedTuple):
    """A frame as FFmpeg decodes it; `time` is its stamp, and None where it has none."""

    rate: int
    samples: Samples
    time: Seconds | None
    damaged: bool
    rest: Seconds = 0.0
    """How long the file says that nothing sounds before it."""

    @property
    def length(self) -> Seconds:
        """How long it sounds."""
        return len(self.samples) / self.rate


def _starts(container: Any) -> list[Seconds]:
    """The stamps at which sound and pictures begin."""
    import av

    return [
        float(stream.start_time * stream.time_base)
        for stream in container.streams
        if stream.type in ("audio", "video")
        and stream.start_time is not None
        and not stream.disposition & av.stream.Disposition.attached_pic
    ]


def _fragmented(container: Any) -> bool:
    """Whether it is an MP4 whose head knows nothing of its sound, as of a stream."""
    return "mov" in container.format.name and not any(x.frames for x in container.streams.audio)


def beginning(container: Any) -> Seconds | None:
    """The stamp from which times in a recording count; None if only its frames can tell.

    That is where the first of sound and picture begins or, where the format counts from zero and
    the file is as long as it says, zero. A fragment counts from the beginning of its stream.
    """
    import av

    first = min(_starts(container), default=None)
    length = None if container.duration is None else container.duration / av.time_base
    from_zero = bool(set(container.format.name.split(",")) & _FROM_ZERO)
    if from_zero and not _fragmented(container) and first is not None and length is not None:
        return 0.0 if 0 <= first <= min(length, _LATEST_START) else first
    return first


class Clock:
    """From the stamps of a file to seconds since the recording's `beginning`."""

    def __init__(self, container: Any, track: Any, file: SimpleNamespace) -> None:
        import av

        names = set(container.format.name.split(","))
        self._counted = bool(names & _COUNTED)
        self._wrapping = bool(names & _WRAPPING)
        self._stamped = not names & _UNSTAMPED
        self._pausing = bool(names & _PAUSING)
        self._framed = bool(names & _FROM_ZERO)  # their length is said, and where it begins
        self.broken = False  # whether the container is, somewhere
        starts = _starts(container)
        length = None if container.duration is None else container.duration / av.time_base
        self._zero = beginning(container)  # by the stamps; None until a frame says it
        # By this clock the file has an end, after which no stamp can be right.
        self._latest = None
        if length is not None and not self._counted:
            self._latest = max(0.0, max(starts, default=0.0)) + length + 1
        # When the track should end; nothing says it of a stream that was not written to its end.
        self._expected = self._whole = None
        said = mp3_seconds(file, track.rate or 0) if "mp3" in names else None
        if names & _SIZED or said:
            counted = track.frames if names & _COUNTING else 0
            lasts = float(max(track.duration or 0, counted) * (track.time_base or 0))
            if said:
                lasts = min(lasts, said)
            if lasts and _fragmented(container):
                self._expected = lasts  # by the stamp of the last sample
            elif lasts and track.start_time is not None:
                self._expected = float(track.start_time * track.time_base) + lasts
            elif length is not None:
                self._whole = length
        self._shift: Seconds = 0.0  # what the stamps lack
        self._rest: Seconds = 0.0  # in which nothing sounded, since that was last said
        self._end: Seconds = 0.0  # of the last frame
        self._first: Seconds | None = None  # the first stamp
        self._bytes = self._seconds = 0.0  # that were decoded
        self._last: Seconds = 0.0  # when the last packet of any stream ends
        self._rate = 0

    def count(self, packet: Any, seconds: Seconds) -> None:
        """Remember how many bytes of the file a second takes."""
        self._bytes += packet.size
        self._seconds += seconds
        if packet.pts is not None:
            end = packet.pts + (packet.duration or 0)
            self._last = max(self._last, float(end * packet.time_base))

    def lose(self, packet: Any) -> bool:
        """Take note of a packet that cannot be decoded; whether it may have held sound."""
        if not packet.size or not self._seconds:
            return False
        if self._counted:
            # Whatever lies between two frames is one packet: rubbish, or tags of the next file.
            if any(mark in bytes(packet)[:512] for mark in (b"ID3", b"TAG", b"APETAGEX")):
                return False
            self._shift += packet.size * self._seconds / self._bytes
        elif not self._stamped and packet.duration:
            self._shift += float(packet.duration * packet.time_base)
        return True

    def skip(self, size: int) -> None:
        """Take note of bytes that belong to no packet."""
        if self._seconds and not self._stamped:
            self._shift += size * self._seconds / self._bytes

    def stamped(self, frame: Decoded, following: Decoded | None) -> Frame:
        """`frame` with its time, if the frame that follows agrees with its stamp."""
        self._rate = frame.rate
        at, back, damaged, jump = None, False, frame.damaged, 0.0
        if not self._stamped:
            if self._first is None and frame.time is not None:
                # Where a track begins is in its header, before any bytes are counted.
                self._first = frame.time
                late = frame.time - (self._zero or 0.0)
                if late > JITTER:
                    at, self._shift = late, 0.0
            self._rest += frame.rest
            if at is None and (damaged or self._rest > JITTER):
                # What was lost before it is known by its length alone.
                at = self._end + self._rest + self._shift
                self._rest = self._shift = 0.0
        elif frame.time is not None:
            wraps = self._wrapping and self._first is None
            if self._zero is None or (wraps and frame.time - self._zero > _HALF_WRAP):
                self._zero = frame.time
            at = frame.time - self._zero + self._shift
            step = at - self._end
            if abs(step) > JITTER and not self._agreed(frame, following):
                at = None
            elif abs(step) > JITTER and self._set_anew(frame.time, step):
                self._shift -= step
                at, jump = self._end, max(0.0, step)
            elif abs(step) > JITTER:
                back = step < 0
                damaged |= not self._pausing and self._first is not None
            damaged &= at is not None and step > JITTER >= jump  # else nothing is missing
            if self._first is None:
                self._first = frame.time
        self._end = (self._end if at is None else at) + frame.length
        return Frame(frame.rate, frame.samples, at, back, damaged, jump)

    def missing(self) -> Frame | None:
        """What says that the file should be longer, if it should."""
        expected = self._expected
        if self._whole is not None and self._whole - self._last >= 1.0:
            expected = self._whole  # of no stream there is more
        if expected is None or self._zero is None or not self._rate:
            return None
        end = expected - self._zero + (self._shift if self._stamped else 0.0)
        if not (JITTER if self.broken else 1.0) <= end - self._end < _LONGEST:
            return None
        return Frame(self._rate, np.empty((0, 1), np.float32), end, damaged=True)

    def _agreed(self, frame: Decoded, following: Decoded | None) -> bool:
        """Whether two stamps say so: a broken one stands alone."""
        if following is None or following.time is None or frame.time is None:
            return self._first is None  # the only one
        return abs(following.time - frame.time - frame.length) < JITTER

    def _set_anew(self, time: Seconds, step: Seconds) -> bool:
        """Whether a clock that jumps by `step` to `time` is another, and no gap or overlap."""
        if step < 0:
            again = self._first is not None and time - self._first < JITTER
            return again or step < -_SET_ANEW
        if self._latest is not None and time > self._latest:
            return True
        return step > _LONGEST_GAP and not (self._framed and self._latest is not None)


def mp3_seconds(file: SimpleNamespace, rate: int) -> Seconds | None:
    """How long an MP3 file says that it is, in a first frame that holds no sound.

    FFmpeg does not believe it where much else follows, and estimates the length by the bytes.
    """
    place = file.tell()
    file.seek(0)
    head = file.read(10)
    file.seek(id3_length(head))
    frame = file.read(_FIRST_FRAME)
    file.seek(place)
    found = _COUNT_OF_FRAMES.search(frame)
    if frame[:1] != b"\xff" or found is None or not rate:
        return None
    samples = 1152 if rate >= 32_000 else 576  # of a frame
    return int.from_bytes(found[found.lastindex or 0], "big") * samples / rate
