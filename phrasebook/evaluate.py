"""Measure the phrasebook checkpoint on sentences, voices and a speaking rate it never saw.

    python -m phrasebook.evaluate

Prints the table of docs/results.md; `--document` and `--output` keep it and the figures. The speech
is that of `phrasebook.held_out`: its sentences alone, several of them in a row, and transcribed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phrasebook.held_out import SETS, TEST_SET, read_test_set
from phrasebook.pauses import broken_off
from phrasebook.speech import STOPPED
from phrasebook.synthesis import Clip
from phrasebook.utterances import right_sentences, utterances
from speech_translation.audio import EXTENSIONS, load_audio
from speech_translation.engine import Engine, Request, load_engine
from speech_translation.files import replace_file, replace_section
from speech_translation.segments import SENTENCE
from speech_translation.text import split_sentences
from speech_translation.translate import translate
from speech_translation.types import Direction, Flag, Hypothesis, Language

MEASURED = 30
"""Fewer clips are an example, as in the benchmark's tables."""

LABELS = (
    "seen voices, held-out sentences",
    "held-out voices, held-out sentences",
    "held-out voices at a held-out rate, held-out sentences",
    "held-out voices with a pause inside of the sentence, held-out sentences",
)
NORMAL = ("eval_seen", "eval_voices")  # single sentences as they are usually said
LENGTHS = ((2, 4), (5, 8))  # sentences in an utterance; segments are up to 20 s, eight of them
SENTENCES = 180  # of each language, in utterances of each length
LONG_PAUSE = 0.3  # seconds; in a shorter one a speaker is not sure to have paused
BATCH = 16
SECTION = "phrasebook-eval"


def hypotheses(engine: Engine, clips: Sequence[Clip], direction: Direction) -> list[Hypothesis]:
    """What the model says to each clip, several at a time."""
    heard = []
    for first in range(0, len(clips), BATCH):
        batch = [clip.samples.astype(np.float32) / 32768 for clip in clips[first : first + BATCH]]
        heard += engine.generate(Request(batch, direction))
    return heard


def scores(engine: Engine, clips: Sequence[Clip], language: Language) -> dict[str, float]:
    """Share of exact translations, chrF, and how the direction and the confidence came out."""
    from sacrebleu.metrics import CHRF

    forced = hypotheses(engine, clips, Direction.of(language))
    free = hypotheses(engine, clips, Direction.AUTO)
    right = [h.text == clip.translation for h, clip in zip(forced, clips, strict=True)]
    references = [[clip.translation for clip in clips]]
    return {
        "n": len(clips),
        "exact": float(np.mean(right)),
        "chrf2": CHRF().corpus_score([h.text for h in forced], references).score,
        "direction": float(np.mean([h.direction is Direction.of(language) for h in free])),
        "same_as_forced": float(
            np.mean([a.text == b.text for a, b in zip(forced, free, strict=True)])
        ),
        "flagged_low": float(np.mean([Flag.LOW_CONFIDENCE in h.flags for h in forced])),
    }


def utterance_scores(engine: Engine, clips: Sequence[Clip], language: Language) -> dict[str, float]:
    """Shares of exact sentences and of exact utterances."""
    replies = [h.text for h in hypotheses(engine, clips, Direction.of(language))]
    pairs = [(reply, clip.translation) for reply, clip in zip(replies, clips, strict=True)]
    sentences = sum(len(split_sentences(reference)) for _, reference in pairs)
    return {
        "n": len(clips),
        "exact": float(np.mean([reply == reference for reply, reference in pairs])),
        "sentences": sentences,
        "exact_sentences": sum(right_sentences(*pair) for pair in pairs) / sentences,
    }


def transcript_scores(
    engine: Engine, clips: Sequence[Clip], language: Language
) -> dict[str, float]:
    """Share of exact transcripts: the tag names the language spoken, so it is written down."""
    heard = hypotheses(engine, clips, Direction.to(language))
    right = [h.text == clip.text for h, clip in zip(heard, clips, strict=True)]
    return {"n": len(clips), "exact": float(np.mean(right))}


def unfinished_scores(
    engine: Engine, clips: Sequence[Clip], language: Language
) -> dict[str, float]:
    """Share of sentences, broken off where the speaker pauses, that the model leaves open."""
    halves = [
        replace(clip, samples=broken_off(clip.samples, SENTENCE.pad))
        for clip in clips
        if clip.pause >= LONG_PAUSE
    ]
    heard = hypotheses(engine, halves, Direction.of(language))
    return {"n": len(heard), "open": float(np.mean([h.text.endswith(STOPPED) for h in heard]))}


