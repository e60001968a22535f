"""Translate recordings from the command line: English speech to Japanese text and back.

    python inference.py talk.mp3 --direction en2ja
    python inference.py recordings/ --format srt --output-dir subtitles
    python inference.py recordings/ more.list --output-dir out --jobs 64 --engine-url URL

The last form is for any number of files: stopped at any moment and started again, it goes on.
Text goes to standard output, everything else to standard error. Exit status: 0 all went well,
1 a file failed (the others are still translated), 2 wrong usage, 130 interrupted by Ctrl-C, 143 by
SIGTERM; what was finished is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from speech_translation.errors import AudioError, SpeechTranslationError, one_line
from speech_translation.types import SAMPLE_RATE, Direction, Seconds, Translation

if TYPE_CHECKING:
    from speech_translation.bulk import Tally
    from speech_translation.engine import Engine

STANDARD_INPUT = "-"
ENDED_BY = (signal.SIGINT, signal.SIGTERM)


def parser() -> argparse.ArgumentParser:
    """The options, with the published checkpoint as the default model."""
    from speech_translation.audio import EXTENSIONS, MAX_SECONDS
    from speech_translation.captions import FORMATS
    from speech_translation.engine import PRECISIONS, PUBLISHED_MODEL

    def positive(kind: type) -> Any:
        def parse(text: str) -> Any:
            value = kind(text)
            if not value > 0:
                raise argparse.ArgumentTypeError(f"{text} is not above 0")
            return value

        parse.__name__ = kind.__name__
        return parse

    options = argparse.ArgumentParser(
        prog="inference.py",
        description="Translate English speech to Japanese text and Japanese speech to English.",
        epilog="Offline, with the small embedded model: --model phrasebook",
    )
    add = options.add_argument
    add(
        "audio",
        nargs="+",
        help="audio or video files, folders of them "
        f"({' '.join(sorted(EXTENSIONS))}), or - for standard input",
    )
    add(
        "--direction",
        choices=[direction.value for direction in Direction],
        default=Direction.AUTO.value,
        help="en2ja, ja2en, or auto: the model tells from the speech (default: auto)",
    )
    add(
        "--model",
        default=PUBLISHED_MODEL,
        help="Hugging Face id, folder, or phrasebook (default: %(default)s)",
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
    add("--output-dir", type=Path, help="write one file for each recording there")
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
        metavar="N",
        help="translate N recordings at a time into --output-dir, with a journal there: a run "
        "that was stopped goes on when it is started again; .txt and .list files name recordings, "
        "one a line, relative to their own folder",
    )
    add("--quiet", action="store_true", help="only errors on standard error")
    return options


def recordings(arguments: Sequence[str]) -> Iterator[str | AudioError]:
    """The files behind the arguments; for a path without any, the error to report."""
    from speech_translation.audio import find_recordings

    for argument in arguments:
        if argument != STANDARD_INPUT and not os.path.exists(argument):  # nor any too long a name
            yield AudioError(f"{one_line(argument)} does not exist: check the path.")
        elif argument != STANDARD_INPUT and os.path.isdir(argument):
            found = list(find_recordings(argument))
            yield from map(str, sorted(x for x in found if isinstance(x, Path)))
            yield from (x for x in found if isinstance(x, AudioError))
        else:
            yield argument


def output_paths(sources: Sequence[str], folder: Path, suffix: str) -> list[Path]:
    """A path in `folder` for each source, named after it; namesakes are numbered."""
    taken = dict[str, int]()
    paths = []
    for source in sources:
        stem = "stdin" if source == STANDARD_INPUT else Path(source).stem
        count = taken[stem] = taken.get(stem, 0) + 1
        paths.append(folder / f"{stem}{'' if count == 1 else f'-{count}'}.{suffix}")
    return paths


class Interrupt:
    """Ctrl-C or SIGTERM, remembered and acted on between steps; a second one acts at once.

    Raised at any moment it could fall into a decoder's callback, which prints and forgets it.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._at_once = False

    def __call__(self, number: int, _: object) -> None:
        """Handle the signal."""
        again = self.pressed
        self.signal = self.signal or number
        if again or self._at_once:
            raise KeyboardInterrupt

    @property
    def pressed(self) -> bool:
        """Whether there was one."""
        return self.signal != 0

    @property
    def status(self) -> int:
        """The exit status that tells which."""
        return 128 + (self.signal or signal.SIGINT)

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was one."""
        if self.pressed:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Act at once while this lasts: fetching a model may take an hour."""
        self._at_once = True
        try:
            self.check()
            yield
        except Exception:  # what a library made of it
            self.check()
            raise
        finally:
            self._at_once = False
        self.check()


