"""What changes on ZeroGPU, where a GPU is lent for the time of one function.

Hugging Face's `spaces` runs such a function in a process of its own. The package can be installed
anywhere; the environment variable SPACES_ZERO_GPU says that the Space really runs on ZeroGPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np

from speech_translation.types import SAMPLE_RATE
from web.streaming import Update, stream

ACTIVE = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as `spaces` reads it


def gpu_seconds(samples: np.ndarray, *_: object) -> int:
    """How long to borrow the GPU for `samples` (n,): a minute, and a fifth of their duration."""
    return 60 + round(len(samples) / SAMPLE_RATE / 5)


generate: Callable[..., Iterator[Update]] = stream
"""`stream`, on a borrowed GPU where one has to be borrowed."""

if ACTIVE:
    import spaces

    generate = spaces.GPU(duration=gpu_seconds)(stream)
