"""What a program sets for its whole process, and a library must leave alone.

The command line, the Space, the benchmark and the phrasebook call `own_process`. Whoever uses the
library from a program of their own may do so, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys

from speech_translation.errors import one_line

NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""The environment variable that keeps onnxruntime from reporting to its makers."""

_owned = False


class _Said(logging.Handler):
    """Says each warning in one line on what is standard error at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        first = record.getMessage().partition("\n")[0]
        with contextlib.suppress(OSError, ValueError):  # a log that nobody reads ends no work
            if sys.stderr is not None:
                print(f"warning: {one_line(first)}\n", end="", file=sys.stderr, flush=True)


_said = _Said(logging.WARNING)


def owned() -> bool:
    """Whether this process is a program's that has said so."""
    return _owned


def own_process(*, quiet: bool = False) -> None:
    """Say that this process does nothing else. To be called before torch is imported.

    - Threads of OpenMP that wait by spinning slow each other manifold where cores are shared; to
      sleep at once costs a tenth, since a token takes 200 products. So they spin for microseconds.
    - transformers is quiet: it warns of settings that nobody chose.
    - What qwen-asr and transformers import and nothing here uses stays out, which takes two thirds
      of the time that they take (`engine/light_imports.py`).
    - onnxruntime reports nothing to its makers.
    - FFmpeg allocates no more at once than the index of a film takes. It believes a file's counts.
    - Warnings of the logger `speech_translation`, which a library keeps for its host, are said on
      standard error; with `quiet` only errors are.
    """
    global _owned
    _owned = True
    _said.setLevel(logging.ERROR if quiet else logging.WARNING)
    logging.getLogger("speech_translation").addHandler(_said)  # once, however often
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault(NO_TELEMETRY, "1")
