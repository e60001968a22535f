"""Processes that train together."""

from pathlib import Path

import pytest
import torch

from phrasebook.workers import average_gradients, run_workers


def work(rank: int, folder: Path) -> None:
    """Two workers whose gradients differ; one parameter gets none."""
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,), (1,))]
    parameters[0].grad = torch.full((2, 3), float(rank + 1))
    parameters[1].grad = torch.arange(4.0) * (1 - rank)
    average_gradients(parameters)
    torch.save([p.grad for p in parameters], folder / f"{rank}.pt")


@pytest.mark.slow
def test_every_worker_gets_the_mean_gradient(tmp_path: Path) -> None:
    run_workers(work, 2, tmp_path)
    for rank in (0, 1):
        first, second, none = torch.load(tmp_path / f"{rank}.pt")
        assert torch.equal(first, torch.full((2, 3), 1.5))
        assert torch.equal(second, torch.arange(4.0) / 2)
        assert none is None


def test_one_worker_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    run_workers(work, 1, tmp_path)
    assert torch.get_num_threads() == threads
    assert not torch.distributed.is_initialized()
    assert torch.equal(torch.load(tmp_path / "0.pt")[0], torch.ones(2, 3))
