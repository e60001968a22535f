"""A video that cannot have caption tracks: one sentence says why, and nothing is left."""

import dataclasses
import os
from pathlib import Path

import pytest
from captioned import SOUND, TALK
from clips import EXAMPLES
from recordings import encoded, film

from speech_translation import cli, files
from speech_translation.audio import load_audio
from speech_translation.errors import AudioError
from speech_translation.types import Remark
from speech_translation.video import VIDEO_FORMATS, add_captions, own_format, require_captionable


def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    sound = EXAMPLES / "en_1.flac"
    with pytest.raises(AudioError, match=r"en_1\.flac has no pictures.*--format srt"):
        add_captions(sound, TALK, tmp_path / "out.mkv", "mkv")
    web = tmp_path / "talk.webm"
    web.write_bytes(encoded("webm", "libopus", SOUND, 48_000, video="libvpx"))
    with pytest.raises(AudioError, match=r"does not hold pictures in vp8.*--format mkv or"):
        add_captions(web, TALK, tmp_path / "out.mp4", "mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video at all" * 99)
    with pytest.raises(AudioError, match=r"broken\.mp4 cannot be written.*: use --format srt\.$"):
        add_captions(tmp_path / "broken.mp4", TALK, tmp_path / "out.mkv", "mkv")
    with pytest.raises(OSError, match=r"nowhere"):
        add_captions(web, TALK, tmp_path / "nowhere" / "out.mkv", "mkv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mp4", "talk.webm"]


def test_only_formats_that_hold_a_video_are_advised(tmp_path: Path) -> None:
    old = tmp_path / "old.flv"
    old.write_bytes(encoded("flv", "aac", SOUND, 48_000, video="flv"))
    for format in VIDEO_FORMATS:
        with pytest.raises(AudioError, match=r"pictures in flv1\): use --format srt\.$"):
            require_captionable(old, format)
    assert own_format(old) is None


def test_what_cannot_be_written_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "load_engine", None)  # whoever asks for a model fails
    web, double = tmp_path / "talk.webm", tmp_path / "double.mp4"
    web.write_bytes(encoded("webm", "libopus", SOUND, 48_000, video="libvpx"))
    double.write_bytes(2 * film("mp4", "aac", SOUND, lambda t: t))
    command = [*map(str, (web, double, EXAMPLES / "en_1.flac")), "--format", "mp4", "--quiet"]
    assert cli.main([*command, "--output-dir", str(tmp_path / "out")]) == 1
    first, second, third = capsys.readouterr().err.splitlines()
    assert "does not hold pictures in vp8" in first
    assert first.endswith("use --format mkv or --format srt.")
    assert "2 recordings joined" in second
    assert "has no pictures" in third
    require_captionable(web, "mkv")
    require_captionable(tmp_path / "missing.mp4", "mkv")  # reading it will say so


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_captions_of_joined_videos_are_refused(tmp_path: Path, kind: str) -> None:
    """Their sound is translated one after the other; of their pictures only the first are seen."""
    path = tmp_path / "joined.film"
    path.write_bytes(2 * encoded(kind, "aac", SOUND, 48_000, video="mpeg4"))
    with pytest.raises(AudioError, match=r"joined\.film is 2 recordings joined.*--format srt"):
        add_captions(path, TALK, tmp_path / "out.mkv", "mkv")
    assert os.listdir(tmp_path) == ["joined.film"]


@pytest.mark.parametrize("clocks", [(100, 5000), (5000, 100)])
def test_captions_of_a_broadcast_whose_clock_is_set_anew_are_refused(
    tmp_path: Path, clocks: tuple[int, int]
) -> None:
    """The sound is taken to go on, and a player would wait for an hour."""
    path = tmp_path / "spliced.ts"
    pieces = [
        encoded(
            *("mpegts", "aac", SOUND, 48_000),
            video="mpeg2video",
            options={"output_ts_offset": str(clock)},
        )
        for clock in clocks
    ]
    path.write_bytes(b"".join(pieces))
    remarks = list[Remark]()
    load_audio(path, remark=remarks.append)
    talk = dataclasses.replace(TALK, remarks=tuple(remarks))
    with pytest.raises(AudioError, match=r"clock of spliced\.ts jumps.*--format srt"):
        add_captions(path, talk, tmp_path / "out.mkv", "mkv")
    assert os.listdir(tmp_path) == ["spliced.ts"]


def test_a_result_that_is_not_whole_takes_no_place(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.mkv"
    out.write_bytes(b"before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"out\.mkv"):
        add_captions(video, TALK, out, "mkv")
    assert out.read_bytes() == b"before"
    assert sorted(os.listdir(tmp_path)) == ["out.mkv", "talk.mkv"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["talk.mp4", "--format", "mkv"], "needs an --output-dir"),
        (["-", "--format", "mp4", "--output-dir", "out"], "not standard input"),
    ],
)
def test_where_no_video_can_go_is_said(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert reason in capsys.readouterr().err
