from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoint import make_manifest, make_tiny_checkpoint
from trained import curve, weights

from speech_translation.engine import Request, load_engine
from speech_translation.errors import SpeechTranslationError
from speech_translation.manifest import read_manifest
from speech_translation.types import Direction
from training.batches import Collator
from training.memory import TrainingState
from training.model import load_base, prepare
from training.parts import choose_parts, merged
from training.recipe import Recipe
from training.sft import fine_tune
from training.validation import loss_sum

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("parts")
    train = make_manifest(folder / "train.jsonl", copies=4)
    return Recipe(
        train=train,
        eval=train,
        chrf_clips=2,
        output=folder / "run",
        model=str(make_tiny_checkpoint(folder / "base")),
        epochs=10,
        learning_rate=2e-2,
        batch=8,
        update=8,
        evaluate_every=7,
        checkpoints_kept=9,
        log_every=1,
        workers=0,
        lora=16,
    )


@pytest.fixture(scope="module")
def run(recipe: Recipe) -> Path:
    """The output of 20 steps with adapters."""
    fine_tune(recipe)
    return recipe.output


def test_adapters_lower_the_loss_and_leave_an_ordinary_model(run: Path, recipe: Recipe) -> None:
    losses = curve(run, "loss")
    assert losses[-1] < 0.5 * losses[0]
    old, new = weights(recipe.model), weights(run / "model")
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    products = {name for name in old if ".layers." in name and name.endswith(".weight")}
    assert changed == {name for name in products if "norm" not in name}
    engine = load_engine(str(run / "model"), "cpu")
    assert len(engine.generate(Request([np.zeros(16_000, np.float32)], Direction.EN_JA))) == 1


def test_merging_is_exact(recipe: Recipe) -> None:
    model, processor = load_base(recipe.model)
    prepare(model, True)
    model = choose_parts(model, None, 4, torch.float32)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, when an adapter changes nothing
            parameter.data.normal_(std=0.05)
    batch = Collator(processor)(list(read_manifest(recipe.train))[:4])
    model.eval()
    with model.disable_adapter():
        without = loss_sum(model, batch)
    apart, whole = loss_sum(model, batch), loss_sum(merged(model), batch)
    assert apart[0] != pytest.approx(without[0], rel=1e-3)
    assert whole[0] == pytest.approx(apart[0], rel=1e-5)


def test_a_run_with_adapters_resumes_to_the_same_end(run: Path, recipe: Recipe) -> None:
    killed = recipe.output.with_name("killed")
    shutil.copytree(run / "checkpoint-14", killed / "checkpoint-14")
    shutil.copy(run / "recipe.json", killed)
    assert not (killed / "checkpoint-14" / "model.safetensors").exists(), "adapters alone are kept"
    # With less memory too, in which gradients of adapters between frozen layers are lost easily.
    again = replace(recipe, output=killed, resume=True, gradient_checkpointing=True)
    final = fine_tune(again)
    assert (killed / "loss.csv").read_bytes() == (run / "loss.csv").read_bytes()
    ours, theirs = weights(final), weights(run / "model")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("frozen", "stays"), [("encoder", "thinker.audio_tower."), ("decoder", "thinker.model.")]
)
def test_a_frozen_part_stays_as_it_is(
    recipe: Recipe, tmp_path: Path, frozen: str, stays: str
) -> None:
    final = fine_tune(
        replace(recipe, output=tmp_path, lora=None, freeze=frozen, epochs=1, learning_rate=1e-3)
    )
    old, new = weights(recipe.model), weights(final)
    for name in old:
        assert torch.equal(old[name], new[name]) == name.startswith(stays), name


@pytest.mark.parametrize(("freeze", "lora"), [(None, None), ("encoder", None), (None, 4)])
def test_the_calculated_memory_is_what_a_step_leaves(
    recipe: Recipe, freeze: str | None, lora: int | None
) -> None:
    """Bytes of weights, gradients and moments after a step, against `TrainingState`."""
    model, processor = load_base(recipe.model)
    prepare(model, True)
    model = choose_parts(model, freeze, lora, torch.bfloat16)
    optimizer = torch.optim.AdamW([x for x in model.parameters() if x.requires_grad])
    batch = Collator(processor)(list(read_manifest(recipe.train))[:2])
    del batch["unreadable"]
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch)["loss"]
    loss.backward()
    optimizer.step()
    held = [tensor for x in model.parameters() for tensor in (x, x.grad) if tensor is not None]
    held += [x for state in optimizer.state.values() for x in state.values() if x.dim()]
    found = sum(tensor.numel() * tensor.element_size() for tensor in held)
    assert found == TrainingState.of(model, 2).bytes


def test_options_that_do_not_go_together_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    shards = replace(recipe, output=tmp_path, shard=True)
    for refused, words in (
        (shards, "--shard goes with neither --lora nor --optimizer"),
        (replace(shards, lora=None), "start it with torchrun"),
    ):
        with pytest.raises(SpeechTranslationError, match=words):
            fine_tune(refused)


@pytest.mark.parametrize(
    ("option", "value", "package"),
    [
        ("optimizer", "adamw8bit", "bitsandbytes"),
        ("attention", "flash_attention_2", "flash-attn"),
    ],
)
def test_a_package_that_is_missing_is_named(
    recipe: Recipe, tmp_path: Path, option: str, value: str, package: str
) -> None:
    with pytest.raises(SpeechTranslationError, match=f"No {package}: run pip install {package}"):
        fine_tune(replace(recipe, output=tmp_path, **{option: value}))
