"""Faults around a translation: each is caused, and ends in a sentence and without a loss."""

import ast
import errno
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from clips import EXAMPLES, ROOT, reference
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import Status
from own_space import running_space

from speech_translation import Segment, Translation
from speech_translation.audio import load_audio
from speech_translation.errors import SpeechTranslationError
from speech_translation.files import need_temporary_folder, replace_file
from speech_translation.types import SAMPLE_RATE, Direction
from web.browser_files import captions_files
from web.loading import Loading
from web.service import Service
from web.settings import Settings
from web.shutdown import _DELIVERY, GRACE

pytestmark = pytest.mark.slow

PATIENCE = 60.0  # seconds for what would otherwise wait ten times as long, or for ever
NOWHERE = "/dev/null/nowhere"  # nobody can make this folder, not even root


# The Space is told to end


@pytest.fixture
def program(tmp_path: Path) -> Callable[[float, float], str]:
    """Writes a program: the Space with so many seconds of grace and of delivery."""

    def write(grace: float, delivery: float) -> str:
        path = tmp_path / "program.py"
        path.write_text(
            "import sys\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            "import app\n"
            "from web import server, shutdown\n"
            f"shutdown.GRACE, shutdown._DELIVERY = {grace}, {delivery}\n"
            "server.main(app.build_page, '')\n"
        )
        return str(path)

    return write


def submit(client: Client, recording: Path) -> Any:
    job = client.submit(handle_file(str(recording)), "en2ja", api_name="/translate")
    deadline = time.monotonic() + PATIENCE
    while job.status().code is not Status.PROCESSING and time.monotonic() < deadline:
        time.sleep(0.005)
    return job


def test_a_space_ends_before_those_who_asked_for_it_kill_it() -> None:
    assert GRACE + _DELIVERY < 8  # Docker waits for 10 s


def test_sigterm_lets_a_short_request_finish_and_waits_no_longer(
    tmp_path: Path, program: Callable[[float, float], str]
) -> None:
    short = tmp_path / "short.flac"  # under way when the signal comes
    speech = load_audio(EXAMPLES / "en_two_sentences.flac")
    with soundfile.SoundFile(short, "w", SAMPLE_RATE, 1) as file:
        for _ in range(4):
            file.write(np.pad(speech, (0, 3 * SAMPLE_RATE)))  # a segment of its own
    with running_space(program=program(10 * PATIENCE, 5)) as space:
        client = Client(space.url, verbose=False)
        job = submit(client, short)
        space.process.send_signal(signal.SIGTERM)
        assert job.result(timeout=PATIENCE) == 4 * reference("en_two_sentences")
        assert space.process.wait(PATIENCE) == 0
        assert "Traceback" not in space.log.read_text()


def test_sigterm_refuses_a_long_request_and_those_that_come(
    tmp_path: Path, program: Callable[[float, float], str]
) -> None:
    long = tmp_path / "long.flac"
    speech = load_audio(EXAMPLES / "en_long.flac")
    with soundfile.SoundFile(long, "w", SAMPLE_RATE, 1) as file:
        for _ in range(3600 * SAMPLE_RATE // len(speech)):
            file.write(speech)
    with running_space(program=program(GRACE, 10)) as space:
        client, late = (Client(space.url, verbose=False) for _ in "12")
        job = submit(client, long)
        space.process.send_signal(signal.SIGTERM)
        while (health := httpx.get(f"{space.url}healthz")).status_code == 200:
            pass  # until it has ended, at the latest
        assert (health.status_code, health.json()) == (503, {"model": "ending"})
        comes = late.submit(handle_file(str(EXAMPLES / "en_1.flac")), api_name="/translate")
        for refused in (comes, job):
            with pytest.raises(AppError, match="being restarted"):
                refused.result(timeout=PATIENCE)
        assert space.process.wait(PATIENCE) == 0
        assert "Traceback" not in space.log.read_text()


def test_an_idle_space_ends_at_once(program: Callable[[float, float], str]) -> None:
    with running_space(program=program(10 * PATIENCE, 10 * PATIENCE)) as space:
        space.process.send_signal(signal.SIGTERM)
        assert space.process.wait(PATIENCE) == 0


# No room, and no permission


def test_a_full_disk_costs_the_files_and_not_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    translation = Translation((Segment(0.0, 1.0, "駅", Direction.EN_JA),), Direction.EN_JA, 1.0)
    with captions_files(translation, "talk") as files:
        assert {Path(path).name for path in files.values()} >= {"talk.srt", "talk.json"}
        assert all(Path(path).stat().st_size for path in files.values())
    assert not any(Path(path).exists() for path in files.values())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with captions_files(translation, "talk") as files:
        assert files == {}


def test_a_file_that_finds_no_room_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "captions.srt"
    path.write_text("before", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*captions\.srt"):
        replace_file(path, "after")
    assert [p.name for p in tmp_path.iterdir()] == ["captions.srt"]
    assert path.read_text("utf-8") == "before"


def test_without_any_temporary_folder_the_variable_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [NOWHERE])
    with pytest.raises(SpeechTranslationError, match="set TMPDIR"):
        need_temporary_folder()


# The clock is set


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "app.py",
        ROOT / "inference.py",
        *(ROOT / "speech_translation").rglob("*.py"),
        *(ROOT / "web").glob("*.py"),
    ],
    ids=lambda path: path.name,
)
def test_nothing_is_timed_by_a_clock_that_can_be_set(path: Path) -> None:
    calls = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
    }
    # The age of a file is one by that clock: nothing else says when it was written.
    ages = {"time.time"} if path.name == "files.py" else set()
    clocks = {"time.time", "datetime.now", "datetime.datetime.now", "time.time_ns"}
    assert not (calls - ages) & clocks


# A model that fails


def test_a_model_that_dies_is_a_sentence_and_the_next_request_works(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from speech_translation import load_engine

    loading = Loading(lambda: load_engine("phrasebook", "cpu"), "phrasebook")
    loading.run()
    service = Service(Settings(model="phrasebook"), loading)
    thinker: Any = loading.engine().asr.model.thinker  # type: ignore[attr-defined]

    def broken(*_: object) -> None:
        raise KeyError(words)

    words = "駅まで" * 3

    hook = thinker.register_forward_pre_hook(broken)
    with pytest.raises(Exception, match="failed on our side"):
        service.translate(str(EXAMPLES / "en_1.flac"), "en2ja", "", None)  # type: ignore[arg-type]
    hook.remove()
    assert not service.working
    log = capsys.readouterr().err
    assert "KeyError" in log
    assert words not in log
    text = service.translate(str(EXAMPLES / "en_1.flac"), "en2ja", "", None).text  # type: ignore[arg-type]
    assert text == reference("en_1")
