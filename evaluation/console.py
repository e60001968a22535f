"""The numbers that a program of this folder is called with, how it is shown, and how it ends."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Callable, Sequence

from speech_translation.errors import SpeechTranslationError, one_line, without_password


def count(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def finite(text: str) -> float:
    """A number that is neither infinite nor none, for argparse."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is no finite number")
    return value


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
