"""The page of `evaluation.acceptance`: what was found, and which defaults of the app are right."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from evaluation.invented import Outcome, table
from evaluation.metrics import direction_title
from evaluation.run import BOTH
from evaluation.systems import LOCAL_PACKAGES
from speech_translation.manifest import Sample
from speech_translation.text import has_japanese, wrong_script
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Language, Seconds

MARGIN = 3.0
"""chrF2 by which another way must be better before a default is called wrong. So few clips cannot
tell less: one sentence of twenty is up to five."""

MOST, HALF = 0.9, 0.5
"""Shares of the clips: those that must be right of those that can be judged, and of all."""

_TITLES = {Language.ENGLISH: "English", Language.JAPANESE: "Japanese"}


@dataclass(frozen=True, slots=True)
class Outputs:
    """What came of clips, in their order, with one way of translating."""

    texts: Sequence[str]
    audio: Seconds = 0.0
    seconds: Seconds = 0.0
    tokens: int = 0
    load: Seconds = 0.0
    """To load the engine; 0 where it was loaded before."""


@dataclass
class Findings:
    """What was found out about a checkpoint; `error` is what stopped it, if anything did."""

    model: str
    revision: str = ""
    engine: str = ""
    device: str = ""
    precision: str = ""
    files: Mapping[str, bool] = field(default_factory=dict)
    """Whether each file is there."""

    optional: frozenset[str] = frozenset()
    """Those of `files` that a checkpoint may lack."""

    error: str = ""
    clips: Sequence[Sample] = ()
    long: Sequence[Sample] = ()
    forced: Outputs = Outputs(())
    named: Sequence[Hypothesis] = ()
    """For each clip, where the model may choose the language."""

    spoken: Sequence[Hypothesis] = ()
    """For each clip, where the tag is that of the language spoken."""

    beyond: Sequence[Sample] = ()
    """The clips that are longer than the encoder's window."""

    attention: dict[str, Outputs] = field(default_factory=dict)
    """Of `beyond`."""

    segments: dict[str, Outputs] = field(default_factory=dict)
    """Of `long`, by the name of the policy."""

    precisions: dict[str, Outputs | str] = field(default_factory=dict)
    """Of `clips`; or why a precision cannot be used. The first is the engine's own choice."""

    sounds: dict[str, Outcome] = field(default_factory=dict)
    """What the app makes of sound that is no speech."""

    answers: dict[str, Sequence[Hypothesis]] = field(default_factory=dict)
    """What the model itself says to one such sound each, in both directions and left to choose."""

    seconds: Seconds = 0.0


class Check(NamedTuple):
    """One of the app's defaults, whether it is the right one here, and what shows it."""

    name: str
    right: bool
    why: str


def checks(found: Findings) -> list[Check]:
    """What must hold for the app's defaults. Without a model there is one check, which fails."""
    if found.error:
        return [Check("The model", False, found.error)]
    return [
        Check("The model", True, f"{found.engine} translates."),
        *(_forced(found, direction) for direction in BOTH),
        _automatic(found),
        _best("Attention", "windowed", _chrf_of(found.attention, found.beyond)),
        _best("Segments", "sentence", _chrf_of({**found.segments}, found.long)),
        _best("Precision", found.precision, _chrf_of(_usable(found.precisions), found.clips)),
        _invented(found.sounds),
    ]


def _forced(found: Findings, direction: Direction) -> Check:
    target = direction.target
    assert target is not None
    texts = [
        text
        for sample, text in zip(found.clips, found.forced.texts, strict=True)
        if sample.direction is direction
    ]
    written = [text for text in texts if text]
    right = sum(not wrong_script(text, target) for text in written)
    return Check(
        f"`{direction.value}`",
        bool(written) and right >= MOST * len(written) and len(written) >= HALF * len(texts),
        f"{right} of {len(texts)} clips are written in {_TITLES[target]}, "
        f"{len(texts) - len(written)} have no text.",
    )


