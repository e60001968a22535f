"""Many files: none lost, none doubled, none half, however the run ends; and what it says."""

import errno
import gc
import json
import multiprocessing
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from speech_translation import bulk, captions, cli, files
from speech_translation.bulk import Tally, sources, translate_files
from speech_translation.engine import Engine, Request
from speech_translation.errors import AudioError, EngineError, SpeechTranslationError
from speech_translation.journal import JOURNAL, Entry, Journal
from speech_translation.types import Direction, Hypothesis, Segment, Translation

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CLIPS = ("en_1", "ja_1", "en_2", "ja_2")
OFFLINE = ["--model", "phrasebook", "--device", "cpu"]


class Silent:
    """An engine for recordings of which nothing is asked."""

    description, batch_size = "silent", 1

    def generate(self, request: Request) -> list[Hypothesis]:
        raise AssertionError


class Translator:
    """In place of `translate`: a file's text is its name, unless it says otherwise; notes calls."""

    def __init__(self) -> None:
        self.asked = list[Path]()
        self.fault: Callable[[Path], None] = lambda _: None

    def __call__(self, source: str, engine: Engine, direction: Direction, **_: Any) -> Translation:
        path = Path(source)
        self.asked.append(path)
        if not path.exists():
            raise AudioError(f"{path.name} does not exist. Check the path.")
        self.fault(path)
        content = path.read_text("utf-8") or path.name
        return Translation((Segment(0.0, 1.0, content, Direction.JA_EN),), direction, 1.0)


@pytest.fixture
def translator(monkeypatch: pytest.MonkeyPatch) -> Translator:
    translator = Translator()
    monkeypatch.setattr(bulk, "translate", translator)
    return translator


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for the disk, where nothing depends on it."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def clips(folder: Path, count: int) -> dict[Path, str]:
    """`count` recordings in folders below `folder`; the text of each by its path there, as .txt."""
    texts = {}
    for i in range(count):
        name = CLIPS[i % len(CLIPS)]
        path = folder / f"part {i % 7}" / f"{i:04}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(EXAMPLES / f"{name}.flac")
        text = (EXAMPLES / f"{name}.txt").read_text("utf-8")
        texts[path.relative_to(folder).with_suffix(".txt")] = text
    return texts


def run(out: Path, *arguments: Path, jobs: int = 3, suffix: str = "txt", **options: Any) -> Tally:
    with Journal(out) as journal:
        return translate_files(
            sources(map(str, arguments), suffix),
            Silent,
            journal,
            suffix,  # type: ignore[arg-type]
            jobs=jobs,
            **options,
        )


def entries(out: Path) -> list[Entry]:
    lines = map(json.loads, (out / JOURNAL).read_bytes().splitlines())
    return [Entry(**line) for line in lines if "settings" not in line]


def results(out: Path, pattern: str = "*") -> dict[Path, str]:
    """All there is below a folder, but for the journal."""
    found = [p for p in out.rglob(pattern) if p.is_file() and p.name != JOURNAL]
    return {path.relative_to(out): path.read_text("utf-8") for path in found}


def times_done(out: Path) -> Counter[str]:
    return Counter(entry.source for entry in entries(out) if entry.error is None)


def main(
    capsys: pytest.CaptureFixture[str], out: Path, *arguments: Path | str
) -> tuple[int, list[str]]:
    status = cli.main([*OFFLINE, *map(str, arguments), "--output-dir", str(out)])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return status, captured.err.splitlines()


# With the embedded checkpoint


def test_sixty_files_come_out_whole_and_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recordings, out = tmp_path / "in", tmp_path / "out"
    expected = clips(recordings, 60)
    status, said = main(capsys, out, recordings, "--jobs", "8")
    assert status == 0
    assert results(out) == expected
    assert set(times_done(out).values()) == {1}
    assert len(times_done(out)) == 60
    assert said[-1].startswith("60 files done in 0:")
    assert ", 0 before, 0 failed, " in said[-1]
    assert said[-1].endswith(" h of audio per hour")

    before = {path: (out / path).stat().st_mtime_ns for path in expected}
    status, said = main(capsys, out, recordings, "--jobs", "8")
    assert (status, said[-1][:15]) == (0, "0 files done in")
    assert ", 60 before, " in said[-1]
    assert {path: (out / path).stat().st_mtime_ns for path in expected} == before
    assert len(entries(out)) == 60


