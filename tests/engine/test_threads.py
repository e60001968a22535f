"""As many threads as a container may keep busy, told by its quota or by a Space."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clips import ROOT

from speech_translation.engine import threads
from speech_translation.engine.threads import granted_processors, share_threads

LOADS = """
from speech_translation.process import own_process
own_process()
from speech_translation.engine import load_engine
load_engine("phrasebook", "cpu")
import torch
print(torch.get_num_threads())
"""


def container(root: Path, quota: str) -> Path:
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu.max").write_text(quota)
    return root


@pytest.mark.parametrize(
    ("quota", "cores", "granted"),
    [
        ("200000 100000\n", "", 2),
        ("150000 100000\n", "", 2),
        ("5000 100000\n", "", 1),
        ("max 100000\n", "", None),
        ("max 100000\n", "4", 4),
        ("800000 100000\n", "2", 2),
        ("", "some", None),
    ],
)
def test_the_smaller_grant_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quota: str,
    cores: str,
    granted: int | None,
) -> None:
    monkeypatch.setenv("CPU_CORES", cores)
    assert granted_processors(container(tmp_path / "a", quota)) == granted


def test_without_a_container_nothing_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CPU_CORES", raising=False)
    assert granted_processors(tmp_path) is None


def test_a_large_model_computes_in_all_threads_also_after_a_small_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_chosen", False)
    monkeypatch.setattr(threads, "_most", 0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        share_threads(small=True)
        assert torch.get_num_threads() == 1
        share_threads(small=True)
        share_threads(small=False)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor has one thread")
@pytest.mark.parametrize(("chosen", "count"), [(None, "1"), ("2", "2")])
def test_a_small_model_computes_in_one_thread_unless_told_otherwise(
    chosen: str | None, count: str
) -> None:
    alone = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment = alone | ({"OMP_NUM_THREADS": chosen} if chosen else {})
    done = subprocess.run(
        [sys.executable, "-c", LOADS], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [count], done.stderr


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor has one thread")
def test_torch_begins_with_what_a_container_grants() -> None:
    program = """
from speech_translation.engine.threads import limit_threads
limit_threads()
import torch
print(torch.get_num_threads())
"""
    environment = {n: value for n, value in os.environ.items() if n != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment | {"CPU_CORES": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["1"], done.stderr
