"""The loss curve of a run, as a table and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from speech_translation.files import replace_file

COLUMNS = ("step", "epoch", "loss", "eval_loss", "eval_chrf", "learning_rate", "grad_norm")


def curve(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """The points of the curve, one for each step, from the Trainer's log history."""
    rows: dict[float, dict[str, float]] = {}
    for entry in history:
        rows.setdefault(entry["step"], {}).update(entry)
    return [row for row in rows.values() if "loss" in row or "eval_loss" in row]


def write_table(history: Sequence[dict[str, float]], output: Path) -> None:
    """Write `loss.csv` into `output`."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(curve(history))
    replace_file(output / "loss.csv", text.getvalue())


def draw(history: Sequence[dict[str, float]], output: Path) -> None:
    """Write `loss.png` into `output`. It takes half a second, with all devices waiting."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="step", ylabel="loss per token (nats)")
    for key, label, style in (("loss", "training", "-"), ("eval_loss", "evaluation", "o-")):
        points = [(row["step"], row[key]) for row in curve(history) if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    replace_file(output / "loss.png", image.getvalue())
