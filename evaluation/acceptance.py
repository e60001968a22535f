"""Whether a checkpoint does what the app expects of it, as a page of Markdown.

    python -m evaluation.acceptance --output report.md
    python -m evaluation.acceptance --model FOLDER
    python -m evaluation.acceptance --engine-url http://host:8000/v1

Without `--model` it is the published checkpoint. The status is 0 when it loads and the app's
defaults are the right ones for it, 1 when one is wrong, and 3 when none is and too little was
measured to decide about all; the page says which, and why. It also says what could not be
measured: one failure does not cost the rest. A model that is nowhere has no page. What a default is
held to is in `evaluation.acceptance_checks`.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

from evaluation.acceptance_checks import (
    FULL,
    INTERRUPTED,
    OUT_OF_TIME,
    SERVED,
    WINDOWED,
    Findings,
    Outputs,
    checks,
)
from evaluation.acceptance_data import bundled
from evaluation.acceptance_page import page
from evaluation.console import say
from evaluation.invented import outcomes, sounds
from evaluation.long_recordings import Recording
from evaluation.provenance import revision
from speech_translation.arguments import Parser
from speech_translation.bounds import bounded
from speech_translation.engine import PHRASEBOOK, PUBLISHED_MODEL, Engine, Request, load_engine
from speech_translation.engine.base import NamesModel
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER, locate, weight_files
from speech_translation.engine.devices import choose_device, choose_precision, empty_cache
from speech_translation.engine.hub import split_revision
from speech_translation.engine.load import load_local
from speech_translation.errors import SpeechTranslationError, first_words
from speech_translation.files import replace_file, unwritable
from speech_translation.manifest import Sample
from speech_translation.segments import POLICIES, SENTENCE, Policy
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Seconds

PRECISIONS: Mapping[str, Sequence[str]] = {
    "cpu": ("float32", "int8", "bfloat16"),
    "mps": ("float32", "bfloat16"),
    "cuda": ("bfloat16", "float16", "float32"),
}
"""What is compared on a kind of device; the engine's own choice is measured first."""

EACH = 12
"""Clips of a direction, unless told otherwise: all of people's, and as many others."""

SOUND: Seconds = 5.0
"""Of each sound that is no speech."""

LONGEST = round(SENTENCE.longest * SAMPLE_RATE)
"""Samples that the model itself is given at once."""

TAG_TOKENS = 12
"""Enough to read the tag of a reply."""

WRONG, UNDECIDED = 1, 3
"""Exit statuses; argparse has 2."""

TOKENIZER = (("tokenizer.json",), ("vocab.json", "merges.txt"))
TEMPLATE = ("chat_template.jinja", "chat_template.json")
NEEDED = ("config.json", "preprocessor_config.json", "tokenizer_config.json")
WITH_DEFAULTS = ("generation_config.json",)


def inspect_files(folder: Path) -> dict[str, bool]:
    """Whether each file that a checkpoint has, needed or not, is in `folder`."""

    def there(*names: str) -> bool:
        return all((folder / name).is_file() for name in names)

    tokenizer = next((names for names in TOKENIZER if there(*names)), TOKENIZER[0])
    template = next((name for name in TEMPLATE if there(name)), TEMPLATE[0])
    weights = [path.name for path in weight_files(folder)] or ["model.safetensors.index.json"]
    return {name: there(name) for name in (*NEEDED, *tokenizer, template, *weights, *WITH_DEFAULTS)}


def _folder(model: str) -> Path | None:
    """Where the files of a model are, whole or not; None where there are none yet."""
    from huggingface_hub import try_to_load_from_cache

    if model == PHRASEBOOK:
        return PHRASEBOOK_FOLDER
    if Path(model).is_dir():
        return Path(model)
    name, pinned = split_revision(model)
    try:
        known = try_to_load_from_cache(name, "config.json", revision=pinned)
    except ValueError:  # no id of the Hub
        return None
    return Path(known).parent if isinstance(known, str) else None


class _OutOfTime(Exception):
    """There was no time left for what is being measured."""


