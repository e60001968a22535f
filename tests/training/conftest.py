"""The recipe that most of these tests train with."""

from __future__ import annotations

import json

import pytest
from tiny_checkpoint import make_manifest, make_tiny_checkpoint

from training.recipe import Recipe


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
