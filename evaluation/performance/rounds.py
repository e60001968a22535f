"""Measurements that take turns, each marked by how much others used the machine meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech_translation.types import Seconds

SPOILT = 0.05
"""A round counts as spoilt when others took more than this part of the processors' time."""

ATTEMPTS = 4
"""How often a spoilt round is repeated, at most, before the least spoilt one counts."""


@dataclass
class Busy:
    """How much of all processors' time others took; None while the clock runs, or unknown."""

    others: float | None = None


@contextmanager
def watched(root: Path = Path("/")) -> Iterator[Busy]:
    """Note what other processes, and other machines on the same hardware, took meanwhile.

    That is what the kernel counts as busy or stolen less what this process used, and those that it
    started and that have ended (proc(5)).
    """
    busy = Busy()
    before, began = _taken(root), time.monotonic()
    yield busy
    after, passed = _taken(root), time.monotonic() - began
    if before is not None and after is not None:
        processors = os.cpu_count() or 1
        busy.others = max(0.0, after - before) / (passed * processors)


def _taken(root: Path) -> Seconds | None:
    """Processor time of all others since the machine's start; None where nothing says so."""
    try:
        line = (root / "proc/stat").read_text("ascii").split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, line[1:9])
    user_own, system_own, user_ended, system_ended, _ = os.times()
    busy = (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")
    return busy - user_own - system_own - user_ended - system_ended


def in_turns(
    works: dict[str, Callable[[], dict[str, Any]]],
    rounds: int,
    report: Callable[[str], object],
    attempts: int,
) -> dict[str, list[dict[str, Any]]]:
    """The figures of each of `works`, `rounds` times, with `others`, what other processes took.

    The works take turns, so that what changes with time changes for all. A spoilt attempt is
    repeated; of `attempts` that are all spoilt the least spoilt is kept.
    """
    kept = {name: list[dict[str, Any]]() for name in works}
    for number in range(rounds):
        for name, work in works.items():
            tried = list[dict[str, Any]]()
            while len(tried) < attempts and (not tried or is_spoilt(tried[-1:])):
                with watched() as busy:
                    figures = work()
                tried.append(figures | {"others": busy.others})
                report(f"{number + 1}/{rounds} {name}: {_short(tried[-1])}")
            kept[name].append(min(tried, key=lambda x: x["others"] or 0.0))
    return kept


def is_spoilt(figures: Sequence[dict[str, Any]]) -> bool:
    """Whether other processes took too much in any of these rounds."""
    return any((x["others"] or 0.0) > SPOILT for x in figures)


def _short(figures: dict[str, Any]) -> str:
    spoilt = ", spoilt" if is_spoilt([figures]) else ""
    shown = {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}
    return f"{shown}{spoilt}"
