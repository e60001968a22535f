"""The command line that is interrupted: Ctrl-C, signals, pipes that nobody writes to, and kill."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clips import EXAMPLES, ROOT, reference
from command_line import CLIPS, OFFLINE, clips, run, run_into
from runs import entries, results, times_done

from speech_translation import bulk, cli, translate
from speech_translation.console import Interrupt


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "4"])
def test_ctrl_c_leaves_no_half_file_and_goes_on(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: str,
) -> None:
    recordings, out = tmp_path / "in", tmp_path / "out"
    expected = clips(recordings, 24)
    written = list[Path]()

    def write(translation: Any, path: Path, *how: Any, **more: Any) -> None:
        translate_write(translation, path, *how, **more)
        written.append(path)
        if len(written) == 3:
            signal.pthread_kill(main_thread, signal.SIGINT)

    main_thread = threading.get_ident()
    translate_write = bulk.write
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "write", write)
        status, said = run_into(capsys, out, recordings, "--jobs", jobs)
    assert (status, said[-1]) == (130, "interrupted")
    first = results(out)
    assert 3 <= len(first) < 24
    assert first.items() <= expected.items()
    assert 2 <= len(entries(out)) <= len(first)
    known = len(entries(out))
    status, said = run_into(capsys, out, recordings, "--jobs", jobs)
    assert status == 0
    assert f", {known} before, " in said[-1]
    assert results(out) == expected


def test_ctrl_c_ends_the_printing_after_what_is_finished(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_translate, handler = translate, signal.getsignal(signal.SIGINT)

    def pressed(*arguments: Any, **options: Any) -> Any:
        translation = engine_translate(*arguments, **options)
        if len(asked) == 1:
            signal.raise_signal(signal.SIGINT)
        asked.append(1)
        return translation

    asked = list[int]()
    monkeypatch.setattr(cli, "translate", pressed)
    status, out, err = run(capsys, *(EXAMPLES / f"{name}.flac" for name in CLIPS))
    assert status == 130
    assert out == f"{EXAMPLES / 'en_1.flac'}: {reference('en_1')}\n"
    assert err.splitlines()[-1] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_acts_at_once() -> None:
    interrupt = Interrupt()
    interrupt(signal.SIGTERM, None)
    assert interrupt.pressed
    with pytest.raises(KeyboardInterrupt):
        interrupt(signal.SIGINT, None)
    assert interrupt.status == 143
    loading = Interrupt()
    with pytest.raises(KeyboardInterrupt), loading.at_once():
        loading(signal.SIGINT, None)  # a model takes an hour to fetch
    assert loading.status == 130


def test_a_pipe_that_is_named_is_read_and_not_by_several_at_a_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pipe = tmp_path / "x.wav"
    os.mkfifo(pipe)
    code, _, err = run(capsys, pipe, "--output-dir", tmp_path / "jobs", "--jobs", "2")
    assert code == 1
    assert "translate it without --jobs" in err
    content = (EXAMPLES / "en_1.flac").read_bytes()
    threading.Thread(target=pipe.write_bytes, args=[content], daemon=True).start()
    code, out, _ = run(capsys, pipe, "--direction", "en2ja")
    assert (code, out) == (0, reference("en_1") + "\n")


@pytest.mark.parametrize("where", ["fifo", "stdin"])
def test_one_ctrl_c_ends_the_wait_for_a_pipe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    main_thread = threading.get_ident()
    waits = threading.Event()

    def press() -> None:
        waits.wait(30)
        time.sleep(0.5)  # a signal just before the call that waits is seen after it
        signal.pthread_kill(main_thread, signal.SIGINT)

    kind = Interrupt.at_once

    @contextlib.contextmanager
    def at_once(self: Interrupt) -> Iterator[None]:
        with kind(self):
            waits.set()
            yield

    monkeypatch.setattr(Interrupt, "at_once", at_once)
    pipe, ends = tmp_path / "x.wav", os.pipe()
    os.mkfifo(pipe)
    with os.fdopen(ends[0]) as reading, os.fdopen(ends[1], "w") as writing:
        monkeypatch.setattr(sys, "stdin", reading)
        # Without the mend this waits for ever: then the writer comes after a while.
        late = threading.Timer(60, lambda: (writing.close(), pipe.write_bytes(b"")))
        late.daemon = True
        late.start()
        presser = threading.Thread(target=press)
        presser.start()
        try:
            assert cli.main([str(pipe) if where == "fifo" else "-", *OFFLINE]) == 130
            assert late.is_alive()
        finally:
            waits.set()
            presser.join()
            late.cancel()


@pytest.mark.slow
def test_ctrl_c_while_modules_are_imported_is_quiet() -> None:
    # A recording that is there: without one the program ends before the signal reaches it.
    recording = str(EXAMPLES / "en_long.flac")
    command = [sys.executable, "-X", "importtime", "inference.py", recording, *OFFLINE]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any("numpy" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(60) == 130
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "jobs"),
    [(signal.SIGTERM, 143, "1"), (signal.SIGINT, 130, "4"), (signal.SIGHUP, 129, "1")],
    ids=["sigterm", "ctrl-c", "sighup"],
)
def test_a_signal_ends_the_program_and_leaves_no_half_file(
    tmp_path: Path, number: int, status: int, jobs: str
) -> None:
    recordings = [tmp_path / f"{i}.flac" for i in range(40)]
    for recording in recordings:
        recording.symlink_to(EXAMPLES / "en_long.flac")
    written = tmp_path / "out"
    command = [sys.executable, "inference.py", *map(str, recordings), *OFFLINE]
    command += ["--format", "json", "--output-dir", str(written), "--jobs", jobs]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for_results(process, written, "*.json", 1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err.rstrip().endswith("interrupted")
    assert "Traceback" not in err
    texts = results(written)
    assert 0 < len(texts) < len(recordings)
    assert all(path.suffix == ".json" and text.endswith("}\n") for path, text in texts.items())


@pytest.mark.slow
def test_signals_that_the_caller_ignores_stay_ignored(tmp_path: Path) -> None:
    """A script's Ctrl-C is not for what it began with &, nor a closed terminal's end for nohup."""
    expected = clips(tmp_path / "in", 24)
    command = [sys.executable, "inference.py", str(tmp_path / "in"), *OFFLINE, "--quiet"]
    ignoring = ["/bin/sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh"]
    process = subprocess.Popen(
        [*ignoring, *command, "--output-dir", str(tmp_path / "out")], cwd=ROOT
    )
    wait_for_results(process, tmp_path / "out", "*.txt", 1)
    for number in (signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    assert process.wait(120) == 0
    assert results(tmp_path / "out") == expected


@pytest.mark.slow
def test_a_killed_run_goes_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recordings, out, count = tmp_path / "in", tmp_path / "out", 80
    expected = clips(recordings, count)
    command = [sys.executable, "inference.py", str(recordings), *OFFLINE]
    command += ["--output-dir", str(out), "--jobs", "4", "--quiet"]
    chance, written = random.Random(6), dict[str, int]()
    for kill_after in (chance.randint(1, 12), chance.randint(18, 30)):
        process = subprocess.Popen(command, cwd=ROOT)
        wait_for_results(process, out, "*.txt", kill_after)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        done = {entry.output for entry in entries(out) if entry.error is None}
        assert kill_after - 4 <= len(done) < count  # renamed, but not yet in the journal
        assert all(text == expected[path] for path, text in results(out, "*.txt").items())
        assert all((out / path).stat().st_mtime_ns == time for path, time in written.items())
        written = {path: (out / path).stat().st_mtime_ns for path in done}
    status, _ = run_into(capsys, out, recordings, "--jobs", "4")
    assert status == 0
    assert results(out) == expected
    assert set(times_done(out).values()) == {1}
    assert len(times_done(out)) == count
    for path, mtime in written.items():
        assert (out / path).stat().st_mtime_ns == mtime


def wait_for_results(process: subprocess.Popen[Any], out: Path, pattern: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(out.rglob(pattern))) < count:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