def translate_one(
    source: str, engine: Engine, options: argparse.Namespace, interrupt: Interrupt
) -> Translation:
    """Translate one recording, with a progress bar where somebody watches."""
    from tqdm import tqdm

    from speech_translation.audio import load_audio
    from speech_translation.translate import translate

    if source == STANDARD_INPUT:
        samples = load_audio(sys.stdin.buffer, options.max_seconds, name="standard input")
    else:
        samples = load_audio(source, options.max_seconds)
    interrupt.check()
    watched = not options.quiet and sys.stderr.isatty()
    with tqdm(
        total=len(samples) / SAMPLE_RATE,
        desc=Path(source).name,
        unit="s",
        bar_format="{desc}: {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s, {remaining} left",
        leave=False,
        disable=not watched,
    ) as bar:
        translation = translate(
            samples,
            engine,
            Direction(options.direction),
            context=options.context,
            batch_size=options.batch_size,
            progress=lambda done, _: bar.update(done - bar.n),
            cancelled=lambda: interrupt.pressed,
        )
    interrupt.check()
    return translation


def remarks(translation: Translation) -> Iterator[str]:
    """What a reader should know about a translation: its cost, and where to distrust it."""
    yield (
        f"{translation.duration:.1f} s of audio in {translation.compute_seconds:.1f} s "
        f"({translation.rtfx:.1f} x real time), {translation.tokens} tokens"
    )
    if not translation.segments:
        yield "no speech found"
    for segment in translation.segments:
        if segment.flags:
            flags = ", ".join(sorted(flag.value.replace("_", " ") for flag in segment.flags))
            yield f"{segment.start:.1f}-{segment.end:.1f} s: {flags}"


class Progress:
    """How far a run with --jobs is: every half second on a terminal, every ten seconds elsewhere.

    `items` are what there is to do; they are counted while the work goes on.
    """

    def __init__(self, items: Iterable[object], quiet: bool) -> None:
        self._watched = sys.stderr.isatty()
        self._quiet = quiet
        self._start = self._shown = time.monotonic()
        self._total = 0
        self._counted = False
        if not quiet:
            threading.Thread(target=self._count, args=(items,), daemon=True).start()

    def _count(self, items: Iterable[object]) -> None:
        for self._total, _ in enumerate(items, 1):
            pass
        self._counted = True

    def __call__(self, tally: Tally) -> None:
        """Say it, if it is time."""
        now = time.monotonic()
        if self._quiet or now - self._shown < (0.5 if self._watched else 10):
            return
        self._shown = now
        left = max(self._total - tally.finished, 0)
        line = f"{tally.finished}/{max(self._total, tally.finished)} files, {self._rate(tally)}"
        if self._counted and (worked := tally.done + tally.failed):
            line += f", {clock(left * (now - self._start) / worked)} left"
        before, after = ("\r", "\x1b[K") if self._watched else ("", "\n")
        tell(before + line, after)

    def end(self, tally: Tally) -> None:
        """Say what has become of everything."""
        if not self._quiet:
            tell("\r\x1b[K" if self._watched else "", "")
            tell(
                f"{tally.done} files done in {clock(time.monotonic() - self._start)}, "
                f"{tally.skipped} before, {self._rate(tally)}"
            )

    def _rate(self, tally: Tally) -> str:
        rate = tally.seconds / max(time.monotonic() - self._start, 0.001)
        return f"{tally.failed} failed, {rate:.1f} h of audio per hour"


def clock(seconds: Seconds) -> str:
    """Whole seconds as h:mm:ss."""
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{left:02}"


