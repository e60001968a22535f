"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


def replace_file(path: Path, content: str | bytes) -> None:
    """Write `content`, text in UTF-8, to `path`: the whole file, or no change at all.

    That holds over a power cut too: the content is on the disk before the name is. A lone
    surrogate, which no encoding can hold, becomes "?". Raises OSError when the folder is missing
    or not writable.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", errors="replace")
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too must not leave the temporary file behind
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk, where the system can do that for a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what a `replace_file` that was killed left anywhere below `folder`."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                remove_leftovers(Path(entry.path))
            elif _TEMPORARY.fullmatch(entry.name):
                os.unlink(entry.path)


def replace_section(path: Path, name: str, content: str) -> None:
    """Replace what stands in a Markdown file between <!-- name --> and <!-- /name -->."""
    before, rest = path.read_text("utf-8").split(f"<!-- {name} -->\n")
    after = rest.split(f"<!-- /{name} -->")[1]
    replace_file(path, f"{before}<!-- {name} -->\n{content}<!-- /{name} -->{after}")
