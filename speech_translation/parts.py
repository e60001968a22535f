"""Find the recordings that follow each other in one file, of whatever kinds.

Radio recorders and `cat` make such files. A decoder takes the first for the whole. Where a
recording says how long it is, only its headers are read; else the file is searched for the
beginning of another.
"""

from __future__ import annotations

import io
import os
import re
from types import SimpleNamespace
from typing import BinaryIO, NamedTuple

from speech_translation.transport import sound_moves

MOST_PARTS = 1000
"""How many recordings of a file are decoded; each is opened by itself."""

OGG_HEADER = 27
"""Bytes of a page before its table of segments."""

_CHUNK = 1 << 20  # bytes searched at a time
_CHUNK_HEAD = 8  # bytes of the name and the length of a piece
_ROUNDED = 8  # bytes: some count no padding, and some their head as well
_PIECES = 1_000_000  # of a recording; one with more is taken for the rest of the file
# Lengths from here on, by their bytes, are those of who writes a stream and cannot go back.
_UNKNOWN = {4: 0x7FFF0000, 8: 1 << 62}

_WAVE64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"
_ASF = {
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"): "header",
    bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c"): "data",
    bytes.fromhex("90080033b1e5cf1189f400a0c90349cb"): "index",
    bytes.fromhex("d329e2d6da35d111903400a0c90349be"): "index",
}
_INITIAL = re.escape(bytes(flags for flags in range(256) if flags & 8))
# What no sound holds by chance: its first bytes, which bytes.find looks for three times as fast as
# an expression, and what follows them. Pictures of albums are of the kind of films, too.
_BEGINNINGS = {
    b"RIFF": rb".{4}(?:WAVE|AVI )",
    b"RF64": rb".{4}WAVE",
    b"BW64": rb".{4}WAVE",
    b"RIFX": rb".{4}WAVE",
    b"FORM": rb".{4}AIF[FC]",
    _WAVE64: b"",
    b"caff\0\1\0\0": b"",
    b".snd\0\0": rb".{6}\x00\x00\x00[\x01-\x1b]",
    b"fLaC\0\0\0\x22": b"",
    b"OggS\0": rb"\x02",
    b"FLV\1": rb"[\x01\x04\x05]\x00\x00\x00\x09",
    b"#!AMR": rb"(?:-WB)?\n",
    b"wvpk": rb".{4}[\x02-\x10]\x04.{6}\x00{4}.{5}[" + _INITIAL + b"]",
    b"\x1aE\xdf\xa3": rb".{1,40}?(?:matroska|webm)",
    b"ftyp": rb"(?<=\x00\x00\x00[\x08-\x80]ftyp)(?!avi|hei|hev|mif|msf|j)",
    **{guid: b"" for guid, kind in _ASF.items() if kind == "header"},
}
_BEGINNING = re.compile(
    b"|".join(re.escape(first) + rest for first, rest in _BEGINNINGS.items()), re.DOTALL
)
_PAGE_OR_BEGINNING = re.compile(rb"OggS\x00|" + _BEGINNING.pattern, re.DOTALL)
_LONGEST_BEGINNING = 64  # bytes
# MP3, AAC, AC-3 and MPEG have no more than this; it counts where something else has just ended.
_SYNC = re.compile(
    rb"\xff[\xe2\xe3\xf1-\xf5\xf9-\xfd]|\x0bw|\x00\x00\x01\xba|\x47.{187}\x47|.{4}\x47.{191}\x47",
    re.DOTALL,
)
# What may follow the sound of a WAV file, also where its end is cut off.
_TAG_OR_CHUNK = re.compile(
    rb"TAG|ID3|APETAGEX|LIST|id3 |bext|iXML|[ax]XML|_PMX|fact|cue |smpl|inst|plst|cart|PEAK|DISP|"
    rb"JUNK|junk|PAD |FLLR"
)


class Part(NamedTuple):
    """A recording within a file, in bytes."""

    start: int
    end: int
    lacking: int = 0
    """What it should have besides, by its own header: it is cut short."""
    longer: bool = False
    """Whether its sound goes on behind where its header says that it ends, up to the part's end."""


