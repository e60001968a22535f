"""The harness for starts: each of them really starts, and the table has what was measured."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.performance import rounds, startup
from evaluation.performance.full_size import build_small

pytestmark = pytest.mark.slow


def test_every_start_is_timed(tmp_path: Path) -> None:
    starts = startup.measure(build_small(tmp_path / "endless"), 1, attempts=1)
    assert list(starts) == list(startup.LABELS)
    report: dict[str, Any] = {"processor": "P", "cores": 2, "date": "D", "repeats": 1}
    report["starts"] = starts
    for name, label in startup.LABELS.items():
        (start,) = starts[name]
        assert 0.5 < start["seconds"] < 120
        assert 0.5 < start["processor_seconds"] < 120
        assert f"| {label} | {start['seconds']:.1f} s |" in startup.table(report)


@pytest.mark.parametrize(("others", "said"), [(0.02, "2 % of"), (0.5, "the times are too long")])
def test_the_table_says_what_others_took(others: float, said: str) -> None:
    start = {"seconds": 2.0, "processor_seconds": 3.0, "others": others}
    report = {"processor": "P", "cores": 2, "date": "D", "repeats": 1}
    shown = startup.table(report | {"starts": {key: [start] for key in startup.LABELS}})
    assert said in shown
    assert ("too long" in shown) == (others > rounds.SPOILT)


def test_what_is_timed_does_not_count_as_another_s_work(tmp_path: Path) -> None:
    stat = tmp_path / "proc" / "stat"
    stat.parent.mkdir()
    stat.write_text("cpu  100 0 0 0 0 0 0 0 0 0\n")
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    before = rounds._taken(tmp_path)
    subprocess.run([sys.executable, "-c", busy], check=True)
    after = rounds._taken(tmp_path)
    assert before is not None
    assert after is not None
    assert after <= before - 0.45


def test_a_start_that_fails_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="could not be loaded in int8"):
        startup.engine(tmp_path, "int8")
