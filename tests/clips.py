"""The recordings of the repository: bundled clips with references, and people who read English."""

import os
from pathlib import Path

import numpy as np

from speech_translation.audio import load_audio
from speech_translation.types import Direction

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
CLIPS = sorted(path.stem for path in EXAMPLES.glob("*.flac"))
PEOPLE = sorted((ROOT / "evaluation" / "data").glob("human_en_*.flac"))
SPEECH = os.environ.get("SPEECH_HUMAN", "")
"""A folder with more recordings of people; empty for none."""
DIRECTIONS = {"en": Direction.EN_JA, "ja": Direction.JA_EN}


def clip(name: str) -> np.ndarray:
    """A bundled clip: float32 (n,) at 16 kHz."""
    return load_audio(EXAMPLES / f"{name}.flac")


def reference(name: str) -> str:
    """What a bundled clip is translated to."""
    return (EXAMPLES / f"{name}.txt").read_text("utf-8").strip()


def without_pauses(samples: np.ndarray) -> np.ndarray:
    """The sounding frames of 20 ms only, so that no pause is left to cut in."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    loud = np.sqrt((frames**2).mean(1)) > 0.03 * np.abs(samples).max()
    return frames[loud].ravel()


TWO_LANGUAGES = ("en_1", "en_2", "ja_1", "ja_2", "en_2", "ja_1")


def two_languages() -> np.ndarray:
    """Six sentences in one recording, in the languages of `TWO_LANGUAGES`."""
    pause = np.zeros(8_000, np.float32)
    return np.concatenate([part for name in TWO_LANGUAGES for part in (clip(name), pause)])
