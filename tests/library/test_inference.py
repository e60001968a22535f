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

import inference

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
OFFLINE = ["--model", "phrasebook", "--device", "cpu"]


def reference(clip: str) -> str:
    return (EXAMPLES / clip).with_suffix(".txt").read_text("utf-8").strip()


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = inference.main([*map(str, arguments), *OFFLINE])
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


def test_a_folder_into_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recordings, written = tmp_path / "in", tmp_path / "out" / "subtitles"
    for folder in ("monday", "tuesday"):
        (recordings / folder).mkdir(parents=True)
        data = (EXAMPLES / "ja_1.flac").read_bytes()
        (recordings / folder / "talk.flac").write_bytes(data)
    (recordings / "notes.txt").write_text("not a recording")
    status, out, _ = run(capsys, recordings, "--format", "srt", "--output-dir", written)
    assert (status, out) == (0, "")
    assert sorted(path.name for path in written.iterdir()) == ["talk-2.srt", "talk.srt"]
    text = (written / "talk.srt").read_text("utf-8")
    assert text == (written / "talk-2.srt").read_text("utf-8")
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
    status = inference.main([str(EXAMPLES / "en_1.flac"), "--model", "no/such/model/folder"])
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
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        inference.main(arguments)
    assert caught.value.code == 2
    assert "usage: inference.py" in capsys.readouterr().err


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
    while not (written.exists() and any(written.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err.rstrip().endswith("interrupted")
    assert "Traceback" not in err
    files = list(written.iterdir())
    assert 0 < len(files) < len(recordings)
    assert all(f.suffix == ".json" and f.read_text("utf-8").endswith("}\n") for f in files)
