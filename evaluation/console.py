"""How the command of a program of this folder is shown, and how it ends."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence

from speech_translation.errors import SpeechTranslationError, one_line, without_password


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
