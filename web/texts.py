"""The Space's texts in the two interface languages."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

from speech_translation.types import Language


@cache
def texts() -> dict[str, dict[str, str]]:
    """All texts by language code and key."""
    return tomllib.loads(Path(__file__).with_name("texts.toml").read_text("utf-8"))


def say(language: Language, key: str, **values: object) -> str:
    """The text `key` in the interface language, with its {names} filled in."""
    return texts()[language.value][key].format(**values)


def interface_language(accept_language: str | None) -> Language:
    """The language to show to who sends this Accept-Language header; English when in doubt."""
    wanted = []
    for order, entry in enumerate((accept_language or "").split(",")):
        tag, *parameters = entry.strip().lower().split(";")
        quality = re.fullmatch(r"\s*q=([\d.]+)\s*", parameters[0]) if parameters else None
        if tag.split("-")[0] in tuple(Language):
            wanted.append((-float(quality[1]) if quality else -1.0, order, tag.split("-")[0]))
    return Language(min(wanted)[2]) if wanted else Language.ENGLISH


def clock(seconds: float) -> str:
    """1:05 or 1:02:03, the same in both languages."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
