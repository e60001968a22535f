"""Sentences outside the phrasebook, spoken to teach the model to reject what it does not know."""

from __future__ import annotations

import random
import tomllib
from functools import cache
from itertools import product
from pathlib import Path

from speech_translation.types import Language

CLAUSES = {
    Language.ENGLISH: ("subjects", "verb_phrases", "adverbials"),
    Language.JAPANESE: ("subjects", "adverbials", "verb_phrases"),
}
"""The order in which clauses make a sentence."""


@cache
def _texts() -> dict[str, dict[str, str]]:
    """Lists by language code and name, an item a line."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def other_sentences(language: Language, count: int, seed: int) -> list[str]:
    """Draw `count` distinct sentences that the phrasebook does not hold, the same for a same seed.

    Up to half of them are hand-written sentences and fragments, the others composed from clauses.
    Raises ValueError when `count` is more than the language has.
    """
    space, stop = (" ", ".") if language is Language.ENGLISH else ("", "。")
    texts = {name: text.splitlines() for name, text in _texts()[language.value].items()}
    written = texts["sentences"] + [fragment + stop for fragment in texts["fragments"]]
    clauses = [texts[name] for name in CLAUSES[language]]
    composed = [space.join(parts) + stop for parts in product(*clauses)]

    draw = random.Random(seed)
    sentences = draw.sample(written, min(len(written), count // 2))
    sentences += draw.sample(composed, count - len(sentences))
    draw.shuffle(sentences)
    return sentences
