"""The page of `evaluation.acceptance`, as Markdown."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from evaluation.acceptance_checks import (
    TITLES,
    WINDOWED,
    Check,
    Findings,
    Outputs,
    chrf,
    escaped,
    judged,
    naming,
    reference_of,
    sentences_of,
    writing_down,
)
from evaluation.invented import table
from evaluation.metrics import direction_title
from evaluation.run import BOTH
from evaluation.systems import LOCAL_PACKAGES
from speech_translation.manifest import Sample
from speech_translation.text import has_japanese
from speech_translation.types import SAMPLE_RATE, Hypothesis

VERDICTS = {True: "right", False: "**wrong**", None: "undecided"}


def page(found: Findings, results: Sequence[Check]) -> str:
    """Everything as Markdown, without the folders of the machine."""
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LOCAL_PACKAGES)
    parts = [
        f"# Acceptance of {found.model}",
        f"{found.revision or 'unknown weights'}; {found.engine or 'not loaded'}; "
        f"{_machine(found)}; "
        f"Python {platform.python_version()}, {packages}; {time.strftime('%Y-%m-%d')}; "
        f"{len(found.clips)} clips, {found.seconds / 60:.0f} minutes.",
        f"**{_verdict(results)}**",
        _table(
            ("default", "", "why"),
            ((check.name, VERDICTS[check.right], check.why) for check in results),
        ),
    ]
    if found.failed:
        rows = [(name, escaped(reason)) for name, reason in found.failed.items()]
        parts += ["## Not measured", _table(("what", "why"), rows)]
    if found.files:
        parts += ["## Files", _files(found)]
    if found.forced is not None:
        parts += _languages(found, found.forced)
        parts += _ways(found)
        parts += _sounds(found)
        parts += ["## Texts", "With the direction forced.", _texts(found.forced)]
    return _without_folders("\n\n".join(parts), found) + "\n"


def _verdict(results: Sequence[Check]) -> str:
    wrong = ", ".join(check.name for check in results if check.right is False)
    undecided = ", ".join(check.name for check in results if check.right is None)
    if wrong:
        return f"The app's defaults are not the right ones: {wrong}."
    if undecided:
        return f"Whether the app's defaults are the right ones is undecided: {undecided}."
    return "The app's defaults are the right ones."


def _without_folders(text: str, found: Findings) -> str:
    from huggingface_hub import constants

    hidden = {found.folder, constants.HF_HUB_CACHE, str(Path.home()), str(Path.cwd())} - {"", "/"}
    for folder in sorted(hidden - {found.model}, key=len, reverse=True):
        text = text.replace(folder, "FOLDER")
    return text


def _machine(found: Findings) -> str:
    """The processor and the card, by their names."""
    if found.served:
        return "computed elsewhere"
    import torch

    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text("utf-8", "replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = next(iter(names), processor)
    card = ""
    if found.device.startswith("cuda"):
        card = f"{torch.cuda.get_device_name(found.device)}, "
    return f"{card}{os.cpu_count()} cores of {processor}, {platform.system()}"


def _files(found: Findings) -> str:
    absent = [name for name, there in found.files.items() if not there]
    needed = [name for name in absent if name not in found.optional]
    lines = [f"There are {', '.join(name for name, there in found.files.items() if there)}."]
    if needed:
        lines.append(f"Absent, and needed: {', '.join(needed)}.")
    if others := [name for name in absent if name in found.optional]:
        lines.append(f"Absent, and replaced by defaults: {', '.join(others)}.")
    return " ".join(lines)


def _languages(found: Findings, forced: Outputs) -> list[str]:
    rows, tags = [], []
    for direction in BOTH:
        for way, outputs in (
            ("the target", forced),
            ("what the app decides (`auto`)", found.automatic),
            ("the language spoken", found.spoken),
        ):
            if outputs is None:
                continue
            pairs = outputs.to(direction)
            texts = [translation.text for _, translation in pairs]
            japanese, empty = sum(map(has_japanese, texts)), sum(not text for text in texts)
            spoken = [
                (text.casefold(), sample.transcript.casefold())
                for text, (sample, _) in zip(texts, pairs, strict=True)
                if isinstance(sample, Sample)
            ]
            result = judged(outputs, direction)
            right = "" if outputs is found.spoken else f"{result.right} of {result.sure}"
            rows.append(
                (
                    direction_title(direction), way, str(japanese),
                    str(len(texts) - japanese - empty), str(empty),
                    right,
                    f"{chrf([(x.text, reference_of(sample)) for sample, x in pairs]):.1f}",
                    f"{chrf(spoken):.1f}",
                )
            )  # fmt: skip
        named = Counter(
            said.tag or f"no tag: {said.text[:20]}"
            for clip, said in zip(found.clips, found.tags, strict=False)
            if clip.direction is direction
        )
        source = direction.source
        tags += [
            (TITLES[source], escaped(tag), str(times))
            for tag, times in named.most_common()
            if source
        ]
    parts = [
        "## Languages",
        "What is written when the prompt names the target, leaves it to the app or names the "
        "language spoken. Right are texts that translate their own clip, of those of which the "
        "model is sure; chrF2 is against the translation and against the words spoken.",
        _table(
            ("direction", "the prompt names", "Japanese", "other script", "no text", "right",
             "translation", "words spoken"),
            rows,
        ),
    ]  # fmt: skip
    parts.append(writing_down(found))
    if tags:
        parts += [
            f"The model's own tags. {naming(found)}",
            _table(("spoken", "tag", "clips"), tags),
        ]
    return parts


def _ways(found: Findings) -> list[str]:
    rows = []
    for ways, default in (
        (found.precisions, found.precision),
        (found.attention, WINDOWED),
        (found.segments, "sentence"),
    ):
        usual = ways.get(default)
        for name, outputs in ways.items():
            audio = sum(x.duration for x in outputs.translations)
            seconds = sum(x.compute_seconds for x in outputs.translations)
            agreement = ""
            if usual:
                known = {id(sample): x.text for sample, x in usual.pairs}
                both = [(x.text, known[id(s)]) for s, x in outputs.pairs if id(s) in known]
                agreement = f"{chrf(both):.1f}"
            sentences = [pair for sample, x in outputs.pairs for pair in sentences_of(sample, x)]
            rows.append(
                (
                    f"{name} (default)" if name == default else name,
                    f"{len(outputs.samples)}, {audio:.0f} s",
                    f"{chrf(sentences):.1f}",
                    agreement,
                    f"{seconds / audio:.2f}" if audio else "",
                    f"{sum(x.tokens for x in outputs.translations) / max(seconds, 1e-9):.1f}",
                    f"{outputs.load:.1f}" if outputs.load else "",
                )
            )
    return [
        "## Precisions, attention, segments",
        "The whole pipeline with the direction forced: clips one at a time, then recordings. "
        "Agreement is chrF2 against the default's texts. Speed is seconds of computing for a "
        "second of audio, and tokens in a second of computing, prompts included; the first load "
        "includes imports and compilation.",
        _table(
            ("way", "recordings", "chrF2", "agreement", "real-time factor", "tokens/s", "load, s"),
            rows,
        ),
    ]


def _sounds(found: Findings) -> list[str]:
    if not found.sounds:
        return []
    rows = [(label, _answer(said)) for label, said in found.answers]
    return [
        "## Silence and noise",
        "What the app makes of it, whose detector leaves out what is no speech:",
        table(found.sounds),
        "What the model itself says to each sound, without the detector:",
        _table(("sound", "answer"), rows),
    ]


def _answer(said: Hypothesis) -> str:
    flags = f" ({', '.join(sorted(said.flags))})" if said.flags else ""
    return (escaped(said.text) or "nothing") + flags


def _texts(forced: Outputs) -> str:
    rows = []
    for sample, translation in forced.pairs:
        assert isinstance(sample, Sample)
        flags = f" ({', '.join(sorted(translation.flags))})" if translation.flags else ""
        seconds = f"{len(sample.load()) / SAMPLE_RATE:.1f}"
        texts = map(escaped, (sample.transcript, translation.text + flags, sample.text))
        rows.append((sample.id, seconds, *texts))
    return _table(("clip", "s", "spoken", "written", "reference"), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
