"""Notice what a decoder leaves out: bytes of a file that belong to none of its packets.

Behind damage FFmpeg goes on with the next packet that it finds, and says nothing of those before.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from speech_translation.parts import id3_length

# Their packets say where they lie, with no more than this between two of them.
_PLACED = {"matroska", "flv", "avi"}
_BETWEEN = 256  # bytes: a header, the beginning of a cluster
_MOST_CHUNKS = 100_000
_CHUNK = 8  # bytes, of a chunk's name and length
_LISTS = (b"LIST", b"RIFF")  # have a kind and then chunks
# Between theirs is nothing; but FFmpeg counts as if it had left out nothing.
_COUNTED = {"aac"}
_HEAD = 16  # bytes by which a packet is known
_SEARCHED = 1 << 12, 1 << 18, 8 << 20  # bytes
_CACHED = 1 << 16  # bytes read at a time


class Skipped:
    """Follows the packets of a file of the formats `names`, all of them and in their order.

    `track` is the index of the stream whose empty chunks count.
    """

    def __init__(self, file: SimpleNamespace, names: set[str], track: int) -> None:
        self._file = file
        self._chunks = "avi" in names
        self._name = b"%02dwb" % track
        self.empty = 0
        """Chunks of the track before the last packet that hold nothing: time in which it rests."""
        self._placed = bool(names & _PLACED)
        self._counted = bool(names & _COUNTED)
        self._end: int | None = None  # of the last packet; None before the first
        self._cache, self._cached_at = b"", 0

    @property
    def needs_all(self) -> bool:
        """Whether it must hear of all streams' packets, to tell theirs from nobody's."""
        return self._placed

    def before(self, packet: Any) -> int:
        """How many bytes before `packet` belong to nothing."""
        self.empty = 0
        if not packet.size or packet.pos is None or packet.pos < 0:
            return 0
        if self._counted:
            return self._by_content(bytes(packet)[:_HEAD], packet.size)
        if not self._placed:
            return 0
        before, self._end = self._end, max(self._end or 0, packet.pos + packet.size)
        if before is None or (self._chunks and self._reached(before, packet.pos - _CHUNK)):
            return 0
        if packet.pos - before <= _BETWEEN:
            return 0
        return int(packet.pos - before)

    def _by_content(self, head: bytes, size: int) -> int:
        """Find where a packet really lies."""
        first, begin = self._end is None, self._end or 0
        if self._read(begin, len(head)) == head:
            self._end = begin + size
            return 0
        places = (self._read(begin, count).find(head) for count in _SEARCHED)
        place = next((place for place in places if place >= 0), None)
        if place is None:
            self._counted = False  # it is not in the file as it is
            return 0
        self._end = begin + place + size
        tag = id3_length(self._read(begin, _HEAD))  # as in front of each segment of a live stream
        return 0 if first else max(0, place - tag)

    def _reached(self, start: int, end: int) -> bool:
        """Whether whole chunks, as those of an index, lead from `start` to `end`."""
        start += start % 2
        empty = 0
        for _ in range(_MOST_CHUNKS):
            if start >= end:
                break
            header = self._read(start, _CHUNK)
            if not header[:4].isascii() or not header[:4].decode("ascii").isprintable():
                return False
            length = int.from_bytes(header[4:], "little")
            empty += header[:4] == self._name and not length
            start += _CHUNK + (4 if header[:4] in _LISTS else length + length % 2)
        self.empty = empty if start == end else 0
        return start == end

    def _read(self, start: int, count: int) -> bytes:
        """Bytes of the file, which stays where FFmpeg has it."""
        inside = start - self._cached_at
        if not 0 <= inside <= len(self._cache) - count:
            place = self._file.tell()
            self._file.seek(start)
            self._cache, self._cached_at = self._file.read(max(count, _CACHED)), start
            self._file.seek(place)
            inside = 0
        return self._cache[inside : inside + count]