def file_size(file: BinaryIO) -> int:
    """Its bytes; it then is at its end. What `seek` gives is nothing in some file objects."""
    file.seek(0, os.SEEK_END)
    return file.tell()


def find_parts(file: BinaryIO) -> list[Part]:
    """The recordings in a file, in order: most often the whole file.

    One more than `MOST_PARTS` is all that follows those.
    """
    size = file_size(file)
    parts, at = list[Part](), 0
    while at < size and len(parts) <= MOST_PARTS:
        end = _end(file, at, size)
        following = size if end >= size else _following(file, end, size)
        while len(parts) <= MOST_PARTS and (move := sound_moves(file, at, following)) < following:
            parts.append(Part(at, move))
            at = move
        parts.append(Part(at, following, max(0, end - size)))
        at = following
    parts[-1] = parts[-1]._replace(end=size)
    return [part._replace(longer=_is_longer(file, part)) for part in parts]


def window(file: BinaryIO, part: Part) -> SimpleNamespace:
    """A part as a file of its own: no more than what a decoder uses of one.

    It has no name: both decoders would look at it, and stumble over one that is no string.
    `descriptor` is the system's, of a file on the disk that is one part.
    """
    if part.start == 0 and part.end == file_size(file):  # as most are: without a detour

        def seek_whole(offset: int, whence: int = os.SEEK_SET) -> int:
            try:
                file.seek(offset, whence)
                return file.tell()
            except (OSError, ValueError):  # a broken header can send a decoder before the start
                return -1

        file.seek(0)
        on_disk = isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO)
        return SimpleNamespace(
            read=file.read,
            seek=seek_whole,
            tell=file.tell,
            descriptor=file.fileno() if on_disk else None,
            longer=part.longer,
        )
    place = 0

    def read(count: int = -1) -> bytes:
        nonlocal place
        left = max(0, part.end - part.start - place)
        file.seek(part.start + place)
        data = file.read(left if count is None or count < 0 else min(count, left))
        place += len(data)
        return data

    def seek(offset: int, whence: int = os.SEEK_SET) -> int:
        nonlocal place
        base = {os.SEEK_SET: 0, os.SEEK_CUR: place, os.SEEK_END: part.end - part.start}.get(whence)
        if base is None or not 0 <= base + offset < 1 << 62:
            return -1
        place = base + offset
        return place

    return SimpleNamespace(
        read=read, seek=seek, tell=lambda: place, descriptor=None, longer=part.longer
    )


def _end(file: BinaryIO, start: int, size: int) -> int:
    """Where the recording at `start` ends. That may be behind the file's end."""
    head = read_upto(file, start, 64, size)
    if tag := id3_length(head):
        start += tag
        head = read_upto(file, start, 64, size)
    kind, form = head[:4], head[8:12]
    end: int | None = None
    if kind == b"OggS":
        end = _ogg(file, start, size)
    elif kind == b"RIFF" and form == b"WAVE":
        end = _after(start + 8, head[4:8], "little")
    elif kind == b"RIFF" and form == b"AVI ":
        end = _avi(file, start, size)
    elif (kind, form) in ((b"RIFX", b"WAVE"), (b"FORM", b"AIFF"), (b"FORM", b"AIFC")):
        end = _after(start + 8, head[4:8], "big")
    elif kind in (b"RF64", b"BW64") and head[12:16] == b"ds64":
        end = _after(start + 8, head[20:28], "little")
    elif head[:16] == _WAVE64:
        end = _after(start, head[16:24], "little")
    elif kind == b".snd":
        end = _after(start + int.from_bytes(head[4:8], "big"), head[8:12], "big")
    elif kind == b"caff":
        end = _caf(file, start, size)
    elif head[4:8] == b"ftyp":
        end = _film(file, start, size)
    elif kind == b"\x1aE\xdf\xa3":
        end = _matroska(file, start, size)
    elif head[:16] in _ASF:
        end = _asf(file, start, size)
    if end is not None and end > start:
        return end
    return _search(file, start + 4, size)


