"""Whether a checkpoint does what the app expects of it, as a page of Markdown.

    python -m evaluation.acceptance --output report.md
    python -m evaluation.acceptance --model FOLDER

Without `--model` it is the published checkpoint. The status is 0 when it loads and the app's
defaults are the right ones for it, else 1; the page says which are not, and why. What a default is
held to is in `evaluation.acceptance_page`.
"""

from __future__ import annotations

import argparse
import csv
import gc
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from evaluation.acceptance_page import Findings, Outputs, checks, page
from evaluation.invented import DATA, EXAMPLES, outcomes, sounds
from evaluation.long_recordings import joined
from evaluation.run import BOTH, revision
from evaluation.samples import read_samples
from speech_translation.engine import PUBLISHED_MODEL, WINDOW, Engine, Request
from speech_translation.engine.checkpoint import locate, weight_files
from speech_translation.engine.devices import choose_device, choose_precision
from speech_translation.engine.load import load_local
from speech_translation.errors import SpeechTranslationError
from speech_translation.files import replace_file, unwritable
from speech_translation.manifest import Sample
from speech_translation.segments import POLICIES, SENTENCE, Policy
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Language, Seconds

PRECISIONS: Mapping[str, Sequence[str]] = {
    "cpu": ("float32", "int8", "bfloat16"),
    "mps": ("float32", "bfloat16"),
    "cuda": ("bfloat16", "float16", "float32"),
}
"""What is compared on a kind of device; the engine's own choice is measured first."""

ALONE = 4
"""Sentences of the phrasebook in each direction, unless told otherwise."""

SOUND: Seconds = 5.0
"""Of each sound that is no speech."""

LONGEST = round(SENTENCE.longest * SAMPLE_RATE)
"""Samples that the model itself is given at once."""

TOKENIZER = (("tokenizer.json",), ("vocab.json", "merges.txt"))
NEEDED = ("config.json", "preprocessor_config.json", "tokenizer_config.json")
WITH_DEFAULTS = ("generation_config.json",)


def bundled(each: int) -> tuple[list[Sample], list[Sample]]:
    """The clips, and long recordings, of the repository.

    Clips are people's English sentences, talks and single sentences by synthetic voices, `each` in
    a direction. Long recordings are the talks, the longest of the people's clips, people's
    sentences after each other, and Japanese ones by synthetic voices.
    """
    people = [_loaded(sample) for sample in read_samples(DATA / "human.jsonl")]
    alone = list(read_samples(DATA / "phrasebook.jsonl"))
    single = {
        direction: [
            _loaded(x)
            for x in islice(
                (x for x in alone if x.direction is direction and x.id.startswith("eval_voices")),
                each,
            )
        ]
        for direction in BOTH
    }
    talks = [_example(name) for name in ("en_talk", "ja_talk")]
    clips = [*people, *single[Direction.EN_JA], *single[Direction.JA_EN], *talks]
    after_each_other = [_joined(people), _joined(single[Direction.JA_EN])]
    return clips, [*_longer_than_the_window(clips), *after_each_other]


def _loaded(sample: Sample) -> Sample:
    return replace(sample, audio=sample.load(), start=0.0, end=None, duration=None)


