"""The command line as a user meets it: exit status, what goes where, bad input, and signals."""

import contextlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from clips import EXAMPLES, ROOT, reference
from clips import clip as samples_of
from runs import SETTINGS, entries, results, times_done, touch

from speech_translation import bulk, cli, translate
from speech_translation.console import Interrupt, remark
from speech_translation.engine import Engine
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.journal import Journal
from speech_translation.types import Direction, Flag, Remark, RemarkKind, Segment, Translation

CLIPS = ("en_1", "ja_1", "en_2", "ja_2")
OFFLINE = ["--model", "phrasebook", "--device", "cpu"]
NOWHERE = "/dev/null/nowhere"  # nobody can make this folder, not even root


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = cli.main([*map(str, arguments), *OFFLINE])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def run_into(
    capsys: pytest.CaptureFixture[str], out: Path, *arguments: str | Path
) -> tuple[int, list[str]]:
    status, printed, said = run(capsys, *arguments, "--output-dir", out)
    assert printed == ""
    return status, said.splitlines()


def clips(folder: Path, count: int) -> dict[Path, str]:
    """`count` recordings in folders below `folder`; the text of each by its path there, as .txt."""
    texts = {}
    for i in range(count):
        name = CLIPS[i % len(CLIPS)]
        path = folder / f"part {i % 7}" / f"{i:04}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(EXAMPLES / f"{name}.flac")
        texts[path.relative_to(folder).with_suffix(".txt")] = f"{reference(name)}\n"
    return texts


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model can be had, nor is one asked for."""

    def load_engine(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(cli, "load_engine", load_engine)


# To standard output


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
        assert err == f"error: The list {empty} names no recording: it has one path on each line.\n"


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
    assert said[-1] == f"error: {missing}: missing.mp3 does not exist. Check the path."


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


# Signals


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "4"])
def test_ctrl_c_leaves_no_half_file_and_goes_on(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: str,
) -> None:
    recordings, out = tmp_path / "in", tmp_path / "out"
    expected = clips(recordings, 24)
    written = list[Path]()

    def write(translation: Any, path: Path, *how: Any, **more: Any) -> None:
        translate_write(translation, path, *how, **more)
        written.append(path)
        if len(written) == 3:
            signal.pthread_kill(main_thread, signal.SIGINT)

    main_thread = threading.get_ident()
    translate_write = bulk.write
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "write", write)
        status, said = run_into(capsys, out, recordings, "--jobs", jobs)
    assert (status, said[-1]) == (130, "interrupted")
    first = results(out)
    assert 3 <= len(first) < 24
    assert first.items() <= expected.items()
    assert 2 <= len(entries(out)) <= len(first)
    known = len(entries(out))
    status, said = run_into(capsys, out, recordings, "--jobs", jobs)
    assert status == 0
    assert f", {known} before, " in said[-1]
    assert results(out) == expected


def test_ctrl_c_ends_the_printing_after_what_is_finished(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_translate, handler = translate, signal.getsignal(signal.SIGINT)

    def pressed(*arguments: Any, **options: Any) -> Any:
        translation = engine_translate(*arguments, **options)
        if len(asked) == 1:
            signal.raise_signal(signal.SIGINT)
        asked.append(1)
        return translation

    asked = list[int]()
    monkeypatch.setattr(cli, "translate", pressed)
    status, out, err = run(capsys, *(EXAMPLES / f"{name}.flac" for name in CLIPS))
    assert status == 130
    assert out == f"{EXAMPLES / 'en_1.flac'}: {reference('en_1')}\n"
    assert err.splitlines()[-1] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_acts_at_once() -> None:
    interrupt = Interrupt()
    interrupt(signal.SIGTERM, None)
    assert interrupt.pressed
    with pytest.raises(KeyboardInterrupt):
        interrupt(signal.SIGINT, None)
    assert interrupt.status == 143
    loading = Interrupt()
    with pytest.raises(KeyboardInterrupt), loading.at_once():
        loading(signal.SIGINT, None)  # a model takes an hour to fetch
    assert loading.status == 130


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


def test_a_pipe_that_is_named_is_read_and_not_by_several_at_a_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pipe = tmp_path / "x.wav"
    os.mkfifo(pipe)
    code, _, err = run(capsys, pipe, "--output-dir", tmp_path / "jobs", "--jobs", "2")
    assert code == 1
    assert "translate it without --jobs" in err
    content = (EXAMPLES / "en_1.flac").read_bytes()
    threading.Thread(target=pipe.write_bytes, args=[content], daemon=True).start()
    code, out, _ = run(capsys, pipe, "--direction", "en2ja")
    assert (code, out) == (0, reference("en_1") + "\n")


def test_a_device_that_never_ends_is_an_error(
    capsys: pytest.CaptureFixture[str], no_model: None
) -> None:
    code, _, err = run(capsys, "/dev/zero")
    assert code == 1
    assert "zero is no recording: its first 16 MB hold no sound that can be decoded." in err
    with open("/dev/zero") as endless, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", endless)
        code, _, err = run(capsys, "-")
    assert code == 1
    assert "standard input is no recording" in err


@pytest.mark.parametrize("where", ["fifo", "stdin"])
def test_one_ctrl_c_ends_the_wait_for_a_pipe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    main_thread = threading.get_ident()
    waits = threading.Event()

    def press() -> None:
        waits.wait(30)
        time.sleep(0.5)  # a signal just before the call that waits is seen after it
        signal.pthread_kill(main_thread, signal.SIGINT)

    kind = Interrupt.at_once

    @contextlib.contextmanager
    def at_once(self: Interrupt) -> Iterator[None]:
        with kind(self):
            waits.set()
            yield

    monkeypatch.setattr(Interrupt, "at_once", at_once)
    pipe, ends = tmp_path / "x.wav", os.pipe()
    os.mkfifo(pipe)
    with os.fdopen(ends[0]) as reading, os.fdopen(ends[1], "w") as writing:
        monkeypatch.setattr(sys, "stdin", reading)
        # Without the mend this waits for ever: then the writer comes after a while.
        late = threading.Timer(60, lambda: (writing.close(), pipe.write_bytes(b"")))
        late.daemon = True
        late.start()
        presser = threading.Thread(target=press)
        presser.start()
        try:
            assert cli.main([str(pipe) if where == "fifo" else "-", *OFFLINE]) == 130
            assert late.is_alive()
        finally:
            waits.set()
            presser.join()
            late.cancel()


@pytest.mark.slow
def test_ctrl_c_while_modules_are_imported_is_quiet() -> None:
    # A recording that is there: without one the program ends before the signal reaches it.
    recording = str(EXAMPLES / "en_long.flac")
    command = [sys.executable, "-X", "importtime", "inference.py", recording, *OFFLINE]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any("numpy" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(60) == 130
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "jobs"),
    [(signal.SIGTERM, 143, "1"), (signal.SIGINT, 130, "4")],
    ids=["sigterm", "ctrl-c"],
)
def test_a_signal_ends_the_program_and_leaves_no_half_file(
    tmp_path: Path, number: int, status: int, jobs: str
) -> None:
    recordings = [tmp_path / f"{i}.flac" for i in range(40)]
    for recording in recordings:
        recording.symlink_to(EXAMPLES / "en_long.flac")
    written = tmp_path / "out"
    command = [sys.executable, "inference.py", *map(str, recordings), *OFFLINE]
    command += ["--format", "json", "--output-dir", str(written), "--jobs", jobs]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for_results(process, written, "*.json", 1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err.rstrip().endswith("interrupted")
    assert "Traceback" not in err
    texts = results(written)
    assert 0 < len(texts) < len(recordings)
    assert all(path.suffix == ".json" and text.endswith("}\n") for path, text in texts.items())


@pytest.mark.slow
def test_a_killed_run_goes_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recordings, out, count = tmp_path / "in", tmp_path / "out", 80
    expected = clips(recordings, count)
    command = [sys.executable, "inference.py", str(recordings), *OFFLINE]
    command += ["--output-dir", str(out), "--jobs", "4", "--quiet"]
    chance, written = random.Random(6), dict[str, int]()
    for kill_after in (chance.randint(1, 12), chance.randint(18, 30)):
        process = subprocess.Popen(command, cwd=ROOT)
        wait_for_results(process, out, "*.txt", kill_after)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        done = {entry.output for entry in entries(out) if entry.error is None}
        assert kill_after - 4 <= len(done) < count  # renamed, but not yet in the journal
        assert all(text == expected[path] for path, text in results(out, "*.txt").items())
        assert all((out / path).stat().st_mtime_ns == time for path, time in written.items())
        written = {path: (out / path).stat().st_mtime_ns for path in done}
    status, _ = run_into(capsys, out, recordings, "--jobs", "4")
    assert status == 0
    assert results(out) == expected
    assert set(times_done(out).values()) == {1}
    assert len(times_done(out)) == count
    for path, mtime in written.items():
        assert (out / path).stat().st_mtime_ns == mtime


def wait_for_results(process: subprocess.Popen[Any], out: Path, pattern: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(out.rglob(pattern))) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


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