def _after(start: int, length: bytes, order: str) -> int | None:
    """The end of what begins at `start` and has that length; None where nobody knew it."""
    number = int.from_bytes(length, order)  # type: ignore[arg-type]
    return start + number if 0 < number < _UNKNOWN.get(len(length), 0) else None


def _is_longer(file: BinaryIO, part: Part) -> bool:
    """Whether a WAV file has sound behind where it says that it ends, for a second or more.

    A recorder that was killed has written one of its two lengths before, or none, and four bytes
    hold no more than 4 GB. Where both agree, what follows is no sound, whatever it is. Else it may
    be pieces, zeros, or a tag.
    """
    head = read_upto(file, part.start, 36, part.end)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:12] != b"WAVE":
        return False
    rate, at = 0, part.start + 12
    for _ in range(_PIECES):
        chunk = read_upto(file, at, 24, part.end)
        length = int.from_bytes(chunk[4:8], "little")
        if chunk[:4] == b"fmt ":
            rate = int.from_bytes(chunk[16:20], "little")
        if chunk[:4] == b"data" or len(chunk) < _CHUNK_HEAD:
            break
        at += _CHUNK_HEAD + length + length % 2
    if chunk[:4] != b"data" or not rate:
        return False
    whole = int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF":
        whole, length = (int.from_bytes(head[i : i + 8], "little") for i in (20, 28))
    elif not 0 < length < _UNKNOWN[4]:
        return False  # both decoders take it for unknown
    whole += part.start + _CHUNK_HEAD
    at += _CHUNK_HEAD + length
    if part.end - at < rate:
        return False
    wrapped = any(
        part.end - end > (1 << 32) - _ROUNDED
        and (part.end - end + _ROUNDED) % (1 << 32) <= 2 * _ROUNDED
        for end in (at, whole)
    )
    if not wrapped and any(_leads(file, at + odd, whole, part.end) for odd in (0, length % 2)):
        return False
    behind, last = (read_upto(file, place, _CHUNK, part.end) for place in (at, part.end - rate))
    behind = behind.lstrip(b"\0")  # what pads it
    if not any(behind + last) or _TAG_OR_CHUNK.match(behind):
        return False
    length = int.from_bytes(behind[4:8], "little")
    return not re.match(rb"[ -~]{4}", behind) or length > part.end - at


def _leads(file: BinaryIO, at: int, end: int, size: int) -> bool:
    """Whether pieces follow each other from `at` to `end`."""
    for _ in range(_PIECES):
        head = read_upto(file, at, _CHUNK_HEAD, size)
        if at >= end - _ROUNDED or len(head) < _CHUNK_HEAD:
            break
        length = int.from_bytes(head[4:], "little")
        at += _CHUNK_HEAD + length + length % 2
    return abs(at - end) <= _ROUNDED


def _ogg(file: BinaryIO, start: int, size: int) -> int:
    """A link of a chain ends where a page begins a stream, behind one that does not.

    Streams that begin together lie beside each other.
    """
    at, beginning = start, True
    for _ in range(_PIECES):
        if at >= size:
            break
        header = read_upto(file, at, OGG_HEADER + 255, size)
        if header[:4] != b"OggS" or len(header) < OGG_HEADER:
            following = _search(file, at + 1, size, _PAGE_OR_BEGINNING)
            if read_upto(file, following, 4, size) != b"OggS":
                break
            at = following
            continue
        if header[5] & 2:
            if not beginning:
                break
        else:
            beginning = False
        table = header[OGG_HEADER : OGG_HEADER + header[26]]
        page = at + OGG_HEADER + len(table) + sum(table)
        if page != size and read_upto(file, page, 4, size) != b"OggS":  # it is torn, or the last
            page = min(page, _search(file, at + 1, size, _PAGE_OR_BEGINNING))
        at = page
    else:
        return size
    return min(at, size)


def _avi(file: BinaryIO, start: int, size: int) -> int | None:
    """A long one goes on in further pieces. How much of one is lacking, FFmpeg knows better."""
    at = start
    while at < size:
        head = read_upto(file, at, 12, size)
        if head[:4] != b"RIFF" or (at > start and head[8:] != b"AVIX"):
            break
        following = _after(at + 8, head[4:8], "little")
        if following is None:
            return None
        at = following + following % 2
    return min(at, size)


