"""What a program of this folder says while it works, how its command is shown, how it ends."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

from speech_translation.errors import SpeechTranslationError, one_line, without_password
from speech_translation.types import Seconds

EVERY: Seconds = 30.0
"""Between two lines about a work that nobody watches."""

_T = TypeVar("_T")


def say(message: str) -> None:
    """A line on standard error, with the time."""
    print(time.strftime("%H:%M:%S"), message, file=sys.stderr, flush=True)


def counted(items: Iterable[_T], unit: str) -> Iterator[_T]:
    """Pass `items` on and show how many are done: a bar, or lines where there is no terminal."""
    if sys.stderr.isatty():
        yield from tqdm(items, unit=f" {unit}")
        return
    said = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - said >= EVERY:
            say(f"{count} {unit}")
            said = time.monotonic()


def status(program: Callable[[], object]) -> int:
    """Run a program to its end: 0, or 1 after a sentence on standard error about what was wrong."""
    try:
        program()
    except SpeechTranslationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        name = one_line(str(error.filename))
        print(f"error: {name}: {error.strerror}. Name another path.", file=sys.stderr)
        return 1
    return 0


def shown_command(module: str, command: Sequence[str]) -> str:
    """A command for the document, without folders of one machine and without passwords."""
    kept, skip = list[str](), False
    for word in command:
        if skip:
            skip = False
        elif word in ("--output", "--document", "--kept", "--chart", "--logs"):
            skip = True
        else:
            kept.append("FOLDER" if word.startswith("/") else without_password(word))
    return shlex.join(["python", "-m", module, *kept])