def tell(message: str, end: str = "\n") -> None:
    """Say something on standard error; a log that cannot be written does not end the work."""
    try:
        print(message, end=end, file=sys.stderr, flush=True)
    except OSError:
        give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Send the rest to nowhere: at exit it would fail once more, with a trace and status 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def open_engine(options: argparse.Namespace, interrupt: Interrupt) -> Engine:
    """The engine asked for; SpeechTranslationError when it cannot be had."""
    from speech_translation.engine import load_engine
    from speech_translation.files import need_temporary_folder

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns of settings nobody chose
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
            in_flight=options.jobs or 0,
        )
    if not options.quiet:
        tell(engine.description)
    return engine


def run_jobs(options: argparse.Namespace, interrupt: Interrupt) -> int:
    """Translate everything asked for with a journal, --jobs at a time; returns the exit status."""
    from speech_translation.bulk import Journal, sources, translate_files
    from speech_translation.engine.batching import SharedEngine

    try:
        with Journal(options.output_dir) as journal, contextlib.ExitStack() as ended:
            engine = open_engine(options, interrupt)
            if not options.engine_url:
                engine = ended.enter_context(contextlib.closing(SharedEngine(engine)))
            progress = Progress(sources(options.audio, options.format), options.quiet)
            tally = translate_files(
                sources(options.audio, options.format),
                engine,
                journal,
                options.format,
                Direction(options.direction),
                jobs=options.jobs,
                context=options.context,
                batch_size=options.batch_size,
                max_seconds=options.max_seconds,
                progress=progress,
                cancelled=lambda: interrupt.pressed,
            )
            progress.end(tally)
            for entry in journal.failures():
                named = f"{entry.source}: " if entry.source else ""
                tell(f"error: {named}{entry.error}")
    except SpeechTranslationError as error:
        tell(f"error: {error}")
        return 1
    interrupt.check()
    return 1 if tally.failed else 0


def run(options: argparse.Namespace, interrupt: Interrupt) -> int:
    """Translate everything asked for; returns the exit status."""
    failed = False

    def say(message: str) -> None:
        if not options.quiet:
            tell(message)

    def fail(reason: object) -> None:
        nonlocal failed
        failed = True
        tell(f"error: {reason}")

    sources = list[str]()
    for recording in recordings(options.audio):
        if isinstance(recording, AudioError):
            fail(recording)
        else:
            sources.append(recording)
    if not sources:
        return 1

    from speech_translation.captions import render, write
    from speech_translation.files import unwritable

    try:
        engine = open_engine(options, interrupt)
    except SpeechTranslationError as error:
        fail(error)
        return 1
    paths: Sequence[Path | None] = [None] * len(sources)
    if options.output_dir is not None:
        paths = output_paths(sources, options.output_dir, options.format)
    for source, path in zip(sources, paths, strict=True):
        try:
            translation = translate_one(source, engine, options, interrupt)
        except SpeechTranslationError as error:
            fail(error)
            continue
        except OSError as error:  # standard input may be anything
            fail(f"{source} cannot be read: {error.strerror}.")
            continue
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write(translation, path, options.format)
            else:
                label = f"{source}: " if len(sources) > 1 else ""
                print(label + render(translation, options.format), end="", flush=True)
        except OSError as error:
            if path is not None:
                fail(unwritable(path, error))
                continue
            give_up(sys.stdout)
            fail(f"The text cannot be written: {error.strerror}. Name a folder with --output-dir.")
            return 1  # nor could the next one
        for remark in remarks(translation):
            say(f"{source}: {remark}")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    options_parser = parser()
    options = options_parser.parse_args(argv)
    several = len(options.audio) > 1 or os.path.isdir(options.audio[0])
    if several and options.format != "txt" and options.output_dir is None:
        options_parser.error(f"several recordings as {options.format} need an --output-dir")
    if options.jobs and options.output_dir is None:
        options_parser.error("--jobs needs an --output-dir")
    if options.jobs and STANDARD_INPUT in options.audio:
        options_parser.error("--jobs takes files, folders and lists, not standard input")
    interrupt = Interrupt()
    before = {number: signal.signal(number, interrupt) for number in ENDED_BY}
    try:
        return (run_jobs if options.jobs else run)(options, interrupt)
    except KeyboardInterrupt:
        tell("interrupted")
        return interrupt.status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    raise SystemExit(main())
