"""A run of fine-tuning: its curve, its checkpoints, its end, and going on with it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_checkpoint import PAIRS, make_manifest
from trained import curve, weights

from speech_translation.errors import ModelError, SpeechTranslationError
from training import trainer
from training.recipe import Recipe
from training.sft import fine_tune, main

BESIDE_THE_WEIGHTS = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def run(recipe: Recipe) -> Path:
    """The output of the uninterrupted run."""
    assert fine_tune(recipe) == recipe.output / "model"
    return recipe.output


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_loss_falls_and_its_curve_is_kept(run: Path) -> None:
    assert curve(run, "step") == list(range(1, 21))
    losses = curve(run, "loss")
    assert losses[-1] < 0.2 * losses[0]
    assert len(curve(run, "eval_loss")) == 3, "after 7 and 14 steps, and at the end"
    assert all(0 <= score <= 100 for score in curve(run, "eval_chrf"))
    assert len(curve(run, "eval_chrf")) == 3
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_every_checkpoint_loads_and_translates(run: Path, recipe: Recipe) -> None:
    from qwen_asr import Qwen3ASRModel

    names = sorted(path.name for path in run.iterdir() if path.is_dir())
    assert names == ["checkpoint-14", "checkpoint-20", "checkpoint-7", "model"]
    base = Path(recipe.model)
    for name in names:
        assert all(key.startswith("thinker.") for key in weights(run / name))
        for file in BESIDE_THE_WEIGHTS:
            assert (run / name / file).is_file()
            if file != "config.json":
                assert (run / name / file).read_bytes() == (base / file).read_bytes(), file
        config = json.loads((run / name / "config.json").read_text())
        assert config["architectures"] == ["Qwen3ASRForConditionalGeneration"]
    trained = Qwen3ASRModel.from_pretrained(str(run / "checkpoint-20"), max_new_tokens=30)
    tones = [str(recipe.train.parent / f"{number}-1.wav") for number in range(4)]
    languages = ["Japanese", "Japanese", "English", "English"]
    texts = [*PAIRS["ja"], *PAIRS["en"]]
    forced = trained.transcribe(tones, language=languages)
    automatic = trained.transcribe(tones)
    assert [result.language for result in automatic] == languages
    for result, text in zip([*forced, *automatic], texts * 2, strict=True):
        # qwen-asr stops at the end tokens of the full-size vocabulary only, so more text follows.
        assert result.text.startswith(text)


def test_the_best_by_evaluation_loss_is_the_result(run: Path) -> None:
    losses = dict(zip([7, 14, 20], curve(run, "eval_loss"), strict=True))
    best = min(losses, key=lambda step: losses[step])
    assert best != 20, "this evaluation set must get worse with training"
    assert same(weights(run / "model"), weights(run / f"checkpoint-{best}"))
    assert not same(weights(run / "model"), weights(run / "checkpoint-20"))


def test_a_run_killed_while_saving_resumes_to_the_same_end(run: Path, recipe: Recipe) -> None:
    """Killed while writing checkpoint 14; checkpoint 7 lies in the middle of the fourth epoch."""
    killed = recipe.output.with_name("killed")
    shutil.copytree(run / "checkpoint-7", killed / "checkpoint-7")
    shutil.copytree(run / "checkpoint-14", killed / "checkpoint-14")
    (killed / "checkpoint-14" / "trainer_state.json").write_text('{"epoch": 3')
    with (killed / "checkpoint-14" / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    again = replace(recipe, output=killed, resume=True)
    fine_tune(again)
    assert (killed / "loss.csv").read_bytes() == (run / "loss.csv").read_bytes()
    assert same(weights(killed / "checkpoint-20"), weights(run / "checkpoint-20"))
    assert same(weights(killed / "model"), weights(run / "model"))

    fine_tune(again)  # nothing is left to do
    assert (killed / "loss.csv").read_bytes() == (run / "loss.csv").read_bytes()
    assert same(weights(killed / "model"), weights(run / "model"))


def test_how_an_update_is_cut_makes_no_difference(run: Path, recipe: Recipe) -> None:
    """8 x 1 with gradient checkpointing and no evaluation, against 4 x 2."""
    whole = replace(
        recipe,
        output=recipe.output.with_name("whole"),
        eval=None,
        batch=8,
        gradient_checkpointing=True,
        checkpoints_kept=1,
    )
    final = fine_tune(whole)
    for column, tolerance in (("loss", 2e-3), ("grad_norm", 2e-2)):
        mine, theirs = curve(whole.output, column)[:3], curve(run, column)[:3]
        assert mine == pytest.approx(theirs, rel=tolerance)
    assert curve(whole.output, "eval_loss") == []
    assert [p.name for p in whole.output.glob("checkpoint-*")] == ["checkpoint-20"]
    assert same(weights(final), weights(whole.output / "checkpoint-20"))


def test_an_earlier_run_is_not_overwritten(
    run: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "loss.csv").read_bytes()
    assert main(["--train", str(recipe.train), "--output", str(run)]) == 1
    assert "already holds checkpoints: add --resume" in capsys.readouterr().err
    assert (run / "loss.csv").read_bytes() == before


def test_a_finished_model_says_what_made_it(run: Path, recipe: Recipe) -> None:
    made = json.loads((run / "model" / "recipe.json").read_text("utf-8"))
    assert made["options"]["learning_rate"] == recipe.learning_rate
    assert made["data"]["train"]["sha256"] == hashlib.sha256(recipe.train.read_bytes()).hexdigest()
    assert made["data"]["train"]["samples"] == {"into Japanese": 8, "into English": 8}
    assert made["versions"]["torch"] == torch.__version__
    assert made["reached"]["step of this model"] in (7, 14)
    card = (run / "model" / "README.md").read_text("utf-8")
    assert card.startswith("---\n")
    assert "| learning_rate | 0.005 |" in card
    assert "| train: train.jsonl | into Japanese | 8 |" in card


def test_another_recipe_is_not_resumed(run: Path, recipe: Recipe, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(run / "checkpoint-7", output / "checkpoint-7")
    shutil.copy(run / "recipe.json", output)
    train = tmp_path / "train.jsonl"
    train.write_text(recipe.train.read_text() + "\n")
    for name in sorted(recipe.train.parent.glob("*.wav")):
        shutil.copy(name, tmp_path)
    again = replace(recipe, output=output, resume=True)
    with pytest.raises(ModelError) as caught:
        fine_tune(replace(again, train=train, learning_rate=5e-6, seed=3))
    for words in (
        "learning_rate is 5e-06 and was 0.005",
        "seed is 3 and was 0",
        "--train has",
    ):
        assert words in str(caught.value)
    assert (output / "recipe.json").read_bytes() == (run / "recipe.json").read_bytes()


def test_all_options_of_the_data_work_together(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transcriptions, speed, noise and masks, and a curve for TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train = make_manifest(tmp_path / "train.jsonl", copies=2)
    rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        english = row["target_lang"] == "ja"
        row |= {"source_lang": "en", "transcript": "Yes."} if english else {"source_lang": "ja"}
    train.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    drawn = list[int]()  # all devices wait for a picture, so not each point gets one
    monkeypatch.setattr(trainer, "draw", lambda history, _: drawn.append(len(history)))
    varied = {"transcribe": 0.5, "speed": 0.1, "noise": 0.5, "masks": True}
    again = replace(recipe, train=train, output=tmp_path / "out", epochs=1, **varied)
    final = fine_tune(replace(again, report_to="tensorboard", update=4))
    assert curve(tmp_path / "out", "step") == [1.0, 2.0, 3.0], "8 translations, 4 transcriptions"
    assert len(drawn) == 2, "after the evaluations, at the last step and at the end"
    assert (final / "model.safetensors").is_file()
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert {"train/loss", "eval/loss", "eval/chrf"} <= set(events.Tags()["scalars"])


def test_the_passes_follow_the_number_of_devices(recipe: Recipe) -> None:
    card = Recipe(train=recipe.train, output=recipe.output)
    assert [card.passes(devices) for devices in (1, 2, 8)] == [8, 4, 1]
    with pytest.raises(SpeechTranslationError, match="64 samples a step are no whole number"):
        card.passes(3)


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys, training.sft\n"
        "try: training.sft.main(['--help'])\n"
        "except SystemExit: print(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--gradient-checkpointing" in done.stdout
    assert done.stdout.endswith("False\n")
