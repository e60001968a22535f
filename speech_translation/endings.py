"""Tell by its last bytes whether a recording breaks off, where its format does not say its length.

Whoever writes such a file writes whole frames, pages or packets. One that is not whole at the end,
rubbish behind it, or an Ogg stream whose last page is not marked as the last, is what a broken copy
leaves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import BinaryIO

from speech_translation.parts import OGG_HEADER, Part, id3_length, read_upto

_TAIL = 1 << 20  # bytes: two pages of Ogg, 16 frames of AAC, and a picture behind them
_RUBBISH = 1 << 10  # bytes behind the last frame by which it is told; fewer may be anything
_VALUES = 230  # of a byte are in so many that are random; text and what fills a file up have fewer
_HEADER = 14  # bytes in which it stands how long a frame is
_ID3_HEADER = 10  # bytes of a tag before its content
_SURE = 3  # frames that follow each other are no chance
_OGG_LAST = 4  # among the flags of a page

_TS_SYNC, _TS_PACKETS = b"\x47", (188, 192)  # a disc's have 4 bytes more, in front
_PACK = b"\0\0\1\xba"
_PROGRAM_END = b"\0\0\1\xb9"

# kbit/s by the code of a frame of AC-3; samples are 1536 a frame.
_AC3_RATES = (
    *(32, 40, 48, 56, 64, 80, 96, 112, 128, 160),
    *(192, 224, 256, 320, 384, 448, 512, 576, 640),
)
_AC3_HZ = (48_000, 44_100, 32_000)
# kbit/s by the code of a frame of MPEG-1, layers 2 and 3, and of MPEG-2 and 2.5, and the rates.
_MPEG_RATES = {
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES[False, 3] = _MPEG_RATES[False, 2]
_MPEG_HZ = (44_100, 48_000, 32_000)
_MPEG_PARTS = {3: 1, 2: 2, 0: 4}  # of these rates, by the code of the version
# Bytes of a frame of AMR by its type, with the first byte; the others are in no file.
_AMR = dict(zip((*range(9), 15), (13, 14, 16, 18, 20, 21, 27, 32, 6, 1), strict=True))
_AMR_WB = dict(
    zip((*range(10), 14, 15), (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1), strict=True)
)

_Length = Callable[[bytes], int]
"""The length of a frame, by its header; 0 where that is none."""
_AMR_MARK = b"[" + re.escape(bytes(mark for mark in range(256) if mark & 0x87 == 0x04)) + b"]"
# Tags, and pictures: JPEG, PNG, GIF, WebP.
_NO_SOUND = re.compile(rb"TAG|APETAGEX|ID3|3DI|\xff\xd8\xff|\x89PNG|GIF8|WEBP")


def breaks_off(file: BinaryIO, part: Part) -> bool:
    """Whether a recording in a file ends in the middle of something; False where nothing tells."""
    start = part.start + id3_length(read_upto(file, part.start, _ID3_HEADER, part.end))
    head = read_upto(file, start, _SURE * _TS_PACKETS[-1], part.end)
    tail = read_upto(file, max(start, part.end - _TAIL), _TAIL, part.end)
    if head.startswith(b"OggS"):
        return _ogg(tail)
    if head[4:8] == b"ftyp":
        return _film(file, part)
    if head.startswith((b"#!AMR-WB\n", b"#!AMR\n")):
        sizes = _AMR_WB if head.startswith(b"#!AMR-WB") else _AMR
        return _torn(tail, lambda frame: _amr(frame, sizes), _places(tail, _AMR_MARK))
    if head.startswith(_PACK):
        return _torn(tail, _mpeg, _places(tail, re.escape(_PACK)))
    for size in _TS_PACKETS:
        if head[size - 188 :: size][:_SURE] == _TS_SYNC * _SURE:
            last = read_upto(file, part.end - 188, 1, part.end)
            return (part.end - start) % size != 0 or last != _TS_SYNC
    for length, mark in (
        (_adts, rb"\xff[\xf0\xf1\xf8\xf9]"),
        (_ac3, rb"\x0bw"),
        (_mpeg_audio, rb"\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd]"),
    ):
        if length(head[:_HEADER]):
            return _torn(tail, length, _places(tail, mark))
    return False


def _places(data: bytes, mark: bytes) -> Iterable[int]:
    return (found.start() for found in re.finditer(mark, data))


def _torn(data: bytes, length: _Length, places: Iterable[int]) -> bool:
    """Whether the last frames that follow each other from one of `places` on are not the end."""
    first = end = 0
    for place in places:
        count, at = 0, place
        while place >= end and (size := length(data[at : at + _HEADER])):
            count += 1
            at += size
        if count >= _SURE:
            first, end = place, at
    rest = data[end:]
    begun = len(rest) < _HEADER and data[first : first + 2].startswith(rest[:2])
    behind = rest.strip(b"\0")
    random = len(behind) > _RUBBISH and len(set(behind[:_RUBBISH])) >= _VALUES
    rubbish = random and not _NO_SOUND.search(rest[:_RUBBISH] + rest[-_RUBBISH:])
    return end > len(data) or (bool(rest) and begun) or rubbish


def _ogg(tail: bytes) -> bool:
    at = tail.rfind(b"OggS\0")
    header = tail[at : at + OGG_HEADER]
    if at < 0 or len(header) < OGG_HEADER:
        return at >= 0
    table = tail[at + OGG_HEADER :][: header[26]]
    end = at + OGG_HEADER + len(table) + sum(table)
    return not header[5] & _OGG_LAST or len(table) < header[26] or end > len(tail)


def _film(file: BinaryIO, part: Part) -> bool:
    """Whether the last box of an MP4 goes beyond the end. One of fragments says no length."""
    at, kind = part.start, b""
    while at < part.end:
        box = read_upto(file, at, 16, part.end)
        kind = box[4:8]
        length = int.from_bytes(box[:4], "big")
        if length == 1:
            length = int.from_bytes(box[8:], "big")
        if length < 8:
            return False  # to the end, or no box
        at += length
    return at > part.end and kind in (b"mdat", b"moof", b"moov")


def _amr(frame: bytes, sizes: dict[int, int]) -> int:
    if not frame or frame[0] & 0x87 != 0x04:
        return 0
    return sizes.get(frame[0] >> 3 & 15, 0)


def _adts(frame: bytes) -> int:
    if len(frame) < 7 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0:
        return 0
    length = (frame[3] & 3) << 11 | frame[4] << 3 | frame[5] >> 5
    return length if length > 7 else 0


def _ac3(frame: bytes) -> int:
    if len(frame) < 6 or frame[:2] != b"\x0bw":
        return 0
    if frame[5] >> 3 > 10:  # E-AC-3 says it in words of 16 bits
        return 2 * (((frame[2] & 7) << 8 | frame[3]) + 1)
    rate, code = frame[4] >> 6, frame[4] & 63
    if rate >= len(_AC3_HZ) or code // 2 >= len(_AC3_RATES):
        return 0
    odd = code & 1 if _AC3_HZ[rate] == 44_100 else 0
    return 2 * (96_000 * _AC3_RATES[code // 2] // _AC3_HZ[rate] + odd)


def _mpeg_audio(frame: bytes) -> int:
    """A frame of MP2 or MP3 (ISO 11172-3, 2.4.2.3); one of free format does not say its length."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return 0
    parts, layer = _MPEG_PARTS.get(frame[1] >> 3 & 3), 4 - (frame[1] >> 1 & 3)
    code, rate = frame[2] >> 4, frame[2] >> 2 & 3
    if parts is None or layer not in (2, 3) or not 0 < code < 15 or rate == 3:
        return 0
    hertz = _MPEG_HZ[rate] // parts
    bits = 1000 * _MPEG_RATES[parts == 1, layer][code - 1]
    samples = 576 if layer == 3 and parts > 1 else 1152
    return samples // 8 * bits // hertz + (frame[2] >> 1 & 1)


def _mpeg(piece: bytes) -> int:
    """A pack's header, a packet, or the mark of the end."""
    if piece[:4] == _PROGRAM_END:
        return 4
    if piece[:4] == _PACK:
        filled = len(piece) == _HEADER and piece[4] >> 6 == 1  # MPEG-2 may fill it up
        return 14 + (piece[13] & 7) if filled else 12
    if len(piece) < 6 or piece[:3] != b"\0\0\1" or piece[3] <= _PACK[3]:
        return 0
    return 6 + int.from_bytes(piece[4:6], "big")
