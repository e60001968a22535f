"""Which model writes down what is said, by the name that a user gives it."""

from __future__ import annotations

from speech_translation.engine import PHRASEBOOK, Engine, load_engine

OFF, SAME = "off", "same"
"""Nobody writes it down; the model that translates does."""

ADVISED = "Qwen/Qwen3-ASR-0.6B"
"""For the published checkpoint: a model that was trained to transcribe, and not for anything else.
Whether the published one can still do it is not known."""


def usual_transcriber(model: str) -> str:
    """What transcribes beside the checkpoint `model`, unless somebody says otherwise."""
    return SAME if model == PHRASEBOOK else ADVISED


def is_url(name: str) -> bool:
    """Whether it is the address of a server rather than a model."""
    return name.startswith(("http://", "https://"))


def load_transcriber(
    name: str,
    engine: Engine,
    device: str = "auto",
    *,
    precision: str = "auto",
    cache: bool = True,
) -> Engine | None:
    """The engine that transcribes beside `engine`: none, itself, or another one that is loaded now.

    `name` is off, same, the address of a vLLM server, or a model as `load_engine` takes it. Raises
    what `load_engine` raises.
    """
    if name == OFF:
        return None
    if name == SAME:
        return engine
    if is_url(name):
        return load_engine(url=name)
    return load_engine(name, device, precision=precision, cache=cache)
