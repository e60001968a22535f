"""The kept int8 weights: made once, the same tokens, never believed when stale or damaged."""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scripts
import torch
from clips import clip
from limits import files_up_to
from safetensors.torch import load_file, save_file

from speech_translation.engine import Request
from speech_translation.engine import load as loading
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.engine.cpu import kept, narrow
from speech_translation.engine.load import load_local
from speech_translation.engine.local import LocalEngine
from speech_translation.files import cache_folder
from speech_translation.types import Direction, Hypothesis

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that counts as large, of a user with a cache folder of their own."""
    monkeypatch.setattr(loading, "_SMALL", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    return Path(shutil.copytree(PHRASEBOOK_FOLDER, tmp_path / "model"))


Load = Callable[..., tuple[LocalEngine, bool]]


@pytest.fixture
def load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads the checkpoint in int8; also says whether weights were rounded for it."""
    rounded, quantised = list[int](), narrow.quantised

    def counting(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rounded.append(1)
        return quantised(weight)

    monkeypatch.setattr(narrow, "quantised", counting)

    def run(cache: bool = True) -> tuple[LocalEngine, bool]:
        rounded.clear()
        engine = load_local(str(folder), "cpu", "int8", True, cache)
        return engine, bool(rounded)

    return run


def answer(engine: LocalEngine) -> list[Hypothesis]:
    return engine.generate(Request([clip("en_1"), clip("ja_1")], Direction.AUTO))


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("*.tmp"))


def test_it_is_made_once_and_changes_no_token(folder: Path, load: Load) -> None:
    made, rounded = load()
    assert rounded
    again, rounded = load()
    assert not rounded
    without, rounded = load(cache=False)
    assert rounded
    assert answer(made) == answer(again) == answer(without)
    assert not leftovers(folder)
    assert str(folder) not in Path("/proc/self/maps").read_text("utf-8")  # read, not mapped


def test_without_cache_none_is_made(folder: Path, load: Load, tmp_path: Path) -> None:
    before = sorted(folder.iterdir())
    load(cache=False)
    assert sorted(folder.iterdir()) == before
    assert not (tmp_path / "own").exists()


