"""Manifests, and runs that prepare them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from training import prepare


def manifest(path: Path, *rows: dict[str, Any]) -> Path:
    """A manifest of `rows`, at `path`."""
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return path


def run(data: Path, *options: str, output: str = "out") -> Path:
    """Prepare in the folder `data`, with nothing held out; returns the folder of the output."""
    arguments = ["--output", str(data / output), "--workers", "2", "--eval-share", "0", *options]
    assert prepare.main(arguments) == 0
    return data / output


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file but the indexes, by its path in `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".npz"
    }
