"""The command line with what was said: which model writes it down, and who may share a folder."""

import json
from pathlib import Path

import pytest
from clips import EXAMPLES, reference

from speech_translation import cli
from speech_translation.arguments import parse
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.journal import JOURNAL
from speech_translation.transcripts import ADVISED

CLIP = str(EXAMPLES / "ja_1.flac")
SAID = "10時から6時まで働きます。"
OFFLINE = ["--model", "phrasebook", "--device", "cpu"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = cli.main([*map(str, arguments), *OFFLINE])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(cli, "load_engine", load)
    monkeypatch.setattr(cli, "load_transcriber", load)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--show", "both"], f"{reference('ja_1')}\n{SAID}\n"),
        (["--show", "source"], f"{SAID}\n"),
        (["--transcript", "same"], f"{reference('ja_1')}\n{SAID}\n"),
        (["--show", "translation"], f"{reference('ja_1')}\n"),
        (["--transcript", "off"], f"{reference('ja_1')}\n"),
    ],
)
def test_what_is_printed(
    capsys: pytest.CaptureFixture[str], arguments: list[str], printed: str
) -> None:
    status, out, said = run(capsys, CLIP, *arguments)
    assert (status, out) == (0, printed)
    assert ("written down" in said) == (SAID in printed)


def test_another_model_writes_it_down(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the embedded checkpoint, which is a second engine."""
    (tmp_path / "second").symlink_to(PHRASEBOOK_FOLDER)
    monkeypatch.chdir(tmp_path)
    status, out, said = run(
        capsys, CLIP, "--transcript", "second", "--jobs", 2, "--output-dir", "."
    )
    assert (status, out) == (0, "")
    assert "written down by second on cpu" in said
    assert (tmp_path / "ja_1.txt").read_text("utf-8") == f"{reference('ja_1')}\n{SAID}\n"
    lines = map(json.loads, (tmp_path / JOURNAL).read_text("utf-8").splitlines())
    (settings,) = (line["settings"] for line in lines if "settings" in line)
    assert settings["show"] == "both"
    assert settings["transcript"] == str(tmp_path / "second")


def test_a_model_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, said = run(capsys, CLIP, "--transcript", "/nowhere")
    assert (status, out) == (1, "")
    assert "error:" in said
    assert "/nowhere" in said


@pytest.mark.usefixtures("no_model")
def test_a_wrong_path_needs_no_second_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "nowhere.wav", "--transcript", "anything")[0] == 1


def test_runs_with_other_texts_do_not_share_a_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    into = ["--output-dir", str(tmp_path), "--format", "srt"]
    assert run(capsys, CLIP, *into)[0] == 0
    status, _, said = run(capsys, CLIP, *into, "--show", "both")
    assert status == 1
    assert "results with show 'translation', and this run has show 'both'" in said
    (tmp_path / JOURNAL).unlink()
    (tmp_path / "ja_1.srt").unlink()
    assert run(capsys, CLIP, *into, "--show", "both")[0] == 0
    status, _, said = run(capsys, CLIP, *into, "--show", "both", "--transcript", "/elsewhere")
    assert status == 1
    assert "this run has transcript '/elsewhere'" in said
    status, _, said = run(capsys, CLIP, *into, "--show", "both")
    assert status == 0
    assert (tmp_path / "ja_1.srt").read_text("utf-8").count("\n") == 4


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--show", "both", "--transcript", "off"], "contradict each other"),
        (["--show", "translation", "--transcript", "same"], "contradict each other"),
        (["--show", "both", "--engine-url", "http://127.0.0.1:9/v1"], "needs --transcript"),
        (["--show", "everything"], "invalid choice"),
        (["--transcript", ""], "the name is empty"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([CLIP, *arguments])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


def test_a_model_that_was_not_tried_leaves_it_to_one_that_was_trained_for_it() -> None:
    assert parse([CLIP, "--show", "both"]).transcript == ADVISED
    assert parse([CLIP]).transcript == "off"
