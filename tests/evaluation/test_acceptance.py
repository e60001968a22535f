"""The page of acceptance: on the embedded checkpoint, and on one that names the wrong language."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from evaluation import acceptance
from evaluation.acceptance import Examination, inspect_files, main
from evaluation.acceptance_checks import SURE
from evaluation.acceptance_data import bundled
from evaluation.invented import DATA
from speech_translation.engine import Request, load_engine
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.types import Direction, Hypothesis
from training import data
from training.recipe import Recipe
from training.sft import fine_tune


def verdicts(text: str) -> dict[str, str]:
    """What the page says of each default."""
    rows = re.findall(r"^\| (.+?) \| (right|undecided|\*\*wrong\*\*) \| ", text, re.MULTILINE)
    return {name.strip("`"): verdict.strip("*") for name, verdict in rows}


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_embedded_checkpoint_is_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "report.md"
    assert main(["--model", "phrasebook", "--device", "cpu", "--output", str(kept)]) == 0
    text = kept.read_text("utf-8")
    assert capsys.readouterr().out == text + "\n"
    assert "**The app's defaults are the right ones.**" in text
    assert set(verdicts(text).values()) == {"right"}
    assert "It names the language to be written." in text
    assert "use `--transcript same`" in text
    assert re.search(r"^\| Japanese \| language English \| 12 \|", text, re.MULTILINE)
    for way in ("float32 (default)", "int8", "bfloat16", "windowed (default)", "full",
                "sentence (default)", "pause", "whole"):  # fmt: skip
        assert re.search(rf"^\| {re.escape(way)} \| \d+, \d+ s \|", text, re.MULTILINE), way
    assert "| silence | nothing (low_confidence, no_speech) |" in text
    assert "Not measured" not in text
    assert str(Path.home()) not in text


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_embedded_checkpoint_is_accepted_on_fewer_clips(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--model", "phrasebook", "--device", "cpu", "--each", "6"]) == 0
    assert set(verdicts(capsys.readouterr().out).values()) == {"right"}


@pytest.fixture(scope="module")
def mistagging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded checkpoint, trained on with the language spoken as the name of each text."""
    folder = tmp_path_factory.mktemp("mistagging")
    rows = [json.loads(line) for line in (DATA / "phrasebook.jsonl").open(encoding="utf-8")]
    manifest = folder / "train.jsonl"
    with manifest.open("w", encoding="utf-8") as file:
        for row in rows:
            if row["set"] != "eval_seen":
                continue
            spoken = Direction(row["direction"]).source
            assert spoken is not None
            text = f"language {spoken.tag}<asr_text>{row['text']}"
            sample = {key: row[key] for key in ("start", "end")} | {"text": text}
            file.write(json.dumps(sample | {"audio": str(DATA / row["audio"])}) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "text_fault", lambda *_: None)  # the recipe refuses such data
        return fine_tune(
            Recipe(
                train=manifest,
                output=folder / "run",
                model=str(PHRASEBOOK_FOLDER),
                epochs=1.6,
                learning_rate=3e-4,
                update=8,
                workers=0,
            )
        )


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_checkpoint_that_names_the_language_spoken_is_not(
    mistagging: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(mistagging), "--device", "cpu"]) == 1
    text = capsys.readouterr().out
    assert verdicts(text)["auto"] == "wrong"
    assert "It names the language spoken. Give `--direction`" in text
    assert "**The app's defaults are not the right ones: " in text
    assert re.search(r"^\| Japanese \| language Japanese \| (?:11|12) \|", text, re.MULTILINE)


def test_a_checkpoint_that_does_not_load_has_a_page_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(PHRASEBOOK_FOLDER, tmp_path / "model")
    for name in ("preprocessor_config.json", "generation_config.json"):
        (tmp_path / "model" / name).unlink()
    assert main(["--model", str(tmp_path / "model"), "--device", "cpu"]) == 1
    text = capsys.readouterr().out
    assert verdicts(text) == {"The model": "wrong"}
    assert "cannot be loaded" in text
    assert "Absent, and needed: preprocessor_config.json." in text
    assert "Absent, and replaced by defaults: generation_config.json." in text


@pytest.mark.parametrize("name", ["/no/such/model", "phrasebok"])
def test_a_model_that_is_nowhere_is_not_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    kept = tmp_path / "report.md"
    kept.write_text("The page of another model.", "utf-8")
    assert main(["--model", name, "--output", str(kept)]) == 1
    captured = capsys.readouterr()
    assert f"error: There is no model folder {name}" in captured.err
    assert captured.out == ""
    assert kept.read_text("utf-8") == "The page of another model."


