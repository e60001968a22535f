"""The command line as a user meets it: exit status, what goes where, and bad input."""

import html
import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from clips import EXAMPLES, ROOT, reference
from clips import clip as samples_of
from command_line import OFFLINE, clips, run, run_into
from runs import entries, results, touch

from speech_translation import cli, detector
from speech_translation.console import let_print, remark
from speech_translation.engine import Engine, load_engine
from speech_translation.errors import missing_package
from speech_translation.types import Direction, Flag, Remark, RemarkKind, Segment, Translation


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


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


@pytest.mark.parametrize("cache", [True, False])
def test_no_cache_reaches_the_engine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: bool
) -> None:
    asked, load_engine = list[object](), cli.load_engine

    def loading(*names: Any, **options: Any) -> Engine:
        asked.append(options["cache"])
        return load_engine(*names, **options)

    monkeypatch.setattr(cli, "load_engine", loading)
    more = [] if cache else ["--no-cache"]
    assert run(capsys, EXAMPLES / "en_1.flac", *more)[0] == 0
    assert asked == [cache]


def test_quiet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = run(capsys, EXAMPLES / "en_1.flac", "--quiet")
    assert (status, out, err) == (0, reference("en_1") + "\n", "")
    assert run_into(capsys, tmp_path, EXAMPLES / "en_1.flac", "--quiet") == (0, [])


def test_a_terminal_shows_how_far_a_recording_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for more in ([], ["--output-dir", str(tmp_path)]):
        monkeypatch.setattr(sys, "stderr", shown := Terminal())
        assert cli.main([str(EXAMPLES / "en_1.flac"), *OFFLINE, *more]) == 0
        assert "en_1.flac:   0% |" in shown.getvalue()
        monkeypatch.setattr(sys, "stderr", shown := Terminal())
        assert cli.main([str(EXAMPLES / "en_1.flac"), *OFFLINE, *more, "--quiet"]) == 0
        assert shown.getvalue() == ""


def test_several_recordings_are_told_apart_and_in_order(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = tmp_path / "more.list"
    first.write_text(f"{EXAMPLES / 'ja_2.flac'}\n")
    (tmp_path / "in").mkdir()
    for name in ("ja_1", "en_1"):
        (tmp_path / "in" / f"{name}.flac").symlink_to(EXAMPLES / f"{name}.flac")
    last = EXAMPLES / "en_2.flac"
    status, out, _ = run(capsys, first, tmp_path / "in", last)
    assert status == 0
    inside = [tmp_path / "in" / f"{name}.flac" for name in ("en_1", "ja_1")]
    paths = [EXAMPLES / "ja_2.flac", *inside, last]
    assert out.splitlines() == [f"{path}: {reference(path.stem)}" for path in paths]


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
    assert "error: nowhere.wav does not exist. Check the path.\n" in err


def test_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    give_stdin(monkeypatch, (EXAMPLES / "en_1.flac").read_bytes())
    status, out, _ = run(capsys, "-")
    assert (status, out) == (0, reference("en_1") + "\n")
    for clip in ("en_1", "ja_1"):  # it is never done
        give_stdin(monkeypatch, (EXAMPLES / f"{clip}.flac").read_bytes())
        status, said = run_into(capsys, tmp_path, "-")
        assert (status, results(tmp_path)) == (0, {Path("stdin.txt"): reference(clip) + "\n"})
        assert sum(line.startswith("stdin: ") for line in said) == 1
        assert "1 file done" in said[-1]
    give_stdin(monkeypatch, b"")
    _, said = run_into(capsys, tmp_path, "-", "--quiet")
    assert said == ["error: stdin: standard input is empty (0 bytes). Record or copy it again."]


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


def test_a_recording_over_the_limit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, EXAMPLES / "en_long.flac", "--max-seconds", "30")
    assert (status, out) == (1, "")
    assert "en_long.flac" in err


