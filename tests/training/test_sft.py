from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import PAIRS, make_manifest, make_tiny_checkpoint, write_tone

from speech_translation.errors import (
    AudioError,
    EngineError,
    ModelError,
    SpeechTranslationError,
)
from speech_translation.manifest import ManifestError, Sample, read_manifest
from speech_translation.types import Language
from training import trainer
from training.batches import IGNORE, Collator
from training.model import load_base, prepare, token_loss
from training.recipe import Recipe
from training.sft import fine_tune, main
from training.validation import loss_sum

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
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """20 updates over 10 epochs. The evaluation set has texts that training makes less likely."""
    folder = tmp_path_factory.mktemp("sft")
    train = make_manifest(folder / "train.jsonl", copies=4)
    rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    other = {"ja": "漢字漢字漢字漢字", "en": "zqzqzqzqzqzq"}
    held_out = folder / "eval.jsonl"
    held_out.write_text(
        "\n".join(json.dumps({**row, "text": other[row["target_lang"]]}) for row in rows[::2])
    )
    base = make_tiny_checkpoint(folder / "base")
    # transformers reads such a file and refuses to write it: a temperature without sampling.
    settings = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps({**settings, "temperature": 1e-6}))
    return Recipe(
        train=train,
        eval=held_out,
        output=folder / "run",
        model=str(base),
        epochs=10,
        learning_rate=5e-3,
        batch=4,
        update=8,
        evaluate_every=7,
        checkpoints_kept=9,
        log_every=1,
        workers=0,
    )


@pytest.fixture(scope="module")
def run(recipe: Recipe) -> Path:
    """The output of the uninterrupted run."""
    assert fine_tune(recipe) == recipe.output / "model"
    return recipe.output


def curve(output: Path, column: str) -> list[float]:
    with (output / "loss.csv").open(encoding="utf-8") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row[column]]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


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


def test_token_loss_weighs_tokens_not_batches() -> None:
    logits, learned = torch.randn(4, 7), torch.tensor([2, 3, 4, 1])
    expected = -sum(logits[i].log_softmax(-1)[learned[i]] for i in range(4)) / 4
    assert token_loss(logits, learned) == pytest.approx(expected)
    parts = (slice(0, 3), slice(3, 4))
    assert sum(token_loss(logits[x], learned[x], 4) for x in parts) == pytest.approx(expected)


def test_training_sees_what_inference_computes(recipe: Recipe, tmp_path: Path) -> None:
    """The loss by hand from qwen-asr's own forward; the encoder's window matters above 8 s."""
    model, processor = load_base(recipe.model)
    time = np.arange(12 * 16_000) / 16_000
    sweep = 0.05 * time * np.sin(2 * np.pi * 150 * time**2)  # each window hears something else
    sf.write(tmp_path / "a.wav", sweep, 16_000)
    sample = Sample(tmp_path / "a.wav", "おはようございます。", Language.JAPANESE)
    batch = Collator(processor)([sample])
    losses = []
    for windowed in (True, False):
        prepare(model, windowed)
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logprobs = model.thinker(**inputs).logits[0].log_softmax(-1)
        learned = (batch["labels"][0] != IGNORE).nonzero()[:, 0]
        expected = -logprobs[learned - 1, batch["labels"][0, learned]].mean()
        losses.append(model(**batch)["loss"].item())
        assert losses[-1] == pytest.approx(expected.item(), rel=1e-5)
    assert losses[0] != pytest.approx(losses[1], rel=1e-5)


def test_an_earlier_run_is_not_overwritten(
    run: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "loss.csv").read_bytes()
    assert main(["--train", str(recipe.train), "--output", str(run)]) == 1
    assert "already holds checkpoints: add --resume" in capsys.readouterr().err
    assert (run / "loss.csv").read_bytes() == before