def _example(name: str) -> Sample:
    with (EXAMPLES / "clips.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        said = [row["spoken"] for row in rows if row["file"] == f"{name}.flac"]
    source = Language(name[:2])
    direction = Direction.of(source)
    text = (EXAMPLES / f"{name}.txt").read_text("utf-8").strip()
    joint = " " if source is Language.ENGLISH else ""
    return _loaded(
        Sample(EXAMPLES / f"{name}.flac", text, direction.target, source, joint.join(said), id=name)
    )


def _joined(samples: Sequence[Sample]) -> Sample:
    """Sentences after each other, with pauses, as one."""
    (recording,) = joined(samples, "joined", each=len(samples))
    direction = recording.direction
    joint = "" if direction is Direction.EN_JA else " "
    text = joint.join(sentence.reference for sentence in recording.sentences)
    return Sample(recording.load(), text, direction.target, direction.source, id=recording.name)


def _longer_than_the_window(samples: Sequence[Sample]) -> list[Sample]:
    return [x for x in samples if len(x.load()) > WINDOW * SAMPLE_RATE]


def inspect_files(folder: Path) -> dict[str, bool]:
    """Whether each file that a checkpoint has, needed or not, is in `folder`."""
    tokenizer = next((x for x in TOKENIZER if all((folder / f).is_file() for f in x)), TOKENIZER[0])
    weights = [path.name for path in weight_files(folder)] or ["model.safetensors.index.json"]
    return {
        name: (folder / name).is_file() for name in (*NEEDED, *tokenizer, *weights, *WITH_DEFAULTS)
    }


def examine(model: str, device: str, each: int) -> Findings:
    """Everything about a checkpoint. What stops it is in the findings, and not raised."""
    started = time.monotonic()
    found = Findings(model, optional=frozenset(WITH_DEFAULTS))
    try:
        folder = locate(model)
        found.files = inspect_files(folder)
        found.revision = revision(model)
        found.device = choose_device(device)
        found.precision = choose_precision("auto", found.device)
        _examine(found, each)
    except SpeechTranslationError as error:
        found.error = str(error)
    found.seconds = time.monotonic() - started
    return found


def _examine(found: Findings, each: int) -> None:
    found.clips, found.long = bundled(each)
    found.beyond = _longer_than_the_window(found.clips)
    for attention in ("windowed", "full"):
        engine, load = _load(found, found.precision, windowed=attention == "windowed")
        if attention == "windowed":
            found.engine = engine.description
            _say(f"{engine.description}, loaded in {load:.0f} s; forced directions")
            found.forced = _translated(engine, found.clips, load=load)
            _as_it_chooses(found, engine)
            found.segments.update(_by_policy(found, engine))
            _say("silence and noise")
            found.sounds = outcomes(sounds(SOUND, seed=1), engine)
            found.answers.update(_answers(engine))
        _say(f"{attention} attention")
        found.attention[attention] = _translated(engine, found.beyond)
        del engine
        gc.collect()  # a checkpoint fits once into many a machine, not twice
    found.precisions[found.precision] = found.forced
    for precision in PRECISIONS[found.device.partition(":")[0]]:
        if precision in found.precisions:
            continue
        _say(precision)
        try:
            engine, load = _load(found, precision)
            found.precisions[precision] = _translated(engine, found.clips, load=load)
            del engine
        except SpeechTranslationError as error:
            found.precisions[precision] = str(error)
        gc.collect()


def _load(found: Findings, precision: str, *, windowed: bool = True) -> tuple[Engine, Seconds]:
    """An engine that nothing else keeps, and how long it took to load."""
    began = time.monotonic()
    engine = load_local(found.model, found.device, precision, windowed)
    return engine, time.monotonic() - began


def _translated(
    engine: Engine, clips: Sequence[Sample], policy: Policy = SENTENCE, load: Seconds = 0.0
) -> Outputs:
    """The clips by the whole pipeline, each with its direction forced."""
    done = [translate(x.load(), engine, x.direction, policy=policy) for x in clips]
    return Outputs(
        [translation.text for translation in done],
        sum(translation.duration for translation in done),
        sum(translation.compute_seconds for translation in done),
        sum(translation.tokens for translation in done),
        load,
    )


def _as_it_chooses(found: Findings, engine: Engine) -> None:
    _say("the language left to the model")
    found.named = [_said(engine, sample, Direction.AUTO) for sample in found.clips]
    _say("the language spoken")
    found.spoken = [
        _said(engine, x, Direction.to(x.source)) for x in found.clips if x.source is not None
    ]


def _said(engine: Engine, sample: Sample, direction: Direction) -> Hypothesis:
    """What the model itself says to the first 30 s of a sample."""
    (hypothesis,) = engine.generate(Request([sample.load()[:LONGEST]], direction))
    return hypothesis


def _by_policy(found: Findings, engine: Engine) -> Iterator[tuple[str, Outputs]]:
    for name, policy in POLICIES.items():
        _say(f"segments: {name}")
        yield name, _translated(engine, found.long, policy)


def _answers(engine: Engine) -> Iterator[tuple[str, list[Hypothesis]]]:
    first = {clip.label: clip.samples for clip in reversed(list(sounds(SOUND, seed=1)))}
    for label, samples in reversed(first.items()):
        asked = (*BOTH, Direction.AUTO)
        yield label, [engine.generate(Request([samples], direction))[0] for direction in asked]


def _say(message: str) -> None:
    print(time.strftime("%H:%M:%S"), message, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="evaluation.acceptance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default=PUBLISHED_MODEL, help="as in inference.py: %(default)s")
    parser.add_argument("--device", default="auto", help="as in inference.py")
    parser.add_argument(
        "--each", type=int, default=ALONE, help="single sentences in a direction (%(default)s)"
    )
    parser.add_argument("--output", type=Path, help="where to keep the page (Markdown)")
    options = parser.parse_args(argv)
    if options.each < 1:
        parser.error("--each must be 1 or more")
    found = examine(options.model, options.device, options.each)
    results = checks(found)
    text = page(found, results)
    print(text)
    if options.output:
        try:
            replace_file(options.output, text)
        except OSError as error:
            print(f"error: {unwritable(options.output, error)}", file=sys.stderr)
            return 1
    return 0 if all(check.right for check in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