def _caf(file: BinaryIO, start: int, size: int) -> int | None:
    """By its chunks."""
    at = start + 8
    for _ in range(_PIECES):
        head = read_upto(file, at, 12, size)
        length = int.from_bytes(head[4:], "big")
        if len(head) < 12 or head[:4] == b"caff" or not re.fullmatch(rb"[ -~]{4}", head[:4]):
            return at
        if length >> 62:  # to the end
            return None
        at += 12 + length
    return size


def _film(file: BinaryIO, start: int, size: int) -> int:
    """By its boxes: another begins with a new type, behind an index or sound.

    How much of one is lacking, FFmpeg knows better.
    """
    at, filled = start, False
    for _ in range(_PIECES):
        header = read_upto(file, at, 16, size)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if (kind == b"ftyp" and filled) or not re.fullmatch(rb"[ -~\xa9]{4}", kind):
            return min(at, size)
        filled |= kind in (b"moov", b"mdat", b"moof")
        if length < 8:  # to the end, or broken
            return size
        at += length
    return size


def _matroska(file: BinaryIO, start: int, size: int) -> int | None:
    """A head and a segment. How much of one is lacking, FFmpeg knows better."""
    at = start
    for identity in (b"\x1aE\xdf\xa3", b"\x18S\x80g"):
        head = read_upto(file, at, 12, size)
        count = 9 - head[4].bit_length() if head[4:5] > b"\0" else 9
        if head[:4] != identity or count > 8:
            return None
        mask = (1 << 7 * count) - 1
        length = int.from_bytes(head[4 : 4 + count], "big") & mask
        if length == mask:  # of who writes a stream
            return None
        at += 4 + count + length
    return min(at, size)


def _asf(file: BinaryIO, start: int, size: int) -> int | None:
    """By its objects."""
    at = start
    for _ in range(_PIECES):
        head = read_upto(file, at, 24, size)
        kind, length = _ASF.get(head[:16]), int.from_bytes(head[16:], "little")
        if kind is None or (kind == "header" and at > start):
            break
        if not 24 <= length < 1 << 62:
            return None
        at += length
    return at


def _following(file: BinaryIO, end: int, size: int) -> int:
    """Where the next recording begins, if one has ended at `end`; `size` if none does."""
    for at in (end, end + 1):  # some are filled up to an even length
        head = read_upto(file, at, 256, size)
        tag = id3_length(head)
        if tag and at + tag < size:
            return at
        if _SYNC.match(head):
            return at
    return _search(file, end, size)


def id3_length(head: bytes) -> int:
    """The length of the ID3 tag that `head` begins with, or 0. It may hold a picture."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    length = 0
    for digit in head[6:10]:
        length = length << 7 | digit & 0x7F
    return 10 + length


def _search(
    file: BinaryIO, start: int, size: int, beginning: re.Pattern[bytes] = _BEGINNING
) -> int:
    """Where another recording begins at or behind `start`, or `size`."""
    at = start
    while at < size:
        data = read_upto(file, max(0, at - 4), _CHUNK + _LONGEST_BEGINNING, size)
        places = (_place(first, data, min(at, 4), beginning) for first in _BEGINNINGS)
        if (found := min((place for place in places if place >= 0), default=-1)) >= 0:
            begin = max(0, at - 4) + found
            return begin - 4 if data[found : found + 4] == b"ftyp" else begin
        at += _CHUNK
    return size


def _place(first: bytes, data: bytes, start: int, beginning: re.Pattern[bytes]) -> int:
    """Where a beginning that has these first bytes is in `data`, at or behind `start`, or -1."""
    at = data.find(first, start)
    while at >= 0 and not beginning.match(data, at):
        at = data.find(first, at + 1)
    return at


def read_upto(file: BinaryIO, start: int, count: int, end: int) -> bytes:
    """Up to `count` bytes of a file; none at and behind `end`, where a header may point.

    No file can seek as far as a length of 64 bits can say.
    """
    if start >= end:
        return b""
    file.seek(start)
    return file.read(min(count, end - start))
