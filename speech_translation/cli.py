"""The command line: recordings in, text or subtitles out. It parses and prints.

Text goes to standard output, or into a folder with a journal: a run that was stopped at any moment
goes on when it is started again. Everything else goes to standard error. Exit status: 0 all went
well, 1 a file failed (the others are still translated), 2 wrong usage, 130 interrupted by Ctrl-C,
143 by SIGTERM; what was finished is kept.
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
    import numpy as np

    from speech_translation.bulk import Tally
    from speech_translation.engine import Engine
    from speech_translation.translate import Source

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
        description="Translate English speech to Japanese text and Japanese speech to English.",
        epilog="Offline, with the small embedded model: --model phrasebook",
    )
    add = options.add_argument
    add(
        "audio",
        nargs="+",
        help="audio or video files, folders of them "
        f"({' '.join(sorted(EXTENSIONS))}), lists of them (.txt, .list: one path a line, "
        "relative to the list), or - for standard input",
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
    add(
        "--output-dir",
        type=Path,
        help="write one file for each recording there, in folders like the recordings', with a "
        "journal: a run that was stopped goes on when it is started again, and what is done is not "
        "done again",
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
        metavar="N",
        help="translate N recordings at a time into --output-dir (default: 1)",
    )
    add("--quiet", action="store_true", help="only errors on standard error")
    return options


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


def read_standard_input(max_seconds: Seconds) -> np.ndarray:
    """The recording on standard input, float32 (n,) at 16 kHz."""
    from speech_translation.audio import load_audio

    try:
        return load_audio(sys.stdin.buffer, max_seconds, name="standard input")
    except OSError as error:  # it may be anything, a folder too
        raise AudioError(f"standard input cannot be read: {error.strerror}.") from error


def translate_one(
    source: str, engine: Engine, options: argparse.Namespace, interrupt: Interrupt
) -> Translation:
    """Translate one recording, with a progress bar where somebody watches."""
    from tqdm import tqdm

    from speech_translation.audio import load_audio
    from speech_translation.journal import STANDARD_INPUT
    from speech_translation.translate import translate

    if source == str(STANDARD_INPUT):
        samples = read_standard_input(options.max_seconds)
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
    """How far a run into a folder is: twice a second on a terminal, every ten seconds elsewhere.

    `items` are what there is to do; they are counted while the work goes on.
    """

    def __init__(self, items: Iterable[object], quiet: bool) -> None:
        self._watched = sys.stderr.isatty()
        self._quiet = quiet
        self._start = self._shown = time.monotonic()
        self._total = 0
        self._counted = False
        self._part = 0.0  # of the one recording that is under way
        if not quiet:
            threading.Thread(target=self._count, args=(items,), daemon=True).start()

    def _count(self, items: Iterable[object]) -> None:
        for self._total, _ in enumerate(items, 1):
            pass
        self._counted = True

    def within(self, done: Seconds, total: Seconds) -> None:
        """Note how far the one recording that is under way is."""
        self._part = done / total if 0 < done < total else 0.0

    def __call__(self, tally: Tally) -> None:
        """Say it, if it is time."""
        now = time.monotonic()
        if self._quiet or now - self._shown < (0.5 if self._watched else 10):
            return
        self._shown = now
        left = max(self._total - tally.finished - self._part, 0)
        line = f"{tally.finished}/{max(self._total, tally.finished)} files, {self._rate(tally)}"
        if self._part:
            line += f", {self._part:.0%} of the next"
        if self._counted and (worked := tally.done + tally.failed + self._part):
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
        to_nowhere(sys.stderr)


def to_nowhere(stream: TextIO) -> None:
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


def into_folder(options: argparse.Namespace, interrupt: Interrupt) -> int:
    """Translate everything asked for with a journal, --jobs at a time; returns the exit status."""
    from speech_translation.bulk import sources, translate_files
    from speech_translation.engine.batching import SharedEngine
    from speech_translation.journal import STANDARD_INPUT, Journal

    settings = {
        "model": "of the servers" if options.engine_url else options.model,
        "direction": options.direction,
        "context": options.context,
    }
    one_by_one = options.jobs in (None, 1)

    def read(source: str) -> Source:
        is_file = source != str(STANDARD_INPUT)
        return source if is_file else read_standard_input(options.max_seconds)

    def say_remarks(source: str, translation: Translation) -> None:
        for remark in remarks(translation):
            tell(f"{source}: {remark}")

    try:
        with Journal(options.output_dir, settings) as journal, contextlib.ExitStack() as ended:

            def load() -> Engine:
                engine = open_engine(options, interrupt)
                if one_by_one or options.engine_url:
                    return engine
                return ended.enter_context(contextlib.closing(SharedEngine(engine)))

            progress = Progress(sources(options.audio, options.format), options.quiet)
            tally = translate_files(
                sources(options.audio, options.format),
                load,
                journal,
                options.format,
                Direction(options.direction),
                jobs=options.jobs or 1,
                read=read,
                report=progress,
                done=say_remarks if options.jobs is None and not options.quiet else None,
                context=options.context,
                batch_size=options.batch_size,
                max_seconds=options.max_seconds,
                progress=progress.within if one_by_one else None,
                cancelled=lambda: interrupt.pressed,
            )
            progress.end(tally)
            for entry in journal.failures():
                named = f"{one_line(entry.source)}: " if entry.source else ""
                tell(f"error: {named}{entry.error}")
    except SpeechTranslationError as error:
        tell(f"error: {error}")
        return 1
    interrupt.check()
    return 1 if tally.failed else 0


def to_standard_output(options: argparse.Namespace, interrupt: Interrupt) -> int:
    """Translate everything asked for, one after the other; returns the exit status."""
    from speech_translation.bulk import MISSING, exists, sources
    from speech_translation.captions import render

    failed = False

    def fail(reason: object) -> None:
        nonlocal failed
        failed = True
        tell(f"error: {reason}")

    found = list[str]()
    for argument in options.audio:
        items = list(sources([argument], options.format))
        if os.path.isdir(argument):
            items.sort(key=str)
        for item in items:
            if isinstance(item, AudioError):
                fail(item)
                continue
            recording = item[0] if os.path.isabs(argument) else relative(item[0])
            if exists(recording):
                found.append(str(recording))
            else:
                fail(f"{one_line(str(recording))} {MISSING}")
    if not found:
        return 1
    try:
        engine = open_engine(options, interrupt)
    except SpeechTranslationError as error:
        fail(error)
        return 1
    for source in found:
        try:
            translation = translate_one(source, engine, options, interrupt)
        except SpeechTranslationError as error:
            fail(error)
            continue
        try:
            label = f"{one_line(source)}: " if len(found) > 1 else ""
            print(label + render(translation, options.format), end="", flush=True)
        except OSError as error:
            to_nowhere(sys.stdout)
            fail(f"The text cannot be written: {error.strerror}. Name a folder with --output-dir.")
            return 1  # nor could the next one
        if not options.quiet:
            for remark in remarks(translation):
                tell(f"{one_line(source)}: {remark}")
    return 1 if failed else 0


def relative(source: Path) -> Path:
    """A recording as somebody in this folder would name it; standard input stays what it is."""
    from speech_translation.journal import STANDARD_INPUT

    return source if source == STANDARD_INPUT else Path(os.path.relpath(source))


def is_several(argument: str) -> bool:
    """Whether an argument is a folder or a list, of which any number of recordings may come."""
    from speech_translation.bulk import LISTS

    is_list = Path(argument).suffix.lower() in LISTS and os.path.isfile(argument)
    return is_list or os.path.isdir(argument)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    options_parser = parser()
    options = options_parser.parse_args(argv)
    several = len(options.audio) > 1 or is_several(options.audio[0])
    if several and options.format != "txt" and options.output_dir is None:
        options_parser.error(f"several recordings as {options.format} need an --output-dir")
    if options.jobs and options.output_dir is None:
        options_parser.error("--jobs needs an --output-dir")
    interrupt = Interrupt()
    before = {number: signal.signal(number, interrupt) for number in ENDED_BY}
    try:
        run = to_standard_output if options.output_dir is None else into_folder
        return run(options, interrupt)
    except KeyboardInterrupt:
        tell("interrupted")
        return interrupt.status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    raise SystemExit(main())
