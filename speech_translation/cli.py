"""The command line: recordings in, text or files out.

    speech-translation talk.mp3 --direction en2ja
    speech-translation recordings/ more.list --format srt --output-dir subtitles
    speech-translation archive/ --output-dir out --jobs 64 --engine-url http://host:8000/v1

Text goes to standard output, everything else to standard error. Exit status: 0 all went well,
1 a file failed (the others are still translated), 2 wrong usage, 130 interrupted by Ctrl-C, 143 by
SIGTERM, 129 by the end of its terminal, 141 nobody reads standard output any more; what was
finished is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from speech_translation.arguments import parse
from speech_translation.audio import is_stream, load_audio, read_stream
from speech_translation.bulk import find_sources, is_single, translate_files
from speech_translation.captions import render
from speech_translation.console import (
    Interrupt,
    Progress,
    mend_streams,
    redirect_to_devnull,
    remark,
    show,
    tell,
)
from speech_translation.engine import PHRASEBOOK, Engine, load_engine
from speech_translation.engine.aligner import load_aligner
from speech_translation.engine.base import Aligner, Cancelled, NamesModel
from speech_translation.engine.batching import SharedEngine
from speech_translation.errors import (
    NO_MEMORY,
    AudioError,
    EngineError,
    SpeechTranslationError,
    missing_package,
    one_line,
    shown_address,
    without_password,
)
from speech_translation.files import need_current_folder, need_temporary_folder
from speech_translation.journal import STANDARD_INPUT, Entry, Journal, Recording, RunSettings
from speech_translation.levels import Samples
from speech_translation.other_direction import other_direction, regions, telling
from speech_translation.process import own_process
from speech_translation.readings import require_readings
from speech_translation.segments import POLICIES
from speech_translation.transcripts import OFF, SAME, is_url, load_transcriber
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction, Remark, Show, Translation

ENDED_BY = [signal.SIGINT, signal.SIGTERM]
if sys.platform != "win32":
    ENDED_BY.append(signal.SIGHUP)

NOBODY_READS = 141
"""The exit status where whoever read standard output has left, like that of other programs."""


class Engines(NamedTuple):
    """What translates, and what writes down what is said, if that is wanted."""

    translator: Engine
    transcriber: Engine | None
    aligner: Aligner | None


def open_engines(options: argparse.Namespace, interrupt: Interrupt) -> Engines:
    """The engines asked for; SpeechTranslationError when they cannot be had."""
    need_temporary_folder()
    names = [shown_address(options.engine_url) or options.model]
    names += [] if options.transcript in (OFF, SAME) else [without_password(options.transcript)]
    if not options.quiet:
        tell(f"loading {' and '.join(names)}")
    cache = not options.no_cache
    with interrupt.at_once():
        engine = load_engine(
            options.model,
            options.device,
            precision=options.precision,
            windowed=not options.full_attention,
            url=options.engine_url,
            in_flight=options.jobs,
            cache=cache,
        )
        transcriber = load_transcriber(
            options.transcript, engine, options.device, precision=options.precision, cache=cache
        )
        aligner = load_aligner(options.aligner, options.device) if options.aligner else None
    if not options.quiet:
        tell(engine.description)
        if transcriber is not None:
            tell(f"what is said is written down by {transcriber.description}")
        if aligner is not None:
            tell(f"its words are timed by {aligner.description}")
    return Engines(engine, transcriber, aligner)


def load(
    recording: Recording,
    options: argparse.Namespace,
    interrupt: Interrupt,
    name: str | None = None,
) -> tuple[Samples, tuple[Remark, ...]]:
    """Decode a recording; also returns what is to be said of it.

    Raises AudioError, which calls it `name` or by its path's last part. Who waits for a pipe waits
    as long as its writer likes, so a signal ends that at once.
    """
    remarks = list[Remark]()
    decode = functools.partial(
        load_audio,
        max_seconds=options.max_seconds,
        track=options.track,
        language=Direction(options.direction).source,
        remark=remarks.append,
    )
    if recording.source != STANDARD_INPUT:
        streamed = _stream(recording.source, options, interrupt)
        name = name or Path(recording.source).name
        return decode(recording.source if streamed is None else streamed, name=name), tuple(remarks)
    if sys.stdin is None:
        raise AudioError("Standard input is closed.")
    try:
        with interrupt.at_once():
            file = sys.stdin.buffer
            source = file if file.seekable() else read_stream(file, "Standard input")
        return decode(source, name="standard input"), tuple(remarks)
    except OSError as error:  # it may be anything
        raise AudioError(f"Standard input cannot be read: {error.strerror}.") from error


def _stream(source: str, options: argparse.Namespace, interrupt: Interrupt) -> BinaryIO | None:
    """All that a pipe or a terminal gives; None for a file, and for a device that can seek."""
    if not is_stream(source):
        return None
    name = one_line(Path(source).name)
    if options.jobs > 1:  # no signal reaches a thread that waits
        raise AudioError(f"{name} is a pipe or a device: translate it without --jobs.")
    try:
        with interrupt.at_once(), open(source, "rb") as file:
            return None if file.seekable() else read_stream(file, name)
    except OSError as error:
        raise AudioError(f"{name} cannot be read ({error.strerror}).") from error


def translate_samples(
    samples: Samples,
    name: str,
    engines: Engines,
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
            engines.translator,
            Direction(options.direction),
            transcriber=engines.transcriber,
            aligner=engines.aligner,
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
    cancelled: Cancelled,
) -> None:
    """Tell what to distrust in a translation.

    A direction that does not suit the speech gives a fluent text all the same, without a flag. So
    the model is asked for its own tag of a few short stretches, each of which costs a prompt.
    """
    asked, named = Direction(options.direction), None
    if asked is not Direction.AUTO:
        stretches = telling(samples, [regions(segment) for segment in translation.segments])
        named = other_direction(engine, stretches, asked, cancelled)
    remark(translation, name, asked, named, brief=options.jobs > 1, track=options.track)
    spoken = {segment.direction for segment in translation.segments}
    if options.readings and options.show is Show.TRANSLATION and Direction.JA_EN in spoken:
        tell(f"{name}: add --show both or source, else Japanese speech has no --readings")


def print_all(
    options: argparse.Namespace, engines: Callable[[], Engines], interrupt: Interrupt
) -> int:
    """Translate everything to standard output, in order; returns the exit status.

    The engine is asked for once there is something for it: a wrong path needs no model.
    """
    if sys.stdout is None:
        raise SpeechTranslationError("Standard output is closed: name a folder with --output-dir.")
    failed = False

    def fail(reason: object) -> None:
        nonlocal failed
        failed = True
        tell(f"error: {reason}")

    found = list(find_sources(options.audio, in_order=True))
    sources = {item.source for item in found if isinstance(item, Recording)}
    several = len(sources) > 1
    for item in found:
        if isinstance(item, AudioError):
            fail(item)
            continue
        name = one_line(item.name)
        if item.source not in sources:
            if not options.quiet:
                tell(f"{name}: the same file as before, translated once")
            continue
        sources.remove(item.source)
        try:
            samples, remarks = load(item, options, interrupt, name)
        except AudioError as error:
            fail(error)
            continue
        interrupt.check()
        ready = engines()
        try:
            translation = translate_samples(
                samples, name, ready, options, lambda: interrupt.pressed
            )
        except EngineError as error:
            fail(f"{name}: {error}")
            continue
        translation = dataclasses.replace(translation, remarks=remarks)
        interrupt.check()
        text = render(translation, options.format, options.show, readings=options.readings)
        if several:
            text = f"{name}: {text}" if text.count("\n") <= 1 else f"{name}:\n{text}\n"
        try:
            lacking = show(text)
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
            tell_doubts(
                translation, samples, name, ready.translator, options, lambda: interrupt.pressed
            )
    return 1 if failed else 0


def _stated(model: str) -> str:
    """A model as the journal states it: a folder by its whole path."""
    known = model in (PHRASEBOOK, OFF, SAME) or not os.path.isdir(model)
    return model if known else os.path.abspath(model)


def _failure(entry: Entry) -> str:
    """Why a recording failed, with its whole path, in place of its name where that is said."""
    error = entry.error or ""
    if not entry.source:
        return error
    name = "stdin" if entry.source == STANDARD_INPUT else one_line(entry.source)
    last = os.path.basename(name)
    return name + error[len(last) :] if error.startswith(f"{last} ") else f"{name}: {error}"


def write_all(
    options: argparse.Namespace, engines: Callable[[], Engines], interrupt: Interrupt
) -> int:
    """Translate everything into the output folder, with a journal; returns the exit status."""
    direction = Direction(options.direction)
    model = "" if options.engine_url else _stated(options.model)  # the servers are asked
    progress = Progress(options.audio, options.quiet)

    def prepare() -> None:
        progress.clear()
        ready = engines()
        if isinstance(ready.translator, NamesModel):
            journal.name_model(ready.translator.model)
        progress.begin()

    def translate_one(recording: Recording, cancelled: Cancelled) -> Translation:
        samples, remarks = load(recording, options, interrupt)
        if cancelled():
            return Translation((), direction, 0.0)
        name = one_line(recording.name)
        translation = translate_samples(samples, name, engines(), options, cancelled)
        translation = dataclasses.replace(translation, remarks=remarks)
        if not options.quiet and not cancelled():
            progress.clear()
            tell_doubts(translation, samples, name, engines().translator, options, cancelled)
        return translation

    settings = RunSettings(
        model,
        direction,
        options.context,
        options.format,
        options.segments,
        options.track or "",
        precision=None if options.engine_url else options.precision,
        attention=None if options.engine_url else "full" if options.full_attention else "windows",
        show=options.show,
        transcript=None if is_url(options.transcript) else _stated(options.transcript),
        readings=options.readings,
        aligner=_stated(options.aligner or ""),
    )
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
                tell(f"error: {_failure(entry)}")
    interrupt.check()
    return 1 if tally.failed else 0


def run(options: argparse.Namespace, interrupt: Interrupt) -> int:
    """Translate everything asked for; returns the exit status."""
    with contextlib.ExitStack() as ended:

        @functools.cache
        def engines() -> Engines:
            opened = open_engines(options, interrupt)
            if options.jobs == 1:
                return opened

            def shared(engine: Engine) -> Engine:
                if isinstance(engine, NamesModel):  # servers make batches themselves
                    return engine
                return ended.enter_context(contextlib.closing(SharedEngine(engine)))

            translator = shared(opened.translator)
            if opened.transcriber is opened.translator:
                return Engines(translator, translator, opened.aligner)
            transcriber = opened.transcriber and shared(opened.transcriber)
            return Engines(translator, transcriber, opened.aligner)

        try:
            need_current_folder()
            if options.readings:
                require_readings()
            return (print_all if options.output_dir is None else write_all)(
                options, engines, interrupt
            )
        except SpeechTranslationError as error:
            tell(f"error: {error}")
        except ImportError as error:
            tell(f"error: {missing_package(error)}")
        except MemoryError:
            tell(f"error: {NO_MEMORY}.")
        except RuntimeError as error:
            if "can't start new thread" not in str(error):
                raise
            tell(
                "error: The system allows no more threads: use fewer --jobs, or raise its limit "
                "(ulimit -u, or the pids of a container)."
            )
        return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    mend_streams()
    options = parse(argv)
    own_process(quiet=options.quiet)
    interrupt = Interrupt()
    before = {
        number: signal.signal(number, interrupt)
        for number in ENDED_BY
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup, and & in a script, want it so
    }
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
