"""What training computes: what inference does, however samples lie in batches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from tiny_checkpoint import write_tone

from speech_translation.manifest import Sample, read_manifest
from speech_translation.types import Language
from training.batches import IGNORE, Collator
from training.model import load_base, prepare, token_loss
from training.recipe import Recipe
from training.validation import loss_sum

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


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


def test_training_is_in_float32_whatever_a_part_states(recipe: Recipe, tmp_path: Path) -> None:
    base = Path(shutil.copytree(recipe.model, tmp_path / "nested"))
    config = json.loads((base / "config.json").read_text())
    config["thinker_config"]["text_config"]["dtype"] = "bfloat16"
    (base / "config.json").write_text(json.dumps(config))
    model, _ = load_base(str(base))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


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
