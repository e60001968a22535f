"""Files appear whole or not at all; where those go that can be made again."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from speech_translation.errors import SpeechTranslationError, one_line

_OWN = "speech-translation"  # the name of this package's folder among those of others
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


def replace_file(path: Path, content: str | bytes) -> None:
    """Write `content`, text in UTF-8, to `path`: the whole file, or no change at all.

    That holds over a power cut too: the content is on the disk before the name is. A lone
    surrogate, which no encoding can hold, becomes "?". Raises OSError, with `path` in it, when the
    folder is missing or not writable, or the disk is full.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", errors="replace")
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the context ends well; see `replace_file`."""
    try:
        with draft(path) as temporary:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except OSError as error:  # a full disk is said of no file, the rest of `temporary`
        raise OSError(error.errno, error.strerror, str(path)) from error
    sync_folder(path.parent)


@contextlib.contextmanager
def draft(path: Path) -> Iterator[Path]:
    """A name beside `path` for what is to be moved there, which is removed if that fails."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
    except BaseException:  # Ctrl-C too must not leave it behind
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def cache_folder() -> Path:
    """The user's own folder for what can be made again, as the system has it; it need not exist.

    XDG_CACHE_HOME wins, which most systems know (XDG Base Directory Specification). Raises OSError
    where there is no such folder, as for a user without a home.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    if sys.platform == "win32":
        named = named or os.environ.get("LOCALAPPDATA", "")
    if named:
        return Path(named) / _OWN
    try:
        home = Path.home()
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "the user has no home folder") from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / _OWN


def disk_is_full(error: OSError) -> bool:
    """Whether there was no room: on the disk, in the user's share of it, or within a limit."""
    return error.errno in _FULL


def unwritable(path: str | os.PathLike[str], error: OSError) -> str:
    """What to tell the user when `path` could not be written."""
    name = one_line(os.fspath(path))
    remedy = "Make room there" if disk_is_full(error) else "Check the folder and its permissions"
    return f"{name} cannot be written: {error.strerror}. {remedy}, or choose another folder."


def need_temporary_folder() -> None:
    """Raise SpeechTranslationError where there is none: torch and gradio need it when imported."""
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise SpeechTranslationError(
            "There is no room for temporary files: make room in /tmp, or set TMPDIR to a folder "
            "that can be written."
        ) from error


def need_current_folder() -> None:
    """Raise SpeechTranslationError where somebody has removed it: paths and libraries need it."""
    try:
        os.getcwd()
    except OSError as error:
        raise SpeechTranslationError(
            f"The current folder cannot be used ({error.strerror}): change to another one."
        ) from error


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk, where the system can do that for a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path, older_than: float = 0.0) -> None:
    """Remove what a `replace_file` that was killed left anywhere below `folder`.

    `older_than` seconds: younger ones may be another process's, which still writes.
    """
    folders = [os.fspath(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif _TEMPORARY.fullmatch(entry.name) and _age(entry) >= older_than:
                    os.unlink(entry.path)


def _age(entry: os.DirEntry[str]) -> float:
    return time.time() - entry.stat(follow_symlinks=False).st_mtime


def replace_section(path: Path, name: str, content: str) -> None:
    """Replace what stands in a Markdown file between <!-- name --> and <!-- /name -->."""
    before, rest = path.read_text("utf-8").split(f"<!-- {name} -->\n")
    after = rest.split(f"<!-- /{name} -->")[1]
    replace_file(path, f"{before}<!-- {name} -->\n{content}<!-- /{name} -->{after}")
