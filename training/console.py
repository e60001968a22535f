"""What a run says while it works."""

from __future__ import annotations

import os
import sys


def say(message: str) -> None:
    """One line on standard error, from the first process of a run only."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr, flush=True)
