"""The person at the terminal: what is said on standard error, and Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from speech_translation.bulk import Tally, find_sources
from speech_translation.types import Direction, Flag, Flags, RemarkKind, Seconds, Translation


class Interrupt:
    """Ctrl-C, SIGTERM or SIGHUP, remembered and acted on between steps; a second one acts at once.

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


class Progress:
    """How far a run into a folder is: twice a second on a terminal, every ten seconds elsewhere.

    What there is to do below `arguments` is counted while the work goes on.
    """

    def __init__(self, arguments: Sequence[str], quiet: bool) -> None:
        self._arguments = arguments
        self._quiet = quiet
        self._watched = sys.stderr.isatty()
        self._total = 0
        self._counted = False
        self._counting = False
        self.begin()

    def begin(self) -> None:
        """Start the clock, once the engine is there."""
        self._start = self._shown = time.monotonic()

    def clear(self) -> None:
        """Make room on a terminal's line for something else."""
        if self._watched and not self._quiet:
            tell("\r\x1b[K", "")

    def __call__(self, tally: Tally) -> None:
        """Say it, if it is time."""
        if self._quiet:
            return
        if not self._counting:
            self._counting = True
            with contextlib.suppress(RuntimeError):  # no thread is left: then without a total
                threading.Thread(target=self._count, daemon=True).start()
        now = time.monotonic()
        if now - self._shown < (0.5 if self._watched else 10):
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
        if self._quiet:
            return
        self.clear()
        if tally.skipped and not tally.done + tally.failed:
            tell("all was done before: to have results again, delete them or name another folder")
        files = "file" if tally.done == 1 else "files"
        spent = clock(time.monotonic() - self._start)
        flagged = f" ({tally.flagged} flagged)" if tally.flagged else ""
        again = f"{tally.again} named again (the same files), " if tally.again else ""
        tell(
            f"{tally.done} {files} done in {spent}{flagged}, {tally.skipped} before, {again}"
            f"{self._rate(tally)}"
        )

    def _count(self) -> None:
        for _ in find_sources(self._arguments):
            self._total += 1
        self._counted = True

    def _rate(self, tally: Tally) -> str:
        rate = tally.seconds / max(time.monotonic() - self._start, 0.001)
        return f"{tally.failed} failed, {rate:.1f} h of audio per hour"


_DOUBTFUL = frozenset({Flag.WRONG_SCRIPT, Flag.LOW_CONFIDENCE})
"""What a model's text has where the speech is not in the language that was asked for."""


def remark(
    translation: Translation,
    name: str,
    asked: Direction,
    named: Direction | None = None,
    *,
    brief: bool = False,
    track: str | None = None,
) -> None:
    """Tell what a reader should know about a translation: its cost, and where to distrust it.

    `asked` is the direction that was asked for, `named` the other one if the model names that. A
    `brief` remark has no cost, and one line for all flags. `track` is the one that was asked for.
    What is to be said of the recording is said in any case.
    """
    if not brief:
        tell(
            f"{name}: {translation.duration:.1f} s of audio in {translation.compute_seconds:.1f} s "
            f"({translation.rtfx:.1f} x real time), {translation.tokens} tokens"
        )
    for noticed in translation.remarks:
        another = noticed.kind is RemarkKind.TRACK and not track
        hint = "; --track takes another" if another else ""
        tell(f"{name}: {noticed}{hint}")
    flagged = [segment for segment in translation.segments if segment.flags]
    if not translation.segments:
        tell(f"{name}: no speech found")
    elif brief and flagged:
        count = f"{len(flagged)} of {len(translation.segments)} segments"
        tell(f"{name}: {_words(translation.flags)} ({count})")
    elif not brief:
        for segment in flagged:
            tell(f"{name}: {segment.start:.1f}-{segment.end:.1f} s: {_words(segment.flags)}")
    if named is not None:
        spoken = "English" if named is Direction.EN_JA else "Japanese"
        tell(
            f"{name}: the speech sounds {spoken}, and the direction was {asked}: use --direction "
            f"{named} or auto."
        )
    elif flagged and all(segment.flags & _DOUBTFUL for segment in translation.segments):
        tell(f"{name}: {_advice(asked)}")


def _words(flags: Flags) -> str:
    return ", ".join(sorted(flag.value.replace("_", " ") for flag in flags))


def _advice(asked: Direction) -> str:
    """What to do where nothing of a translation can be trusted."""
    if asked is Direction.AUTO:
        return (
            "every segment is doubtful. The speech may be neither English nor Japanese, or noise: "
            "listen to it, or name the direction with --direction en2ja or ja2en."
        )
    spoken = "English" if asked is Direction.EN_JA else "Japanese"
    return (
        f"every segment is doubtful. --direction {asked} is for {spoken} speech: if another "
        f"language is spoken, use --direction {asked.spoken} or auto."
    )


def clock(seconds: Seconds) -> str:
    """Whole seconds as h:mm:ss."""
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{left:02}"


def tell(message: str, end: str = "\n") -> None:
    """Say something on standard error; a log that cannot be written does not end the work."""
    try:
        # At once: threads that print a line and its end one after the other mix their lines.
        print(message + end, end="", file=sys.stderr, flush=True)
    except OSError:
        redirect_to_devnull(sys.stderr)


def show(text: str) -> str:
    """Print `text` to standard output.

    What its encoding does not have is printed as "?", or as PYTHONIOENCODING says; returns the name
    of that encoding, which is empty where it has all or the user has chosen. Raises OSError.
    """
    encoding, shown = sys.stdout.encoding or "utf-8", text
    if sys.stdout.errors in ("strict", "surrogateescape"):
        shown = text.encode(encoding, "replace").decode(encoding)
    print(shown, end="", flush=True)
    return "" if shown == text else encoding


def mend_streams() -> None:
    """Make the standard streams usable whatever the caller has done to them.

    Those that are closed (`2>&-`) go nowhere: Python has None for them and prints to the other one,
    and the next file that is opened would get the number to which libraries in C write their
    warnings. Standard output stays None. Those that do not wait, as programs in Node.js leave them,
    do again: what is not there yet would be the end, and what does not fit would be lost.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.platform != "win32":
        for number in range(3):
            os.set_blocking(number, True)


def let_print() -> None:
    """Let nothing that a library prints end the program, with an emoji or to a closed stream."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def redirect_to_devnull(stream: TextIO) -> None:
    """Send the rest to nowhere: at exit it would fail once more, with a trace and status 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
