"""The Space's texts in the two interface languages."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from speech_translation.types import Language

Words = Mapping[Language, str]
"""A sentence in both languages, for a page whose visitor may still change the language."""


@cache
def texts() -> dict[str, dict[str, str]]:
    """All texts by language code and key."""
    return tomllib.loads(Path(__file__).with_name("texts.toml").read_text("utf-8"))


def say(language: Language, key: str, **values: object) -> str:
    """The text `key` in the interface language, with its {names} filled in."""
    return texts()[language.value][key].format(**values)


def words(key: str, **values: object) -> Words:
    """The text `key` in both languages, with its {names} filled in."""
    return {language: say(language, key, **values) for language in Language}


def interface_language(accept_language: str | None) -> Language:
    """The language to show to who sends this Accept-Language header; English when in doubt."""
    weights = dict[str, float]()  # in the order of the header
    for entry in (accept_language or "").lower().split(","):
        tag, *parameters = (part.strip() for part in entry.split(";"))
        name = tag.split("-")[0]
        weights[name] = max(weights.get(name, 0.0), _weight(parameters))
    for language in Language:
        if "*" in weights:  # all that have no entry of their own
            weights.setdefault(language.value, weights["*"])
    known = {name: weight for name, weight in weights.items() if name in tuple(Language)}
    best = max(known, key=lambda name: known[name], default=None)
    if best is not None and known[best] > 0:
        return Language(best)
    return next((language for language in Language if language not in known), Language.ENGLISH)


def _weight(parameters: Sequence[str]) -> float:
    """The weight of an entry (RFC 9110, 12.4.2); one that is not written as it must be is 1."""
    for parameter in parameters:
        if found := re.fullmatch(r"q=(0(\.\d{0,3})?|1(\.0{0,3})?)", parameter):
            return float(found[1])
    return 1.0


def clock(seconds: float) -> str:
    """1:05 or 1:02:03, the same in both languages."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(seconds: float) -> str:
    """1:05.2: what begins and ends within a second would else have no length."""
    whole, tenths = divmod(round(10 * seconds), 10)
    return f"{clock(whole)}.{tenths}"