def test_where_to_cut_can_be_chosen(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    apart = np.concatenate([samples_of("en_1"), np.zeros(24_000, np.float32), samples_of("en_2")])
    soundfile.write(tmp_path / "apart.wav", apart, 16_000)
    counts = {}
    for segments in ("pause", "sentence", "whole"):
        _, out, _ = run(
            capsys, tmp_path / "apart.wav", "--segments", segments, "--format", "json", "--quiet"
        )
        counts[segments] = len(json.loads(out)["segments"])
    assert counts == {"pause": 2, "sentence": 1, "whole": 1}


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        (Direction.EN_JA, "use --direction ja2en or auto"),
        (Direction.JA_EN, "use --direction en2ja or auto"),
        (Direction.AUTO, "name the direction with --direction"),
    ],
)
def test_a_recording_of_which_all_is_doubtful_gets_one_line_of_advice(
    capsys: pytest.CaptureFixture[str], asked: Direction, advice: str
) -> None:
    unsure = Segment(0, 1, "x", Direction.EN_JA, frozenset({Flag.WRONG_SCRIPT}))
    lost = Segment(1, 2, "x", Direction.EN_JA, frozenset({Flag.LOW_CONFIDENCE, Flag.TRUNCATED}))
    sure = Segment(2, 3, "x", Direction.EN_JA, frozenset({Flag.TOO_LONG}))

    def said(*segments: Segment) -> str:
        remark(Translation(segments, asked, 3.0), "a.wav", asked)
        return capsys.readouterr().err

    assert said(unsure, lost).count(advice) == 1
    assert said(unsure, lost).splitlines()[-1].startswith("a.wav: every segment is doubtful")
    assert "doubtful" not in said(unsure, lost, sure)
    assert "doubtful" not in said()


def test_silence_is_no_text_and_no_failure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(48_000), 16_000)
    status, out, err = run(capsys, tmp_path / "silence.wav")
    assert (status, out.strip()) == (0, "")
    assert "no speech" in err


def test_a_model_that_cannot_be_had(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = [str(EXAMPLES / "en_1.flac"), str(EXAMPLES / "ja_1.flac")]
    for more in ([], ["--output-dir", str(tmp_path)]):
        status = cli.main([*command, "--model", "no/such/model/folder", *more])
        err = capsys.readouterr().err
        assert status == 1
        assert err.count("error: There is no model folder no/such/model/folder") == 1
    status, _ = run_into(capsys, tmp_path, *command)  # a mistake binds nobody
    assert status == 0


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])
def test_what_the_terminal_does_not_have_costs_characters_and_not_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding))
    status, _, err = run(capsys, EXAMPLES / "en_1.flac", EXAMPLES / "ja_1.flac", "--quiet")
    assert status == 1
    (line,) = err.splitlines()
    assert line.startswith(f"error: The text of {EXAMPLES / 'en_1.flac'} has characters that ")
    assert encoding in line
    first, second = printed.getvalue().decode(encoding).splitlines()
    assert first == f"{EXAMPLES / 'en_1.flac'}: {'?' * len(reference('en_1'))}"
    assert second == f"{EXAMPLES / 'ja_1.flac'}: {reference('ja_1')}"


