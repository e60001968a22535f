"""Transcribe, then translate the text: what a model that translates speech has to be better than.

The base model, which writes the language spoken, and any model of text behind an OpenAI-compatible
endpoint. It has not been run with real weights.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from speech_translation.engine import Engine, Request
from speech_translation.engine.chat import IN_FLIGHT, Chat
from speech_translation.engine.prompt import flags_for
from speech_translation.types import Direction, Hypothesis

PROMPT = (
    "Translate what somebody said from {source} into {target}. It was transcribed by a machine, so "
    "a word may be wrong. Answer with the translation and nothing else."
)


class Cascade:
    """An engine that transcribes, and a model of text that translates what it wrote."""

    def __init__(self, listener: Engine, translator: Chat) -> None:
        self._listener, self._translator = listener, translator
        self.batch_size = listener.batch_size
        self.description = f"{listener.description}, then {translator.model}"

    def generate(self, request: Request) -> list[Hypothesis]:
        """Translate the segments of a request, whose direction is forced.

        Raises EngineError when the endpoint does not answer.
        """
        direction = request.direction
        assert direction.source is not None
        heard = self._listener.generate(replace(request, direction=Direction.to(direction.source)))
        with ThreadPoolExecutor(IN_FLIGHT, "cascade") as pool:
            return list(pool.map(lambda words: self._translated(words, direction), heard))

    def _translated(self, words: Hypothesis, direction: Direction) -> Hypothesis:
        assert direction.source is not None
        assert direction.target is not None
        system = PROMPT.format(source=direction.source.tag, target=direction.target.tag)
        text = self._translator.ask(system, words.text) if words.text else ""
        return Hypothesis(text, direction, words.tokens, flags=flags_for(text, direction))
