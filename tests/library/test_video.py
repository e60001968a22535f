"""A visitor's video with caption tracks: everything else stays as it was."""

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
import soxr
from captioned import SOUND, TALK
from clips import EXAMPLES, clip, reference
from recordings import encoded

from speech_translation import cli
from speech_translation.audio import load_audio
from speech_translation.types import SAMPLE_RATE, Direction, Segment, Show, Translation
from speech_translation.video import VIDEO_FORMATS, VideoFormat, add_captions

SAID = "How long does it take to the post office by train?"


def packets(path: Path, kinds: Sequence[str] = ("audio", "video")) -> list[tuple[str, bytes]]:
    """All that was encoded, by stream."""
    with av.open(str(path)) as container:
        wanted = [stream for stream in container.streams if stream.type in kinds]
        return sorted(
            (packet.stream.type, bytes(packet)) for packet in container.demux(wanted) if packet.size
        )


def shown(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    """The caption tracks by language and title: seconds, and text as a player draws it."""
    tracks = {}
    with av.open(str(path)) as container:
        for stream in container.streams.subtitles:
            name = stream.metadata.get("title") or stream.metadata.get("name")
            cues = []
            for packet in container.demux(stream):
                raw = bytes(packet)
                text = raw[2:] if stream.codec_context.name == "mov_text" else raw
                if text:
                    start = float(packet.pts * packet.time_base)
                    end = start + float(packet.duration * packet.time_base)
                    cues.append((start, end, text.decode()))
            container.seek(0)
            tracks[f"{stream.metadata['language']} {name}"] = cues
    return tracks


@pytest.mark.parametrize("format", VIDEO_FORMATS)
def test_both_texts_are_tracks_and_the_rest_is_copied(
    video: Path, tmp_path: Path, format: VideoFormat
) -> None:
    out = tmp_path / f"out.{format}"
    add_captions(video, TALK, out, format)
    tracks = shown(out)
    assert list(tracks) == ["jpn Translation", "eng Original"]
    texts = {name: [text for _, _, text in cues] for name, cues in tracks.items()}
    japanese = "郵便局<まで>。" if format == "mp4" else "郵便局＜まで＞。"
    english = "To the {post} office." if format == "mp4" else "To the ｛post｝ office."
    assert texts == {"jpn Translation": [japanese, "はい。"], "eng Original": [english, "Yes."]}
    for cues in tracks.values():
        times = [(start, end) for start, end, _ in cues]
        assert times == [(0.5, 1.5), (2.0, 3.0)]
    assert packets(out) == packets(video)
    with av.open(str(out)) as container:
        first, second = container.streams.subtitles
        assert first.disposition & av.stream.Disposition.default
        assert not second.disposition & av.stream.Disposition.default


@pytest.mark.parametrize("show", [Show.TRANSLATION, Show.SOURCE])
def test_one_text_is_one_track(video: Path, tmp_path: Path, show: Show) -> None:
    out = tmp_path / "out.mkv"
    add_captions(video, TALK, out, "mkv", show)
    wanted = "jpn Translation" if show is Show.TRANSLATION else "eng Original"
    assert list(shown(out)) == [wanted]


@pytest.mark.parametrize("format", VIDEO_FORMATS)
def test_captions_stand_where_the_words_are_when_a_video_begins_late(
    tmp_path: Path, format: VideoFormat
) -> None:
    """A broadcast's clock begins anywhere; ours begins with the recording."""
    path, out = tmp_path / "late.ts", tmp_path / f"out.{format}"
    sound = encoded("mpegts", "aac", SOUND, 48_000, video="libx264")
    path.write_bytes(sound)

    def begin(path: Path) -> float:
        with av.open(str(path)) as container:
            starts = [s.start_time * s.time_base for s in container.streams if s.type != "subtitle"]
            return float(min(starts))

    assert begin(path) > 0.05
    add_captions(path, TALK, out, format)
    starts = [start - begin(out) for start, _, _ in shown(out)["jpn Translation"]]
    assert starts == pytest.approx([0.5, 2.0], abs=0.02)


@pytest.mark.parametrize(
    ("kind", "format"), [("matroska", "mkv"), ("matroska", "mp4"), ("mp4", "mkv"), ("mp4", "mp4")]
)
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pictures_that_are_decoded_before_others_shown_sooner_are_all_kept(
    tmp_path: Path, kind: str, format: VideoFormat, codec: str
) -> None:
    """Of the first of them Matroska does not say when they are decoded."""
    path, out = tmp_path / f"talk.{kind}", tmp_path / f"out.{format}"
    path.write_bytes(encoded(kind, "aac", SOUND, 48_000, video=codec))

    def pictures(path: Path) -> list[float]:
        with av.open(str(path)) as container:
            return [picture.time for picture in container.decode(video=0)]

    with av.open(str(path)) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert stamps != sorted(stamps)
    add_captions(path, TALK, out, format)
    assert packets(out) == packets(path)
    assert pictures(out) == pytest.approx(pictures(path), abs=0.001)


@pytest.mark.parametrize("format", VIDEO_FORMATS)
def test_a_broadcast_of_the_tenth_hour_begins_at_zero(tmp_path: Path, format: VideoFormat) -> None:
    path, out = tmp_path / "late.ts", tmp_path / f"out.{format}"
    late = {"output_ts_offset": "36000"}
    path.write_bytes(encoded("mpegts", "aac", SOUND, 48_000, video="libx264", options=late))
    with av.open(str(path)) as container:
        assert container.start_time > 35_000 * av.time_base
    add_captions(path, TALK, out, format)
    assert [kind for kind, _ in packets(out)] == [kind for kind, _ in packets(path)]
    with av.open(str(out)) as container:
        assert container.start_time / av.time_base == pytest.approx(0, abs=0.1)
        assert container.duration / av.time_base == pytest.approx(4, abs=0.2)
    starts = [start for start, _, _ in shown(out)["jpn Translation"]]
    assert starts == pytest.approx([0.5, 2.0], abs=0.002)


def test_a_telephone_held_upright_stays_upright(tmp_path: Path) -> None:
    path, out = tmp_path / "phone.mp4", tmp_path / "out.mp4"
    raw = encoded("mp4", "aac", SOUND, 48_000, video="mpeg4")
    straight = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    at = raw.index(straight, raw.index(b"tkhd"))
    path.write_bytes(raw[:at] + turned + raw[at + len(turned) :])

    def rotation(path: Path) -> int:
        with av.open(str(path)) as container:
            return next(container.decode(video=0)).rotation

    assert rotation(path) != 0
    add_captions(path, TALK, out, "mp4")
    assert rotation(out) == rotation(path)


def test_captions_of_its_own_and_names_of_tracks_are_kept(video: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.mkv", tmp_path / "second.mkv"
    add_captions(video, TALK, first, "mkv")
    add_captions(first, TALK, second, "mkv", Show.SOURCE)
    with av.open(str(second)) as container:
        languages = [s.metadata["language"] for s in container.streams.subtitles]
        default = [
            bool(s.disposition & av.stream.Disposition.default) for s in container.streams.subtitles
        ]
    assert languages == ["jpn", "eng", "eng"]
    assert default == [False, False, True]


@pytest.mark.parametrize(
    ("kind", "format"), [("mkv", "mkv"), ("mkv", "mp4"), ("mp4", "mkv"), ("mp4", "mp4")]
)
def test_fonts_and_covers_are_kept_where_the_container_holds_them(
    video: Path, tmp_path: Path, kind: str, format: VideoFormat
) -> None:
    """Without its fonts a film's own captions are drawn in another."""
    font, cover = bytes(range(256)), _jpeg()
    path, out = tmp_path / f"bare.{kind}", tmp_path / f"out.{format}"
    with (
        av.open(str(video)) as source,
        av.open(str(path), "w", format="matroska" if kind == "mkv" else "mp4") as target,
    ):
        copies = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        if kind == "mkv":
            target.add_attachment("gothic.ttf", "font/ttf", font)
            target.add_attachment("small_cover.jpg", "image/jpeg", cover)
        else:
            picture = target.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            packet = av.Packet(cover)
            packet.stream, packet.time_base = picture, Fraction(1, 1000)
            packet.pts = packet.dts = 0
            target.mux(packet)
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream]
                target.mux(packet)

    def enclosed(path: Path) -> list[tuple[str, str, bytes]]:
        with av.open(str(path)) as container:
            found = [
                ("font", stream.name, stream.data)
                for stream in container.streams
                if stream.type == "attachment"
            ]
            return found + [
                ("cover", packet.stream.metadata.get("filename", ""), bytes(packet))
                for packet in container.demux(video=list(range(len(container.streams.video))))
                if packet.size and packet.stream.disposition & av.stream.Disposition.attached_pic
            ]

    name = "small_cover.jpg" if kind == "mkv" else "cover.jpg"
    assert len(enclosed(path)) == (2 if kind == "mkv" else 1)
    add_captions(path, TALK, out, format)
    wanted = [("cover", name if format == "mkv" else "", cover)]
    if kind == format == "mkv":
        wanted.insert(0, ("font", "gothic.ttf", font))
    assert enclosed(out) == wanted
    assert list(shown(out)) == ["jpn Translation", "eng Original"]
    with av.open(str(path)) as container:
        moving = sum(bool(packet.size) for packet in container.demux(video=0))
    with av.open(str(out)) as container:
        assert sum(bool(packet.size) for packet in container.demux(video=0)) == moving


@pytest.mark.parametrize("format", VIDEO_FORMATS)
def test_a_broken_cover_is_no_reason_to_fail(
    video: Path, tmp_path: Path, format: VideoFormat
) -> None:
    path, out = tmp_path / "broken.mkv", tmp_path / f"out.{format}"
    with av.open(str(video)) as source, av.open(str(path), "w", format="matroska") as target:
        copies = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        target.add_attachment("cover.jpg", "image/jpeg", b"\xff\xd8\xff")
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream]
                target.mux(packet)
    add_captions(path, TALK, out, format)
    assert list(shown(out)) == ["jpn Translation", "eng Original"]


