"""Processes that train together on a CPU: one a core, which average their gradients."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.spawn import spawn


def run_workers(work: Callable[..., None], workers: int, *arguments: Any) -> None:
    """Run `work(rank, *arguments)` in so many processes of one thread; one runs in this process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    if workers == 1:
        _join(0, 1, meeting, work, arguments)
    else:
        spawn(_join, (workers, meeting, work, arguments), workers)  # type: ignore[no-untyped-call]


def _join(
    rank: int, workers: int, meeting: str, work: Callable[..., None], arguments: Sequence[Any]
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # faint features otherwise make each step several times slower
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=workers)
    try:
        work(rank, *arguments)
    finally:
        torch.distributed.destroy_process_group()
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give every worker the mean gradient; what got none in a step stays without."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = average(torch.cat([g.flatten() for g in gradients]))
    means = torch.split(flat, [g.numel() for g in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def average(values: torch.Tensor) -> torch.Tensor:
    """The mean of `values` over all workers."""
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()
