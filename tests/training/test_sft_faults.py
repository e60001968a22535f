"""Faults before and while a model is trained: data, memory, usage."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import make_manifest

from speech_translation.errors import AudioError, EngineError, ModelError
from speech_translation.manifest import ManifestError, read_manifest
from training.batches import Collator
from training.model import load_base
from training.recipe import Recipe
from training.sft import fine_tune, main

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


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
