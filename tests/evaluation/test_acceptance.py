"""The page of acceptance: on the embedded checkpoint, and on one that names the wrong language."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.acceptance import inspect_files, main
from evaluation.acceptance_page import Check, Findings, Outputs, checks, chrf, page
from evaluation.invented import DATA
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.manifest import Sample
from speech_translation.types import Direction, Hypothesis, Language
from training import data
from training.sft import Recipe, fine_tune

ENGLISH = Sample(Path(), "駅はどこですか？", Language.JAPANESE, Language.ENGLISH, "Where is it?")
JAPANESE = Sample(Path(), "My mother cooks.", Language.ENGLISH, Language.JAPANESE, "母は作ります。")


def verdicts(text: str) -> dict[str, str]:
    """What the page says of each default."""
    rows = re.findall(r"^\| (.+?) \| (right|\*\*wrong\*\*) \| ", text, re.MULTILINE)
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
    assert "| EN->JA | nothing | Japanese 6, neither 5 | 0 | 6 | 5 |" in text
    assert "| JA->EN | nothing | English 5 | 5 | 0 | 0 |" in text
    for way in ("windowed (default)", "full", "sentence (default)", "pause", "whole",
                "float32 (default)", "int8", "bfloat16"):  # fmt: skip
        assert re.search(
            rf"^\| {re.escape(way)} \| \d+, \d+ s \| \d+ of \d+ \|", text, re.MULTILINE
        )
    assert "| silence | nothing (low_confidence, no_speech) |" in text


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
        patch.setattr(data, "_text_fault", lambda *_: None)  # the recipe refuses such data
        return fine_tune(
            Recipe(
                train=manifest,
                output=folder / "run",
                model=str(PHRASEBOOK_FOLDER),
                epochs=0.8,
                learning_rate=3e-4,
                accumulate=1,
                workers=0,
            )
        )


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_checkpoint_that_names_the_language_spoken_is_not(
    mistagging: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(mistagging), "--device", "cpu", "--each", "2"]) == 1
    text = capsys.readouterr().out
    assert verdicts(text)["auto"] == "wrong"
    assert "It names the language spoken: begin with `SPEECH_DIRECTION=en2ja`" in text
    assert "**The app's defaults are not the right ones: " in text
    # What it writes is a translation, whatever it names.
    assert re.search(r"^\| JA->EN \| nothing \| Japanese 3 \| 3 \| 0 \| 0 \|", text, re.MULTILINE)


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


def test_a_model_that_is_nowhere_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "/no/such/model"]) == 1
    assert "There is no model folder /no/such/model" in capsys.readouterr().out


def test_files_of_either_tokenizer_will_do(tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).touch()
    assert inspect_files(tmp_path) == {
        "config.json": False,
        "preprocessor_config.json": False,
        "tokenizer_config.json": False,
        "vocab.json": True,
        "merges.txt": True,
        "model.safetensors": False,
        "generation_config.json": False,
    }


def findings() -> Findings:
    """A checkpoint without any fault, on one clip of each direction."""
    clips = [ENGLISH, JAPANESE]
    right = Outputs([clip.text for clip in clips], audio=4, seconds=2, tokens=20)
    said = [Hypothesis(clip.text, clip.direction) for clip in clips]
    return Findings(
        "some/model",
        engine="some/model on cpu in float32",
        precision="float32",
        clips=clips,
        beyond=clips,
        long=clips,
        forced=right,
        named=said,
        spoken=said,
        attention={"windowed": right, "full": right},
        segments={"sentence": right, "pause": right, "whole": right},
        precisions={"float32": right, "int8": "There is no int8 here."},
    )


def wrong(found: Findings) -> list[str]:
    return [check.name for check in checks(found) if not check.right]


def test_nothing_is_wrong_with_a_right_checkpoint() -> None:
    assert wrong(findings()) == []


BAD = Outputs(["駅です。", "Mother."], audio=4, seconds=2, tokens=20)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"forced": Outputs(["Where is it?", JAPANESE.text])}, ["`en2ja`"]),
        ({"forced": Outputs([ENGLISH.text, ""])}, ["`ja2en`"]),
        ({"named": [Hypothesis("", Direction.AUTO)] * 2}, ["`auto`"]),
        ({"named": [Hypothesis("", Direction.EN_JA)] * 2}, ["`auto`"]),
        ({"attention": {"windowed": BAD, "full": findings().forced}}, ["Attention"]),
        ({"attention": {"windowed": findings().forced, "full": BAD}}, []),
        ({"segments": {"sentence": BAD, "whole": findings().forced}}, ["Segments"]),
        ({"precisions": {"float32": BAD, "int8": findings().forced}}, ["Precision"]),
    ],
)
def test_each_default_has_its_fault(change: dict[str, object], expected: list[str]) -> None:
    assert wrong(replace(findings(), **change)) == expected


def test_chrf_is_the_mean_of_both_directions() -> None:
    clips = [ENGLISH, JAPANESE, JAPANESE]
    assert chrf([clip.text for clip in clips], clips) == 100
    assert chrf([ENGLISH.text, "", ""], clips) == 50


def test_what_the_model_writes_does_not_format_the_page() -> None:
    clip = replace(ENGLISH, audio=DATA / "human_en_2.flac")
    said = Outputs(["| a <b> *c*"], audio=4, seconds=2, tokens=20)
    found = replace(
        findings(),
        clips=[clip],
        forced=said,
        named=[Hypothesis("", Direction.AUTO)],
        spoken=[Hypothesis("", Direction.AUTO)],
        beyond=[clip],
        attention={"windowed": said},
        long=[clip],
        segments={"sentence": said},
        precisions={"float32": said},
    )
    text = page(found, [Check("all", True, "")])
    assert r"| \| a \<b\> \*c\* |" in text