def measure(engine: Engine, clips: Sequence[Clip]) -> dict[str, Any]:
    """All figures of the test set: by what was measured, then by the language spoken."""
    results: dict[str, Any] = {}
    for language in Language:
        own = [clip for clip in clips if clip.language is language]
        normal = [clip for clip in own if clip.set in NORMAL]
        figures: dict[str, Any] = {
            name: scores(engine, [clip for clip in own if clip.set == name], language)
            for name in SETS
        }
        for lengths in LENGTHS:
            several = utterances(normal, lengths, SENTENCES, random.Random(f"{language} {lengths}"))
            figures[_several(lengths)] = utterance_scores(engine, several, language)
        figures["transcripts"] = transcript_scores(engine, normal, language)
        figures["unfinished"] = unfinished_scores(engine, own, language)
        for name, reached in figures.items():
            print(language.value, name, reached, file=sys.stderr)
            results.setdefault(name, {})[language.value] = reached
    return results


def _several(lengths: tuple[int, int]) -> str:
    return f"{lengths[0]} to {lengths[1]} sentences"


def flagged(engine: Engine, recordings: Iterable[Path]) -> dict[str, float]:
    """Share of recordings outside the phrasebook with a segment that is flagged as unsure."""
    flags = [translate(load_audio(path), engine).flags for path in recordings]
    return {"n": len(flags), "flagged": float(np.mean([Flag.LOW_CONFIDENCE in x for x in flags]))}


def counted(n: int) -> str:
    """A number of clips as text; a figure of too few is no measurement."""
    return f"{n}, an example" if n < MEASURED else str(n)


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown, with n and where they come from."""
    lines = [
        "| exact match (chrF2), greedy | English speech | n | Japanese speech | n |",
        "|---|---|---|---|---|",
    ]

    def row(label: str, name: str, share: str = "exact", n: str = "n") -> None:
        cells = [results[name][language] for language in ("en", "ja")]
        chrf = [f" ({x['chrf2']:.1f})" if "chrf2" in x else "" for x in cells]
        shown = [
            f"{100 * x[share]:.1f} %{y} | {counted(x[n])}" for x, y in zip(cells, chrf, strict=True)
        ]
        lines.append(f"| {label} | {' | '.join(shown)} |")

    for name, label in zip(SETS, LABELS, strict=True):
        row(label, name)
    cells = [
        (np.average([r[x]["direction"] for r in rows], weights=[r[x]["n"] for r in rows]), rows, x)
        for x in ("en", "ja")
        for rows in [[results[name] for name in SETS]]
    ]
    shown = [f"{100 * share:.1f} % | {sum(r[x]['n'] for r in rows)}" for share, rows, x in cells]
    lines.append(f"| automatic direction right, all of the above | {' | '.join(shown)} |")
    for lengths in LENGTHS:
        name = _several(lengths)
        row(f"sentences in utterances of {name}", name, "exact_sentences", "sentences")
        row(f"whole utterances of {name}", name)
    row("transcripts: single sentences, written in the language spoken", "transcripts")
    row(
        "broken off at a pause: left open, not completed by guess",
        "unfinished",
        "open",
    )
    other = results.get("other")
    if other:
        lines.append(
            f"\nOther speech, people reading and talking: {100 * other['flagged']:.0f} % of "
            f"{other['n']} recordings are flagged as low confidence"
            f"{', an example.' if other['n'] < MEASURED else '.'}"
        )
    lines.append(f"\nMade by `make phrasebook-eval` on {results['machine']}, {results['date']}.\n")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="phrasebook.evaluate", description=__doc__)
    parser.add_argument("--model", default="phrasebook")
    parser.add_argument("--test-set", type=Path, default=TEST_SET)
    parser.add_argument(
        "--other",
        type=Path,
        default=os.environ.get("SPEECH_HUMAN") or None,
        help="folder of speech outside the phrasebook (default: SPEECH_HUMAN, if it is set)",
    )
    parser.add_argument("--output", type=Path, help="where to keep the figures (JSON)")
    parser.add_argument("--document", type=Path, help="Markdown file to put the table into")
    options = parser.parse_args(argv)
    engine = load_engine(options.model)
    clips = read_test_set(options.test_set)
    results: dict[str, Any] = {
        "model": options.model,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, CPU, float32",
        "date": time.strftime("%Y-%m-%d"),
    }
    results |= measure(engine, clips)
    if options.other is not None:
        found = sorted(p for p in options.other.rglob("*") if p.suffix.lower() in EXTENSIONS)
        results["other"] = flagged(engine, found)
    print(table(results))
    if options.output is not None:
        replace_file(options.output, json.dumps(results, indent=2) + "\n")
    if options.document is not None:
        replace_section(options.document, SECTION, table(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