def test_faults_are_told_in_a_sentence(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot read this manifest"):
        fine_tune(replace(recipe, train=tmp_path / "none.jsonl", output=tmp_path / "out"))
    with pytest.raises(ModelError, match=r"holds no checkpoint \(no config\.json\)"):
        load_base(str(tmp_path))
    broken = tmp_path / "broken"
    shutil.copytree(recipe.model, broken)
    with (broken / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ModelError, match="cannot load this model"):
        load_base(str(broken))
    shutil.copy(Path(recipe.model) / "model.safetensors", broken)
    whole = load_file(broken / "model.safetensors")
    del whole["thinker.model.norm.weight"]
    save_file(whole, broken / "model.safetensors")
    with pytest.raises(ModelError, match=r"the weight thinker\.model\.norm\.weight is missing"):
        load_base(str(broken))


def test_training_is_in_float32_whatever_a_part_states(recipe: Recipe, tmp_path: Path) -> None:
    base = Path(shutil.copytree(recipe.model, tmp_path / "nested"))
    config = json.loads((base / "config.json").read_text())
    config["thinker_config"]["text_config"]["dtype"] = "bfloat16"
    (base / "config.json").write_text(json.dumps(config))
    model, _ = load_base(str(base))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_too_little_memory_is_said_before_training(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (Path(recipe.model) / "model.safetensors").stat().st_size  # 4 bytes a parameter
    again = replace(recipe, output=tmp_path / "out", eval=None, epochs=1)
    monkeypatch.setattr("training.memory.free_bytes", lambda _: size * 3)
    with pytest.raises(
        EngineError,
        match=r"0\.00 billion frozen.* has 0\.0 GB free: add --lora 16, use a GPU with more",
    ):
        fine_tune(again)
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr("training.memory.free_bytes", lambda _: size * 4)
    assert fine_tune(again).is_dir()


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")],
    ids=str,
)
def test_out_of_memory_while_training_is_said(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("training.model.token_loss", fail)
    with pytest.raises(EngineError, match="The device ran out of memory"):
        fine_tune(replace(recipe, output=tmp_path / "out", eval=None))


def test_a_recording_that_breaks_off_is_named(recipe: Recipe, tmp_path: Path) -> None:
    train = make_manifest(tmp_path / "train.jsonl", copies=1)
    rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    train.write_text("\n".join(json.dumps({**row, "duration": 1.0}) for row in rows))
    (tmp_path / "2-0.wav").write_bytes(b"no audio at all")
    for workers in (0, 1):  # one of four is more than one of a thousand
        with pytest.raises(AudioError) as caught:
            fine_tune(
                replace(recipe, train=train, eval=None, output=tmp_path / "out", workers=workers)
            )
        assert str(caught.value).startswith("2-0.wav")


def test_a_few_broken_recordings_are_replaced_and_counted(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = make_manifest(tmp_path / "train.jsonl", copies=1)
    rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({**row, "duration": 1.0}) for row in rows] * 250
    train.write_text("\n".join([*lines, *lines[:16]]))
    (tmp_path / "2-0.wav").unlink()
    (tmp_path / "2-0.wav").write_bytes(b"no audio at all")
    collator = Collator(load_base(recipe.model)[1])
    samples = list(read_manifest(train))[:4]
    batch = collator(samples)
    assert batch["input_ids"].shape[0] == 4
    assert [fault.split()[0] for fault in batch["unreadable"]] == ["2-0.wav"]
    assert collator(samples[2:3])["labels"].shape[0] == 1, "one of an earlier batch stands in"
    run = replace(
        recipe, train=train, eval=None, output=tmp_path / "out", epochs=0.01, batch=8, chrf_clips=0
    )
    final = fine_tune(run)
    assert capsys.readouterr().out.count("replaced by another one: 2-0.wav") == 1
    reached = json.loads((final / "recipe.json").read_text("utf-8"))["reached"]
    assert reached["recordings that could not be read"] == 1


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


def test_evaluation_loss_does_not_depend_on_the_batch(recipe: Recipe) -> None:
    model, processor = load_base(recipe.model)
    prepare(model, True)
    model.eval()
    collator = Collator(processor)
    samples = list(read_manifest(recipe.train))[:8]
    found = []
    for size in (1, 2, 3, 8):
        parts = [samples[i : i + size] for i in range(0, 8, size)]
        sums = [loss_sum(model, collator(part)) for part in parts]
        found.append(sum(loss for loss, _ in sums) / sum(tokens for _, tokens in sums))
    assert found == pytest.approx([found[0]] * 4, rel=1e-5)


def test_the_encoder_runs_once_for_a_batch(recipe: Recipe, tmp_path: Path) -> None:
    losses, passes = [], []
    tones = [write_tone(tmp_path / f"{s}.wav", 300, s) for s in (1.0, 1.3, 2.05, 9.5)]
    samples = [Sample(tone, "はい。", Language.JAPANESE) for tone in tones]
    for together in (True, False):
        model, processor = load_base(recipe.model)
        prepare(model, True)
        if not together:
            del model.thinker.get_audio_features  # qwen-asr's own, clip by clip
        seen = passes.append
        model.thinker.audio_tower.register_forward_hook(lambda *_, seen=seen: seen(1))
        batch = Collator(processor)(samples)
        before = len(passes)
        losses.append(loss_sum(model, batch)[0])
        assert len(passes) - before == (1 if together else 4)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


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


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--train", "a", "--output", "b", "--epochs", "0"],
        ["--train", "a", "--output", "b", "--batch-size", "1.5"],
        ["--train", "a", "--output", "b", "--warmup", "2"],
        ["--train", "a", "--output", "b", "--workers", "-1"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys, training.sft\n"
        "try: training.sft.main(['--help'])\n"
        "except SystemExit: print(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--gradient-checkpointing" in done.stdout
    assert done.stdout.endswith("False\n")
