"""The measurement on a GPU, dry: on a CPU, with a small checkpoint, and all of its stages."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.performance import gpu
from evaluation.performance.gpu import main, table
from evaluation.performance.gpu_variants import VARIANTS
from evaluation.performance.stages import Figures, Stages

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def test_a_dry_run_measures_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "gpu.json"
    assert main(["--dry-run", "--output", str(output)]) == 0
    figures = json.loads(output.read_text("utf-8"))
    assert figures["stopped"] == {}
    assert figures["device"] == "a CPU"
    for name in VARIANTS:
        measured = figures["variants"][name]
        for rows in gpu.DRY.batches:
            parts = measured[f"batch {rows}"]
            assert set(parts) == {"encoder_ms", "prefill_ms", "token_ms"}
            assert min(parts.values()) > 0
        for seconds in (*gpu.DRY.short, gpu.DRY.long):
            took = measured[f"{seconds} s"]
            assert took["real_time_factor"] == pytest.approx(took["seconds"] / seconds)
        assert (name == "ours, graphs") == ("load_seconds" not in measured)
    for compared in figures["tokens"]["embedded"].values():
        assert compared["replies"] == compared["same_replies"] == 2 * gpu.DRY.checked
        assert compared["same_tokens"] == compared["tokens"] > 0
    assert {x["replies"] for x in figures["tokens"]["full size"].values()} == {3}
    out, progress = capsys.readouterr()
    assert out.strip() == table(figures).strip()
    assert "–" not in out.strip().splitlines()[-1]
    assert "decode steps, ours, graphs: {'variants'" in progress


def test_without_a_gpu_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "OUTPUT", tmp_path / "gpu.json")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([]) == 1
    assert "no GPU" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_stage_that_takes_too_long_leaves_its_figures_and_the_others(tmp_path: Path) -> None:
    stages = Stages(tmp_path / "figures.json", 60)

    def endless() -> Iterator[Figures]:
        yield {"of": {"batch 1": 1}}
        assert kept()["of"] == {"batch 1": 1}  # what a machine that is taken away leaves
        while True:
            time.sleep(0.01)

    def kept() -> Figures:
        figures: Figures = json.loads((tmp_path / "figures.json").read_text("utf-8"))
        return figures

    def broken() -> Iterator[Figures]:
        yield {"of": {"batch 8": 8}}
        raise RuntimeError("no such kernel")

    assert not stages.run("endless", 0.3, endless)
    assert not stages.run("broken", 60, broken)
    assert stages.run("fine", 60, lambda: iter([{"of": {"batch 32": 32}}]))
    assert kept()["of"] == {"batch 1": 1, "batch 8": 8, "batch 32": 32}
    assert kept()["stopped"] == {
        "endless": "OutOfTime: it was stopped after 0 s",
        "broken": "RuntimeError: no such kernel",
    }
    assert 0.2 < kept()["seconds"]["endless"] < 60


def test_no_stage_begins_after_the_end() -> None:
    stages = Stages(None, 0)
    assert not stages.run("late", 5, lambda: iter([{"much": 1}]))
    assert stages.figures["stopped"] == {"late": "OutOfTime: no time was left"}
    assert "much" not in stages.figures


def test_what_was_not_measured_is_a_dash() -> None:
    text = table({"device": "a GPU", "variants": {"ours": {"batch 1": {"token_ms": 21.55}}}})
    assert text.splitlines()[-1] == "| batch 1, token_ms | – | 21.55 | – |"
