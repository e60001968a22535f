"""The command line: recordings in, text or files out.

    speech-translation talk.mp3 --direction en2ja
    speech-translation recordings/ more.list --format srt --output-dir subtitles
    speech-translation archive/ --output-dir out --jobs 64 --engine-url http://host:8000/v1

Text goes to standard output, everything else to standard error. Exit status: 0 all went well,
1 a file failed (the others are still translated), 2 wrong usage, 130 interrupted by Ctrl-C, 143 by
SIGTERM, 141 nobody reads standard output any more; what was finished is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from speech_translation.audio import EXTENSIONS, MAX_SECONDS, Samples, load_audio
from speech_translation.bulk import LISTS, find_sources, is_single, translate_files
from speech_translation.captions import FORMATS, render
from speech_translation.console import Interrupt, Progress, redirect_to_devnull, remark, show, tell
from speech_translation.engine import (
    PHRASEBOOK,
    PRECISIONS,
    PUBLISHED_MODEL,
    Engine,
    load_engine,
)
from speech_translation.engine.base import Cancelled, NamesModel
from speech_translation.engine.batching import SharedEngine
from speech_translation.errors import AudioError, EngineError, SpeechTranslationError, one_line
from speech_translation.files import need_temporary_folder
from speech_translation.journal import JOURNAL, STANDARD_INPUT, Journal, Recording, RunSettings
from speech_translation.other_direction import other_direction, regions, telling
from speech_translation.process import own_process
from speech_translation.segments import POLICIES
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction, Translation

ENDED_BY = (signal.SIGINT, signal.SIGTERM)

NOBODY_READS = 141
"""The exit status where whoever read standard output has left, like that of other programs."""

_EPILOG = f"""\
With --output-dir the results lie as the recordings do below their folder or
list; namesakes are numbered. {JOURNAL} there says which are done: the same
command again goes on with the others, and translates again what has changed or
failed. To have results again, delete them or name another folder. Another model,
direction, context or choice of --segments needs another folder; another format
does not.

Offline, with the small embedded model: --model phrasebook
"""


def parser() -> argparse.ArgumentParser:
    """The options, with the published checkpoint as the default model."""

    def positive(kind: type) -> Any:
        def parse(text: str) -> Any:
            value = kind(text)
            if not value > 0:
                raise argparse.ArgumentTypeError(f"{text} is not above 0")
            return value

        parse.__name__ = kind.__name__
        return parse

    def name(text: str) -> str:
        if not text:
            raise argparse.ArgumentTypeError("the name is empty: check what the shell put there")
        return text

    def folder(text: str) -> Path:
        return Path(name(text))

    options = argparse.ArgumentParser(
        description="Translate English speech to Japanese text and Japanese speech to English.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add(
        "audio",
        nargs="+",
        help=f"audio or video files; folders of them ({' '.join(sorted(EXTENSIONS))}); lists of "
        f"them ({' '.join(sorted(LISTS))}), one path a line, relative to the list's folder; or - "
        "for standard input",
    )
    add(
        "--direction",
        choices=[direction.value for direction in Direction],
        default=Direction.AUTO.value,
        help="en2ja, ja2en, or auto: the model tells from the speech (default: auto)",
    )
    add(
        "--model",
        type=name,
        default=PUBLISHED_MODEL,
        help="Hugging Face id, ID@REVISION, folder, or phrasebook (default: %(default)s)",
    )
    add(
        "--engine-url",
        default="",
        metavar="URL",
        help="let a vLLM server, with its own model, do the work: http://host:8000/v1; several "
        "with commas",
    )
    add("--device", default="auto", help="auto, cpu, mps, cuda, cuda:N (default: auto)")
    add(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="what to compute in (default: auto, what suits the device)",
    )
    add(
        "--full-attention",
        action="store_true",
        help="let the encoder see the whole segment instead of windows of 8 s",
    )
    add("--format", choices=FORMATS, default="txt", help="what to write (default: txt)")
    add(
        "--output-dir",
        type=folder,
        metavar="FOLDER",
        help="write one file for each recording there, and a journal",
    )
    add(
        "--segments",
        choices=list(POLICIES),
        default="sentence",
        help="what is translated as one: a sentence or a few of them; what lies between two pauses "
        "of 0.5 s (pause); or up to 30 s whatever the pauses (whole) (default: %(default)s)",
    )
    add("--context", default="", help="names and terms that may occur (experimental)")
    add(
        "--max-seconds",
        type=positive(float),
        default=MAX_SECONDS,
        help="refuse longer recordings (default: %(default)g)",
    )
    add("--batch-size", type=positive(int), help="segments translated at a time")
    add(
        "--jobs",
        type=positive(int),
        default=1,
        metavar="N",
        help="translate N recordings at a time into --output-dir (default: %(default)s)",
    )
    add("--quiet", action="store_true", help="only errors on standard error")
    return options


def open_engine(options: argparse.Namespace, interrupt: Interrupt) -> Engine:
    """The engine asked for; SpeechTranslationError when it cannot be had."""
    need_temporary_folder()
    if not options.quiet:
        tell(f"loading {options.engine_url or options.model}")
    with interrupt.at_once():
        engine = load_engine(
            options.model,
            options.device,
            precision=options.precision,
            windowed=not options.full_attention,
            url=options.engine_url,
            in_flight=options.jobs,
        )
    if not options.quiet:
        tell(engine.description)
    return engine


def load(recording: Recording, options: argparse.Namespace, name: str | None = None) -> Samples:
    """Decode a recording; raises AudioError, which calls it `name` or by its path's last part."""
    if recording.source != STANDARD_INPUT:
        return load_audio(recording.source, options.max_seconds, name=name)
    try:
        return load_audio(sys.stdin.buffer, options.max_seconds, name="standard input")
    except OSError as error:  # it may be anything
        raise AudioError(f"Standard input cannot be read: {error.strerror}.") from error


