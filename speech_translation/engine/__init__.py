"""Engines: whatever turns segments of audio into hypotheses.

`load_engine` alone chooses and caches; torch and qwen_asr are imported when a model is loaded.
"""

from __future__ import annotations

import os
import re
import threading

from speech_translation.engine.base import (
    PHRASEBOOK,
    PRECISIONS,
    PUBLISHED_MODEL,
    WINDOW,
    Engine,
    Prefills,
    Request,
)

__all__ = [
    "PHRASEBOOK",
    "PRECISIONS",
    "PUBLISHED_MODEL",
    "WINDOW",
    "Engine",
    "Prefills",
    "Request",
    "load_engine",
]

_engines: dict[tuple[str, str, str, bool, str, int, bool], Engine] = {}
_loading = threading.Lock()


def load_engine(
    model: str | os.PathLike[str] = PUBLISHED_MODEL,
    device: str = "auto",
    *,
    precision: str = "auto",
    windowed: bool = True,
    url: str = "",
    in_flight: int = 0,
    cache: bool = True,
) -> Engine:
    """The engine for a model, loaded once per process even when threads ask together.

    `model` is "phrasebook" (embedded), a folder, or a Hub id, with `@` and a revision if it is to
    be pinned; `device` is auto, cpu, mps, cuda or cuda:N. `precision` is one of `PRECISIONS`, or
    auto: bfloat16 on a GPU that has it, else float16 on CUDA and float32 on MPS; float32 on a CPU,
    where bfloat16 is slower unless the processor multiplies in it, and where int8 halves the memory
    and is faster, at a small loss (docs/speed.md).
    `windowed` applies the encoder's 8 s attention window, which the base model was trained
    with; False gives the whole clip to every token, as qwen-asr does on a CPU.
    `cache` keeps a copy of the int8 weights of a large model, one byte for each, beside the
    checkpoint or in the user's cache folder, and reads it the next time: int8 is then ready in
    half the time.

    With `url`, one or several addresses of vLLM servers separated by commas, they do the work with
    the model that they serve, and the rest does not apply. They get up to `in_flight` requests at
    a time, or `remote.IN_FLIGHT` if that is more.

    Raises ModelError when the model or the device cannot be had, EngineError when no server can;
    of these, HubUnreachable and ServerUnreachable where another try may succeed.
    """
    if not isinstance(model, str | os.PathLike):
        raise TypeError(f"A model is a name or the path of a folder, not {model!r}.")
    model = os.fspath(model)
    with _loading:
        key = (model, device, precision, windowed, url, in_flight if url else 0, cache)
        if key not in _engines:
            if url:
                from speech_translation.engine.remote import IN_FLIGHT, RemoteEngine

                urls = re.split(r",(?![^/?#]*@)", url)  # a password may hold a comma
                _engines[key] = RemoteEngine(urls, in_flight=max(in_flight, IN_FLIGHT))
            else:
                from speech_translation.engine.load import load_local

                _engines[key] = load_local(model, device, precision, windowed, cache)
        return _engines[key]