def _jpeg() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="image2pipe") as target:
        picture = target.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
        frame = av.VideoFrame(32, 32, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        target.mux(picture.encode(frame))
        target.mux(picture.encode(None))
    return file.getvalue()


def test_two_languages_are_several(video: Path, tmp_path: Path) -> None:
    mixed = Translation(
        [*TALK.segments, Segment(3.2, 3.9, "Yes.", Direction.JA_EN, source_text="はい。")],
        Direction.AUTO,
        4.0,
    )
    add_captions(video, mixed, tmp_path / "out.mp4", "mp4")
    assert list(shown(tmp_path / "out.mp4")) == ["mul Translation", "mul Original"]


@pytest.mark.parametrize("format", VIDEO_FORMATS)
def test_a_video_in_which_nobody_speaks_is_written(
    video: Path, tmp_path: Path, format: VideoFormat
) -> None:
    out = tmp_path / f"out.{format}"
    add_captions(video, Translation([], Direction.AUTO, 4.0), out, format)
    assert packets(out) == packets(video)


@pytest.mark.parametrize("format", VIDEO_FORMATS)
def test_a_splice_that_overlaps_by_a_moment_is_copied(tmp_path: Path, format: VideoFormat) -> None:
    path, out = tmp_path / "spliced.ts", tmp_path / f"out.{format}"
    path.write_bytes(
        b"".join(
            encoded("mpegts", "aac", SOUND, 48_000, "mono", "mpeg2video", {"output_ts_offset": at})
            for at in ("100", "103.95")
        )
    )
    add_captions(path, TALK, out, format)
    assert [kind for kind, _ in packets(out)] == [kind for kind, _ in packets(path)]
    with av.open(str(out)) as container:
        assert container.duration / av.time_base == pytest.approx(8, abs=0.2)


def test_the_command_line_writes_beside_the_recordings_and_takes_none_for_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = soxr.resample(clip("en_1"), SAMPLE_RATE, 48_000)
    (tmp_path / "talk.mp4").write_bytes(encoded("mp4", "aac", sound, 48_000, video="libx264"))
    (tmp_path / "sound.flac").write_bytes((EXAMPLES / "en_1.flac").read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    command = [str(tmp_path), "--model", "phrasebook", "--output-dir", str(tmp_path)]
    for again in (False, True):
        assert cli.main([*command, "--format", "mp4"]) == 1
        said = capsys.readouterr().err
        assert "sound.flac has no pictures" in said
        assert ("1 before" in said) is again
    tracks = shown(tmp_path / "talk.captions.mp4")
    texts = [" ".join(text for _, _, text in cues).replace("\n", "") for cues in tracks.values()]
    assert texts[0].replace(" ", "") == reference("en_1")
    assert texts[1].replace(" ", "") == SAID.replace(" ", "")
    for path, content in before.items():
        assert path.read_bytes() == content
    assert (
        load_audio(tmp_path / "talk.captions.mp4").shape == load_audio(tmp_path / "talk.mp4").shape
    )
