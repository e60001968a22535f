"""The options of the Space, on the command line and in the environment."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Any

from speech_translation.engine import PRECISIONS, PUBLISHED_MODEL


@dataclass(frozen=True)
class Settings:
    """What can be set when the Space is started; see `parser`."""

    model: str = PUBLISHED_MODEL
    device: str = "auto"
    precision: str = "auto"
    engine_url: str = ""
    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    open: bool = False
    queue_size: int = 20
    max_megabytes: int = 200
    max_seconds: float = 2 * 3600.0
    live_talks: int = 8

    @property
    def visitors_at_once(self) -> int:
        """How many recordings are worked on at a time. vLLM servers take many, this machine few."""
        return 32 if self.engine_url else 4


def parser(description: str = "") -> argparse.ArgumentParser:
    """The options. The environment gives the defaults: `--max-seconds` is SPEECH_MAX_SECONDS."""
    options = argparse.ArgumentParser(prog="app.py", description=description)

    def add(name: str, default: Any, what: str) -> None:
        variable = "SPEECH_" + name.upper().replace("-", "_")
        options.add_argument(
            f"--{name}",
            type=type(default),
            default=os.environ.get(variable, default),
            help=f"{what} (default: %(default)s; {variable})",
        )

    add(
        "model",
        Settings.model,
        "Hugging Face id, ID@REVISION, folder, or phrasebook, the embedded one",
    )
    add("device", Settings.device, "auto, cpu, mps, cuda, cuda:N")
    add("precision", Settings.precision, "auto, " + ", ".join(PRECISIONS))
    add("engine-url", Settings.engine_url, "vLLM servers that do the work, ending in /v1")
    add("host", "0.0.0.0" if "SPACE_ID" in os.environ else Settings.host, "address to listen on")
    add("port", Settings.port, "port to listen on")
    add("queue-size", Settings.queue_size, "requests that may wait")
    add("max-megabytes", Settings.max_megabytes, "largest upload")
    add("max-seconds", Settings.max_seconds, "longest recording")
    add("live-talks", Settings.live_talks, "live captions at a time")
    options.add_argument("--share", action="store_true", help="a public link through Gradio")
    options.add_argument("--open", action="store_true", help="open the page in a browser")
    return options