def _automatic(found: Findings) -> Check:
    """AUTO is what the command line, the library and the API begin with."""
    names = Counter(
        "neither" if said.direction is Direction.AUTO
        else "target" if said.direction is sample.direction
        else "spoken"
        for sample, said in zip(found.clips, found.named, strict=True)
    )  # fmt: skip
    target, spoken, count = names["target"], names["spoken"], len(found.clips)
    right = target >= MOST * (target + spoken) and target >= HALF * count
    why = f"The model names the target of {target} clips of {count}, and {spoken} times the other."
    if right:
        why += " The page may begin with `SPEECH_DIRECTION=auto`."
    elif spoken > target:
        why += (
            " It names the language spoken: begin with `SPEECH_DIRECTION=en2ja` (or `ja2en`), and "
            "give `--direction`."
        )
    else:
        why += " Begin with `SPEECH_DIRECTION=en2ja` (or `ja2en`), and give `--direction`."
    return Check("`auto`", right, why)


def _best(name: str, default: str, reached: Mapping[str, float]) -> Check:
    best = max(reached, key=lambda other: reached[other])
    figures = ", ".join(f"{other} {score:.1f}" for other, score in reached.items())
    return Check(
        name,
        reached[default] >= reached[best] - MARGIN,
        f"The default, {default}, is within {MARGIN:g} chrF2 of the best, {best} ({figures})."
        if reached[default] >= reached[best] - MARGIN
        else f"{best} is better than the default, {default} (chrF2: {figures}).",
    )


def _invented(sounds: Mapping[str, Outcome]) -> Check:
    invented = sum(outcome.invented for outcome in sounds.values())
    minutes = sum(outcome.seconds for outcome in sounds.values()) / 60
    return Check(
        "Silence and noise",
        not invented,
        f"{invented or 'No'} texts without a flag come of {minutes:.1f} minutes without speech.",
    )


def chrf(texts: Sequence[str], samples: Sequence[Sample]) -> float:
    """chrF2 of texts against the references of samples: the mean of both directions' scores."""
    from sacrebleu.metrics import CHRF

    scores = []
    for direction in BOTH:
        pairs = [
            (text, sample.text)
            for text, sample in zip(texts, samples, strict=True)
            if sample.direction is direction
        ]
        if pairs:
            hypotheses, references = zip(*pairs, strict=True)
            scores.append(CHRF().corpus_score(list(hypotheses), [list(references)]).score)
    return float(sum(scores) / len(scores))


def _chrf_of(ways: Mapping[str, Outputs], samples: Sequence[Sample]) -> dict[str, float]:
    return {name: chrf(outputs.texts, samples) for name, outputs in ways.items()}


def _usable(ways: Mapping[str, Outputs | str]) -> dict[str, Outputs]:
    return {name: x for name, x in ways.items() if isinstance(x, Outputs)}


def page(found: Findings, results: Sequence[Check]) -> str:
    """Everything as Markdown."""
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LOCAL_PACKAGES)
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    wrong = [check.name for check in results if not check.right]
    parts = [
        f"# Acceptance of {found.model}",
        f"{found.revision or 'unknown weights'}; {found.engine or 'not loaded'}; {machine}; "
        f"Python {platform.python_version()}, {packages}; {time.strftime('%Y-%m-%d')}; "
        f"{found.seconds / 60:.0f} minutes.",
        f"**The app's defaults are {'not ' if wrong else ''}the right ones"
        f"{': ' + ', '.join(wrong) if wrong else ''}.**",
        _table(
            ("default", "", "why"),
            ((check.name, "right" if check.right else "**wrong**", check.why) for check in results),
        ),
    ]
    if found.files:
        parts += ["## Files", _files(found)]
    if not found.error:
        parts += [*_language_parts(found), *_way_parts(found), *_sound_parts(found), _texts(found)]
    return "\n\n".join(parts) + "\n"


def _files(found: Findings) -> str:
    absent = [name for name, there in found.files.items() if not there]
    needed = [name for name in absent if name not in found.optional]
    lines = [f"There are {', '.join(name for name, there in found.files.items() if there)}."]
    if needed:
        lines.append(f"Absent, and needed: {', '.join(needed)}.")
    if others := [name for name in absent if name in found.optional]:
        lines.append(f"Absent, and replaced by defaults: {', '.join(others)}.")
    return " ".join(lines)


