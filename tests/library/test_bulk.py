"""Many recordings: where they are found, what a fault costs, and how much is under way."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripts
from recordings import RATE, encoded, voice
from runs import SETTINGS, Translator, entries, results, run, times_done, touch

from speech_translation import captions, files
from speech_translation.bulk import Tally, find_sources, translate_files
from speech_translation.errors import AudioError, EngineError, SpeechTranslationError
from speech_translation.journal import Entry, Journal, Recording


@pytest.fixture
def translator() -> Translator:
    return Translator()


# What is found


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
    tally = run(out, names, translator=translator)
    assert (tally.done, tally.skipped, tally.again, tally.failed) == (4, 0, 2, 0)
    below = Path(*outside.parts[1:])
    assert results(out).keys() == {path.with_suffix(".txt") for path in [*inside, below]}
    tally = run(out, names, translator=translator)
    assert (tally.skipped, tally.again, tally.finished) == (4, 2, 6)
    tally = run(out, names, tmp_path / "lists" / "in", translator=translator)  # by another way
    assert (tally.done, tally.skipped, tally.again) == (0, 4, 5)


def test_recordings_have_the_names_that_they_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(*(tmp_path / "in" / name for name in ("b/1.wav", "a/2.wav", "a b/3.wav")))
    (tmp_path / "in" / "some.list").write_text("b/1.wav\n")
    found = list(find_sources(["in", "in/some.list", "x.mp3", "-"], in_order=True))
    assert all(isinstance(item, Recording) for item in found)
    names = [item.name for item in found if isinstance(item, Recording)]
    assert names == ["in/a/2.wav", "in/a b/3.wav", "in/b/1.wav", "in/b/1.wav", "x.mp3", "stdin"]
    sources = [item.source for item in found if isinstance(item, Recording)]
    assert sources == [*(str(tmp_path / name) for name in names[:-1]), "-"]
    outputs = [str(item.output) for item in found if isinstance(item, Recording)]
    assert outputs == ["a/2", "a b/3", "b/1", "b/1", "x", "stdin"]


@pytest.mark.usefixtures("no_sync")
def test_every_name_has_a_result(translator: Translator, tmp_path: Path) -> None:
    names = ["..wav", "...wav", "a\nb.wav", "-rf.wav", " .wav", "CON.wav", "$(id).wav", "sub/..wav"]
    touch(*(tmp_path / "in" / name for name in names))
    for _ in range(2):
        tally = run(tmp_path / "out", tmp_path / "in", translator=translator)
    assert (tally.skipped, tally.failed) == (len(names), 0)
    found = results(tmp_path / "out")
    assert sorted(found.values()) == sorted(f"{Path(name).name}\n" for name in names)
    assert Path("sub/..wav.txt") in found


def test_a_list_has_comments_and_empty_lines(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", tmp_path / "b #2.wav", tmp_path / "#3.wav")
    names = tmp_path / "some.list"
    names.write_text("# Monday\n\na.wav\n   \n\t# b.wav\nb #2.wav\n#gone.wav\n#3.wav\n")
    found = [str(item.source) for item in find_sources([str(names)])]  # type: ignore[union-attr]
    assert found == [str(tmp_path / name) for name in ("a.wav", "b #2.wav", "#3.wav")]
    names.write_text(f'"{tmp_path / "a.wav"}"\n #3.wav \n"gone.wav"\n')  # as Windows copies paths
    a, hash3, gone = (Path(item.source).name for item in find_sources([str(names)]))  # type: ignore[union-attr]
    assert (a, hash3, gone) == ("a.wav", "#3.wav", '"gone.wav"')
    names.write_text("# a.wav\n\n")
    (error,) = find_sources([str(names)])
    said = "names no recording: it has one path on each line, and those that begin with # are"
    assert str(error) == f"The list {names} {said} comments."


def test_a_list_in_another_encoding_is_said_to_be(tmp_path: Path) -> None:
    """A Windows editor saves Japanese names so: each would be a recording that does not exist."""
    touch(tmp_path / "a.wav", tmp_path / "会議.mp3", tmp_path / "講演.mp3")
    names = tmp_path / "some.list"
    names.write_text("会議.mp3\na.wav\n講演.mp3\n", "shift_jis")
    error, known = find_sources([str(names)])
    assert str(error) == f"The list {names} is not UTF-8: save it as UTF-8."
    assert isinstance(known, Recording)
    names.write_text("a.wav\n会議.mp3\n", "utf-16")
    (error,) = find_sources([str(names)])
    assert "one path on each line, in UTF-8." in str(error)


def test_a_link_is_named_without_its_password(tmp_path: Path) -> None:
    names = tmp_path / "some.list"
    names.write_text("a.wav\nhttps://me:se@cret@host/b.mp3\n")
    for (*_, error), link in (
        (find_sources([str(names)]), "https://host/b.mp3"),
        (find_sources(["ftp://me:se@cret@host/c.mp3"]), "ftp://host/c.mp3"),
        (find_sources(["ftp://me:se,cr et@host"]), "ftp://host"),
        (find_sources(["https://host/@alice/talk.mp4"]), "https://host/@alice/talk.mp4"),
        (find_sources(["https://host?to=@bob"]), "https://host?to=@bob"),
    ):
        assert str(error) == f"{link} is a link: download the recording first."
    (error,) = find_sources(["file:///home/me/a.mp3"])  # what a desktop drops into a terminal
    assert str(error) == "file:///home/me/a.mp3 is a link: name the file by its path."


def test_what_holds_no_recording_is_an_error_to_report(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    found = list(find_sources(["", str(tmp_path / "nothing")]))
    assert [type(item) for item in found] == [AudioError, AudioError]
    assert "is empty" in str(found[0])
    assert "holds no audio" in str(found[1])


def test_a_folder_is_read_to_its_end_whatever_lies_in_it(tmp_path: Path) -> None:
    """As on a stick from a Mac, a recorder of broadcasts or an old camera."""
    kept = ["a.mp3", "b.ts", "c.M2TS", "d.avi", "e.wma", "f.caf", "g.mpg", "h.flv", "z.wav"]
    touch(*(tmp_path / name for name in kept), tmp_path / "._a.mp3", tmp_path / "notes.md")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    found = [item for item in find_sources([str(tmp_path)]) if isinstance(item, Recording)]
    names = {Path(recording.source).name for recording in found}
    assert names == {*kept, "loop.wav"}


def test_the_sources_of_a_program_are_no_recordings(tmp_path: Path) -> None:
    (tmp_path / "player.ts").write_text("export const play = (talk: Talk) => talk;\n" * 99)
    (tmp_path / "module.mts").write_text("export type Talk = string;\n")
    (tmp_path / "legacy.TS").write_bytes("// 日本語\nlet talk;\n".encode("cp932"))
    (error,) = find_sources([str(tmp_path)])
    assert "holds no audio or video file" in str(error)
    stream = encoded("mpegts", "mp2", voice(), RATE)
    kept = {
        "talk.ts": stream,
        "torn.ts": stream[100:],
        "camera.MTS": encoded("mpegts", "mp2", voice(), RATE, options={"mpegts_m2ts_mode": "1"}),
        "misnamed.ts": encoded("mp4", "aac", voice(), RATE),
        "empty.ts": b"",
    }
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    found = find_sources([str(tmp_path)])
    assert {Path(x.source).name for x in found if isinstance(x, Recording)} == kept.keys()


def test_a_text_that_is_no_list_is_one_error(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("How long does it take?\n\n日本語。\nSee e.g. the post office.\n" * 100)
    (error,) = find_sources([str(text)])
    assert str(error).startswith(f"{text} is read as a list, and no line of it is the path of a")
    text.write_text("Recordings\n/gone/a.WAV\nhttps://host/b.mp3\n")
    heading, gone, link = find_sources([str(text)])
    assert isinstance(heading, Recording)  # whatever its line says: another line names one
    assert isinstance(gone, Recording)
    assert str(link) == "https://host/b.mp3 is a link: download the recording first."


def test_a_name_alone_makes_no_recording_a_result(tmp_path: Path) -> None:
    """Whoever names a recording so would get nothing, and no word why."""
    names = ["a/meeting.captions.wav", "b/meeting.captions.mp4", "b/meeting-2.captions.mkv"]
    touch(*(tmp_path / name for name in names))
    for folder in ("a", "b", ""):
        found = list(find_sources([str(tmp_path / folder)]))
        assert len(found) == sum(name.startswith(folder) for name in names)
        assert all(isinstance(item, Recording) for item in found)


@pytest.mark.usefixtures("no_sync")
def test_the_videos_that_runs_have_made_are_no_recordings(
    translator: Translator, tmp_path: Path
) -> None:
    films, out, elsewhere = tmp_path / "films", tmp_path / "films" / "out", tmp_path / "more"
    touch(films / "talk.MOV", films / "sub" / "talk.mp4", films / "talk.captions.mkv")
    touch(films / "talk-2.captions.mp4", out / "sub" / "talk.captions.mkv", elsewhere / "x.mp4")
    assert len(list(find_sources([str(films)]))) == 3  # there is no journal
    run(out, elsewhere, translator=translator)
    assert len(list(find_sources([str(films)]))) == 2  # as while a run is under way
    named = [
        Entry(str(elsewhere / "x.mp4"), "x.captions.mp4"),
        Entry(str(films / "sub" / "talk.mp4"), str(Path("sub", "talk.captions.mkv"))),
    ]
    touch(out / "x.captions.mp4")
    assert len(list(find_sources([str(films)]))) == 3
    with Journal(out, SETTINGS) as journal:
        journal.append(named)
    found = list(find_sources([str(films)]))
    assert {item.source for item in found if isinstance(item, Recording)} == {
        str(films / "talk.MOV"),
        str(films / "sub" / "talk.mp4"),
    }
    (error,) = find_sources([str(out)])
    assert "holds no audio or video file" in str(error)


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
        tally = run(out, tmp_path / "in", translator=translator)
    assert (tally.done, tally.failed) == (0, 5)
    assert {x.error for x in entries(out)} == {
        f"{out / f'{i}.txt'} cannot be written: No space left on device. Make room there, or "
        "choose another folder."
        for i in range(5)
    }
    assert results(out) == {}
    assert run(out, tmp_path / "in", translator=translator).done == 5

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full_disk)  # once the temporary file is there
        touch(tmp_path / "in" / "late.wav")
        assert run(out, tmp_path / "in", translator=translator).failed == 1
    assert len(results(out)) == 5


def test_a_journal_that_cannot_be_written_ends_the_run(
    translator: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(*(tmp_path / "in" / f"{i}.wav" for i in range(50)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        patch.setattr(captions, "replace_file", lambda path, content: path.write_text(content))
        with pytest.raises(SpeechTranslationError, match=r"journal\.jsonl cannot be written: No"):
            run(tmp_path / "out", tmp_path / "in", jobs=2, translator=translator)
    assert len(results(tmp_path / "out")) <= 6
    (tmp_path / "file").touch()
    with pytest.raises(SpeechTranslationError, match="cannot be written"):
        Journal(tmp_path / "file" / "out", SETTINGS)


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("jobs", [1, 2])
def test_one_fault_does_not_end_the_run(translator: Translator, tmp_path: Path, jobs: int) -> None:
    faults = {"0.wav": EngineError("The server is gone."), "1.wav": MemoryError()}
    touch(*(tmp_path / "in" / f"{i}.wav" for i in range(4)))

    def fault(path: Path) -> None:
        if path.name in faults:
            raise faults[path.name]

    def found() -> Iterator[Recording | AudioError]:
        return find_sources([str(tmp_path / "in")])

    translator.fault = fault
    with Journal(tmp_path / "out", SETTINGS) as journal:
        assert translate_files(found(), translator, journal, jobs=jobs).failed == 2
        assert {Path(x.source).name: x.error for x in journal.failures()} == {
            "0.wav": "The server is gone.",
            "1.wav": "There is not enough memory: end what else uses it, or split the recording.",
        }
    translator.fault = lambda _: None
    with Journal(tmp_path / "out", SETTINGS) as journal:
        assert translate_files(found(), translator, journal).done == 2
        assert not list(journal.failures())


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_inside_the_work_goes_through(
    translator: Translator, tmp_path: Path, jobs: int
) -> None:
    touch(*(tmp_path / "in" / f"{i:02}.wav" for i in range(40)))

    def fault(path: Path) -> None:
        if path.name == "10.wav":  # a count of those asked is passed over by two at once
            raise KeyboardInterrupt

    translator.fault = fault
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", tmp_path / "in", jobs=jobs, translator=translator)
    assert len(translator.asked) < 20
    translator.fault = lambda _: None
    run(tmp_path / "out", tmp_path / "in", jobs=jobs, translator=translator)
    assert len(results(tmp_path / "out")) == 40
    assert set(times_done(tmp_path / "out").values()) == {1}


@pytest.mark.usefixtures("no_sync")
def test_what_is_missing_or_done_needs_no_preparation(
    translator: Translator, tmp_path: Path
) -> None:
    prepared = list[int]()

    def prepare() -> None:
        prepared.append(len(translator.asked))

    paths = [tmp_path / f"{i}.wav" for i in range(4)]
    touch(*paths[1:])
    tally = run(tmp_path / "out", *paths, translator=translator, jobs=1, prepare=prepare)
    assert (tally.done, tally.failed) == (3, 1)
    assert prepared == [1]  # once, after the one that is missing
    run(tmp_path / "out", *paths, translator=translator, prepare=prepare)
    assert prepared == [1]


# Bounds


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("jobs", [1, 6])
def test_few_are_under_way_and_all_jobs_work(
    translator: Translator, tmp_path: Path, jobs: int
) -> None:
    given = list[int]()
    at_once, most, lock = 0, 0, threading.Lock()
    all_at_work = threading.Barrier(jobs)

    def endless() -> Iterator[Recording]:
        for i in range(10**9):
            given.append(i)
            path = tmp_path / "in" / f"{i}.wav"
            touch(path)
            yield Recording(str(path), path.name, Path(str(i)))

    def fault(_: Path) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
            first = len(translator.asked) <= jobs
        if first:
            all_at_work.wait(timeout=60)
        with lock:
            at_once -= 1

    translator.fault = fault
    finished = 0

    def progress(tally: Tally) -> None:
        nonlocal finished
        finished = tally.finished
        assert len(given) <= finished + 2 * jobs + 1

    with Journal(tmp_path / "out", SETTINGS) as journal:
        tally = translate_files(
            endless(),
            translator,
            journal,
            jobs=jobs,
            progress=progress,
            cancelled=lambda: finished > 60,
        )
    assert most == jobs
    assert 60 < tally.done <= 60 + 2 * jobs + 1
    assert len(results(tmp_path / "out")) == tally.done == len(entries(tmp_path / "out"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files() -> None:
    said = scripts.run(
        """
        import gc, os, tracemalloc
        from pathlib import Path
        from runs import SETTINGS
        from speech_translation.bulk import translate_files
        from speech_translation.journal import Entry, Journal, Recording
        from speech_translation.types import Direction, Translation

        os.fsync = lambda _: None

        def held(count, out):
            '''Bytes held when the last file is asked for, but for pathlib's table of all names.'''
            size = 0

            def recordings():
                nonlocal size
                for i in range(count):
                    path = os.path.abspath(f"{i:060}.wav")
                    open(path, "a").close()
                    yield Recording(path, "", Path(f"{i:060}"))
                gc.collect()  # which empties the interpreter's store of used tuples
                own = [tracemalloc.Filter(False, x) for x in ("*/pathlib.py", "*/pathlib/*")]
                snapshot = tracemalloc.take_snapshot().filter_traces(own)
                size = sum(statistic.size for statistic in snapshot.statistics("filename"))

            def translate(recording, cancelled):
                return Translation((), Direction.AUTO, 1.0)

            tracemalloc.start()
            with Journal(Path(out), SETTINGS) as journal:
                tally = translate_files(recordings(), translate, journal, jobs=8)
            tracemalloc.stop()
            assert tally.finished == count
            return size

        held(20, "warm")
        few = held(200, "few")
        # A first run, and one that finds everything done.
        print(held(2000, "many") - few, held(2000, "many") - few)
        """
    )
    assert max(map(int, said.split())) < 500_000  # kept, they would be 2 MB
