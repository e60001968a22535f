"""Compiled code is kept; a damaged file, a full disk and no folder cost a notice, never the run."""

from pathlib import Path
from typing import Any

import pytest
from limits import files_up_to
from numba import config, njit
from numba.core import caching

from speech_translation.engine.cpu import compiled
from speech_translation.engine.cpu.compiled import keep_compiled


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where numba keeps what it compiles, as NUMBA_CACHE_DIR says it."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "_said", False)
    return tmp_path


def double() -> Any:
    """A function that is not compiled yet, the same one each time."""

    def doubled(x: float) -> float:
        return 2 * x

    return keep_compiled(njit(doubled))


def was_kept(function: Any) -> bool:
    return sum(function.stats.cache_hits.values()) == 1


def test_it_is_compiled_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = double(), double()
    assert (first(3.0), second(4.0)) == (6.0, 8.0)
    assert (was_kept(first), was_kept(second)) == (False, True)
    assert not caplog.records


def test_a_change_of_any_file_compiles_again(monkeypatch: pytest.MonkeyPatch) -> None:
    double()(3.0)
    monkeypatch.setattr(compiled, "_SOURCES", b"another edition")
    function = double()
    assert function(3.0) == 6.0
    assert not was_kept(function)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])  # the index and the code
@pytest.mark.parametrize("content", [b"", b"\x80\x05nothing like it"])
def test_a_damaged_file_is_made_again(folder: Path, suffix: str, content: bytes) -> None:
    assert double()(3.0) == 6.0
    (path,) = folder.rglob(f"*.{suffix}")
    path.write_bytes(content)
    for kept in (False, True):
        function = double()
        assert function(3.0) == 6.0
        assert was_kept(function) == kept


def test_a_full_disk_costs_one_notice(caplog: pytest.LogCaptureFixture) -> None:
    with files_up_to(0):
        assert (double()(3.0), double()(3)) == (6.0, 6)
    (said,) = caplog.messages
    assert "File too large" in said
    assert "NUMBA_CACHE_DIR" in said


def test_without_a_folder_it_is_compiled_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    for _ in range(2):
        function = double()
        assert function(3.0) == 6.0
        assert not was_kept(function)
    assert len(caplog.messages) == 1