def test_what_the_terminal_does_not_have_is_printed_as_the_user_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTHONIOENCODING=ascii:xmlcharrefreplace, say."""
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, "ascii", "xmlcharrefreplace"))
    assert run(capsys, EXAMPLES / "en_1.flac", "--quiet") == (0, "", "")
    assert html.unescape(printed.getvalue().decode("ascii")) == reference("en_1") + "\n"


def test_a_file_that_begins_with_a_dash_is_told_from_an_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    touch(tmp_path / "-rf.wav", tmp_path / "a.wav")
    monkeypatch.chdir(tmp_path)
    for names in (["-rf.wav"], ["-rf.wav", "a.wav"]):  # as `*.wav` gives them
        monkeypatch.setattr(sys, "argv", ["inference.py", *names])
        with pytest.raises(SystemExit):
            cli.main()
        assert capsys.readouterr().err.endswith(": write ./-rf.wav, which is a file\n")


def test_a_reader_that_leaves_ends_the_run_quietly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        status, _, err = run(capsys, EXAMPLES / "en_1.flac", EXAMPLES / "ja_1.flac", "--quiet")
    assert (status, err) == (141, "")


def test_a_file_that_is_named_twice_is_translated_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    clip = EXAMPLES / "ja_1.flac"
    twice = (clip, EXAMPLES / ".." / EXAMPLES.name / clip.name)
    status, out, err = run(capsys, *twice)
    assert (status, out) == (0, f"{reference('ja_1')}\n")
    assert err.count("tokens") == 1
    assert err.endswith(f"{twice[1]}: the same file as before, translated once\n")
    status, said = run_into(capsys, tmp_path, *twice)
    assert status == 0
    assert re.match(
        r"1 file done in 0:00:\d\d, 0 before, 1 named again \(the same files\), 0 failed, ",
        said[-1],
    )


def test_a_list_without_a_recording_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, no_model: None
) -> None:
    empty = tmp_path / "empty.list"
    empty.write_text("\n")
    for more in ([], ["--output-dir", tmp_path / "out"]):
        status, out, err = run(capsys, empty, "--quiet", *more)
        assert (status, out) == (1, "")
        assert err.startswith(f"error: The list {empty} names no recording: it has one path on ")


def test_a_wrong_direction_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    clip = EXAMPLES / "ja_1.flac"
    wrong = (
        f"{clip}: the speech sounds Japanese, and the direction was en2ja: use --direction ja2en"
    )
    assert wrong in run(capsys, clip, "--direction", "en2ja")[2]
    assert "sounds" not in run(capsys, clip, "--direction", "ja2en")[2]
    assert "sounds" not in run(capsys, clip, "--direction", "en2ja", "--quiet")[2]
    several = run_into(capsys, tmp_path, clip, "--direction", "en2ja", "--jobs", "2")[1]
    assert any(line.startswith(wrong) for line in several)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_flags_are_told_counted_and_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, jobs: str
) -> None:
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(48_000), 16_000)
    command = (silence, EXAMPLES / "ja_1.flac", "--jobs", jobs)
    status, said = run_into(capsys, tmp_path / "out", *command)
    assert status == 0
    assert f"{silence}: no speech found" in said
    assert re.match(r"2 files done in 0:00:\d\d \(1 flagged\), 0 before, 0 failed, ", said[-1])
    flags = {Path(entry.source).stem: entry.flags for entry in entries(tmp_path / "out")}
    assert flags == {"silence": ["no_speech"], "ja_1": []}
    assert results(tmp_path / "out")[Path("silence.txt")] == "\n"


def test_many_recordings_get_one_line_of_flags_each(capsys: pytest.CaptureFixture[str]) -> None:
    unsure = Segment(0, 1, "x", Direction.EN_JA, frozenset({Flag.TOO_SHORT, Flag.REPEATED}))
    sure = Segment(1, 2, "x", Direction.EN_JA)
    remark(Translation([unsure, sure], Direction.AUTO, 2.0), "a.wav", Direction.AUTO, brief=True)
    cut_short = Translation([sure], Direction.AUTO, 2.0, remarks=(Remark(RemarkKind.LOST, 2, 3),))
    remark(cut_short, "b.wav", Direction.AUTO, brief=True)
    assert capsys.readouterr().err == (
        "a.wav: repeated, too short (1 of 2 segments)\n"
        "b.wav: from 2.0 to 3.0 s sound is missing or could not be decoded\n"
    )


def test_a_name_that_cannot_be_printed_spoils_no_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9\n.flac")
    odd.symlink_to(EXAMPLES / "en_1.flac")
    status, out, err = run(capsys, odd, EXAMPLES / "ja_1.flac")
    assert (status, len(out.splitlines())) == (0, 2)
    assert out.startswith(f"{tmp_path}/caf??.flac: ")
    assert f"{tmp_path}/caf??.flac: 3" in err or f"{tmp_path}/caf??.flac: 2" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.wav", "--direction", "en2fr"],
        ["a.wav", "--format", "doc"],
        ["a.wav", "--batch-size", "0"],
        ["a.wav", "--jobs", "0"],
        ["a.wav", "--max-seconds", "-3"],
        ["a.wav", "b.wav", "--format", "srt"],
        ["examples", "--format", "srt"],
        ["requirements.txt", "--format", "srt"],  # a list
        ["a.wav", "--jobs", "2"],
        ["-", "--jobs", "2", "--output-dir", "out"],
        ["a.wav", "--segments", "breath"],
        ["a.wav", "--output-dir", ""],
        ["a.wav", "--model", ""],
    ],
)
@pytest.mark.parametrize("program", ["inference.py", "speech-translation"])
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    program: str,
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [f"/somewhere/{program}"])
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"usage: {program}" in said
    assert not arguments or f"{arguments[-2]}" in said.splitlines()[-1] or "--output-dir" in said


def test_a_pipe_in_a_folder_is_no_recording(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, no_model: None
) -> None:
    os.mkfifo(tmp_path / "x.wav")  # whoever opens it waits for ever
    code, _, err = run(capsys, tmp_path)
    assert code == 1
    assert "holds no audio or video file" in err
    code, _, err = run(
        capsys, tmp_path / "x.wav", "--output-dir", tmp_path / "o", "--format", "mkv"
    )
    assert code == 1
    assert "x.wav is a pipe or a device: --format mkv takes files." in err


def test_a_device_that_never_ends_is_an_error(
    capsys: pytest.CaptureFixture[str], no_model: None
) -> None:
    code, _, err = run(capsys, "/dev/zero")
    assert code == 1
    assert "zero is a device and gives more than 16 MB: save it as a file first." in err
    with open("/dev/zero") as endless, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", endless)
        code, _, err = run(capsys, "-")
    assert code == 1
    assert "standard input is a device and gives more than 16 MB" in err


# What the system lacks


@pytest.fixture
def loaded() -> None:
    """The engine is there: else what its libraries miss would be said first."""
    load_engine("phrasebook", "cpu")


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("package", ["soundfile", "onnxruntime"])
@pytest.mark.parametrize("into", ["folder", "terminal"])
def test_a_missing_package_is_named_and_no_recording_blamed(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    into: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(detector, "_session", None)
    options = ["--output-dir", tmp_path / "out"] if into == "folder" else []
    code, out, err = run(capsys, EXAMPLES / "en_1.flac", *options)
    assert (code, out) == (1, "")
    assert f"The package {package} is missing or broken (" in err
    assert err.rstrip().endswith("install the packages of requirements.txt again.")


def test_a_package_without_its_library_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "soundfile.py").write_text("raise OSError('sndfile library not found')")
    monkeypatch.delitem(sys.modules, "soundfile", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    code, _, err = run(capsys, EXAMPLES / "en_1.flac")
    assert code == 1
    assert "The package soundfile is missing or broken (sndfile library not found): " in err


def test_the_wrong_python_is_told_what_it_lacks() -> None:
    command = [sys.executable, "-S", "inference.py", "--help"]  # without what is installed
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.match(r"error: The package \w+ is missing: ", line)


@pytest.mark.usefixtures("loaded")
def test_too_many_threads_and_too_little_memory_are_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    def nothing(*_: object, **__: object) -> None:
        raise MemoryError

    clips(tmp_path / "in", 2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        code, _, err = run(capsys, tmp_path / "in", "--output-dir", tmp_path / "o", "--jobs", 2)
        assert code == 1
        assert err.endswith("(ulimit -u, or the pids of a container).\n")
        assert run(capsys, tmp_path / "in", "--output-dir", tmp_path / "one")[0] == 0
    monkeypatch.setattr(cli, "load_audio", nothing)
    for into in ([], ["--output-dir", tmp_path / "two"]):
        code, _, err = run(capsys, EXAMPLES / "en_1.flac", *into)
        assert code == 1
        assert "There is not enough memory: " in err
    lacking = ImportError("libtorch_cpu.so: failed to map segment from shared object", name="_C")
    assert str(missing_package(lacking)).startswith("There is not enough memory: ")


def test_a_space_prints_whatever_a_library_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, "cp932"))
    let_print()
    print("\U0001f528 ready", flush=True)  # as Gradio does
    assert printed.getvalue() == b"? ready\n"
    monkeypatch.setattr(sys, "stdout", None)
    let_print()
    assert sys.stdout.isatty() is False  # uvicorn asks
    sys.stdout.close()


@pytest.mark.usefixtures("no_model")
def test_a_folder_that_is_gone_or_cannot_be_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run(capsys, EXAMPLES / "en_1.flac", "--output-dir", "x" * 300)
    assert code == 1
    assert "cannot be written: File name too long." in err
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, _, err = run(capsys, "x.wav")
    assert (code, err) == (
        1,
        "error: The current folder cannot be used (No such file or directory): change to another "
        "one.\n",
    )
