"""The command line as a user meets it: exit status, what goes where, and bad input."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_translation import cli

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
OFFLINE = ["--model", "phrasebook", "--device", "cpu"]


def reference(clip: str) -> str:
    return (EXAMPLES / clip).with_suffix(".txt").read_text("utf-8").strip()


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = cli.main([*map(str, arguments), *OFFLINE])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(("clip", "direction"), [("en_1", "en2ja"), ("ja_1", "ja2en")])
def test_text_on_standard_output_and_the_rest_elsewhere(
    capsys: pytest.CaptureFixture[str], clip: str, direction: str
) -> None:
    path = EXAMPLES / f"{clip}.flac"
    status, out, err = run(capsys, path, "--direction", direction)
    assert status == 0
    assert out == reference(clip) + "\n"
    assert "phrasebook on cpu in float32" in err
    assert "x real time" in err
    assert out.strip() not in err


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, EXAMPLES / "en_1.flac", "--quiet")
    assert (status, out, err) == (0, reference("en_1") + "\n", "")


def test_several_recordings_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [EXAMPLES / "en_1.flac", EXAMPLES / "ja_1.flac"]
    status, out, _ = run(capsys, *paths)
    assert status == 0
    assert out.splitlines() == [f"{path}: {reference(path.stem)}" for path in paths]


def test_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO((EXAMPLES / "en_1.flac").read_bytes())
    monkeypatch.setattr(sys, "stdin", type("Pipe", (), {"buffer": data}))
    status, out, _ = run(capsys, "-")
    assert (status, out) == (0, reference("en_1") + "\n")


def test_standard_input_into_a_folder_is_never_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for clip in ("en_1", "ja_1"):
        data = io.BytesIO((EXAMPLES / f"{clip}.flac").read_bytes())
        monkeypatch.setattr(sys, "stdin", type("Pipe", (), {"buffer": data}))
        assert run(capsys, "-", "--output-dir", tmp_path)[:2] == (0, "")
        assert (tmp_path / "stdin.txt").read_text("utf-8").strip() == reference(clip)


def test_a_list_is_read_in_order_and_named_as_it_was_given(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for clip in ("ja_1", "en_1"):
        (tmp_path / f"{clip}.flac").symlink_to(EXAMPLES / f"{clip}.flac")
    (tmp_path / "talks.list").write_text("ja_1.flac\nen_1.flac\nnowhere.wav\n")
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "talks.list")
    assert status == 1
    assert out.splitlines() == [f"{clip}.flac: {reference(clip)}" for clip in ("ja_1", "en_1")]
    assert "error: nowhere.wav does not exist: check the path.\n" in err


def test_a_folder_into_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recordings, written = tmp_path / "in", tmp_path / "out" / "subtitles"
    for folder in ("monday", "tuesday"):
        (recordings / folder).mkdir(parents=True)
        data = (EXAMPLES / "ja_1.flac").read_bytes()
        (recordings / folder / "talk.flac").write_bytes(data)
    (recordings / "notes.txt").write_text("not a recording")
    status, out, _ = run(capsys, recordings, "--format", "srt", "--output-dir", written)
    assert (status, out) == (0, "")
    found = {path.relative_to(written) for path in written.rglob("*.srt")}
    assert found == {Path("monday/talk.srt"), Path("tuesday/talk.srt")}
    text = (written / "monday/talk.srt").read_text("utf-8")
    assert text == (written / "tuesday/talk.srt").read_text("utf-8")
    assert " --> " in text
    assert " ".join(text.splitlines()[2:]).strip() == reference("ja_1")


def test_bad_recordings_are_named_and_the_others_finished(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good = EXAMPLES / "en_1.flac"
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("This is not audio.\n" * 50)
    (tmp_path / "cut.flac").write_bytes(good.read_bytes()[:60])
    (tmp_path / "no recordings").mkdir()
    soundfile.write(tmp_path / "nan.wav", np.full(16_000, np.nan), 16_000, "FLOAT")
    bad = ["empty.wav", "text.wav", "cut.flac", "nan.wav", "no recordings", "missing.mp3"]
    status, out, err = run(capsys, *(tmp_path / name for name in bad), good)
    assert status == 1
    assert out == f"{good}: {reference('en_1')}\n"
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(bad)
    for name in bad:
        assert sum(name in line for line in errors) == 1
    assert "Traceback" not in err


def test_a_recording_over_the_limit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, EXAMPLES / "en_long.flac", "--max-seconds", "30")
    assert (status, out) == (1, "")
    assert "en_long.flac" in err


def test_silence_is_no_text_and_no_failure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(48_000), 16_000)
    status, out, err = run(capsys, tmp_path / "silence.wav")
    assert (status, out.strip()) == (0, "")
    assert "no speech" in err


def test_a_model_that_cannot_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main([str(EXAMPLES / "en_1.flac"), "--model", "no/such/model/folder"])
    err = capsys.readouterr().err
    assert status == 1
    assert "error: There is no model folder no/such/model/folder" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.wav", "--direction", "en2fr"],
        ["a.wav", "--format", "doc"],
        ["a.wav", "--batch-size", "0"],
        ["a.wav", "--max-seconds", "-3"],
        ["a.wav", "b.wav", "--format", "srt"],
        [str(EXAMPLES), "--format", "srt"],
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_signal_leaves_no_half_file(tmp_path: Path, number: int, status: int) -> None:
    recordings = [tmp_path / f"{i}.flac" for i in range(40)]
    for recording in recordings:
        recording.write_bytes((EXAMPLES / "en_long.flac").read_bytes())
    written = tmp_path / "out"
    command = [sys.executable, "inference.py", *map(str, recordings), *OFFLINE]
    command += ["--format", "json", "--output-dir", str(written)]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    deadline = time.monotonic() + 120
    while not any(written.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err.rstrip().endswith("interrupted")
    assert "Traceback" not in err
    files = list(written.glob("*.json"))
    assert {path.name for path in written.iterdir()} == {"journal.jsonl", *(f.name for f in files)}
    assert 0 < len(files) < len(recordings)
    assert all(f.suffix == ".json" and f.read_text("utf-8").endswith("}\n") for f in files)
