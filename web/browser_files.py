"""What is written to the disk for a browser: sound that it can play, and captions."""

from __future__ import annotations

import sys
import tempfile
import wave
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from speech_translation.captions import FORMATS, Format, write
from speech_translation.files import replacing
from speech_translation.types import SAMPLE_RATE, Show, Translation

PLAYABLE = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".mp4", ".webm", ".aac"}
"""What browsers play by themselves."""

_BLOCK = 1 << 18  # samples written at a time


def playable(path: str, translation: Translation) -> str:
    """The path of a wav file beside an upload that browsers do not play; "" if there is none.

    It was written with the last update, of the sound track that was translated.
    """
    sound = _heard(path)
    return str(sound) if translation.segments and sound and sound.exists() else ""


def keep_sound(path: str, samples: np.ndarray) -> None:
    """Write what was decoded of an upload that browsers do not play; a full disk costs no result.

    `samples` are float32 (n,) at 16 kHz. To be called while the place in line is held, which
    counts their memory; a copy of two hours would take three times as much.
    """
    sound = _heard(path)
    if sound is None:
        return
    with suppress(OSError), replacing(sound) as whole, wave.open(whole, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        for start in range(0, len(samples), _BLOCK):
            block = samples[start : start + _BLOCK]
            file.writeframes(np.round(block * 32767).astype("<i2").tobytes())


def _heard(path: str) -> Path | None:
    """Where the sound of an upload is that browsers do not play; None for one that they do."""
    return None if Path(path).suffix.lower() in PLAYABLE else Path(path).with_suffix(".heard.wav")


@contextmanager
def captions_files(
    translation: Translation, stem: str, show: Show = Show.TRANSLATION
) -> Iterator[dict[Format, str]]:
    """Paths of `translation` in every format while the context lasts; empty on a full disk."""
    with ExitStack() as kept:
        paths = dict[Format, str]()
        try:
            folder = Path(kept.enter_context(tempfile.TemporaryDirectory()))
            for format in FORMATS:
                path = folder / f"{stem}.{format}"
                write(translation, path, format, show)
                paths[format] = str(path)
        except OSError as error:
            print(f"captions cannot be written: {error.strerror}", file=sys.stderr)
            paths = {}
        yield paths
