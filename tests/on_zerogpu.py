"""A whole Space on ZeroGPU, and its visitors: only its GPU and its device API are stood in for.

zerogpu_program.py and device_api.py say what is real. A Space of Hugging Face was never run.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from browsing import until
from clips import clip
from device_api import DeviceApi, device_api
from gradio_client import Client, handle_file
from own_space import Space, running_space

from speech_translation.engine import load_engine
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction

PATIENCE = 180.0  # seconds; a busy machine takes its time


@dataclass(frozen=True)
class OnZeroGpu:
    """The running Space, and what lends it GPUs."""

    space: Space
    api: DeviceApi
    seen_file: Path

    def seen(self) -> list[tuple[str, str, int]]:
        """What was done, whether in the main process or in a worker, and in which."""
        return [tuple(json.loads(line)) for line in self.seen_file.read_text().splitlines()]

    def fail(self, how: str) -> None:
        """Let the engine fail, as zerogpu_program.py says; until the end of the test or ""."""
        file = self.seen_file.with_name("fault")
        if how:
            file.write_text(how)
        else:
            file.unlink(missing_ok=True)

    def waiting(self) -> bool:
        """Whether the engine waits, after `fail("wait ...")`."""
        return bool(self.seen()) and self.seen()[-1][0] == "waits"

    def until_it_waits(self) -> int:
        """Wait until the engine does. Returns its process."""
        until(self.waiting, PATIENCE)
        return self.seen()[-1][2]


@contextlib.contextmanager
def on_zerogpu(seen: Path) -> Iterator[OnZeroGpu]:
    """A Space that writes to the file `seen` what it does."""
    with device_api() as api:
        environment = {
            "SPACES_ZERO_DEVICE_API_URL": api.url,
            "SPEECH_SEEN": str(seen),
            "OMP_NUM_THREADS": "1",
        }
        try:
            with running_space(
                "--precision",
                "float32",
                program="tests/zerogpu_program.py",
                environment=environment,
            ) as space:
                yield OnZeroGpu(space, api, seen)
        finally:
            for worker in api.workers:  # on a Space, the container ends them
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)


def token(name: str) -> str:
    """A visitor's token in the form in which Hugging Face's proxy sends it."""
    payload = base64.urlsafe_b64encode(json.dumps({"user": name}).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


def visitor(lender: OnZeroGpu, name: str = "", language: str = "en") -> Client:
    headers = {"accept-language": language, **({"x-ip-token": token(name)} if name else {})}
    return Client(lender.space.url, verbose=False, headers=headers)


def recording(folder: Path, samples: np.ndarray) -> Any:
    """`samples` as an upload."""
    path = folder / "recording.wav"
    soundfile.write(path, samples, SAMPLE_RATE)
    return handle_file(str(path))


@cache
def long() -> np.ndarray:
    """66 sentences."""
    return np.tile(clip("en_long"), 3)


@cache
def long_text() -> str:
    """The translation of `long`, which takes three calls."""
    return translate(long(), load_engine("phrasebook"), Direction.EN_JA).text
