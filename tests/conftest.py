import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from clips import SPEECH
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, settings

from speech_translation.audio import load_audio
from speech_translation.process import own_process

own_process()  # as the programs do: FFmpeg is bounded, and threads leave each other alone

# A busy machine is no fault. httpx, and gradio_client through it, would give up after 5 s.
settings.register_profile(
    "unhurried", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")
for step in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, step, 60.0)


@pytest.fixture(scope="session", autouse=True)
def signals_are_heeded() -> None:
    """Programs leave ignored what was: a shell's & ignores Ctrl-C, nohup the end of a terminal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def warnings_are_said() -> None:
    """Whatever ran before: a command line with --quiet leaves its process so."""
    own_process()


@pytest.fixture(scope="session")
def speech_clip() -> Callable[[str], np.ndarray]:
    """Human speech by its path, like `en/jfk.flac`, in the folder SPEECH_HUMAN."""
    if not SPEECH:
        pytest.skip("SPEECH_HUMAN names no folder with recordings of people")
    return cache(lambda path: load_audio(Path(SPEECH) / path))


@pytest.fixture(scope="session")
def space() -> Iterator[str]:
    """The address of a running Space on the embedded checkpoint."""
    import httpx
    from own_space import free_port

    from app import build_page
    from web.server import launch
    from web.settings import Settings

    demo, url = launch(
        build_page,
        Settings(
            model="phrasebook", port=free_port(), queue_size=2, max_seconds=600.0, live_talks=8
        ),
        wait=False,
    )
    deadline = time.monotonic() + 180
    while httpx.get(url + "healthz").status_code != 200:
        assert time.monotonic() < deadline, "the model was not loaded in three minutes"
        time.sleep(0.1)
    yield url
    demo.close()


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[int, list[str]]]:
    """A server that nobody is to connect to: its port, and who did."""
    visits = list[str]()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                visits.append(str(address))
                connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], visits


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for the disk, where nothing depends on it."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Here and in processes: threads wait longer for each other than small models take."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)
