"""Whether a translation is good enough to be learned: what can be counted, and what is judged.

A `Scorer` judges pairs without a reference. CometKiwi is one; another one needs a function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from speech_translation.errors import SpeechTranslationError
from speech_translation.text import length_flags, repeated
from speech_translation.types import Language, Seconds

Scorer = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""Words spoken and their translations to scores from 0 to 1, in their order."""


def text_quality(text: str, target: Language | None, duration: Seconds) -> str | None:
    """Why a text cannot be the translation of speech of this length, or None."""
    if target is None:
        return None
    if repeated(text):
        return "repeats itself"
    if length_flags(text, target, duration):
        return "length does not fit the speech"
    return None


@cache
def scorer(name: str) -> Scorer:
    """The scorer of a name: `cometkiwi` (Rei et al. 2022), which needs the Hub and was never run.

    Raises SpeechTranslationError for another name and without its package.
    """
    if name != "cometkiwi":
        raise SpeechTranslationError(f"There is no scorer {name}: use cometkiwi.")
    try:
        from comet import download_model, load_from_checkpoint
    except ImportError as error:
        raise SpeechTranslationError(
            "cometkiwi needs the package unbabel-comet, which requires other versions than this "
            "project: prepare the data in an environment of its own."
        ) from error
    model = load_from_checkpoint(download_model("Unbabel/wmt22-cometkiwi-da"))

    def score(pairs: Sequence[tuple[str, str]]) -> Sequence[float]:
        found: Sequence[float] = model.predict(
            [{"src": source, "mt": text} for source, text in pairs], progress_bar=False
        ).scores
        return found

    return score
