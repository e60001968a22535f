"""English speech to Japanese text and Japanese speech to English text, with Qwen3-ASR.

    from speech_translation import Direction, load_engine, render, translate

    engine = load_engine("phrasebook")
    translation = translate("examples/en_1.flac", engine, Direction.EN_JA)
    print(translation.text)

Nothing heavy is imported before a model is loaded.
"""

from speech_translation.audio import load_audio
from speech_translation.captions import FORMATS, Cue, Format, cues, render, write
from speech_translation.engine import PHRASEBOOK, PUBLISHED_MODEL, Engine, Request, load_engine
from speech_translation.errors import (
    AudioError,
    EngineError,
    HubUnreachable,
    ModelError,
    ServerUnreachable,
    SpeechTranslationError,
)
from speech_translation.live import LiveTranslator
from speech_translation.segments import find_segments
from speech_translation.translate import iter_translate, translate
from speech_translation.types import (
    SAMPLE_RATE,
    Direction,
    Flag,
    Hypothesis,
    Language,
    Remark,
    RemarkKind,
    Seconds,
    Segment,
    Show,
    Span,
    Translation,
)

__all__ = [
    "FORMATS",
    "PHRASEBOOK",
    "PUBLISHED_MODEL",
    "SAMPLE_RATE",
    "AudioError",
    "Cue",
    "Direction",
    "Engine",
    "EngineError",
    "Flag",
    "Format",
    "HubUnreachable",
    "Hypothesis",
    "Language",
    "LiveTranslator",
    "ModelError",
    "Remark",
    "RemarkKind",
    "Request",
    "Seconds",
    "Segment",
    "ServerUnreachable",
    "Show",
    "Span",
    "SpeechTranslationError",
    "Translation",
    "cues",
    "find_segments",
    "iter_translate",
    "load_audio",
    "load_engine",
    "render",
    "translate",
    "write",
]
