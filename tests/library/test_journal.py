"""The journal: nothing lost, doubled or half, however a run ends; and which runs may share it."""

import dataclasses
import errno
import fcntl
import json
import multiprocessing
import os
import signal
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scripts
from runs import SETTINGS, Translator, entries, in_format, results, run, times_done, touch

from speech_translation.bulk import Tally
from speech_translation.captions import Format
from speech_translation.errors import EngineError, SpeechTranslationError
from speech_translation.files import draft
from speech_translation.journal import BEGUN, JOURNAL, STANDARD_INPUT, Entry, Journal, Recording
from speech_translation.types import Direction
from speech_translation.video import VideoFormat


@pytest.fixture
def translator() -> Translator:
    return Translator()


# Killed and cut at every point


def test_a_run_killed_at_any_step_loses_and_doubles_nothing(
    translator: Translator, tmp_path: Path
) -> None:
    """The steps: each time that something reaches the disk, before each rename and each entry."""
    recordings = [tmp_path / "in" / f"{i}.wav" for i in range(5)]
    touch(*recordings)
    steps = [(os, "fsync"), (os, "replace"), (os, "unlink"), (Journal, "append")]

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
        for owner, name in steps:
            setattr(owner, name, stepping(getattr(owner, name)))
        run(out, tmp_path / "in", jobs=2, translator=translator)

    killed = 0
    for last in range(100):
        out = tmp_path / f"out {last}"
        process = multiprocessing.get_context("fork").Process(target=die_at, args=(last, out))
        process.start()
        process.join()
        before = times_done(out) if (out / JOURNAL).exists() else {}
        translator.asked.clear()
        run(out, tmp_path / "in", jobs=2, translator=translator)
        assert results(out) == {Path(f"{i}.txt"): f"{i}.wav\n" for i in range(5)}
        assert times_done(out) == {str(path): 1 for path in recordings}
        assert {*map(str, translator.asked)} == {*map(str, recordings)} - before.keys()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
    assert process.exitcode == 0
    assert killed > 15  # three for each result, and those of the journal


@pytest.mark.usefixtures("no_sync")
def test_a_torn_last_line_is_dropped(translator: Translator, tmp_path: Path) -> None:
    recordings, out = [tmp_path / "in" / name for name in ("a.wav", "b.wav")], tmp_path / "out"
    touch(*recordings)
    run(out, tmp_path / "in", jobs=1, translator=translator)
    lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    settings, first, last = (line for line in lines if BEGUN.encode() not in line)
    whole = settings + first + last
    begin = len(settings) + len(first)
    for size in [*range(0, len(whole), 7), len(settings), begin, len(whole)]:
        (out / JOURNAL).write_bytes(whole[:size])
        translator.asked.clear()
        run(out, tmp_path / "in", translator=translator)
        assert len(translator.asked) == 2 - max(whole[:size].count(b"\n") - 1, 0)
        assert times_done(out) == {str(path): 1 for path in recordings}
    (out / JOURNAL).write_bytes(bytes(40) + b"\n" + whole[begin:])  # what a power cut can leave
    translator.asked.clear()
    run(out, tmp_path / "in", translator=translator)
    assert len(translator.asked) == 1


# What is done, and what is done again


@pytest.mark.usefixtures("no_sync")
def test_a_changed_recording_and_a_lost_result_are_done_again(
    translator: Translator, tmp_path: Path
) -> None:
    recordings, out = [tmp_path / "in" / f"{i}.wav" for i in range(4)], tmp_path / "out"
    touch(*recordings)
    run(out, tmp_path / "in", translator=translator)
    recordings[0].write_text("something else")
    os.utime(recordings[1], ns=(1, 1))
    (out / "2.txt").unlink()
    translator.asked.clear()
    tally = run(out, tmp_path / "in", translator=translator)
    assert sorted(translator.asked) == recordings[:3]
    assert (tally.done, tally.skipped, tally.failed) == (3, 1, 0)
    assert results(out)[Path("0.txt")] == "something else\n"
    recordings[3].unlink()
    tally = run(out, recordings[3], translator=translator)
    assert tally.skipped == 1  # it is done, wherever it is now


