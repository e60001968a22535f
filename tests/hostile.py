"""Bad and strange recordings, by the thousand, always the same for a seed.

`corpus` damages small real recordings in every container where a parser would look; `tricks` are
single files that each aim at something: a bomb, a playlist, a number at its limit. What must come
of each is said by `judge`.
"""

from __future__ import annotations

import io
import random
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from memory import growth
from recordings import RATE, encoded, film, tracks, wav

from speech_translation.audio import load_audio
from speech_translation.errors import AudioError
from speech_translation.process import own_process
from speech_translation.segments import find_segments
from speech_translation.types import Remark

own_process()  # as the Space does: FFmpeg is bounded

LONGEST = 7200.0  # the Space's limit in seconds
CPU_SECONDS = 10.0
EXTRA_BYTES = 500 * 1000 * 1000


@dataclass(frozen=True, slots=True)
class Case:
    """One file."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a case: `outcome` is sound, silence or refused, or what must not be."""

    outcome: str
    cpu: float
    extra_bytes: int
    message: str = ""

    @property
    def fault(self) -> str:
        """What is wrong with it, or nothing."""
        if self.outcome == "crashed":
            return self.message
        if self.cpu > CPU_SECONDS:
            return f"{self.cpu:.1f} s of computing"
        if self.extra_bytes > EXTRA_BYTES:
            return f"{self.extra_bytes / 1e6:.0f} MB"
        if self.outcome == "refused" and not well_said(self.message):
            return f"badly said: {self.message!r}"
        return ""


def well_said(message: str) -> bool:
    """Whether an error is one or two plain sentences on one line."""
    return message.endswith(".") and "\n" not in message and "Traceback" not in message


def judge(source: Path | bytes) -> Verdict:
    """Decode and segment a recording as a request does, and see what it takes."""
    began = time.process_time()
    message = ""
    remarks = list[Remark]()
    with growth() as memory:
        try:
            samples = load_audio(source, LONGEST, remark=remarks.append)
            assert len(remarks) < 100
            for said in remarks:
                assert 0 <= said.start <= said.end < 1e12
                assert "\n" not in str(said)
            assert samples.dtype == np.float32
            assert np.isfinite(samples).all()
            assert len(samples) <= LONGEST * RATE
            outcome = "sound" if find_segments(samples) else "silence"
            del samples
        except AudioError as error:
            outcome, message = "refused", str(error)
        except Exception as error:
            outcome, message = "crashed", f"{type(error).__name__}: {error}"
    return Verdict(outcome, time.process_time() - began, memory.peak, message)


def corpus(speech: np.ndarray, seed: int = 0) -> Iterator[Case]:
    """Damaged copies of `speech` (n,) at 16 kHz in every container, the tricks and the bombs."""
    rng = random.Random(seed)
    files = sound_files(speech)
    for name, data in files.items():
        yield Case(name, data)
        ends = sorted(boundaries(data))
        cuts = {cut for end in ends for cut in (end - 1, end, end + 1)}
        cuts |= {rng.randrange(1, len(data)) for _ in range(8)}
        for cut in sorted(cut for cut in cuts if 0 < cut < len(data))[:60]:
            yield Case(f"{name}, cut at {cut}", data[:cut])
        for number in range(40):
            yield Case(f"{name}, damage {number}", damaged(data, ends, rng))
        for number in range(8):
            at, size = rng.randrange(len(data)), rng.randrange(1, 4096)
            yield Case(f"{name}, hole {number}", data[:at] + data[at + size :])
        yield Case(f"{name}, twice", data + data)
        yield Case(f"{name}, after rubbish", rng.randbytes(777) + data)
        yield Case(f"{name}, before rubbish", data + rng.randbytes(50_000))
    yield from headers_of_others(files, rng)
    yield from tricks(speech)
    yield from bombs()


