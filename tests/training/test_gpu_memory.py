from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from qwen_asr.core.transformers_backend import Qwen3ASRForConditionalGeneration

from evaluation.performance.full_size import full_config
from speech_translation.errors import EngineError
from training.memory import TrainingState
from training.parts import choose_parts
from training.recipe import read_options

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "training.md"


@pytest.mark.parametrize(
    ("state", "gigabytes"),
    [
        (TrainingState(2_000_000_000, 0, 2), 32.0),
        (TrainingState(2_000_000_000, 0, 2, "adamw8bit", embedded=256_000_000), 21.5905),
        (TrainingState(20_000_000, 2_000_000_000, 2), 4.32),
        (TrainingState(1_700_000_000, 300_000_000, 2), 27.8),
        (TrainingState(2_000_000_000, 0, 4, shards=8), 4.0),
    ],
)
def test_what_a_setting_takes(state: TrainingState, gigabytes: float) -> None:
    assert state.bytes / 1e9 == pytest.approx(gigabytes)


def rows() -> list[list[str]]:
    """The cells of the document's table of settings."""
    table = DOCUMENT.read_text("utf-8").split("### Less memory\n\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


@pytest.mark.slow
@pytest.mark.parametrize("cells", rows(), ids=lambda cells: cells[0])
def test_the_document_has_what_the_program_calculates(cells: list[str]) -> None:
    """The options of each row, chosen on a model of the full size without its values."""
    _, options, gigabytes, trained = cells
    devices = re.search(r"torchrun --nproc-per-node (\d+)", options)
    words = re.findall(r"`(--[^`]+)`", options)
    asked = " ".join(["--train t --output o", *words]).split()
    recipe = read_options(asked)
    with torch.device("meta"):
        model = Qwen3ASRForConditionalGeneration(full_config())
    model = choose_parts(model, recipe.freeze, recipe.lora, torch.bfloat16)
    state = TrainingState.of(model, 2, recipe.optimizer, int(devices[1]) if devices else 1)
    assert recipe.shard == (devices is not None)
    assert gigabytes == f"{state.bytes / 1e9:.1f} GB"
    number = f"{state.trained / 1e6:.3g} million"
    assert trained == (number if state.trained < 1e8 else f"{state.trained / 1e9:.2f} billion")


@pytest.mark.parametrize(
    ("state", "fits"),
    [
        (TrainingState(2_040_000_000, 0, 2, "adamw8bit", embedded=311_000_000), False),
        (TrainingState(25_000_000, 2_040_000_000, 2), True),
        (TrainingState(2_040_000_000, 0, 4, shards=2), True),
    ],
    ids=["8 bits", "adapters", "two GPUs"],
)
def test_what_cannot_fit_on_24_gb_does_not_begin(
    state: TrainingState, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.memory.free_bytes", lambda _: 24 * 1024**3)
    if fits:
        state.require(torch.device("cpu"))
        return
    with pytest.raises(EngineError, match=r"take 22\.3 GB .* copies in bfloat16 4\.1 GB more"):
        state.require(torch.device("cpu"))


@pytest.mark.parametrize(
    ("batch", "checkpointing", "advice"),
    [
        (8, False, "halve --batch-size, or add --gradient-checkpointing"),
        (8, True, "for the rest, halve --batch-size."),
        (1, False, "for the rest, add --gradient-checkpointing."),
        (1, True, "for the rest, use a GPU with more memory"),
    ],
)
def test_the_advice_is_what_still_helps(batch: int, checkpointing: bool, advice: str) -> None:
    words = TrainingState(2_040_000_000, 0, 2).advice(batch, checkpointing)
    assert "2.04 billion trained and 0.00 billion frozen parameters take 32.6 GB" in words
    assert advice in words