def test_killed_runs_go_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recordings, out = tmp_path / "in", tmp_path / "out"
    expected = clips(recordings, 40)
    command = [sys.executable, "inference.py", str(recordings), *OFFLINE]
    command += ["--output-dir", str(out), "--jobs", "4", "--quiet"]
    chance = random.Random(6)
    written = dict[Path, int]()
    for kill_after in (chance.randint(1, 12), chance.randint(18, 30)):
        process = subprocess.Popen(command, cwd=ROOT)
        deadline = time.monotonic() + 120
        while len(results(out, "*.txt")) < kill_after and time.monotonic() < deadline:
            time.sleep(chance.uniform(0.001, 0.03))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        done = {entry.output for entry in entries(out) if entry.error is None}
        assert len(done) >= kill_after - 4  # renamed, but not yet in the journal
        for path, mtime in written.items():
            assert (out / path).stat().st_mtime_ns == mtime
        written = {Path(x): (out / x).stat().st_mtime_ns for x in done}
        assert all(text == expected[path] for path, text in results(out, "*.txt").items())
    status, _ = main(capsys, out, recordings, "--jobs", "4")
    assert status == 0
    assert results(out) == expected
    assert set(times_done(out).values()) == {1}
    assert len(times_done(out)) == 40
    for path, mtime in written.items():
        assert (out / path).stat().st_mtime_ns == mtime


def test_files_that_fail_are_listed_at_the_end_and_tried_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recordings, out = tmp_path / "in", tmp_path / "out"
    expected = clips(recordings, 8)
    (recordings / "text.wav").write_text("This is not audio.\n" * 50)
    touch(recordings / "empty.wav", tmp_path / "nothing" / "notes.md")
    names = tmp_path / "more.list"
    names.write_text("missing.mp3\nin/part 1/0001.flac\n")
    status, said = main(capsys, out, recordings, names, tmp_path / "nothing", "--jobs", "3")
    assert status == 1
    assert {**expected, Path("in/part 1/0001.txt"): ""}.keys() >= results(out).keys()
    assert expected.items() <= results(out).items()
    errors = [line for line in said if line.startswith("error: ")]
    assert said[-4:] == errors
    for path, reason in {
        recordings / "text.wav": "holds no sound",
        recordings / "empty.wav": "is empty",
        tmp_path / "missing.mp3": "does not exist",
        tmp_path / "nothing": "holds no audio",
    }.items():
        assert sum(str(path) in line and reason in line for line in errors) == 1, path
    assert "4 failed" in said[-5]

    (recordings / "text.wav").unlink()
    (recordings / "empty.wav").unlink()
    (tmp_path / "missing.mp3").symlink_to(EXAMPLES / "en_1.flac")
    status, said = main(capsys, out, recordings, names, "--jobs", "3", "--quiet")
    assert (status, said) == (0, [])
    assert results(out) == {**expected, Path("missing.txt"): expected[Path("part 0/0000.txt")]}
    assert set(times_done(out).values()) == {1}


def test_ctrl_c_leaves_no_half_file_and_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings, out = tmp_path / "in", tmp_path / "out"
    expected = clips(recordings, 24)

    write, done = bulk.write, list[Path]()

    def press_at_the_third(translation: Translation, path: Path, format: str) -> None:
        write(translation, path, format)  # type: ignore[arg-type]
        done.append(path)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "write", press_at_the_third)
        status, said = main(capsys, out, recordings, "--jobs", "4")
    assert (status, said[-1]) == (130, "interrupted")
    first = results(out)
    assert 3 <= len(first) < 24
    assert first.items() <= expected.items()
    assert len(entries(out)) == len(first)
    status, said = main(capsys, out, recordings, "--jobs", "4")
    assert status == 0
    assert f", {len(first)} before, " in said[-1]
    assert results(out) == expected


def test_jobs_need_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["a.wav", "--jobs", "2"])
    assert caught.value.code == 2
    assert "--jobs" in capsys.readouterr().err.splitlines()[-1]


# Killed and cut at every point