def test_a_small_checkpoint_needs_none(
    folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    load_local(str(folder), "cpu", "int8", True)
    assert not (folder / kept.NAME).exists()


def train_on(folder: Path) -> None:
    """Change every weight a little, and set the file's time back to what it was."""
    path = folder / "model.safetensors"
    before = path.stat()
    weights = {name: weight * 1.01 for name, weight in load_file(path).items()}
    save_file(weights, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def train_a_little(folder: Path) -> None:
    """Change the weights between two samples, and set the file's time back to what it was."""
    path = folder / "model.safetensors"
    before, data = path.stat(), bytearray(path.read_bytes())
    start, end = (step * len(data) // kept._SAMPLES for step in (32, 33))
    for at in range(start + kept._SAMPLE, end, 2):
        data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def edit_one_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 + 5000] ^= 1
    path.write_bytes(data)


def edit_config(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(config | {"note": "another"}), encoding="utf-8")


@pytest.mark.parametrize("change", [train_on, train_a_little, edit_one_weight, edit_config])
def test_a_stale_copy_is_made_again(
    folder: Path, load: Load, change: Callable[[Path], None]
) -> None:
    load()
    change(folder)
    renewed, rounded = load()
    assert rounded
    fresh, _ = load(cache=False)
    assert answer(renewed) == answer(fresh)
    assert not load()[1]


def flip(place: float) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        at = int(place * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(flip(0), id="first byte"),
        pytest.param(flip(0.5), id="a weight"),
        pytest.param(lambda data: flip(1)(data[:-2000]) + data[-2000:], id="the table"),
        pytest.param(flip(1), id="last byte"),
        pytest.param(lambda data: data[: len(data) // 2], id="half of it"),
        pytest.param(lambda data: data + data, id="twice"),
        pytest.param(lambda data: bytes(len(data)), id="zeros"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda data: data[data.index(b'{"format"') :], id="only the table"),
    ],
)
def test_a_damaged_copy_is_not_believed(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path, source = folder / kept.NAME, kept.source_digest(folder)
    arrays = {"a": np.arange(5000, dtype=np.int8), "b": np.float32([[1, 2], [3, 4]])}
    kept.Kept(folder).keep(arrays)
    read = kept.Kept(folder).arrays()
    assert read is not None
    assert {name: value.tolist() for name, value in read.items()} == {
        name: value.tolist() for name, value in arrays.items()
    }
    path.write_bytes(damage(path.read_bytes()))
    assert kept._read(path, source) is None


def test_a_damaged_copy_is_made_again(
    folder: Path, load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = load()
    path = folder / kept.NAME
    path.write_bytes(flip(0.5)(path.read_bytes()))
    second, rounded = load()
    assert capsys.readouterr().err == f"warning: The copy {path} is damaged and is made again.\n"
    assert rounded
    assert answer(first) == answer(second)
    assert not load()[1]


@pytest.mark.parametrize("others", [{}, {"a": np.zeros(3, np.int8)}])
def test_a_copy_with_other_tensors_is_made_again(
    folder: Path, load: Load, others: dict[str, np.ndarray]
) -> None:
    first, _ = load()
    kept.Kept(folder).keep(others)
    second, rounded = load()
    assert rounded
    assert answer(first) == answer(second)
    assert not load()[1]


@pytest.mark.parametrize("changed", [lambda scale: scale[:1], lambda scale: scale[:, None]])
def test_a_copy_whose_scales_have_another_shape_is_made_again(
    folder: Path, load: Load, changed: Callable[[np.ndarray], np.ndarray]
) -> None:
    """The products would read beyond them."""
    first, _ = load()
    arrays = kept.Kept(folder).arrays()
    assert arrays is not None
    kept.Kept(folder).keep(
        {
            name: changed(array) if name.endswith("weight.scale") else array
            for name, array in arrays.items()
        }
    )
    second, rounded = load()
    assert rounded
    assert answer(first) == answer(second)
    assert not load()[1]


def test_what_is_no_file_is_not_waited_for(folder: Path, load: Load) -> None:
    os.mkfifo(folder / kept.NAME)
    read = threading.Thread(target=kept._read, args=(folder / kept.NAME, ""), daemon=True)
    read.start()
    read.join(10)
    assert not read.is_alive()
    assert load()[1]
    assert not load()[1]  # the copy took its place


def test_a_program_that_ends_does_not_wait_for_the_reader(folder: Path) -> None:
    kept.Kept(folder).keep({"a": np.zeros(1 << 20, np.int8)})
    script = f"""
        import pathlib, threading, zlib
        import numpy as np
        from speech_translation.engine.cpu import kept

        begun = threading.Event()

        def slow(data):  # as a disk is
            if len(data) > 1 << 19:
                begun.set()
                threading.Event().wait(100)
            return zlib.crc32(data)

        kept.zlib = type("Slow", (), {{"crc32": slow}})
        copy = kept.Kept(pathlib.Path({str(folder)!r}))
        assert begun.wait(30)
        """
    began = time.monotonic()
    scripts.run(script)
    assert time.monotonic() - began < 90


def test_a_folder_that_cannot_be_written_leaves_the_user_s_own(
    folder: Path, load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / kept.NAME).mkdir()  # a folder is in its place
    load()
    assert not load()[1]
    assert list((tmp_path / "own" / "speech-translation").rglob(kept.NAME))
    assert not caplog.records
    assert not leftovers(tmp_path)


def test_where_nothing_can_be_written_it_runs_and_says_so(
    folder: Path, load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / kept.NAME).mkdir()
    (tmp_path / "own").write_text("a file")
    assert answer(load()[0])
    assert load()[1]
    assert "each start rounds them" in caplog.text
    assert "Check the folder and its permissions" in caplog.text


def test_a_full_disk_costs_a_notice_and_not_the_run(
    folder: Path, load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with files_up_to(1 << 20):
        assert answer(load()[0])
    assert "Make room there" in caplog.text
    assert not leftovers(tmp_path)
    assert not list(tmp_path.rglob(kept.NAME))


def test_without_room_for_it_nothing_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    kept.Kept(folder).keep({"a": np.zeros(1 << 21, np.int8)})
    assert "Make room there" in caplog.text
    assert not (folder / kept.NAME).exists()


def test_writers_and_readers_at_once_do_not_disturb_each_other(folder: Path) -> None:
    arrays = {"a": np.random.default_rng(0).integers(-127, 127, (999, 1001), np.int8)}
    copy = kept.Kept(folder)
    copy.keep(arrays)
    threads = [threading.Thread(target=copy.keep, args=(arrays,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    read = [kept.Kept(folder).arrays() for _ in range(20)]
    for thread in threads:
        thread.join()
    assert all(x is not None and np.array_equal(x["a"], arrays["a"]) for x in read)
    assert not leftovers(folder)


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(folder: Path) -> None:
    old, young = (folder / f".{digit * 16}.tmp" for digit in "ab")
    for path in (old, young):
        path.write_bytes(b"half")
    long_ago = time.time() - 2 * kept._LEFT_ALONE
    os.utime(old, (long_ago, long_ago))
    kept.Kept(folder).keep({"a": np.zeros(3, np.int8)})
    assert leftovers(folder) == [young]


@pytest.mark.parametrize(
    ("platform", "variables", "wanted"),
    [
        ("linux", {}, "home/.cache"),
        ("linux", {"XDG_CACHE_HOME": "elsewhere"}, "elsewhere"),
        ("darwin", {}, "home/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "local"}, "local"),
    ],
)
def test_the_user_s_own_folder_is_the_system_s(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], wanted: str
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in ({"HOME": "home"} | variables).items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(wanted) / "speech-translation"


def test_a_user_without_a_home_has_no_folder_and_a_notice(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert cache_folder() == tmp_path / "own" / "speech-translation"
    monkeypatch.delenv("XDG_CACHE_HOME")
    (folder / kept.NAME).mkdir()
    copy = kept.Kept(folder)
    copy.keep({"a": np.zeros(3, np.int8)})
    assert copy.arrays() is None
    assert "each start rounds them" in caplog.text


def test_another_rounding_needs_another_format() -> None:
    """Copies of the old rounding would be believed: who changes this raises `kept.FORMAT`."""
    steps = torch.arange(-127, 128).repeat(3, 1)
    size = torch.tensor([[1.0], [0.25], [4096.0]])
    weight, scale = narrow.quantised(steps * size)
    assert weight.tolist() == steps.tolist()
    assert torch.allclose(scale[:, None], size)
    assert kept.FORMAT == 1
