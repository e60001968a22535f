"""What a program sets for its whole process, and a library must leave alone.

The command line, the Space, the benchmark and the phrasebook call `own_process`. Whoever uses the
library from a program of their own may do so, too.
"""

from __future__ import annotations

import os

_owned = False


def owned() -> bool:
    """Whether this process is a program's that has said so."""
    return _owned


def own_process() -> None:
    """Say that this process does nothing else. To be called before torch is imported.

    - Threads of OpenMP that wait by spinning slow each other manifold where cores are shared; to
      sleep at once costs a tenth, since a token takes 200 products. So they spin for microseconds.
    - transformers is quiet: it warns of settings that nobody chose.
    - What qwen-asr and transformers import and nothing here uses stays out, which halves the time
      that they take.
    - FFmpeg allocates no more at once than the index of a film takes. It believes a file's counts.
    """
    global _owned
    _owned = True
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