def test_a_run_killed_at_any_step_loses_and_doubles_nothing(
    translator: Translator, tmp_path: Path
) -> None:
    """The steps: each time that something reaches the disk, and before each rename."""
    recordings = [tmp_path / "in" / f"{i}.wav" for i in range(5)]
    touch(*recordings)
    steps = [(os, "fsync"), (os, "replace"), (os, "unlink"), (json, "dumps")]

    def die_at(last: int, out: Path) -> None:
        lock, left = threading.Lock(), iter(range(last))

        def stepping(function: Callable[..., Any]) -> Callable[..., Any]:
            def step(*args: Any, **options: Any) -> Any:
                with lock:
                    if next(left, None) is None:
                        os.kill(os.getpid(), signal.SIGKILL)
                return None if function is fsync else function(*args, **options)

            return step

        fsync = os.fsync
        for module, name in steps:
            setattr(module, name, stepping(getattr(module, name)))
        run(out, tmp_path / "in", jobs=2)

    killed = 0
    for last in range(100):
        out = tmp_path / f"out {last}"
        process = multiprocessing.get_context("fork").Process(target=die_at, args=(last, out))
        process.start()
        process.join()
        before = times_done(out)
        translator.asked.clear()
        run(out, tmp_path / "in", jobs=2)
        assert results(out) == {Path(f"{i}.txt"): f"{i}.wav\n" for i in range(5)}
        assert times_done(out) == {str(path): 1 for path in recordings}
        assert {*map(str, translator.asked)} == {*map(str, recordings)} - before.keys()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
    assert process.exitcode == 0
    assert killed > 20


@pytest.mark.usefixtures("no_sync")
def test_a_torn_last_line_is_dropped(translator: Translator, tmp_path: Path) -> None:
    recordings, out = [tmp_path / "in" / name for name in ("a.wav", "b.wav")], tmp_path / "out"
    touch(*recordings)
    run(out, tmp_path / "in", jobs=1)
    whole = (out / JOURNAL).read_bytes()
    first = whole.index(b"\n") + 1
    for size in [*range(0, len(whole), 7), first, len(whole)]:
        (out / JOURNAL).write_bytes(whole[:size])
        translator.asked.clear()
        run(out, tmp_path / "in")
        assert len(translator.asked) == 2 - whole[:size].count(b"\n")
        assert times_done(out) == {str(path): 1 for path in recordings}
    (out / JOURNAL).write_bytes(bytes(40) + b"\n" + whole[first:])  # what a power cut can leave
    translator.asked.clear()
    run(out, tmp_path / "in")
    assert len(translator.asked) == 1


# What is done, and what is done again


@pytest.mark.usefixtures("no_sync")
def test_a_changed_recording_and_a_lost_result_are_done_again(
    translator: Translator, tmp_path: Path
) -> None:
    recordings, out = [tmp_path / "in" / f"{i}.wav" for i in range(4)], tmp_path / "out"
    touch(*recordings)
    run(out, tmp_path / "in")
    recordings[0].write_text("something else")
    os.utime(recordings[1], ns=(1, 1))
    (out / "2.txt").unlink()
    translator.asked.clear()
    tally = run(out, tmp_path / "in")
    assert sorted(translator.asked) == recordings[:3]
    assert (tally.done, tally.skipped, tally.failed) == (3, 1, 0)
    assert results(out)[Path("0.txt")] == "something else\n"
    recordings[3].unlink()
    assert run(out, recordings[3]).skipped == 1  # it is done, wherever it is now