def sound_files(speech: np.ndarray) -> dict[str, bytes]:
    """`speech` in every container that is taken, by name."""
    short = np.stack([speech, speech[::-1]], axis=1)
    files = {
        f"{kind.lower()} {subtype.lower()}": wav(speech, RATE, subtype, kind)
        for kind, subtype in (
            *(("WAV", x) for x in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
            *(("WAV", x) for x in ("ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")),
            ("RF64", "PCM_16"),
            ("AIFF", "PCM_16"),
            ("AU", "PCM_16"),
            ("CAF", "PCM_16"),
            ("W64", "PCM_16"),
            ("FLAC", "PCM_16"),
            ("OGG", "VORBIS"),
            ("OGG", "OPUS"),
        )
    }
    for container, codec, rate in (
        ("mp3", "mp3", 44_100),
        ("adts", "aac", 44_100),
        ("ipod", "aac", 44_100),
        ("mp4", "aac", 44_100),
        ("mov", "alac", 44_100),
        ("webm", "libopus", 48_000),
        ("matroska", "pcm_s16le", 16_000),
        ("avi", "pcm_s16le", 16_000),
        ("asf", "aac", 44_100),
        ("mpegts", "aac", 44_100),
        ("flv", "aac", 44_100),
        ("ac3", "ac3", 48_000),
        ("wv", "wavpack", 16_000),
    ):
        files[f"{container} {codec}"] = encoded(container, codec, speech, rate)
    files["mp4 with pictures"] = encoded("mp4", "aac", speech, 44_100, video="mpeg4")
    files["wav stereo"] = wav(short)
    files["wav antiphase"] = wav(np.stack([speech, -speech], axis=1))
    files["wav 48 dB down"] = wav(speech / 256, subtype="PCM_24")
    files["wav with a bang"] = wav(np.concatenate([[1.0, -1.0] * 400, speech / 256]))
    chain = wav(speech, kind="OGG", subtype="VORBIS")
    files["ogg chain"] = chain + wav(speech, kind="OGG", subtype="OPUS") + chain
    files["two tracks"] = tracks({"jpn": speech[::-1], "eng": speech})
    fast = soxr.resample(speech, RATE, 48_000).astype(np.float32)
    for kind, codec in (("matroska", "libopus"), ("mp4", "aac"), ("mpegts", "aac")):
        files[f"{kind} that begins late"] = film(kind, codec, fast, lambda t: t + 4)
        files[f"{kind} with a gap"] = film(kind, codec, fast, lambda t: t + 5 * (t > 1))
    again = film("mpegts", "mp2", fast, lambda t: t, pictures=False)
    files["mpegts that repeats a second"] = again + film(
        "mpegts", "mp2", fast, lambda t: t + len(speech) / RATE - 1, pictures=False
    )
    files["flv that pauses for 12 min"] = film(
        "flv", "aac", fast, lambda t: t + 700 * (t > 1), pictures=False
    )
    files["mpegts whose clock jumps"] = film(
        "mpegts", "mp2", fast, lambda t: t + 40_000 * (t > 1), pictures=False
    )
    kinds = ("wav pcm_16", "mp3 mp3", "flac pcm_16", "adts aac", "flv aac", "wv wavpack")
    files["joined of six kinds"] = b"".join(files[kind] for kind in kinds)
    return files


def boundaries(data: bytes) -> set[int]:
    """Where the parts of a file begin: chunks, boxes, pages, frames, elements."""
    found = set[int]()
    for mark in (b"fmt ", b"data", b"LIST", b"fact", b"COMM", b"SSND", b"desc", b"pakt", b"OggS"):
        found |= _all(data, mark, 12)
    for mark in (b"ftyp", b"moov", b"mdat", b"trak", b"stbl", b"stsd", b"stsz", b"stco", b"esds"):
        found |= {at - 4 for at in _all(data, mark, 4)}
    for mark in (b"\x1a\x45\xdf\xa3", b"\x1f\x43\xb6\x75", b"\x16\x54\xae\x6b", b"\xa3"):
        found |= _all(data, mark, 6)
    for mark in (b"\xff\xfb", b"\xff\xf1", b"\xff\xf8", b"\x47\x40", b"\x0b\x77", b"wvpk"):
        found |= _all(data, mark, 6)
    if data[:4] == b"fLaC":  # metadata blocks
        at = 4
        while at + 4 <= len(data):
            found.add(at)
            last, size = data[at] & 0x80, int.from_bytes(data[at + 1 : at + 4], "big")
            at += 4 + size
            if last:
                break
    return {at for at in found if 0 < at < len(data)} | {4, 8, 12, 16, 44}


def _all(data: bytes, mark: bytes, at_most: int) -> set[int]:
    found, at = set[int](), -1
    while len(found) < at_most and (at := data.find(mark, at + 1)) >= 0:
        found.add(at)
    return found


def damaged(data: bytes, ends: list[int], rng: random.Random) -> bytes:
    """A copy with bits flipped or a number put to its limit, near where a parser looks."""
    copy = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        near = rng.choice(ends) if rng.random() < 0.6 else rng.randrange(len(copy))
        at = min(len(copy) - 1, near + rng.randrange(32))
        if rng.random() < 0.5:
            copy[at] ^= 1 << rng.randrange(8)
        else:
            value = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)))
            order = rng.choice(("little", "big"))
            size = rng.choice((1, 2, 4))
            copy[at : at + size] = (value & (256**size - 1)).to_bytes(size, order)
    return bytes(copy)


