"""Which value counts as a recording: a file that a visitor uploaded, and nothing else.

Gradio would fetch a link, and would reveal whether a path of the server exists.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_SERVED = "/gradio_api/file="


class NotUploaded(ValueError):
    """A link, a path of the server, or another value in place of an upload."""


class Expired(NotUploaded):
    """An upload that is not there any more: uploads are deleted after an hour."""


def upload(value: object, folder: Path) -> dict[str, Any] | None:
    """The recording that a client sends, as Gradio's file data; None when there is none.

    A client names an upload by its path in `folder` or by the address where it is served. Of its
    other words about the file only the original name is kept. Raises NotUploaded.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise NotUploaded
    name = value.get("orig_name")
    return {
        "path": _below(folder, value.get("path")),
        "orig_name": name if isinstance(name, str) else None,
        "meta": {"_type": "gradio.FileData"},
    }


def _below(folder: Path, path: object) -> str:
    if not isinstance(path, str):
        raise NotUploaded
    gone = False
    try:
        if path.startswith(("http://", "https://")):
            path = unquote(urlsplit(path).path).partition(_SERVED)[2]
        real = Path(path).resolve()
        if path and real.is_relative_to(folder.resolve()) and stat.S_ISREG(real.stat().st_mode):
            return str(real)
    except FileNotFoundError:
        gone = True
    except (OSError, RuntimeError, ValueError):  # a NUL, a loop of links, a name of 300 characters
        pass
    raise Expired if gone else NotUploaded
