"""What a run of training leaves."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from safetensors.torch import load_file


def curve(output: Path, column: str) -> list[float]:
    """A column of its losses, without the empty rows."""
    with (output / "loss.csv").open(encoding="utf-8") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row[column]]


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    """Those of a checkpoint, by name."""
    return load_file(Path(folder) / "model.safetensors")
