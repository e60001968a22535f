"""A Space as a process of its own, which tests may load, signal and kill."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
STARTED_WITHIN = 180.0  # seconds; a busy machine takes its time


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Space:
    """A Space that answers at `url`, and the end of what it has logged."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def resident(self) -> int:
        """Bytes of the process that are in memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def running_space(
    *options: str, program: str = "app.py", environment: Mapping[str, str] | None = None
) -> Iterator[Space]:
    """A Space on the embedded checkpoint, ready; ended afterwards."""
    port = free_port()
    command = [sys.executable, program, "--model", "phrasebook", "--port", str(port), *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
            )
        space = Space(f"http://127.0.0.1:{port}/", process, log)
        try:
            _wait_until_ready(space)
            yield space
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(space: Space) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < deadline and space.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{space.url}healthz").status_code == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the Space did not start:\n{space.log.read_text()[-2000:]}")
