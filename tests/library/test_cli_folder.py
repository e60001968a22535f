"""The command line with results in a folder, and what cannot be written."""

import fcntl
import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clips import EXAMPLES, ROOT, reference
from command_line import OFFLINE, clips, run, run_into
from runs import SETTINGS, entries, results, times_done, touch

from speech_translation import cli
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.journal import Journal

NOWHERE = "/dev/null/nowhere"  # nobody can make this folder, not even root


# Into a folder


def test_a_folder_into_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recordings, written = tmp_path / "in", tmp_path / "out" / "subtitles"
    data = (EXAMPLES / "ja_1.flac").read_bytes()
    for name in ("monday/talk.flac", "tuesday/talk.flac", "tuesday/talk.wav"):
        touch(recordings / name)
        (recordings / name).write_bytes(data)
    (recordings / "notes.txt").write_text("not a recording")
    status, said = run_into(capsys, written, recordings, "--format", "srt")
    assert status == 0
    texts = results(written)
    names = ("monday/talk.srt", "tuesday/talk.srt", "tuesday/talk-2.srt")
    assert texts.keys() == {Path(name) for name in names}
    assert len(set(texts.values())) == 1
    text = texts[Path("monday/talk.srt")]
    assert " --> " in text
    assert " ".join(text.splitlines()[2:]).strip() == reference("ja_1")
    for name in ("monday/talk.flac", "tuesday/talk.flac", "tuesday/talk.wav"):
        assert sum(line.startswith(f"{recordings / name}: ") for line in said) == 1


def test_the_same_model_has_one_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = EXAMPLES / "ja_1.flac"
    (tmp_path / "phrasebook").mkdir()  # is not the embedded one
    for folder in (ROOT, tmp_path):
        monkeypatch.chdir(folder)
        assert run_into(capsys, tmp_path / "out", clip)[0] == 0
    checkpoint = PHRASEBOOK_FOLDER
    monkeypatch.chdir(checkpoint.parent)
    for name in (checkpoint, f"./{checkpoint.name}"):
        command = [str(clip), "--output-dir", str(tmp_path / "new"), "--model", str(name)]
        assert cli.main([*command, "--device", "cpu"]) == 0


def test_a_second_run_says_that_all_is_done(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    clip = EXAMPLES / "ja_1.flac"
    assert run_into(capsys, tmp_path, clip, "--direction", "ja2en")[0] == 0
    before = (tmp_path / "ja_1.txt").stat().st_mtime_ns
    request.getfixturevalue("no_model")
    status, said = run_into(capsys, tmp_path, clip, "--direction", "ja2en")
    assert status == 0
    assert said[0].startswith("all was done before: ")
    assert re.match(r"0 files done in 0:00:\d\d, 1 before, 0 failed, ", said[1])
    assert (tmp_path / "ja_1.txt").stat().st_mtime_ns == before
    status, said = run_into(capsys, tmp_path, clip, "--direction", "en2ja")
    assert (status, said) == (
        1,
        [
            f"error: {tmp_path} holds results with direction 'ja2en', and this run has direction "
            "'en2ja': name another folder."
        ],
    )
    for option, difference in (
        ("--precision=int8", "precision 'auto', and this run has precision 'int8'"),
        ("--full-attention", "attention 'windows', and this run has attention 'full'"),
        ("--track=2", "track '', and this run has track '2'"),
    ):
        status, said = run_into(capsys, tmp_path, clip, "--direction", "ja2en", option)
        refusal = f"error: {tmp_path} holds results with {difference}: name another folder."
        assert (status, said) == (1, [refusal])


@pytest.mark.usefixtures("no_model")
def test_a_wrong_path_needs_no_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = tmp_path / "missing.mp3"
    status, out, err = run(capsys, missing)
    assert (status, out) == (1, "")
    assert err == f"error: {missing} does not exist. Check the path.\n"
    status, said = run_into(capsys, tmp_path / "out", missing, "--jobs", "2")
    assert status == 1
    assert said[-1] == err.strip()


@pytest.mark.slow
def test_sixty_files_come_out_whole_and_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recordings, out = tmp_path / "in", tmp_path / "out"
    expected = clips(recordings, 60)
    status, said = run_into(capsys, out, recordings, "--jobs", "8")
    assert status == 0
    assert results(out) == expected
    assert set(times_done(out).values()) == {1}
    assert len(times_done(out)) == 60
    assert said[-1].startswith("60 files done in 0:")
    assert ", 0 before, 0 failed, " in said[-1]
    assert said[-1].endswith(" h of audio per hour")

    before = {path: (out / path).stat().st_mtime_ns for path in expected}
    status, said = run_into(capsys, out, recordings, "--jobs", "8")
    assert (status, said[-1][:15]) == (0, "0 files done in")
    assert ", 60 before, " in said[-1]
    assert {path: (out / path).stat().st_mtime_ns for path in expected} == before
    assert len(entries(out)) == 60


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_files_that_fail_are_listed_at_the_end_and_tried_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, jobs: str
) -> None:
    recordings, out = tmp_path / "in", tmp_path / "out"
    expected = clips(recordings, 8)
    (recordings / "text.wav").write_text("This is not audio.\n" * 50)
    touch(recordings / "empty.wav", tmp_path / "nothing" / "notes.md")
    names = tmp_path / "more.list"
    names.write_text("missing.mp3\nin/part 1/0001.flac\n")
    arguments = [recordings, names, tmp_path / "nothing", "--jobs", jobs]
    status, said = run_into(capsys, out, *arguments)
    assert status == 1
    assert {**expected, Path("in/part 1/0001.txt"): ""}.keys() >= results(out).keys()
    assert expected.items() <= results(out).items()
    errors = [line for line in said if line.startswith("error: ")]
    assert said[-4:] == errors
    for path, reason in {
        recordings / "text.wav": "holds no sound",
        recordings / "empty.wav": "is empty",
        tmp_path / "missing.mp3": "does not exist",
        tmp_path / "nothing": "holds no audio",
    }.items():
        assert sum(str(path) in line and reason in line for line in errors) == 1, path
    assert "4 failed" in said[-5]

    (recordings / "text.wav").unlink()
    (recordings / "empty.wav").unlink()
    (tmp_path / "missing.mp3").symlink_to(EXAMPLES / "en_1.flac")
    status, said = run_into(capsys, out, recordings, names, "--jobs", jobs, "--quiet")
    assert (status, said) == (0, [])
    assert results(out) == {**expected, Path("missing.txt"): expected[Path("part 0/0000.txt")]}
    assert set(times_done(out).values()) == {1}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_only_one_run_at_a_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, jobs: str
) -> None:
    with Journal(tmp_path, SETTINGS):
        status, (line,) = run_into(capsys, tmp_path, EXAMPLES / "en_1.flac", "--jobs", jobs)
    assert status == 1
    assert line.startswith(f"error: Another run writes into {tmp_path}: ")