def _language_parts(found: Findings) -> list[str]:
    rows = []
    for direction in BOTH:
        here = [i for i, sample in enumerate(found.clips) if sample.direction is direction]
        if not here:
            continue
        clips = [found.clips[i] for i in here]
        free, spoken = ([x[i] for i in here] for x in (found.named, found.spoken))
        for way, texts, names in (
            ("the target", [found.forced.texts[i] for i in here], None),
            ("nothing", [said.text for said in free], [said.direction for said in free]),
            ("the language spoken", [said.text for said in spoken], None),
        ):
            rows.append(
                (
                    direction_title(direction),
                    way,
                    _tags(names) if names else "",
                    *_scripts(texts),
                    f"{chrf(texts, clips):.1f}",
                    f"{_transcribed(texts, clips):.1f}",
                )
            )
    return [
        "## Languages",
        "What the model writes when the prompt names the target, nothing or the language spoken; "
        "chrF2 against the translation and against the words spoken, in small letters.",
        _table(
            (
                "direction", "the prompt names", "the model names", "English", "Japanese",
                "no text", "translation", "words spoken",
            ),
            rows,
        ),
    ]  # fmt: skip


def _tags(names: Iterable[Direction]) -> str:
    count = Counter(_TITLES[d.target] if d.target else "neither" for d in names)
    return ", ".join(f"{name} {times}" for name, times in count.most_common())


def _scripts(texts: Sequence[str]) -> tuple[str, str, str]:
    """How many texts are in English, in Japanese, and empty."""
    japanese, empty = sum(map(has_japanese, texts)), sum(not text for text in texts)
    return str(len(texts) - japanese - empty), str(japanese), str(empty)


def _transcribed(texts: Sequence[str], clips: Sequence[Sample]) -> float:
    from sacrebleu.metrics import CHRF

    spoken = [clip.transcript.casefold() for clip in clips]
    return float(CHRF().corpus_score([text.casefold() for text in texts], [spoken]).score)


def _way_parts(found: Findings) -> list[str]:
    tables: list[tuple[Mapping[str, Outputs | str], Sequence[Sample], str]] = [
        ({**found.attention}, found.beyond, "windowed"),
        ({**found.segments}, found.long, "sentence"),
        (found.precisions, found.clips, found.precision),
    ]
    rows = []
    for ways, samples, default in tables:
        usual = ways[default]
        assert isinstance(usual, Outputs)
        for name, outputs in ways.items():
            if isinstance(outputs, str):
                rows.append((name, "", "", outputs, "", "", ""))
                continue
            same = sum(a == b for a, b in zip(outputs.texts, usual.texts, strict=True))
            rows.append(
                (
                    f"{name} (default)" if name == default else name,
                    f"{len(samples)}, {outputs.audio:.0f} s",
                    f"{same} of {len(samples)}",
                    f"{chrf(outputs.texts, samples):.1f}",
                    f"{outputs.seconds / outputs.audio:.2f}",
                    f"{outputs.tokens / outputs.seconds:.1f}",
                    f"{outputs.load:.1f}" if outputs.load else "",
                )
            )
    return [
        "## Attention, segments, precisions",
        "The whole pipeline with the direction forced. Speed: seconds of computing for a second of "
        "audio, and tokens in a second of computing, prompts included.",
        _table(
            ("way", "recordings", "same text as the default", "chrF2", "real-time factor",
             "tokens/s", "load, s"),
            rows,
        ),
    ]  # fmt: skip


def _sound_parts(found: Findings) -> list[str]:
    rows = [
        (label, *(_answer(said) for said in answers)) for label, answers in found.answers.items()
    ]
    return [
        "## Silence and noise",
        "What the app makes of it, whose detector leaves out what is no speech:",
        table(found.sounds),
        "What the model itself says to one of each:",
        _table(("sound", "`en2ja`", "`ja2en`", "`auto`"), rows),
    ]


def _answer(said: Hypothesis) -> str:
    flags = f" ({', '.join(sorted(said.flags))})" if said.flags else ""
    return (_shown(said.text) or "nothing") + flags


def _texts(found: Findings) -> str:
    rows = [
        (
            clip.id,
            f"{len(clip.load()) / SAMPLE_RATE:.1f}",
            _shown(clip.transcript),
            _shown(text),
            _shown(clip.text),
        )
        for clip, text in zip(found.clips, found.forced.texts, strict=True)
    ]
    columns = ("clip", "s", "spoken", "written", "reference")
    return f"## Texts\n\nWith the direction forced.\n\n{_table(columns, rows)}"


def _shown(text: str) -> str:
    """A text of the model as a cell, which neither ends the cell nor formats the page."""
    for mark in "\\|<>*_`[]":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
