"""Files appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> None:
    """Write `content`, text in UTF-8, to `path`: the whole file, or no change at all.

    A lone surrogate, which no encoding can hold, becomes "?". Raises OSError when the folder is
    missing or not writable.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", errors="replace")
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too must not leave the temporary file behind
        temporary.unlink(missing_ok=True)
        raise


def replace_section(path: Path, name: str, content: str) -> None:
    """Replace what stands in a Markdown file between <!-- name --> and <!-- /name -->."""
    before, rest = path.read_text("utf-8").split(f"<!-- {name} -->\n")
    after = rest.split(f"<!-- /{name} -->")[1]
    replace_file(path, f"{before}<!-- {name} -->\n{content}<!-- /{name} -->{after}")
