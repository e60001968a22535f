"""Find where the sound of an MPEG transport stream moves to other streams.

At a splice, as between programmes or around advertisements, its tables may name other streams than
before. A decoder goes on with those that it began with, and they end.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_SYNC, _PACKET = b"\x47", 188
_DISTANCES = (_PACKET, 192)  # between two packets; a disc's have 4 bytes more, in front
_CHUNK = 1 << 20  # bytes searched at a time
_NEAR = 1 << 18  # bytes in which a table that goes over several packets ends
_PAT, _PMT = 0, 2  # tables: of all programmes, and of the streams of one
_CRC = 4  # bytes at a table's end
_APPLIES = 5  # byte that says whether a table does already; no shorter one has a right CRC
# The CRC of ISO 13818-1, annex A, is zlib's, but that the first bit of a byte is its last. A table
# with its CRC behind it gives all ones.
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_INTACT = 0xFFFFFFFF
# What streams hold, by ISO 13818-1 and ATSC. The last, anybody's, is sound with such a descriptor.
_SOUND = {0x03, 0x04, 0x0F, 0x11, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87}
_PRIVATE, _SOUND_DESCRIPTORS = 0x06, {0x05, 0x6A, 0x7A, 0x7B, 0x7C, 0x7F}


def sound_moves(file: BinaryIO, start: int, end: int) -> int:
    """Where what begins at `start` no longer has all of its sound tracks; `end` if it always has.

    So it is of what is no transport stream.
    """
    file.seek(start)
    head = file.read(3 * _DISTANCES[-1])
    distance = next((n for n in _DISTANCES if head[n - _PACKET :: n][:3] == 3 * _SYNC), 0)
    if not distance:
        return end
    seen = dict[int, bytes]()  # the last packet with the beginning of a table, by its number
    sounds = dict[int, set[tuple[int, int]]]()  # by the number of a programme's table
    programmes = start  # where the table of them was last
    since = set[int]()  # the numbers whose tables came behind it: what was before still holds there
    tables = _packets_of({0})
    for at in range(start, end, _CHUNK):
        file.seek(at)
        data = file.read(min(_CHUNK + _NEAR, end - at))
        place = -1
        while (found := tables.search(data, place + 1)) and found.start() < _CHUNK:
            place = found.start()
            number = _number(data, place)
            here = at + place - (distance - _PACKET)
            if number == 0:
                programmes, since = here, set()
            known = number in since
            since.add(number)
            packet = data[place + 4 : place + _PACKET]
            if seen.get(number) == packet:
                continue
            section = _section(data, place, distance)
            if section:
                seen[number] = packet
            if number == 0 and section[:1] == bytes([_PAT]):
                numbers = set(_programmes(section))
                if not sounds.keys() <= numbers:
                    return programmes
                sounds = {one: sounds.get(one, set()) for one in numbers}
                tables = _packets_of({0, *numbers})
            elif number in sounds and section[:1] == bytes([_PMT]):
                before, sounds[number] = sounds[number], set(_sounds(section))
                if not before <= sounds[number]:
                    return here if known else programmes
    return end


def _packets_of(numbers: set[int]) -> re.Pattern[bytes]:
    """Packets of these numbers in which something begins."""
    heads = (re.escape(bytes([0x40 | number >> 8, number & 0xFF])) for number in numbers)
    return re.compile(_SYNC + b"(?:" + b"|".join(heads) + b")", re.DOTALL)


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(data[place + 1 : place + 3], "big") & 0x1FFF


def _section(data: bytes, place: int, distance: int) -> bytes:
    """The table that begins in the packet at `place`; nothing if it is not whole, or not yet."""
    number = _number(data, place)
    content = _content(data, place)
    content = content[1 + content[0] :] if content else b""
    size = 3 + (int.from_bytes(content[1:3], "big") & 0xFFF)
    while len(content) < size:
        place += distance
        if data[place : place + 1] != _SYNC:
            return b""
        if _number(data, place) == number:
            content += _content(data, place)
    content = content[:size]
    intact = zlib.crc32(content.translate(_MIRRORED)) == _INTACT
    return content[:-_CRC] if intact and content[_APPLIES] & 1 else b""


def _content(data: bytes, place: int) -> bytes:
    """What a packet holds, behind its head and what fills it up."""
    if len(data) < place + _PACKET:
        return b""
    control = data[place + 3] >> 4 & 3
    filled = 1 + data[place + 4] if control & 2 else 0
    return data[place + 4 + filled : place + _PACKET] if control & 1 else b""


def _programmes(section: bytes) -> Iterator[int]:
    """The numbers of the packets with the programmes' tables."""
    for at in range(8, len(section) - 3, 4):
        if section[at : at + 2] != b"\0\0":
            yield int.from_bytes(section[at + 2 : at + 4], "big") & 0x1FFF


def _sounds(section: bytes) -> Iterator[tuple[int, int]]:
    """The number and the kind of each stream of sound of a programme."""
    at = 12 + (int.from_bytes(section[10:12], "big") & 0xFFF)
    while at + 5 <= len(section):
        kind, number = section[at], int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF
        length = int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF
        descriptors, at = section[at + 5 : at + 5 + length], at + 5 + length
        if kind in _SOUND or (kind == _PRIVATE and _has_sound(descriptors)):
            yield number, kind


def _has_sound(descriptors: bytes) -> bool:
    at = 0
    while at + 2 <= len(descriptors):
        if descriptors[at] in _SOUND_DESCRIPTORS:
            return True
        at += 2 + descriptors[at + 1]
    return False
