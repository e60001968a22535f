"""Where recordings are cut, and what that costs: cuts inside of sentences, lengths, chrF and BLEU.

    python -m evaluation.segmentation --system whisper-base --document docs/segmentation.md
    python -m evaluation.segmentation --system qwen3-asr --join fleurs

A policy divides long recordings; the system translates its segments; the document is divided again
at the sentences of the reference and scored. `hand` is what every policy is compared with: the true
sentences, each alone. Without a system, only cuts and lengths are measured. What was translated is
kept, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.console import counted, shown_command, status
from evaluation.document_scores import Documents, compare_documents
from evaluation.long_data import data_options, recordings_of
from evaluation.long_recordings import Recording, Spoken
from evaluation.metrics import direction_title
from evaluation.provenance import revision
from evaluation.resegmentation import resegment
from evaluation.rivals import Rival
from evaluation.run import BOTH
from evaluation.samples import DataError
from evaluation.systems import SYSTEMS
from speech_translation.engine import Engine
from speech_translation.files import replace_file, replace_section
from speech_translation.levels import Samples
from speech_translation.live import LiveTranslator
from speech_translation.segments import (
    POLICIES,
    SENTENCE,
    Policy,
    find_segments,
    padded,
)
from speech_translation.session import Session
from speech_translation.translate import batches
from speech_translation.types import SAMPLE_RATE, Direction, Seconds, Segment, Span, Translation

KEPT = Path("out/segmentation")
SECTION = "segmentation"
HAND, HAND_JOINED, PUNCTUATION = "hand", "hand-joined", "punctuation"
DEFAULT_POLICIES = ("whole", "pause", "sentence", HAND, HAND_JOINED)

TOLERANCE: Seconds = 0.1
"""A cut so near to the end of a sentence is no cut inside of it."""

_CHUNK = SAMPLE_RATE // 4  # what a microphone gives at once

Regions = Sequence[tuple[Span, ...]]


def by_policy(policy: Policy, samples: Samples, sentences: Sequence[Spoken]) -> Regions:
    """The segments that a policy finds in a recording."""
    return find_segments(samples, policy)


def by_hand(longest: Seconds, samples: Samples, sentences: Sequence[Spoken]) -> Regions:
    """The true sentences as segments; those in a row that last no more than `longest` as one."""
    groups = list[list[Span]]()
    for sentence in sentences:
        span = sentence.span
        last = groups[-1] if groups else []
        if (
            last
            and span.end - last[0].start <= longest * SAMPLE_RATE
            and span.start - last[-1].end < SENTENCE.ends * SAMPLE_RATE
        ):
            last.append(span)
        else:
            groups.append([span])
    return padded([tuple(group) for group in groups], Span(0, len(samples)), SENTENCE)


Divider = Callable[[Samples, Sequence[Spoken]], Regions]
DIVIDERS: dict[str, Divider] = {
    **{name: partial(by_policy, policy) for name, policy in POLICIES.items()},
    HAND: partial(by_hand, 0.0),
    HAND_JOINED: partial(by_hand, SENTENCE.wanted[1]),
}
"""The policies by name. `hand-joined` has the true sentences in segments of a wanted length."""


def cuts_inside(spans: Sequence[tuple[Seconds, Seconds]], sentences: Sequence[Spoken]) -> int:
    """How many cuts lie inside of sentences. A cut is the middle between two segments."""
    cuts = [(end + start) / 2 for (_, end), (start, _) in pairwise(spans)]
    return sum(
        any(x.start + TOLERANCE < place < x.end - TOLERANCE for x in sentences) for place in cuts
    )


@dataclass(frozen=True, slots=True)
class Divided:
    """What a policy made of a recording: the times of its segments, and their texts, if any."""

    spans: Sequence[tuple[Seconds, Seconds]]
    texts: Sequence[str] = ()


class Translator:
    """Translates segments with one engine; what it translated before is read from `kept`.

    A file of `kept` belongs to one system with one set of weights.
    """

    def __init__(self, engine: Engine, kept: Path) -> None:
        self._engine = engine
        self._kept = kept
        kept.parent.mkdir(parents=True, exist_ok=True)
        rows = kept.read_bytes().splitlines() if kept.exists() else []
        self._known = dict[str, list[str]]()
        for row in rows:
            try:
                found = json.loads(row)
            except ValueError:
                continue  # a run was stopped while writing it
            self._known[found["key"]] = found["texts"]

    def translate(self, samples: Samples, regions: Regions, direction: Direction) -> Divided:
        """The texts of the segments of a recording."""
        digest = hashlib.sha256(samples.tobytes())
        digest.update(repr((self._engine.description, direction.value, regions)).encode())
        key = digest.hexdigest()
        if key not in self._known:
            session = Session(self._engine, direction)
            texts = list[str]()
            for utterances, ahead in batches(samples, regions, direction, self._engine.batch_size):
                texts += [segment.text for segment in session.batch(utterances, ahead)]
            self._known[key] = texts
            row = json.dumps({"key": key, "texts": texts}, ensure_ascii=False)
            with self._kept.open("a", encoding="utf-8") as file:
                file.write(row + "\n")
        return Divided(_times(regions), self._known[key])

    def follow(self, samples: Samples, direction: Direction) -> Divided:
        """The captions of a recording that is played to the live translator.

        They end where the system's own text ends a sentence. Nothing is shown while a line grows,
        and no time passes: what is measured is where the captions end.
        """
        talk = LiveTranslator(self._engine, direction, partial_every=math.inf, clock=lambda: 0.0)
        for start in range(0, len(samples), _CHUNK):
            talk.push(samples[start : start + _CHUNK], SAMPLE_RATE)
        talk.finish()
        spans = [(segment.start, segment.end) for segment in talk.segments]
        return Divided(spans, [segment.text for segment in talk.segments])


def _times(regions: Regions) -> list[tuple[Seconds, Seconds]]:
    return [Span(spans[0].start, spans[-1].end).seconds for spans in regions]


def document(texts: Sequence[str], direction: Direction) -> str:
    """The texts of segments as one, joined as the library joins them."""
    segments = [Segment(0, 0, text, direction) for text in texts]
    return Translation(segments, direction, 0.0).text


def measure(
    recordings: Sequence[Recording], policies: Sequence[str], translator: Translator | None
) -> dict[str, Any]:
    """The figures of recordings of one direction, for each policy by its name."""
    direction = recordings[0].direction
    target = direction.target
    assert target is not None
    divided: dict[str, list[Divided]] = {name: [] for name in policies}
    seconds = 0.0
    for recording in counted(recordings, "recordings"):
        samples = recording.load()
        seconds += len(samples) / SAMPLE_RATE
        for name in policies:
            if name == PUNCTUATION:
                assert translator is not None
                divided[name].append(translator.follow(samples, direction))
                continue
            regions = DIVIDERS[name](samples, recording.sentences)
            divided[name].append(
                translator.translate(samples, regions, direction)
                if translator
                else Divided(_times(regions))
            )
    count = sum(len(recording.sentences) for recording in recordings)
    results: dict[str, Any] = {
        "direction": direction.value,
        "recordings": len(recordings),
        "sentences": count,
        "seconds": round(seconds, 1),
        "policies": {},
    }
    for name, found in divided.items():
        lengths = [end - start for one in found for start, end in one.spans]
        inside = sum(
            cuts_inside(one.spans, recording.sentences)
            for one, recording in zip(found, recordings, strict=True)
        )
        low, median, high = np.quantile(lengths, (0.05, 0.5, 0.95))
        results["policies"][name] = {
            "segments": len(lengths),
            "cuts_inside": inside,
            "length": {"p5": float(low), "median": float(median), "p95": float(high)},
        }
    if translator and all(recording.scored for recording in recordings):
        references = [[x.reference for x in recording.sentences] for recording in recordings]
        texts = {
            name: [
                resegment(document(one.texts, direction), sentences, target)
                for one, sentences in zip(found, references, strict=True)
            ]
            for name, found in divided.items()
        }
        results["metrics"] = compare_documents(texts, references, target, base=HAND)
        for name, documents in texts.items():
            ratio = _characters(documents) / _characters(references)
            results["policies"][name]["length_ratio"] = ratio
    return results


def _characters(documents: Documents) -> int:
    return sum(len(sentence) for sentences in documents for sentence in sentences)


def table(results: Mapping[str, Any]) -> str:
    """All measurements as Markdown."""
    return "\n".join(_entry_table(entry) for entry in results["measurements"])


def _entry_table(entry: Mapping[str, Any]) -> str:
    metrics: Mapping[str, Any] = entry.get("metrics", {})
    heads = [name for metric in metrics for name in (metric, "of `hand`")]
    if metrics:
        heads.append("characters, of the reference's")
    heads = ["policy", "segments", "cuts inside, a sentence", "length, s", *heads]
    spoken = f"{entry['sentences']} sentences in {entry['recordings']} recordings"
    system = f"{entry['title']}, {direction_title(Direction(entry['direction']))}"
    lines = [
        f"**{entry['data']}**: {spoken}, {entry['seconds'] / 60:.0f} minutes. {system}.",
        "",
        f"| {' | '.join(heads)} |",
        "|" + "---|" * len(heads),
    ]
    for name, x in entry["policies"].items():
        length = x["length"]
        cells = [
            f"`{name}`",
            str(x["segments"]),
            f"{x['cuts_inside'] / entry['sentences']:.2f}",
            f"{length['median']:.1f} ({length['p5']:.1f} to {length['p95']:.1f})",
        ]
        for metric in metrics.values():
            score = metric["scores"][name]
            low, high = score["interval"]
            cells.append(f"{score['score']:.1f} ({low:.1f} to {high:.1f})")
            low, high = (100 * value for value in score["share_interval"])
            cells.append(f"{100 * score['share']:.0f} % ({low:.0f} to {high:.0f})")
        if metrics:
            cells.append(f"{100 * x['length_ratio']:.0f} %")
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for name, metric in metrics.items():
        above = [
            f"that of `{other}` in {100 * metric['at_least'][f'sentence {other}']:.0f} %"
            for other in ("pause", HAND_JOINED)
            if f"sentence {other}" in metric["at_least"]
        ]
        if above:
            lines.append(f"{name} of `sentence` is at least {' and '.join(above)} of the draws.")
        lines.append(f"{name}: `{metric['signature']}`.")
    engine = f"{entry['engine']}, {entry['revision']}; " if entry["engine"] else ""
    lines += [f"{engine}{entry['machine']}, CPU, {entry['date']}; `{entry['command']}`.", ""]
    return "\n".join(lines)


def add(results: dict[str, Any], entry: dict[str, Any]) -> None:
    """Put a measurement in the place of an older one of the same data, system and direction."""
    same = ("data", "system", "direction")
    found = results.setdefault("measurements", [])
    for number, old in enumerate(found):
        if all(old[key] == entry[key] for key in same):
            found[number] = entry
            return
    found.append(entry)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    options = parser().parse_args(argv)
    return status(lambda: _run(options, sys.argv[1:] if argv is None else argv))


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="evaluation.segmentation", description=__doc__)
    data_options(parser)
    parser.add_argument(
        "--policies",
        nargs="+",
        choices=[*DIVIDERS, PUNCTUATION],
        default=list(DEFAULT_POLICIES),
        help=f"default: {' '.join(DEFAULT_POLICIES)}; {PUNCTUATION} is the live translator",
    )
    parser.add_argument("--system", choices=SYSTEMS, help="default: cuts and lengths only")
    parser.add_argument("--model", help="another checkpoint of the same architecture")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder of what was translated")
    parser.add_argument("--output", type=Path, help="where to keep the figures (JSON)")
    parser.add_argument("--document", type=Path, help="Markdown file to put the table into")
    return parser


def _run(options: argparse.Namespace, command: Sequence[str]) -> None:
    if options.system and HAND not in options.policies:
        raise DataError("Scores are compared with those of `hand`: add it to --policies.")
    if PUNCTUATION in options.policies and not options.system:
        raise DataError(f"{PUNCTUATION} is the system's own: name one with --system.")
    engine, translator, system, weights = None, None, None, ""
    if options.system:
        system = SYSTEMS[options.system]
        checkpoint = options.model or system.checkpoint
        engine = system.load(checkpoint, options.device, options.precision)
        weights = revision(checkpoint)
        name = "-".join([options.system, *weights.split()])
        translator = Translator(engine, options.kept / f"{name}.jsonl")
    able = engine.directions if isinstance(engine, Rival) else BOTH
    title, found = recordings_of(options)
    results: dict[str, Any] = {}
    if options.output and options.output.exists():
        results = json.loads(options.output.read_text("utf-8"))
    fresh: dict[str, Any] = {}
    for direction, group in groupby(found, key=lambda recording: recording.direction):
        recordings = list(group)[: options.limit]
        if direction not in able:
            continue
        entry = {
            "data": options.title or title,
            "system": options.system or "",
            "title": system.title if system else "Cuts only",
            "engine": engine.description if engine else "",
            "revision": weights,
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            "date": time.strftime("%Y-%m-%d"),
            "command": shown_command("evaluation.segmentation", command),
            **measure(recordings, options.policies, translator),
        }
        add(fresh, entry)
        add(results, entry)
    if not fresh:
        raise DataError("There is no recording in a direction that the system translates.")
    print(table(fresh))
    if options.output:
        replace_file(options.output, json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    if options.document:
        replace_section(options.document, SECTION, table(results))


if __name__ == "__main__":
    raise SystemExit(main())