@pytest.mark.usefixtures("no_sync")
def test_namesakes_keep_their_outputs(translator: Translator, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    touch(
        folder / "talk.mp3", folder / "talk.wav", folder / "talk-2.wav", folder / "x" / "talk.wav"
    )
    run(out, folder, translator=translator)
    first = results(out)
    assert sorted(first.values()) == ["talk-2.wav\n", "talk.mp3\n", "talk.wav\n", "talk.wav\n"]
    assert first[Path("x/talk.txt")] == "talk.wav\n"
    touch(folder / "talk.aac")
    (folder / "talk.mp3").unlink()
    translator.asked.clear()
    run(out, folder, translator=translator)
    assert translator.asked == [folder / "talk.aac"]
    assert first.items() < results(out).items()
    run(out, folder, translator=translator, settings=in_format("srt"))  # is another result
    assert len(results(out, "*.srt")) == 4


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("jobs", [1, 3])
def test_no_namesake_overwrites_another(translator: Translator, tmp_path: Path, jobs: int) -> None:
    named = [tmp_path / name for name in ("x-2.wav", "x.mp3", "x.wav")]
    touch(*named)
    run(tmp_path / "out", *named, translator=translator, jobs=jobs)
    assert results(tmp_path / "out") == {
        Path("x-2.txt"): "x-2.wav\n",
        Path("x.txt"): "x.mp3\n",
        Path("x-3.txt"): "x.wav\n",
    }


@pytest.mark.usefixtures("no_sync")
def test_names_that_are_one_on_another_system_are_two_files_everywhere(
    translator: Translator, tmp_path: Path
) -> None:
    """A folder of results may be on such a disk, or be copied to one."""
    names = ["Talk.wav", "talk.WAV", "\u304c.wav", "\u304b\u3099.wav", "STRASSE.wav", "straße.wav"]
    touch(*(tmp_path / "in" / name for name in names))
    run(tmp_path / "out", tmp_path / "in", translator=translator)
    found = [str(path) for path in results(tmp_path / "out")]
    alike = {unicodedata.normalize("NFD", name).casefold() for name in found}
    assert len(alike) == len(found) == len(names)


@pytest.mark.usefixtures("no_sync")
def test_a_file_that_was_there_before_is_no_result(
    translator: Translator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The list itself, somebody's notes, a folder: whoever names `.` as the folder has them."""
    recordings = [tmp_path / name for name in ("talk.wav", "list.wav", "x.wav", "later.wav")]
    touch(*recordings[:3])
    mine = {tmp_path / "talk.txt": "my notes\n", tmp_path / "list.txt": "talk.wav\nlist.wav\n"}
    for path, text in mine.items():
        path.write_text(text)
    (tmp_path / "x.txt").mkdir()
    run(tmp_path, tmp_path / "list.txt", recordings[2], translator=translator)
    assert "talk.txt was there before, so the result is talk-2.txt" in caplog.text
    touch(recordings[3])
    mine[tmp_path / "later.txt"] = "more notes\n"
    (tmp_path / "later.txt").write_text("more notes\n")
    for _ in range(2):
        run(tmp_path, *recordings, translator=translator)
    assert {path: path.read_text() for path in mine} == mine
    found = results(tmp_path, "*-2.txt")
    assert found == {Path(f"{path.stem}-2.txt"): f"{path.name}\n" for path in recordings}
    assert sorted(translator.asked) == sorted(recordings)  # each once


@pytest.mark.usefixtures("no_sync")
def test_a_long_name_is_cut(translator: Translator, tmp_path: Path) -> None:
    names = ["あ" * 83 + ".wav", "あ" * 83 + ".mp3", "x" * 251 + ".wav"]  # 253, 253 and 255 bytes
    touch(*(tmp_path / "in" / name for name in names))
    out = tmp_path / "out"
    for _ in range(2):
        tally = run(out, tmp_path / "in", translator=translator, settings=in_format("json"))
    assert (tally.failed, tally.skipped) == (0, 3)
    found = {path.stem for path in results(out)}
    assert found == {"あ" * 83, "あ" * 82 + "-2", "x" * 250}


def test_standard_input_is_never_done(tmp_path: Path) -> None:
    stdin = Recording(STANDARD_INPUT, "stdin", Path("stdin"))
    for _ in range(2):
        with Journal(tmp_path, SETTINGS) as journal:
            entry = journal.claim(stdin)
            assert entry == Entry(STANDARD_INPUT, "stdin.txt")
            assert journal.claimed(stdin)  # it can be read once
            (tmp_path / entry.output).touch()
            journal.append([entry])


# What somebody has corrected


def correct(result: Path) -> str:
    """Mend a letter as an editor might: with the length and, on a coarse disk, the time kept."""
    status, text = result.stat(), result.read_text("utf-8")
    result.write_text(corrected := text.replace("wav", "WAV"), "utf-8")
    os.utime(result, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert text != corrected
    return corrected


def copy_again(*recordings: Path) -> None:
    for path in recordings:
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_corrected_result_is_never_overwritten(
    translator: Translator, tmp_path: Path, caplog: pytest.LogCaptureFixture, jobs: int
) -> None:
    recordings, out = [tmp_path / "in" / f"{i}.wav" for i in range(3)], tmp_path / "out"
    touch(*recordings)

    def again(format: Format = "srt") -> Tally:
        caplog.clear()
        settings = in_format(format)
        return run(out, tmp_path / "in", translator=translator, jobs=jobs, settings=settings)

    again()
    again("txt")
    before = results(out)
    corrected = correct(out / "1.srt")
    assert again().skipped == 3
    copy_again(*recordings)
    assert again().done == again("txt").done == 3
    assert results(out) == {
        **before,
        Path("1.srt"): corrected,
        Path("1-2.srt"): before[Path("1.srt")],
    }
    copy_again(*recordings)
    again()
    assert caplog.messages == []  # 1-2.srt is as it was made
    assert again().skipped == 3
    both = {"1.srt": corrected, "1-2.srt": correct(out / "1-2.srt")}
    copy_again(*recordings)
    again()
    assert caplog.messages == ["1-2.srt was there before, so the result is 1-3.srt"]
    assert both.items() < {str(path): text for path, text in results(out).items()}.items()
    assert again().skipped == 3


@pytest.mark.usefixtures("no_sync")
def test_a_copied_folder_keeps_its_names(
    translator: Translator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A restored or unpacked folder of recordings and results has new times throughout."""
    touch(tmp_path / "a.wav", tmp_path / "b.wav")
    run(tmp_path, tmp_path, translator=translator)
    before = results(tmp_path)
    copy_again(*(tmp_path / path for path in before))
    assert run(tmp_path, tmp_path, translator=translator).done == 2
    assert results(tmp_path) == before
    assert caplog.messages == []


@pytest.mark.usefixtures("no_sync")
def test_a_run_killed_over_a_changed_recording_keeps_its_name(
    translator: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new result is there, and no line yet that says so."""
    recording, out = tmp_path / "a.wav", tmp_path / "out"
    touch(recording)
    run(out, recording, translator=translator)
    recording.write_text("something else")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            run(out, recording, translator=translator)
    assert results(out) == {Path("a.txt"): "something else\n"}
    assert run(out, recording, translator=translator).done == 1
    assert results(out) == {Path("a.txt"): "something else\n"}


@pytest.mark.usefixtures("no_sync")
def test_a_file_that_appears_meanwhile_is_kept(translator: Translator, tmp_path: Path) -> None:
    """While a recording is translated, or after that failed, somebody may do it by hand."""
    recordings, out = [tmp_path / "in" / name for name in ("a.wav", "b.wav")], tmp_path / "out"
    touch(*recordings)

    def fault(path: Path) -> None:
        if path.name == "b.wav":
            raise EngineError("The server is gone.")
        (out / "a.txt").write_text("mine\n")

    translator.fault = fault
    assert run(out, tmp_path / "in", translator=translator).failed == 1
    (out / "b.txt").write_text("mine\n")
    translator.fault = lambda _: None
    assert run(out, tmp_path / "in", translator=translator).done == 1
    found = {str(path): text for path, text in results(out).items()}
    mine = dict.fromkeys(("a.txt", "b.txt"), "mine\n")
    assert found == {**mine, "a-2.txt": "a.wav\n", "b-2.txt": "b.wav\n"}


@pytest.mark.usefixtures("no_sync")
def test_a_result_of_an_earlier_edition_may_be_corrected(
    translator: Translator, tmp_path: Path
) -> None:
    """Its journal cannot tell, so a result is kept; it is done all the same."""
    recordings, out = [tmp_path / "in" / name for name in ("a.wav", "b.wav")], tmp_path / "out"
    touch(*recordings)
    run(out, tmp_path / "in", translator=translator)
    lines = map(json.loads, (out / JOURNAL).read_bytes().splitlines())
    old = [{key: line[key] for key in line.keys() - {"sha256"}} for line in lines]
    (out / JOURNAL).write_text("".join(f"{json.dumps(line)}\n" for line in old))
    assert run(out, tmp_path / "in", translator=translator).skipped == 2
    corrected = correct(out / "a.txt")
    copy_again(recordings[0])
    run(out, tmp_path / "in", translator=translator)
    found = {str(path): text for path, text in results(out).items()}
    assert found == {"a.txt": corrected, "a-2.txt": "a.wav\n", "b.txt": "b.wav\n"}


@pytest.mark.parametrize(
    ("source", "format", "names"),
    [
        ("talk.mov", "mkv", ["talk.captions.mkv", "talk-2.captions.mkv"]),
        (STANDARD_INPUT, "txt", ["stdin.txt", "stdin-2.txt"]),
    ],
)
def test_a_corrected_video_and_what_was_read_from_standard_input_are_kept(
    tmp_path: Path, source: str, format: Format | VideoFormat, names: list[str]
) -> None:
    if source != STANDARD_INPUT:
        touch(path := tmp_path / source)
        source = str(path)
    recording = Recording(source, "", Path(names[0].split(".")[0]))

    def made() -> str:
        with Journal(tmp_path, dataclasses.replace(SETTINGS, format=format)) as journal:
            entry = journal.claim(recording)
            assert entry is not None
            with draft(tmp_path / entry.output) as written:
                written.write_bytes(b"made")
                entry = journal.place(recording, entry, written)
        return entry.output  # and the run is killed

    assert [made(), made()] == [names[0]] * 2
    (tmp_path / names[0]).write_bytes(b"mine")
    assert [made(), made()] == [names[1]] * 2
    assert [(tmp_path / name).read_bytes() for name in names] == [b"mine", b"made"]


# Which runs may share a folder


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"direction": Direction.EN_JA}, "direction 'auto', and this run has direction 'en2ja'"),
        ({"model": "/m"}, "model 'phrasebook', and this run has model '/m'"),
        ({"context": "駅"}, "context '', and this run has context '駅'"),
        ({"segments": "whole"}, "segments 'sentence', and this run has segments 'whole'"),
        ({"track": "2"}, "track '', and this run has track '2'"),
        ({"precision": "int8"}, "precision 'auto', and this run has precision 'int8'"),
        ({"attention": "full"}, "attention 'windows', and this run has attention 'full'"),
    ],
)
def test_other_settings_need_another_folder(
    translator: Translator, tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    out = tmp_path / "out"
    touch(tmp_path / "a.wav")
    run(out, tmp_path / "a.wav", translator=translator)
    before = (out / JOURNAL).read_bytes()
    with pytest.raises(SpeechTranslationError) as refusal:
        run(
            out,
            tmp_path / "a.wav",
            translator=translator,
            settings=dataclasses.replace(SETTINGS, **other),
        )
    assert str(refusal.value) == f"{out} holds results with {said}: name another folder."
    assert (out / JOURNAL).read_bytes() == before
    assert run(out, tmp_path / "a.wav", translator=translator).skipped == 1


@pytest.mark.usefixtures("no_sync")
def test_what_an_earlier_edition_did_not_write_down_agrees_with_all(
    translator: Translator, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    touch(tmp_path / "a.wav")
    before = dataclasses.replace(SETTINGS, precision=None, attention=None)
    run(out, tmp_path / "a.wav", translator=translator, settings=before)
    assert run(out, tmp_path / "a.wav", translator=translator).skipped == 1


@pytest.mark.usefixtures("no_sync")
def test_formats_share_a_folder_and_each_is_stated_once(
    translator: Translator, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    touch(tmp_path / "a.wav", tmp_path / "b.wav")
    for _ in range(2):
        for format in ("txt", "srt"):
            for name in ("a.wav", "b.wav"):
                run(out, tmp_path / name, translator=translator, settings=in_format(format))  # type: ignore[arg-type]
    assert len(entries(out)) == 4
    assert (out / JOURNAL).read_text("utf-8").count('{"settings": {"model": "phrasebook", ') == 2


@pytest.mark.usefixtures("no_sync")
def test_a_run_without_a_result_binds_nobody(translator: Translator, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = dataclasses.replace(SETTINGS, model="a typo")
    assert run(out, tmp_path / "a.wav", translator=translator, settings=settings).failed == 1
    touch(tmp_path / "a.wav")
    assert run(out, tmp_path / "a.wav", translator=translator).done == 1


@pytest.mark.usefixtures("no_sync")
def test_a_journal_of_the_first_edition_goes_on(translator: Translator, tmp_path: Path) -> None:
    out = tmp_path / "out"
    touch(tmp_path / "in" / "a.wav", tmp_path / "in" / "b.wav", out / "a-7.txt")
    status = (tmp_path / "in" / "a.wav").stat()
    out.joinpath(JOURNAL).write_text(
        f'{{"source": "{tmp_path}/in/a.wav", "output": "a-7.txt", "size": 0, "mtime_ns": '
        f'{status.st_mtime_ns}, "seconds": 1.5, "error": null}}\n'
        f'{{"source": "{tmp_path}/in/b.wav", "output": "b.txt", "size": 0, "mtime_ns": 1, '
        '"seconds": 0.0, "error": "The server is gone."}\n'
    )
    tally = run(out, tmp_path / "in", translator=translator)
    assert (tally.done, tally.skipped) == (1, 1)
    assert translator.asked == [tmp_path / "in" / "b.wav"]
    with pytest.raises(SpeechTranslationError, match="context"):
        Journal(out, dataclasses.replace(SETTINGS, context="other"))


@pytest.mark.usefixtures("no_sync")
def test_settings_of_a_newer_edition_are_refused(translator: Translator, tmp_path: Path) -> None:
    out = tmp_path / "out"
    touch(tmp_path / "a.wav")
    run(out, tmp_path / "a.wav", translator=translator)
    path = out / JOURNAL
    path.write_bytes(path.read_bytes().replace(b'{"model": "phrasebook"', b'{"model": "b", "x": 1'))
    before = path.read_bytes()
    with pytest.raises(SpeechTranslationError) as refusal:
        Journal(out, SETTINGS)
    assert str(refusal.value) == (
        f"{out} holds results of a newer edition, with settings that this one does not know (x): "
        "use that edition, or name another folder."
    )
    assert path.read_bytes() == before


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize(
    "damage",
    [
        *("[]", "3", "null", "true", '"settings"', '"source"', "{}", "[" * 100_000, "{"),
        *('{"settings": 3}', '{"settings": null}', '{"settings": {}}', '{"settings": ["model"]}'),
        '{"settings": {"model": ["m"]}}',
        '{"settings": {"model": "m", "direction": "xx"}}',
        '{"settings": {"model": "m", "direction": []}}',
        '{"source": 3, "output": 5}',
        '{"source": "a", "output": null}',
        '{"source": "a", "output": ["a"]}',
        '{"source": "a\\ud800", "output": "x.txt"}',
        '{"source": "a", "output": "x\\ud800.txt"}',
        '{"source": "a", "output": "x\\u0000.txt"}',
        f'{{"source": "a", "output": "x.txt", "size": {1 << 70}}}',
        f'{{"source": "a", "output": "x.txt", "mtime_ns": {-(1 << 70)}}}',
        '{"source": "a", "output": "x.txt", "size": "1"}',
        '{"source": "a", "output": "x.txt", "error": 5}',
        '{"source": "a", "output": "x.txt", "sha256": 5}',
        '{"source": "a", "output": "x.txt", "sha256": "\\ud800"}',
    ],
    ids=lambda line: line[:50],
)
def test_a_line_of_rubbish_is_passed_over(
    translator: Translator, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "out"
    touch(tmp_path / "a.wav")
    run(out, tmp_path / "a.wav", translator=translator)
    path = out / JOURNAL
    path.write_bytes(damage.encode() + b"\n" + path.read_bytes())
    assert run(out, tmp_path / "a.wav", translator=translator).skipped == 1


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("absolute", [True, False])
def test_an_output_outside_the_folder_is_not_obeyed(
    translator: Translator, tmp_path: Path, absolute: bool
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere.txt"
    touch(tmp_path / "a.wav")
    elsewhere.write_text("mine")
    run(out, tmp_path / "a.wav", translator=translator)
    path, output = out / JOURNAL, str(elsewhere) if absolute else "x/../../elsewhere.txt"
    path.write_text(path.read_text("utf-8").replace('"a.txt"', json.dumps(output)), "utf-8")
    (tmp_path / "a.wav").write_text("again")
    assert run(out, tmp_path / "a.wav", translator=translator).done == 1
    assert elsewhere.read_text("utf-8") == "mine"
    assert results(out) == {Path("a.txt"): "a.wav\n", Path("a-2.txt"): "again\n"}


# The lock


def test_only_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        Journal(tmp_path, SETTINGS),
        pytest.raises(SpeechTranslationError, match=f"Another run writes into {tmp_path}: "),
    ):
        Journal(tmp_path, SETTINGS)
    with Journal(tmp_path, SETTINGS):
        pass


def test_a_file_system_without_locks_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As Lustre's, unless it is mounted with them."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with Journal(tmp_path, SETTINGS) as journal:
        journal.append([Entry("a.wav", "a.txt")])
    assert "cannot be locked: let no other run write into it" in caplog.text


def test_a_system_without_fcntl_has_its_own_lock() -> None:
    """With a stand-in for Windows' msvcrt: no test runs there."""
    said = scripts.run(
        """
        import sys, types
        from pathlib import Path
        import speech_translation.captions, sqlite3
        from speech_translation.errors import SpeechTranslationError

        held = set()

        def locking(descriptor, mode, size):
            if held:
                raise PermissionError(13, "Permission denied")
            held.add(descriptor)

        sys.modules["fcntl"] = None
        sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
        sys.platform = "win32"
        from speech_translation.journal import Entry, Journal, RunSettings

        with Journal(Path("out"), RunSettings("m")) as journal:
            journal.append([Entry("a.wav", "a.txt")])
            try:
                Journal(Path("out"), RunSettings("m"))
            except SpeechTranslationError as error:
                print(error)
        print(Path("out/journal.jsonl").read_text().count("\\n"))
        """
    )
    assert said == ("Another run writes into out: wait for its end, or name another folder.\n2\n")