def translate_samples(
    samples: Samples,
    name: str,
    engine: Engine,
    options: argparse.Namespace,
    cancelled: Cancelled,
) -> Translation:
    """Translate a recording, with a progress bar where somebody watches and it is the only one."""
    from tqdm import tqdm

    watched = options.jobs == 1 and not options.quiet and sys.stderr.isatty()
    with tqdm(
        total=len(samples) / SAMPLE_RATE,
        desc=one_line(Path(name).name),
        unit="s",
        bar_format="{desc}: {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s, {remaining} left",
        leave=False,
        disable=not watched,
    ) as bar:
        return translate(
            samples,
            engine,
            Direction(options.direction),
            context=options.context,
            batch_size=options.batch_size,
            policy=POLICIES[options.segments],
            progress=lambda done, _: bar.update(done - bar.n),
            cancelled=cancelled,
        )


def tell_doubts(
    translation: Translation,
    samples: Samples,
    name: str,
    engine: Engine,
    options: argparse.Namespace,
) -> None:
    """Tell what to distrust in a translation.

    A direction that does not suit the speech gives a fluent text all the same, without a flag. So
    the model is asked for its own tag of one short stretch, which costs a prompt.
    """
    asked, named = Direction(options.direction), None
    if asked is not Direction.AUTO:
        stretch = telling(samples, [regions(segment) for segment in translation.segments])
        with contextlib.suppress(EngineError):  # the translation is there
            named = None if stretch is None else other_direction(engine, stretch, asked)
    remark(translation, name, asked, named, brief=options.jobs > 1)