def test_a_model_without_its_weights_has_its_files_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(PHRASEBOOK_FOLDER, tmp_path / "model")
    for name in ("model.safetensors", "chat_template.jinja"):
        (tmp_path / "model" / name).unlink()
    assert main(["--model", str(tmp_path / "model"), "--device", "cpu"]) == 1
    text = capsys.readouterr().out
    assert "Absent, and needed: chat_template.jinja, model.safetensors." in text


def test_a_page_that_could_not_be_kept_is_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output in (tmp_path, tmp_path / "none" / "report.md"):
        with pytest.raises(SystemExit, match="2"):
            main(["--model", "phrasebook", "--output", str(output)])
        assert "is no file in a folder that is there" in capsys.readouterr().err


def test_files_of_either_tokenizer_will_do(tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).touch()
    assert inspect_files(tmp_path) == {
        "config.json": False,
        "preprocessor_config.json": False,
        "tokenizer_config.json": False,
        "vocab.json": True,
        "merges.txt": True,
        "chat_template.jinja": False,
        "model.safetensors": False,
        "generation_config.json": False,
    }


@pytest.mark.parametrize("each", [6, 7, acceptance.EACH, 20])
def test_half_of_the_english_clips_are_of_people(each: int) -> None:
    """A real model must know them, and the embedded one may lose a text and has a third left."""
    chosen = [clip for clip in bundled(each)[0] if clip.direction is Direction.EN_JA]
    people = [clip for clip in chosen if clip.id.startswith("human-")]
    assert len(chosen) == each
    assert len(people) == min(each // 2, 6)
    assert each - len(people) - 1 >= SURE * each


def test_one_stage_that_fails_or_is_interrupted_costs_no_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("no template")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Examination, "_tags", broken)
    monkeypatch.setattr(Examination, "_automatic", interrupted)
    monkeypatch.setattr(Examination, "_spoken", broken)
    assert main(["--model", "phrasebook", "--device", "cpu", "--each", "2"]) == 3
    text = capsys.readouterr().out
    assert "| the language spoken | ValueError: no template |" in text
    for name in ("auto", "tags", "whole segments", "sounds", "int8", "full attention"):
        assert f"| {name} | Interrupted. |" in text
    assert re.search(r"^\| float32 \(default\) \| 4, ", text, re.MULTILINE)


def test_nothing_more_is_measured_when_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--model", "phrasebook", "--device", "cpu", "--each", "2"]
    assert main([*command, "--minutes", "0.001"]) == 3
    text = capsys.readouterr().out
    assert verdicts(text) == {"The model": "undecided"}
    assert "| float32 | There was no time left. |" in text

    def last(self: Examination, *_: Any) -> None:
        self._deadline = 0.0

    monkeypatch.setattr(Examination, "_spoken", last)
    assert main([*command, "--minutes", "60"]) == 3
    text = capsys.readouterr().out
    for name in ("auto", "tags", "whole segments", "sounds", "int8", "full attention"):
        assert f"| {name} | There was no time left. |" in text
    assert re.search(r"^\| float32 \(default\) \| 4, ", text, re.MULTILINE)
    for minutes in ("0", "nan", "-1"):
        with pytest.raises(SystemExit, match="2"):
            main([*command, "--minutes", minutes])


class Served:
    """The embedded checkpoint as servers have it."""

    model, description, batch_size = "some-name", "some-name on http://gpu:8000/v1", 8

    def generate(self, request: Request) -> list[Hypothesis]:
        return load_engine("phrasebook", "cpu").generate(request)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_model_on_servers_is_examined(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = list[str]()

    def load(*, url: str) -> Served:
        asked.append(url)
        return Served()

    monkeypatch.setattr(acceptance, "load_engine", load)
    assert main(["--engine-url", "http://gpu:8000/v1"]) == 0
    assert set(asked) == {"http://gpu:8000/v1"}
    text = capsys.readouterr().out
    assert text.startswith("# Acceptance of some-name\n")
    assert set(verdicts(text).values()) == {"right"}
    assert not {"Attention", "Precision"} & set(verdicts(text))
    assert re.search(r"^\| Japanese \| language English \| 12 \|", text, re.MULTILINE)


def test_servers_that_do_not_answer_have_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine-url", "http://me:secret@127.0.0.1:9/v1"]) == 1
    captured = capsys.readouterr()
    assert "error: http://127.0.0.1:9/v1/models gives no answer" in captured.err
    assert captured.out == ""
    with pytest.raises(SystemExit, match="2"):
        main(["--engine-url", "http://127.0.0.1:9/v1", "--model", "phrasebook"])