def headers_of_others(files: dict[str, bytes], rng: random.Random) -> Iterator[Case]:
    """Files that begin as one kind and go on as another."""
    for name, data in files.items():
        other, tail = rng.choice(list(files.items()))
        for size in (4, 12, 64, 512):
            yield Case(f"{name} going on as {other} after {size}", data[:size] + tail[size:])
        yield Case(f"{name}, only its first 64 bytes, then zeros", data[:64] + bytes(100_000))


def tricks(speech: np.ndarray) -> Iterator[Case]:
    """Single files that each aim at something."""
    for text in (b"", b"\0", b"RIFF", b"OggS", b"fLaC", b"ID3", b"\x1a\x45\xdf\xa3", b"FORM"):
        yield Case(f"{text!r} alone", text)
        yield Case(f"{text!r} and zeros", text + bytes(4096))
    for text in (
        "hello",
        "<html><script>alert(1)</script></html>",
        "{}",
        "\ufeffテキスト",
        "%PDF-1",
    ):
        yield Case(f"text {text[:8]!r}", text.encode())
    yield Case("an elf", b"\x7fELF" + bytes(range(256)) * 40)
    yield Case("a zip", b"PK\x03\x04" + bytes(2000))
    for count in (0, 1, 2, 3, 159, 160, 161):
        yield Case(f"{count} samples", wav(speech[:count]))
    for value in (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-40):
        for subtype in ("FLOAT", "DOUBLE"):
            yield Case(f"{value} in {subtype}", wav(np.full(8000, value), RATE, subtype))
    one = speech.copy()
    one[len(one) // 2] = np.nan
    yield Case("one NaN", wav(one, RATE, "FLOAT"))
    for value in (0.0, 1.0, -1.0, 0.5):
        yield Case(f"DC {value}", wav(np.full(3 * RATE, value)))
    yield Case("clipped", wav(np.clip(speech * 100, -1, 1)))
    yield Case("float far over full scale", wav(speech * 1e6, RATE, "FLOAT"))
    for rate in (
        1,
        100,
        999,
        1000,
        8000,
        11_025,
        192_000,
        384_000,
        768_000,
        768_001,
        2_000_000_000,
    ):
        header = bytearray(wav(speech))
        header[24:28] = struct.pack("<I", rate)
        yield Case(f"{rate} Hz", bytes(header))
    for channels in (0, 1, 2, 3, 8, 9, 32, 33, 255, 1024, 65_535):
        header = bytearray(wav(speech))
        header[22:24] = struct.pack("<H", channels)
        header[32:34] = struct.pack("<H", min(65_535, 2 * channels))
        yield Case(f"{channels} channels claimed", bytes(header))
    for channels in (8, 16, 32):
        yield Case(f"{channels} channels", wav(np.repeat(speech[:, None], channels, 1)))
    for bits in (0, 1, 7, 8, 12, 20, 24, 32, 64, 65_535):
        header = bytearray(wav(speech))
        header[34:36] = struct.pack("<H", bits)
        yield Case(f"{bits} bits claimed", bytes(header))
    for size in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
        for at in (4, 16, 40):
            header = bytearray(wav(speech))
            header[at : at + 4] = struct.pack("<I", size)
            yield Case(f"size {size} at {at}", bytes(header))
    for mark in (b"OggS\0\2", b"OggS\0\0"):
        yield Case(f"20000 pages {mark!r}", (mark + bytes(21)) * 20_000)
    yield Case("10000 links", (b"OggS\0\2" + bytes(21) + b"OggS\0\0" + bytes(21)) * 10_000)
    yield Case("10000 beginnings of FLAC", (b"fLaC\0\0\0\x22" + bytes(34)) * 10_000)
    movie = struct.pack(">I4sI", 12, b"ftyp", 0) + struct.pack(">I4s", 8, b"mdat")
    yield Case("10000 films", movie * 10_000)
    yield Case("10000 waves", (b"RIFF" + struct.pack("<I", 4) + b"WAVE") * 10_000)
    for start in (1e5, 1e9):
        late = film("matroska", "pcm_s16le", speech, lambda t, by=start: t + by * (t > 0.5), False)
        yield Case(f"a gap of {start} s", late)
    yield Case("a video without sound", encoded("mp4", None, speech, RATE, video="mpeg4"))
    yield Case("cover art only", _cover_only(speech))
    yield Case("an mp3 with ten million bytes of tags", _tagged(10_000_000))
    nested = b"".join(struct.pack(">I4s", 8 * (1000 - i), b"moov") for i in range(1000))
    yield Case(
        "a thousand boxes in each other", struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + nested
    )


def bombs() -> Iterator[Case]:
    """Files that unfold a thousandfold."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 48_000, 8, "PCM_24", format="FLAC") as sound:
        for _ in range(600):
            sound.write(np.zeros((48_000, 8), np.int32))
    yield Case("10 min of silence in 8 channels", file.getvalue())
    yield Case("3 h of silence in 26 kB", silence("flac", "flac", 3 * 3600))
    yield Case("half an hour of silence in 12 kB", silence("wv", "wavpack", 1800))


def silence(container: str, codec: str, seconds: int) -> bytes:
    """Silence at 8 kHz, in the largest frames that a codec takes."""
    file, rate = io.BytesIO(), 8000
    options = {"frame_size": "65535"} if codec == "flac" else {}
    with av.open(file, "w", format=container) as output:
        track = output.add_stream(codec, rate=rate, layout="mono", options=options)
        left, done = seconds * rate, 0
        while left:
            size = min(left, 65_535)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, size), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = rate, done
            output.mux(track.encode(frame))
            left, done = left - size, done + size
        output.mux(track.encode(None))
    return file.getvalue()


def playlists(target: str) -> Iterator[Case]:
    """Files that ask a player to open `target`, a path or an address."""
    yield Case("hls.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{target}\n".encode())
    yield Case("hls.wav", f"#EXTM3U\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n".encode())
    yield Case("concat.mp3", f"ffconcat version 1.0\nfile '{target}'\n".encode())
    yield Case("concat.ffconcat", f"ffconcat version 1.0\nfile {target}\nduration 3\n".encode())
    yield Case("list.pls", f"[playlist]\nFile1={target}\nNumberOfEntries=1\n".encode())
    yield Case(
        "asx.wma", f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>'.encode()
    )
    yield Case("dash.mp4", f'<?xml version="1.0"?><MPD><BaseURL>{target}</BaseURL></MPD>'.encode())
    yield Case("stream.sdp", b"v=0\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n")
    yield Case("smil.m4a", f'<smil><body><audio src="{target}"/></body></smil>'.encode())
    yield Case("key.m3u8", f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n'.encode())
    yield Case("redirect.mov", _movie_reference(target))


def _movie_reference(target: str) -> bytes:
    """A QuickTime reference movie (rmra, rmda, rdrf) that points at `target`."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    address = target.encode() + b"\0"
    reference = box(b"rdrf", struct.pack(">I4sI", 0, b"url ", len(address)) + address)
    return box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", box(b"rmra", box(b"rmda", reference)))


def file_names() -> list[str]:
    """Names that a file system takes and a sentence, a header or a shell may not."""
    return [
        "new\nline.wav",
        "carriage\rreturn.wav",
        "tab\tand\x1b[31mescape.wav",
        "-rf.wav",
        "--help",
        "..wav",
        "a" * 240 + ".wav",
        "日本語の録音.wav",
        "🎙️🔥.wav",
        "\u202egnp.wav",
        "<img src=x onerror=alert(1)>.wav",
        '"; rm -rf ~; ".wav',
        "%00%2e%2e%2fetc.wav",
        "con.wav",
        " leading and trailing .wav ",
        "no extension",
        "wrong.exe",
        "percent%s%n%d.wav",
        "{braces}.wav",
    ]


def _cover_only(speech: np.ndarray) -> bytes:
    """An MP4 whose one stream is a still picture."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        picture = output.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
        output.mux(picture.encode(av.VideoFrame(64, 48, "yuvj420p")))
        output.mux(picture.encode(None))
    return file.getvalue()


def _tagged(size: int) -> bytes:
    length = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + length + bytes(size)