class Examination:
    """Measures one way after the other; what fails, or is cut off, is noted and passed over.

    With `url` it is the model that servers there have. After `seconds` nothing more is measured.
    """

    def __init__(
        self, model: str, device: str, each: int, *, url: str = "", seconds: Seconds = math.inf
    ) -> None:
        self.found = Findings(model, served=bool(url), optional=frozenset(WITH_DEFAULTS))
        self._device = device
        self._each = each
        self._url = url
        self._deadline = time.monotonic() + seconds
        self._interrupted = False

    def run(self) -> Findings:
        """Everything there is to find out."""
        found, started = self.found, time.monotonic()
        self._attempt("loading", self._prepare)
        if found.precision:
            others = () if found.served else PRECISIONS[found.device.split(":")[0]]
            for precision in dict.fromkeys([found.precision, *others]):
                self._attempt(precision, partial(self._precision, precision))
            if found.usual and not found.served:
                self._attempt(f"{FULL} attention", self._full_attention)
        found.seconds = time.monotonic() - started
        return found

    def _attempt(self, name: str, work: Callable[[], None]) -> None:
        if self._interrupted or self._late():
            self.found.failed[name] = INTERRUPTED if self._interrupted else OUT_OF_TIME
            return
        say(name)
        try:
            work()
        except KeyboardInterrupt:
            self._interrupted = True
            self.found.failed[name] = INTERRUPTED
        except _OutOfTime:
            self.found.failed[name] = OUT_OF_TIME
        except Exception as error:  # whatever a checkpoint that nobody has run here sets off
            known = isinstance(error, SpeechTranslationError)
            self.found.failed[name] = (
                str(error) if known else f"{type(error).__name__}: {first_words(error)}"
            )

    def _late(self) -> bool:
        return time.monotonic() > self._deadline

    def _require_time(self) -> None:
        if self._late():
            raise _OutOfTime

    def _prepare(self) -> None:
        found = self.found
        if found.served:
            engine = load_engine(url=self._url)
            assert isinstance(engine, NamesModel)
            found.model = engine.model
            found.clips, found.long = bundled(self._each)
            found.precision = SERVED
            return
        try:
            folder = locate(found.model)
        finally:
            if present := _folder(found.model):
                found.files = inspect_files(present)
        found.folder = str(folder)
        found.revision = revision(found.model)
        found.clips, found.long = bundled(self._each)
        found.device = choose_device(self._device)
        found.precision = choose_precision("auto", found.device)

    def _precision(self, precision: str) -> None:
        """The first precision that works does all the rest as well."""
        found = self.found
        engine, load = self._load(precision)
        first = not found.usual
        self._translated(engine, found.clips[:1])  # what is compiled or allocated once
        clips = found.clips
        if precision == "bfloat16" and found.device == "cpu" and not first:
            clips = clips[::3]  # slow on most processors
        outputs = replace(self._translated(engine, clips), load=load)
        found.precisions[precision] = outputs
        if not first:
            return
        found.engine, found.usual = engine.description, precision
        for name, work in (
            ("the language spoken", partial(self._spoken, engine)),
            ("auto", partial(self._automatic, engine)),
            ("tags", partial(self._tags, engine)),
            *(
                (f"{name} segments", partial(self._segments, engine, name, policy))
                for name, policy in POLICIES.items()
            ),
            ("sounds", partial(self._sounds, engine)),
        ):
            self._attempt(name, work)

    def _load(self, precision: str, *, windowed: bool = True) -> tuple[Engine, Seconds]:
        """An engine that nothing else keeps: a checkpoint fits once into many a machine."""
        if self.found.served:
            return load_engine(url=self._url), 0.0
        import torch

        gc.collect()
        empty_cache(torch.device(self.found.device))
        began = time.monotonic()
        engine = load_local(self.found.model, self.found.device, precision, windowed)
        return engine, time.monotonic() - began

    def _translated(
        self,
        engine: Engine,
        samples: Sequence[Sample | Recording],
        *,
        turned: bool = False,
        auto: bool = False,
        policy: Policy = SENTENCE,
    ) -> Outputs:
        """Samples by the whole pipeline; `turned` asks for the language that is spoken."""
        done = []
        for sample in samples:
            direction = sample.direction
            assert direction.source is not None
            if turned:
                direction = Direction.to(direction.source)
            asked = Direction.AUTO if auto else direction
            sound = sample.load()
            done.append(translate(sound, engine, asked, policy=policy, cancelled=self._late))
            self._require_time()
        return Outputs(samples, done)

    def _spoken(self, engine: Engine) -> None:
        self.found.spoken = self._translated(engine, self.found.clips, turned=True)

    def _automatic(self, engine: Engine) -> None:
        self.found.automatic = self._translated(engine, self.found.clips, auto=True)

    def _tags(self, engine: Engine) -> None:
        tags = []
        for clip in self.found.clips:
            tags.append(_tagged(engine, clip))
            self._require_time()
        self.found.tags = tags

    def _segments(self, engine: Engine, name: str, policy: Policy) -> None:
        outputs = self._translated(engine, self.found.long, policy=policy)
        self.found.segments[name] = outputs
        if policy is SENTENCE and not self.found.served:
            self.found.attention[WINDOWED] = outputs

    def _full_attention(self) -> None:
        engine, load = self._load(self.found.usual, windowed=False)
        outputs = self._translated(engine, self.found.long)
        self.found.attention[FULL] = replace(outputs, load=load)

    def _sounds(self, engine: Engine) -> None:
        found = self.found
        clips = list(sounds(SOUND, seed=1))
        found.sounds = outcomes(clips, engine)
        for clip in clips:
            self._require_time()
            (said,) = engine.generate(Request([clip.samples]))
            found.answers.append((clip.label, said))


