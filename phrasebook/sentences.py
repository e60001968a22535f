"""The phrasebook: parallel everyday sentences that a tiny speech translation model learns.

The templates and the slot words stand in sentences.toml. Every template is filled with every
combination of its slot words. Templates share their slots, so a word is met in many sentences and
combinations that were never trained can be translated too; some of these are held out to measure
exactly that. Numbers are digits in both languages, and the Japanese is polite (です, ます).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Any

HELD_OUT_SHARE = 0.11
"""Of the pairs of a template with two slots; 10 to 11 % of all pairs."""


@cache
def _tables() -> dict[str, Any]:
    """`templates`: name to both languages; `slots`: name to words; `includes`: slot to slot."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def _slot(name: str) -> dict[str, str]:
    """The words of a slot, English to Japanese: first those of the slot that it includes."""
    tables = _tables()
    words: dict[str, str] = tables["slots"][name]
    included = tables["includes"].get(name)
    return _slot(included) | words if included else words


@dataclass(frozen=True)
class Pair:
    """One sentence in both languages; `template` is the stable name of the pattern behind it."""

    template: str
    en: str
    ja: str
    held_out: bool


def pairs() -> list[Pair]:
    """Return every pair of the phrasebook, always the same ones in the same order."""
    return [pair for name in _tables()["templates"] for pair in _fill(name)]


def words() -> list[Pair]:
    """Return every slot word as an utterance of its own: "Wine.", 「ワイン。」.

    Spoken in random lists they cannot be guessed from their neighbours, only heard.
    """
    slots = [_slot(name) for name in _tables()["slots"] if name not in ("do", "self")]
    found = {english: japanese for table in slots for english, japanese in table.items()}
    return [Pair("word", f"{en[0].upper()}{en[1:]}.", f"{ja}。", False) for en, ja in found.items()]


def _fill(name: str) -> Iterator[Pair]:
    english, japanese = _tables()["templates"][name]
    fields = [field for _, field, _, _ in Formatter().parse(english) if field]
    tables = [_slot(field.rstrip("2")) for field in fields]
    rows = [row for row in product(*tables) if len(set(row)) == len(row)]
    held_out = _held_out(name, rows) if len(fields) == 2 else set()
    for row in rows:
        words = [table[word] for table, word in zip(tables, row, strict=True)]
        yield Pair(
            name,
            _polish(english.format(**dict(zip(fields, row, strict=True)))),
            japanese.format(**dict(zip(fields, words, strict=True))),
            row in held_out,
        )


def _held_out(name: str, rows: list[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Choose rows by hash, leaving every word of each slot in at least one training pair."""
    left = Counter(slot for row in rows for slot in enumerate(row))
    chosen: set[tuple[str, ...]] = set()
    for row in sorted(rows, key=lambda row: hashlib.sha256(repr((name, row)).encode()).digest()):
        if len(chosen) >= HELD_OUT_SHARE * len(rows):
            break
        if all(left[slot] > 1 for slot in enumerate(row)):
            chosen.add(row)
            left.subtract(enumerate(row))
    return chosen


def _polish(english: str) -> str:
    """Write "an" before a vowel and begin with a capital letter."""
    english = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", english)
    return english[0].upper() + english[1:]
