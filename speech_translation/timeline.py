"""Put decoded frames where they belong: one channel at 16 kHz, on the recording's own clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from speech_translation.clock import JITTER, Frame
from speech_translation.decoding import Unread
from speech_translation.errors import AudioError
from speech_translation.levels import Mixer, Samples, bring_to_full_scale
from speech_translation.types import SAMPLE_RATE, Remark, RemarkKind, Seconds

_NOTHING = np.empty(0, np.float32)
_RATES = range(1_000, 768_001)  # Hz; a header that claims another rate is broken
# Values a second: 768 kHz in stereo, 192 kHz in 8 channels, 48 kHz in 32. A few bytes of FLAC can
# claim five times as much silence, and decoding it takes that much longer.
_DENSEST = 1_536_000
_TOGETHER: Seconds = 1.0  # of frames that are mixed and resampled at a time

_LONGEST: Seconds = 24 * 3600.0  # what says that it is longer is damaged
_NAMED = 10  # places that are named; the others are counted
_ROUNDED: Seconds = 0.01  # what a time stamp may be wrong by, more or less
_PAUSE: Seconds = 0.5  # a gap that is worth a word

# What a clock that goes back says again is the same sound where the two correlate so much at some
# shift, by their differences, so that hum does not count. In less than a moment anything may.
_ALIKE = 0.7
_MOMENT = SAMPLE_RATE // 4
# Of what may come again no more is held, before it is judged. No clock that counts goes further
# back, but one that stands stays behind for as long as it likes.
_HELD: Seconds = 10.0


class Timeline:
    """The sound of a recording as it grows: what follows, gaps, and what was heard before.

    A gap becomes silence. What comes again is left out. Memory is that of the sound and a constant.
    """

    def __init__(self, name: str, max_seconds: Seconds) -> None:
        self._name = name
        self._limit = max_seconds
        self._joined = bytearray()  # grows in place, so that joining never holds the audio twice
        self._base: Seconds = 0.0  # where the file under way begins
        self._now: Seconds = 0.0  # where the next sample belongs, if nothing else is said
        self._shift: Seconds = 0.0  # of the stamps of the file under way, since they went back
        self._twice: list[tuple[Seconds, Frame]] = []  # that may have been heard, and when it was
        self._held: Seconds = 0.0  # how much that is
        self._behind: Seconds | None = None  # where the clock is while that is before `_now`
        self._rate, self._channels = SAMPLE_RATE, 1
        self._pending: list[Samples] = []
        self._waiting = 0  # frames in it
        self._mixer = Mixer()
        self._resampler: Any = None
        self._places: list[tuple[RemarkKind, Seconds, Seconds]] = []

    def __len__(self) -> int:
        """Samples at 16 kHz, of what was settled."""
        return len(self._joined) // 4

    def begin(self) -> None:
        """What follows is another file, right behind this one."""
        self.settle()
        self._base = self._now = len(self) / SAMPLE_RATE
        self._shift, self._behind = 0.0, None

    def back_to(self, length: int) -> None:
        """Forget what was added behind `length` samples: another decoder tries."""
        self._pending, self._waiting, self._resampler = [], 0, None
        self._twice, self._held, self._behind = [], 0.0, None
        self._shift = 0.0
        self._rate = SAMPLE_RATE
        del self._joined[4 * length :]
        self._base = self._now = length / SAMPLE_RATE
        self._places = [place for place in self._places if place[1] < self._now]

    def add(self, frame: Frame) -> None:
        """Take the next frame.

        Raises AudioError for what is too long or holds no numbers, Unread for an absurd rate.
        """
        rate, samples = frame.rate, frame.samples
        if rate not in _RATES or rate * samples.shape[1] > _DENSEST:
            raise Unread
        if frame.jump:
            self._note(RemarkKind.JUMPED, self._now, self._now + frame.jump)
        at = self._behind  # right behind the one before
        if frame.at is not None:
            at = frame.at + self._base + self._shift
        if at is not None:
            if self._held >= (_MOMENT / SAMPLE_RATE if frame.back else _HELD):
                at += self._judge()
            if (self._behind is not None or frame.back) and at < self._now - _ROUNDED:
                self._twice.append((at, frame))
                seconds = len(samples) / rate
                self._held += seconds
                self._behind = at + seconds
                return
            at += self._judge()
            self._behind = None
            if at - self._now > JITTER:
                kind = RemarkKind.LOST if frame.damaged else RemarkKind.SILENT
                self._note(kind, self._now, at)
                if len(samples):
                    self._silence(at)
            elif frame.damaged:
                self._note(RemarkKind.LOST, self._now, self._now)
        self._take(rate, samples)

    def _take(self, rate: int, samples: Samples) -> None:
        """Let samples follow."""
        if not len(samples):
            return
        if (rate, samples.shape[1]) != (self._rate, self._channels):
            self._change(rate, samples.shape[1])
        self._pending.append(samples)
        self._waiting += len(samples)
        self._now += len(samples) / rate
        if self._waiting >= _TOGETHER * rate:
            self._mix()

    def _judge(self) -> Seconds:
        """Leave out what was heard already; what is new is another clock's, by so much earlier."""
        twice, self._twice, self._held = self._twice, [], 0.0
        if not twice:
            return 0.0
        (start, _), (at, last), now = twice[0], twice[-1], self._now
        if self._was_heard([frame for _, frame in twice], start):
            end = at + len(last.samples) / last.rate
            self._note(RemarkKind.REPEATED, start, min(now, end))
            new = max(0, round((end - now) * last.rate))
            self._take(last.rate, last.samples[len(last.samples) - new :])
            return 0.0
        for _, frame in twice:
            self._take(frame.rate, frame.samples)
        self._shift += now - start
        self._behind = None
        return now - start

    def _was_heard(self, frames: Sequence[Frame], start: Seconds) -> bool:
        """Whether frames from `start` on sound as what was heard there; a moment may."""
        self._mix()
        again = _mono(frames)
        first = round((start - JITTER) * SAMPLE_RATE)
        last = first + len(again) + round(2 * JITTER * SAMPLE_RATE)
        before = np.frombuffer(self._joined, np.float32)[max(0, first) : last].copy()
        again = again[: round(self._now * SAMPLE_RATE) - first]
        return min(len(before), len(again)) < _MOMENT or _alike(again, before) > _ALIKE

    def lack(self, share: float) -> None:
        """The file under way should be longer, by a share of what there is of it."""
        lost = sum(
            end - start
            for kind, start, end in self._places
            if kind is RemarkKind.LOST and start >= self._base
        )
        seconds = share * (self._now - self._base - lost) - lost
        if JITTER < seconds < _LONGEST:
            self._note(RemarkKind.LOST, self._now, self._now + seconds)

    def break_off(self) -> None:
        """The file under way should be longer, and nobody knows by how much."""
        if not any(kind is RemarkKind.LOST and end >= self._now for kind, _, end in self._places):
            self._note(RemarkKind.CUT, self._now, self._now)

    def settle(self) -> None:
        """Finish what is under way."""
        self._judge()
        self._mix()
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(_NOTHING, last=True))
            self._resampler = None
        self._rate = SAMPLE_RATE

    def samples(self) -> Samples:
        """All of it: float32 `(n,)` in [-1, 1]. Nothing can be added any more."""
        self.settle()
        samples = np.frombuffer(self._joined, np.float32)
        bring_to_full_scale(samples)
        return samples

    def remarks(self) -> Iterator[Remark]:
        """Where sound is missing or was left out."""
        for kind, start, end in self._places[:_NAMED]:
            if _is_hole(kind, start, end):
                yield Remark(RemarkKind.HOLE, start, start)
            else:
                yield Remark(kind, start, end)
        if (more := len(self._places) - _NAMED) > 0:
            yield Remark(RemarkKind.MORE, number=more)

    def _note(self, kind: RemarkKind, start: Seconds, end: Seconds) -> None:
        if kind is RemarkKind.SILENT and end - start < _PAUSE:
            return
        near = self._places and self._places[-1][0] == kind and start - self._places[-1][2] < JITTER
        hole = _is_hole(kind, start, end)
        # A jump ends long after what follows it.
        if near and kind is not RemarkKind.JUMPED and hole == _is_hole(*self._places[-1]):
            if hole:
                return
            start = min(self._places.pop()[1], start)
        self._places.append((kind, start, end))

    def _silence(self, until: Seconds) -> None:
        """Go on at `until`, in silence."""
        self._check(until)
        rate, channels = self._rate, self._channels
        self.settle()
        self._joined.extend(bytes(max(0, 4 * (round(until * SAMPLE_RATE) - len(self)))))
        self._now = until
        self._change(rate, channels)

    def _change(self, rate: int, channels: int) -> None:
        """What follows has another rate or other channels."""
        self._mix()
        if rate != self._rate:
            import soxr

            self.settle()
            same = rate == SAMPLE_RATE
            self._resampler = None if same else soxr.ResampleStream(rate, SAMPLE_RATE, 1)
        self._rate, self._channels = rate, channels

    def _mix(self) -> None:
        """Mix, resample and append the frames that wait."""
        if not self._pending:
            return
        block = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        self._pending, self._waiting = [], 0
        mono = self._mixer.mix(block, self._rate)
        if not np.isfinite(mono).all():
            raise AudioError(
                f"{self._name} contains samples that are not numbers (NaN or infinite). "
                "Export it again, for example as 16-bit wav."
            )
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(np.ascontiguousarray(mono))
        self._append(mono)

    def _append(self, samples: Samples) -> None:
        self._joined.extend(np.ascontiguousarray(samples, np.float32).data)
        self._check(len(self) / SAMPLE_RATE)

    def _check(self, seconds: Seconds) -> None:
        if seconds > self._limit:
            raise AudioError(
                f"{self._name} is longer than the limit of {self._limit:g} seconds. "
                "Split it, or raise max_seconds (--max-seconds on the command line).",
                kind="too_long",
            )


def _is_hole(kind: RemarkKind, start: Seconds, end: Seconds) -> bool:
    """Whether sound is missing there, and nobody knows how much."""
    return kind is RemarkKind.LOST and end - start < JITTER


def _mono(frames: Sequence[Frame]) -> Samples:
    """Frames of one kind as one channel at 16 kHz: to compare, not to be heard."""
    import soxr

    rate, channels = frames[0].rate, frames[0].samples.shape[1]
    alike = [x.samples for x in frames if (x.rate, x.samples.shape[1]) == (rate, channels)]
    mono: Samples = soxr.resample(Mixer().mix(np.concatenate(alike), rate), rate, SAMPLE_RATE)
    return mono


def _alike(a: Samples, b: Samples) -> float:
    """The greatest correlation of two sounds over all shifts; 1 where one of them is silent."""
    a, b = np.diff(a), np.diff(b)
    energy = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not energy > 0:
        return 1.0
    size = 1 << (len(a) + len(b)).bit_length()
    found = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    return float(np.abs(found).max()) / energy