def _tagged(engine: Engine, clip: Sample) -> Hypothesis:
    """What the model names for a clip; the reply of one that is here ends once that can be read."""
    asked = count()
    here = not isinstance(engine, NamesModel)
    ended = (lambda: next(asked) >= TAG_TOKENS) if here else None
    request = Request([clip.load()[:LONGEST]], cancelled=ended)
    (hypothesis,) = engine.generate(request)
    return hypothesis


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = Parser(
        prog="evaluation.acceptance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--model", default=PUBLISHED_MODEL, help="as in inference.py: %(default)s")
    where.add_argument("--engine-url", default="", help="vLLM servers, as in inference.py")
    parser.add_argument("--device", default="auto", help="as in inference.py")
    parser.add_argument("--each", type=int, default=EACH, help="clips of a direction (%(default)s)")
    parser.add_argument(
        "--minutes",
        type=bounded(float, above=0, endless=True),
        default=math.inf,
        help="end after so many (no limit)",
    )
    parser.add_argument("--output", type=Path, help="where to keep the page (Markdown)")
    options = parser.parse_args(argv)
    if options.each < 2:
        parser.error("--each must be 2 or more")
    if options.output and (options.output.is_dir() or not options.output.parent.is_dir()):
        parser.error(f"--output {options.output} is no file in a folder that is there")
    if importlib.util.find_spec("sacrebleu") is None:
        print("error: No sacrebleu: run pip install sacrebleu==2.6.0", file=sys.stderr)
        return 1
    seconds = 60 * options.minutes
    examination = Examination(
        options.model, options.device, options.each, url=options.engine_url, seconds=seconds
    )
    found = examination.run()
    if "loading" in found.failed and not found.files:  # there is no model that could be judged
        print(f"error: {found.failed['loading']}", file=sys.stderr)
        return 1
    results = checks(found)
    text = page(found, results)
    verdicts = {check.right for check in results}
    status = WRONG if False in verdicts else UNDECIDED if None in verdicts else 0
    if options.output:
        try:
            replace_file(options.output, text)
        except OSError as error:
            print(f"error: {unwritable(options.output, error)}", file=sys.stderr)
            status = WRONG
    shown = sys.stdout.encoding or "utf-8"
    print(text.encode(shown, errors="replace").decode(shown))
    return status


if __name__ == "__main__":
    raise SystemExit(main())
