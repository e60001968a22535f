"""The systems of the comparison, each behind the library's `Engine`.

Another one needs a class with `generate`, in `rivals`, and a line in `SYSTEMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.rivals import (
    FasterWhisper,
    GraniteSpeech,
    KotobaWhisper,
    Seamless,
    Whisper,
    WhisperBothWays,
)
from speech_translation.engine import PHRASEBOOK, PUBLISHED_MODEL, Engine, load_engine

LOCAL_PACKAGES: Sequence[str] = ("torch", "transformers", "qwen-asr")
"""What decides the hypotheses of the library's own engine."""


@dataclass(frozen=True, slots=True)
class System:
    """A system by its name in files and tables.

    `checkpoint` is a Hub id, with `@` and a revision if it is pinned, a folder or a URL.
    """

    title: str
    checkpoint: str
    parameters: str
    load: Callable[[str, str, str], Engine]


def _qwen3_asr(checkpoint: str, device: str, precision: str) -> Engine:
    return load_engine(checkpoint, device, precision=precision)


def _full_attention(checkpoint: str, device: str, precision: str) -> Engine:
    return load_engine(checkpoint, device, precision=precision, windowed=False)


def _served(url: str, device: str, precision: str) -> Engine:
    return load_engine(url=url)


CASCADE = "cascade"
"""Its checkpoint is what listens; `evaluation.cascade` has the rest."""

SYSTEMS = {
    "whisper-large-v3": System(
        "OpenAI Whisper large-v3", "openai/whisper-large-v3", "1.55B", Whisper
    ),
    "seamless-m4t-v2-large": System(
        "Meta SeamlessM4T v2 Large", "facebook/seamless-m4t-v2-large", "1.50B", Seamless
    ),
    "whisper-en-ja": System(
        "Whisper EN-JA Translation",
        "voiceping-ai/whisper-ja-en-speech-translation",
        "756M",
        WhisperBothWays,
    ),
    "kotoba-whisper-bilingual": System(
        "Kotoba-Whisper-bilingual",
        "kotoba-tech/kotoba-whisper-bilingual-v1.0",
        "756M",
        KotobaWhisper,
    ),
    "granite-speech": System(
        "IBM Granite Speech 4.0",
        "ibm-granite/granite-4.0-1b-speech",
        "1.0B and more",
        GraniteSpeech,
    ),
    "qwen3-asr": System("Qwen3-ASR EN-JA Translation", PUBLISHED_MODEL, "1.7B", _qwen3_asr),
    "qwen3-asr-full-attention": System(
        "Qwen3-ASR EN-JA Translation, no encoder window", PUBLISHED_MODEL, "1.7B", _full_attention
    ),
    "qwen3-asr-vllm": System(
        "Qwen3-ASR EN-JA Translation, vLLM", "http://127.0.0.1:8000/v1", "1.7B", _served
    ),
    CASCADE: System(
        "Qwen3-ASR, then a translation model", "Qwen/Qwen3-ASR-1.7B", "1.7B and more", _qwen3_asr
    ),
    "phrasebook": System("Embedded phrasebook checkpoint", PHRASEBOOK, "4.7M", _qwen3_asr),
    "whisper-base": System(
        "OpenAI Whisper base (CTranslate2)", ".cache/whisper-base-ct2", "74M", FasterWhisper
    ),
}
