"""Translations of transcripts by a language model, for data that has none."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from speech_translation.engine.chat import IN_FLIGHT, Chat
from speech_translation.manifest import Sample
from speech_translation.types import Language

_TASK = "Translate what somebody said in {source} into {target}. Answer with the translation alone."


def translated(samples: Sequence[Sample], url: str, model: str) -> list[Sample]:
    """The samples, those without a text with the model's translation of their transcript.

    `url` is the base of an OpenAI-compatible API. An answer that is none leaves the text empty.
    Raises EngineError when the server does not answer or refuses.
    """
    chat = Chat(url, model)

    def text(sample: Sample) -> str:
        if sample.text or not sample.transcript or sample.target is None:
            return sample.text
        other = next(language for language in Language if language is not sample.target)
        task = _TASK.format(source=other.tag, target=sample.target.tag)
        return chat.ask(task, sample.transcript)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        texts = list(pool.map(text, samples))
    return [replace(sample, text=text) for sample, text in zip(samples, texts, strict=True)]