# No room, and no permission


@pytest.fixture
def no_caches() -> dict[str, str]:
    """An environment in which no cache folder can be written."""
    caches = ("HF_HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "HOME", "TMPDIR")
    return dict(os.environ) | dict.fromkeys(caches, NOWHERE)


@pytest.mark.parametrize(
    ("closed", "audio", "said"),
    [
        (">&-", "examples/en_1.flac", "error: Standard output is closed: name a folder"),
        ("2>&-", "missing.wav", ""),  # and not on standard output
        ("<&-", "-", "error: Standard input is closed."),
    ],
)
def test_a_stream_that_the_caller_closed_is_no_fault(closed: str, audio: str, said: str) -> None:
    command = f'"{sys.executable}" inference.py --model phrasebook {audio} {closed}'
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == bool(said)


@pytest.mark.slow
def test_streams_that_do_not_wait_lose_nothing() -> None:
    """As parents that were written for Node.js hand them over."""
    (reads, gives), (takes, writes) = os.pipe(), os.pipe()
    for end in (reads, writes):
        os.set_blocking(end, False)
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)  # less than the answer
    command = [sys.executable, "inference.py", *OFFLINE, "--format", "json", "--quiet", "-"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=reads, stdout=writes)
    os.close(reads)
    os.close(writes)
    content = (EXAMPLES / "en_long.flac").read_bytes()
    with os.fdopen(gives, "wb") as stdin, os.fdopen(takes, "rb") as stdout:
        time.sleep(0.5)
        for begin in range(0, len(content), 1 << 16):
            stdin.write(content[begin : begin + (1 << 16)])
        stdin.close()
        select.select([stdout], [], [], 60)
        time.sleep(0.5)
        said = stdout.read()
    assert process.wait(60) == 0
    assert len(said) > 4096
    assert json.loads(said)["text"]


def test_a_link_is_not_opened_and_a_file_is_no_output_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*OFFLINE, "https://example.com/a.mp3"]) == 1
    assert "https://example.com/a.mp3 is a link: download" in capsys.readouterr().err
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(SystemExit):
        cli.main([*OFFLINE, "a.wav", "--output-dir", str(tmp_path / "notes.md")])
    assert "notes.md is a file: name a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_text_that_cannot_be_written_is_said(no_caches: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "inference.py", *OFFLINE, str(EXAMPLES / "en_1.flac"), "--quiet"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            env=no_caches,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: The text cannot be written: No space left on device. "
        "Name a folder with --output-dir."
    )
    assert done.stderr.lower().count("error") == 1  # the caches are not needed


@pytest.mark.slow
def test_a_log_or_cache_that_cannot_be_written_costs_no_text(no_caches: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "inference.py", *OFFLINE, str(EXAMPLES / "en_1.flac")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=120,
            env=no_caches,
        )
    assert done.returncode == 0
    assert done.stdout.decode().strip() == reference("en_1")
