"""Files appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_file(path: Path, content: str) -> None:
    """Write `content` to `path` in UTF-8: the whole file, or no change at all.

    A lone surrogate, which no encoding can hold, becomes "?". Raises OSError when the folder is
    missing or not writable.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(content.encode("utf-8", errors="replace"))
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too must not leave the temporary file behind
        temporary.unlink(missing_ok=True)
        raise
