"""A run of two processes, by gloo: they learn what one learns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_checkpoint import make_manifest, make_tiny_checkpoint
from trained import curve, weights

from training.sft import main

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
ROOT = Path(__file__).resolve().parents[2]
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training.sft"]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Four updates of eight samples."""
    folder = tmp_path_factory.mktemp("processes")
    train = make_manifest(folder / "train.jsonl", copies=4)
    base = make_tiny_checkpoint(folder / "base")
    settings = "--epochs 2 --learning-rate 5e-3 --update 8 --every 2 --log-every 1 --workers 0"
    data = ["--train", str(train), "--eval", str(train), "--model", str(base)]
    return [*data, *settings.split(), "--chrf-clips", "3"]


@pytest.fixture(scope="module")
def alone(options: list[str]) -> Path:
    """The output of one process."""
    output = Path(options[1]).parent / "alone"
    assert main([*options, "--batch-size", "4", "--output", str(output)]) == 0
    return output


def two(options: list[str], output: Path, *more: str) -> None:
    command = [sys.executable, *TWO, *options, "--output", str(output), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_without_shards_learn_the_same(options: list[str], alone: Path) -> None:
    """The whole model in each, as one that fits on a GPU is trained on several."""
    output = alone.with_name("whole")
    two(options, output, "--batch-size", "2")
    for column in ("loss", "eval_loss", "eval_chrf", "grad_norm"):
        assert curve(output, column) == pytest.approx(curve(alone, column), rel=1e-3, abs=1e-3)
    ours, theirs = (weights(x / "model") for x in (output, alone))
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-3) for name in theirs)


def test_two_processes_with_shards_learn_what_one_learns(options: list[str], alone: Path) -> None:
    output = alone.with_name("two")
    two(options, output, "--batch-size", "2", "--shard")
    for column in ("loss", "eval_loss", "eval_chrf", "grad_norm"):
        assert curve(output, column) == pytest.approx(curve(alone, column), rel=1e-3, abs=1e-3)
    ours, theirs = (weights(x / "model") for x in (output, alone))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert torch.allclose(ours[name], weight, atol=2e-3), name
    assert (output / "model" / "README.md").is_file()

    before = (output / "loss.csv").read_bytes()  # killed while it wrote its last checkpoint
    for name in ("checkpoint-4/trainer_state.json", "loss.csv"):
        (output / name).unlink()
    two(options, output, "--batch-size", "2", "--shard", "--resume")
    assert (output / "loss.csv").read_bytes() == before
