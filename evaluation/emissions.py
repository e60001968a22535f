"""When the words of a text that grows are there to stay, and what OmniSTEval makes of it.

OmniSTEval (Polák et al. 2025) divides a talk at its reference sentences and computes LongYAAL, the
mean lag of the words behind a speaker whose words come evenly, and chrF. It reads a log in
SimulEval's form: the text of a recording, and for each of its words, or Japanese characters, the
milliseconds of sound that were heard when it was written (`delays`) and the time by the clock
(`elapsed`). A text that is written again has its words when they come and do not go any more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from evaluation.long_recordings import Recording
from evaluation.metrics import EXTRAS, bleu_tokenizers
from evaluation.samples import DataError
from speech_translation.types import Language, Seconds

Units = Sequence[str]
"""Words, or characters of Japanese, as OmniSTEval counts them."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What was to be read after so much sound was heard, at a time by the clock."""

    heard: Seconds
    now: Seconds
    text: str


@dataclass(frozen=True, slots=True)
class Emissions:
    """The text in the end; for each of its units when it was there to stay, heard and by the clock.

    `erased` is how many units were taken back, for each unit of the end: normalised erasure
    (Arivazhagan et al. 2020).
    """

    text: str
    heard: Sequence[Seconds]
    now: Sequence[Seconds]
    erased: float


def units(text: str, language: Language) -> Units:
    """The units of a text in a language."""
    return list(text) if language is Language.JAPANESE else text.split()


def emissions(history: Sequence[Shown], language: Language) -> Emissions:
    """Of what was shown, in the order of time; the last text is the one that stays."""
    texts = [units(shown.text, language) for shown in history]
    final = texts[-1]
    settled = [_common(text, final) for text in texts]
    for i in reversed(range(len(settled) - 1)):
        settled[i] = min(settled[i], settled[i + 1])
    heard, now = list[Seconds](), list[Seconds]()
    for shown, count in zip(history, settled, strict=True):
        heard += [shown.heard] * (count - len(heard))
        now += [shown.now] * (count - len(now))
    erased = sum(len(a) - _common(a, b) for a, b in pairwise(texts))
    return Emissions(history[-1].text, heard, now, erased / max(1, len(final)))


def _common(a: Units, b: Units) -> int:
    """How many units two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def write_log(
    folder: Path,
    recordings: Sequence[Recording],
    found: Sequence[Emissions],
    seconds: Sequence[Seconds],
) -> None:
    """What OmniSTEval reads: hypotheses.jsonl, segments.json and references.txt in `folder`.

    `seconds` are the lengths of the recordings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "source": recording.name,
            "prediction": one.text,
            "delays": [round(1000 * x, 1) for x in one.heard],
            "elapsed": [round(1000 * x, 1) for x in one.now],
            "source_length": round(1000 * length, 1),
        }
        for recording, one, length in zip(recordings, found, seconds, strict=True)
    ]
    _write(folder / "hypotheses.jsonl", [json.dumps(row, ensure_ascii=False) for row in rows])
    segments = [
        {"wav": recording.name, "offset": x.start, "duration": x.end - x.start}
        for recording in recordings
        for x in recording.sentences
    ]
    _write(folder / "segments.json", [json.dumps(segments)])
    sentences = [x.reference for recording in recordings for x in recording.sentences]
    _write(folder / "references.txt", sentences)


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


@dataclass(frozen=True, slots=True)
class Resegmented:
    """The part of a text that stays which OmniSTEval takes for a sentence, and its reference.

    `lag` is its part of LongYAAL, the mean of them; None where there is none of the sentence.
    """

    text: str
    reference: str
    lag: Seconds | None
    lag_by_clock: Seconds | None


def resegmented(folder: Path, language: Language) -> list[Resegmented]:
    """The sentences of the log in `folder` that `omnisteval` has scored, in their order."""
    from omnisteval import Instance, YAALScorer  # type: ignore[import-untyped]

    unit = "char" if language is Language.JAPANESE else "word"

    def lag(row: dict[str, Any], *, by_clock: bool) -> Seconds | None:
        if not row.get("emission_ca" if by_clock else "emission_cu"):
            return None
        scorer = YAALScorer(computation_aware=by_clock, is_longform=True)
        found = scorer.compute(Instance.from_dict(row, unit))
        return None if found is None else found / 1000

    lines = (folder / "instances.resegmented.jsonl").read_text("utf-8").splitlines()
    return [
        Resegmented(
            row["prediction"],
            row["reference"],
            lag(row, by_clock=False),
            lag(row, by_clock=True),
        )
        for row in map(json.loads, lines)
    ]


def omnisteval(folder: Path, language: Language) -> dict[str, float]:
    """What OmniSTEval says of the log in `folder`: its scores by their names.

    Raises DataError when it cannot read it, or is not installed.
    """
    level = "--char_level" if language is Language.JAPANESE else "--word_level"
    command = [
        *(sys.executable, "-m", "omnisteval.cli", "longform", level),
        *("--speech_segmentation", str(folder / "segments.json")),
        *("--ref_sentences_file", str(folder / "references.txt")),
        *("--hypothesis_file", str(folder / "hypotheses.jsonl")),
        *("--bleu_tokenizer", bleu_tokenizers(language)[0]),
        *("--output_folder", str(folder)),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise DataError(f"OmniSTEval does not score {folder} ({last}): it needs {EXTRAS}")
    rows = (folder / "scores.tsv").read_text("utf-8").splitlines()[1:]
    pairs: list[tuple[str, Any]] = [tuple(row.split("\t")) for row in rows]  # type: ignore[misc]
    return {name: float(value) for name, value in pairs}