@pytest.mark.usefixtures("no_sync")
def test_namesakes_keep_their_outputs(translator: Translator, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    touch(
        folder / "talk.mp3", folder / "talk.wav", folder / "talk-2.wav", folder / "x" / "talk.wav"
    )
    run(out, folder)
    first = results(out)
    assert sorted(first.values()) == ["talk-2.wav\n", "talk.mp3\n", "talk.wav\n", "talk.wav\n"]
    assert first[Path("x/talk.txt")] == "talk.wav\n"
    touch(folder / "talk.aac")
    (folder / "talk.mp3").unlink()
    translator.asked.clear()
    run(out, folder)
    assert translator.asked == [folder / "talk.aac"]
    assert first.items() < results(out).items()
    run(out, folder, suffix="srt")  # another format is another result
    assert len(results(out, "*.srt")) == 4


@pytest.mark.usefixtures("no_sync")
def test_a_list_names_recordings_from_its_own_folder(
    translator: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    odd = Path(os.fsdecode(b"caf\xe9.wav"))
    inside = [Path("in") / name for name in ("a.wav", "日本.wav", odd)]
    outside = tmp_path / "b.wav"
    touch(*(tmp_path / "lists" / path for path in inside), outside)
    names = tmp_path / "lists" / "all.txt"
    lines = [*map(os.fsencode, inside), b"", b"in/../in/a.wav", b"../b.wav", os.fsencode(outside)]
    names.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    out = tmp_path / "out"
    tally = run(out, names)
    assert (tally.done, tally.skipped, tally.failed) == (4, 2, 0)  # two are named twice
    below = Path(*outside.parts[1:])
    assert results(out).keys() == {path.with_suffix(".txt") for path in [*inside, below]}
    assert run(out, names).skipped == 6
    tally = run(out, names, tmp_path / "lists" / "in")  # by another way
    assert (tally.done, tally.skipped) == (0, 9)


def test_only_one_run_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    with Journal(out):
        status, said = main(capsys, out, EXAMPLES / "en_1.flac", "--jobs", "2")
        assert status == 1
        (line,) = said
        assert line.startswith(f"error: Another run writes into {out}: ")
    with Journal(out):
        pass


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--direction", "ja2en"], "the direction auto, and now it is ja2en"),
        (["--context", "Kyoto"], "the context none, and now it is Kyoto"),
        (["--model", "other"], "the model phrasebook, and now it is other"),
    ],
)
def test_a_folder_holds_the_results_of_one_choice(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, changed: list[str], said: str
) -> None:
    out, again = tmp_path / "out", [str(EXAMPLES / "en_1.flac")]
    assert main(capsys, out, *again)[0] == 0
    before = (out / JOURNAL).read_bytes()
    status, (line,) = main(capsys, out, *again, *changed)
    assert status == 1
    assert line == f"error: The results in {out} were made with {said}: name another folder."
    assert (out / JOURNAL).read_bytes() == before
    status, _ = main(capsys, out, *again, "--format", "srt")  # another format is another result
    assert (status, len(results(out))) == (0, 2)


