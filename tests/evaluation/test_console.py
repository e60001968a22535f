"""How the programs of the benchmark are named in documents, and how they end."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from evaluation import live, report, run, segmentation, system_speed
from evaluation.console import counted, shown_command


def test_a_shown_command_names_no_folder_of_this_machine() -> None:
    command = ["--people", "/home/me/speech", "--output", "a.json", "--system", "whisper-base"]
    assert shown_command("evaluation.segmentation", command) == (
        "python -m evaluation.segmentation --people FOLDER --system whisper-base"
    )
    command = ["--translator-url", "http://me:se@cret@host/v1", "--translator", "x"]
    assert shown_command("evaluation.run", command) == (
        "python -m evaluation.run --translator-url http://host/v1 --translator x"
    )


def test_a_long_work_says_how_far_it_is_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for item in counted(range(100), "clips"):
        now += 1.0
        assert item < 100
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1] for line in said] == ["30 clips", "60 clips", "90 clips"]
    assert list(counted(range(3), "clips")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_an_output_that_cannot_be_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hypotheses = report.RESULTS / "phrasebook.jsonl"
    nowhere = tmp_path / "nowhere" / "scores.json"
    assert run.main(["score", str(hypotheses), "--output", str(nowhere)]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said == [f"error: {nowhere}: No such file or directory. Name another path."]


MADE = ["generate", "--system", "phrasebook", "--output", "never.jsonl"]


@pytest.mark.parametrize(
    ("program", "options"),
    [
        (run.main, [*MADE, "--limit", "0"]),
        (run.main, [*MADE, "--batch-size", "-1"]),
        (run.main, [*MADE, "--ratio", "nan"]),
        (run.main, [*MADE, "--ratio", "inf"]),
        (system_speed.main, [*MADE[1:], "--clips", "0"]),
        (live.main, ["--limit", "0"]),
        (segmentation.main, ["--each", "0"]),
    ],
)
def test_a_number_out_of_range_is_wrong_usage(
    program: Callable[[Sequence[str]], int],
    options: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        program(options)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {options[-2]}: {options[-1]!r} is not " in said


def test_a_report_without_scores_compares_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        report.main(["--speed", "a.speed.json"])
    assert ended.value.code == 2
    assert "go with --scores" in capsys.readouterr().err