def print_all(
    options: argparse.Namespace, engine: Callable[[], Engine], interrupt: Interrupt
) -> int:
    """Translate everything to standard output, in order; returns the exit status.

    The engine is asked for once there is something for it: a wrong path needs no model.
    """
    failed = False

    def fail(reason: object) -> None:
        nonlocal failed
        failed = True
        tell(f"error: {reason}")

    found = list(find_sources(options.audio, in_order=True))
    several = sum(isinstance(item, Recording) for item in found) > 1
    for item in found:
        if isinstance(item, AudioError):
            fail(item)
            continue
        name = one_line(item.name)
        try:
            samples = load(item, options, name)
        except AudioError as error:
            fail(error)
            continue
        interrupt.check()
        ready = engine()
        try:
            translation = translate_samples(
                samples, name, ready, options, lambda: interrupt.pressed
            )
        except EngineError as error:
            fail(f"{name}: {error}")
            continue
        interrupt.check()
        label = f"{name}: " if several else ""
        try:
            lacking = show(label + render(translation, options.format))
        except BrokenPipeError:  # `| head` has seen enough
            redirect_to_devnull(sys.stdout)
            return NOBODY_READS
        except OSError as error:
            redirect_to_devnull(sys.stdout)
            fail(f"The text cannot be written: {error.strerror}. Name a folder with --output-dir.")
            return 1  # nor could the next one
        if lacking:
            fail(
                f"The text of {name} has characters that {lacking} does not have, printed as ?: "
                "set PYTHONIOENCODING=utf-8, or name a folder with --output-dir."
            )
        if not options.quiet:
            tell_doubts(translation, samples, name, ready, options)
    return 1 if failed else 0


def write_all(
    options: argparse.Namespace, engine: Callable[[], Engine], interrupt: Interrupt
) -> int:
    """Translate everything into the output folder, with a journal; returns the exit status."""
    direction, model = Direction(options.direction), options.model
    if options.engine_url:
        model = ""  # the servers are asked
    elif model != PHRASEBOOK and os.path.isdir(model):
        model = os.path.abspath(model)
    progress = Progress(options.audio, options.quiet)

    def prepare() -> None:
        progress.clear()
        ready = engine()
        if isinstance(ready, NamesModel):
            journal.name_model(ready.model)
        progress.begin()

    def translate_one(recording: Recording, cancelled: Cancelled) -> Translation:
        samples = load(recording, options)
        if cancelled():
            return Translation((), direction, 0.0)
        name = one_line(recording.name)
        translation = translate_samples(samples, name, engine(), options, cancelled)
        if not options.quiet and not cancelled():
            progress.clear()
            tell_doubts(translation, samples, name, engine(), options)
        return translation

    settings = RunSettings(model, direction, options.context, options.format, options.segments)
    with Journal(options.output_dir, settings) as journal:
        try:
            if options.engine_url and journal.has_results:
                prepare()  # before anything counts as done: it may be another model's
            tally = translate_files(
                find_sources(options.audio),
                translate_one,
                journal,
                jobs=options.jobs,
                prepare=prepare,
                progress=None if is_single(options.audio) else progress,
                cancelled=lambda: interrupt.pressed,
            )
            progress.end(tally)
        finally:
            for entry in journal.failures():
                name = "stdin" if entry.source == STANDARD_INPUT else one_line(entry.source)
                tell(f"error: {name}: {entry.error}" if name else f"error: {entry.error}")
    interrupt.check()
    return 1 if tally.failed else 0


def run(options: argparse.Namespace, interrupt: Interrupt) -> int:
    """Translate everything asked for; returns the exit status."""
    with contextlib.ExitStack() as ended:

        @functools.cache
        def engine() -> Engine:
            opened = open_engine(options, interrupt)
            if options.jobs == 1 or options.engine_url:
                return opened
            return ended.enter_context(contextlib.closing(SharedEngine(opened)))

        try:
            return (print_all if options.output_dir is None else write_all)(
                options, engine, interrupt
            )
        except SpeechTranslationError as error:
            tell(f"error: {error}")
            return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    options_parser = parser()
    options = options_parser.parse_args(argv)
    if options.output_dir is None:
        if not is_single(options.audio) and options.format != "txt":
            options_parser.error(f"several recordings as {options.format} need an --output-dir")
        if options.jobs > 1:
            options_parser.error("--jobs needs an --output-dir")
    if options.jobs > 1 and STANDARD_INPUT in options.audio:
        # A thread that waits for standard input cannot be interrupted.
        options_parser.error("--jobs above 1 takes files, folders and lists, not standard input")
    own_process()
    interrupt = Interrupt()
    before = {number: signal.signal(number, interrupt) for number in ENDED_BY}
    try:
        return run(options, interrupt)
    except KeyboardInterrupt:
        tell("interrupted")
        return interrupt.status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    raise SystemExit(main())