@pytest.mark.usefixtures("no_sync")
def test_a_journal_of_the_first_edition_goes_on(translator: Translator, tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.wav")
    run(tmp_path / "out", tmp_path / "in")
    settings = {"model": "m", "direction": "auto"}
    with Journal(tmp_path / "out", settings):
        pass
    with (
        pytest.raises(SpeechTranslationError, match="model m, and now it is n"),
        Journal(tmp_path / "out", {"model": "n"}),
    ):
        pass
    assert run(tmp_path / "out", tmp_path / "in").skipped == 1


@pytest.mark.usefixtures("no_sync")
def test_names_that_are_taken_are_not_given_twice(translator: Translator, tmp_path: Path) -> None:
    recordings = [tmp_path / name for name in ("x-2.wav", "x.mp3", "x.wav")]
    touch(*recordings)
    run(tmp_path / "out", *recordings)
    assert results(tmp_path / "out") == {
        Path("x-2.txt"): "x-2.wav\n",
        Path("x.txt"): "x.mp3\n",
        Path("x-3.txt"): "x.wav\n",
    }


@pytest.mark.usefixtures("no_sync")
def test_no_engine_is_loaded_for_nothing(translator: Translator, tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    run(tmp_path / "out", tmp_path / "a.wav")

    def never() -> Engine:
        raise AssertionError("an engine was loaded")

    items = sources([str(tmp_path / "a.wav"), str(tmp_path / "missing.wav")], "txt")
    with Journal(tmp_path / "out") as journal:
        tally = translate_files(items, never, journal)
        assert (tally.skipped, tally.failed) == (1, 1)
        assert [entry.error for entry in journal.failures()] == ["does not exist: check the path."]


# Faults


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("no_sync")
def test_a_full_disk_is_a_sentence_for_each_file(
    translator: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    touch(*(tmp_path / "in" / f"{i}.wav" for i in range(5)))
    with monkeypatch.context() as patch:
        patch.setattr(captions, "replace_file", full_disk)
        tally = run(out, tmp_path / "in")
    assert (tally.done, tally.failed) == (0, 5)
    assert {x.error for x in entries(out)} == {
        f"{out / f'{i}.txt'} cannot be written: No space left on device. Make room there, or "
        "choose another folder."
        for i in range(5)
    }
    assert results(out) == {}
    assert run(out, tmp_path / "in").done == 5

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full_disk)  # once the temporary file is there
        touch(tmp_path / "in" / "late.wav")
        assert run(out, tmp_path / "in").failed == 1
    assert len(results(out)) == 5


@pytest.mark.usefixtures("translator")
def test_a_journal_that_cannot_be_written_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(*(tmp_path / "in" / f"{i}.wav" for i in range(50)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        patch.setattr(captions, "replace_file", lambda path, content: path.write_text(content))
        with pytest.raises(SpeechTranslationError, match=r"journal\.jsonl cannot be written: No"):
            run(tmp_path / "out", tmp_path / "in", jobs=2)
    assert len(results(tmp_path / "out")) <= 6
    (tmp_path / "file").touch()
    with pytest.raises(SpeechTranslationError, match="cannot be written"):
        Journal(tmp_path / "file" / "out")


@pytest.mark.usefixtures("no_sync")
def test_one_fault_does_not_end_the_run(translator: Translator, tmp_path: Path) -> None:
    faults = {"0.wav": EngineError("The server is gone."), "1.wav": MemoryError()}
    touch(*(tmp_path / "in" / f"{i}.wav" for i in range(4)))

    def fault(path: Path) -> None:
        if path.name in faults:
            raise faults[path.name]

    translator.fault = fault
    with Journal(tmp_path / "out") as journal:
        wanted = sources([str(tmp_path / "in")], "txt")
        assert translate_files(wanted, Silent, journal, jobs=2).failed == 2
        assert {Path(x.source).name: x.error for x in journal.failures()} == {
            "0.wav": "The server is gone.",
            "1.wav": "MemoryError: MemoryError",
        }
    translator.fault = lambda _: None
    with Journal(tmp_path / "out") as journal:
        wanted = sources([str(tmp_path / "in")], "txt")
        assert translate_files(wanted, Silent, journal).done == 2
        assert not list(journal.failures())


@pytest.mark.usefixtures("no_sync")
def test_an_interrupt_inside_the_work_goes_through(translator: Translator, tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / f"{i:02}.wav" for i in range(40)))

    def fault(path: Path) -> None:
        if len(translator.asked) == 10:
            raise KeyboardInterrupt

    translator.fault = fault
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", tmp_path / "in", jobs=2)
    assert len(translator.asked) < 20
    translator.fault = lambda _: None
    run(tmp_path / "out", tmp_path / "in", jobs=2)
    assert len(results(tmp_path / "out")) == 40
    assert set(times_done(tmp_path / "out").values()) == {1}


# Bounds


@pytest.mark.usefixtures("no_sync")
def test_few_are_under_way_and_all_jobs_work(translator: Translator, tmp_path: Path) -> None:
    given = list[int]()
    at_once, most, lock = 0, 0, threading.Lock()

    def endless() -> Iterator[tuple[Path, Path]]:
        for i in range(10**9):
            given.append(i)
            path = tmp_path / "in" / f"{i}.wav"
            touch(path)
            yield path, Path(f"{i}.txt")

    def fault(_: Path) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1

    translator.fault = fault
    finished = 0

    def progress(tally: Tally) -> None:
        nonlocal finished
        finished = tally.finished
        assert len(given) <= finished + 2 * 6 + 1

    with Journal(tmp_path / "out") as journal:
        tally = translate_files(
            endless(), Silent, journal, jobs=6, report=progress, cancelled=lambda: finished > 60
        )
    assert most == 6
    assert 60 < tally.done <= 60 + 2 * 6 + 1
    assert len(results(tmp_path / "out")) == tally.done == len(entries(tmp_path / "out"))


@pytest.mark.usefixtures("no_sync", "translator")
def test_memory_does_not_grow_with_the_number_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "translate", lambda *_, **__: Translation((), Direction.AUTO, 1.0))

    def held(count: int, out: Path) -> int:
        """Bytes held when the last file is asked for, but for pathlib's table of all names."""
        size = 0

        def wanted() -> Iterator[tuple[Path, Path]]:
            nonlocal size
            for i in range(count):
                touch(tmp_path / f"{i:060}.wav")
                yield tmp_path / f"{i:060}.wav", Path(f"{i:060}.txt")
            gc.collect()  # which empties the interpreter's store of used tuples
            but_for = tracemalloc.Filter(False, pathlib.__file__)
            snapshot = tracemalloc.take_snapshot().filter_traces([but_for])
            size = sum(statistic.size for statistic in snapshot.statistics("filename"))

        tracemalloc.start()
        with Journal(out) as journal:
            tally = translate_files(wanted(), Silent, journal, jobs=8)
        tracemalloc.stop()
        assert tally.finished == count
        return size

    held(20, tmp_path / "warm")
    few = held(200, tmp_path / "few")
    for _ in range(2):  # a first run, and one that finds everything done
        assert held(2000, tmp_path / "many") < few + 500_000  # kept, they would be 2 MB
