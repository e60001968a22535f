"""The options of the Space, on the command line and in the environment."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from speech_translation.arguments import Parser
from speech_translation.bounds import bounded
from speech_translation.engine import PHRASEBOOK, PRECISIONS, PUBLISHED_MODEL
from speech_translation.errors import without_password
from speech_translation.transcripts import ADVISED
from speech_translation.types import Direction

_ADDRESS = r"https?://(?:[^/?#\s]*@)?[^,\s]+"  # a password may hold a comma
_ON, _OFF = ("1", "yes", "true", "on"), ("0", "no", "false", "off")


@dataclass(frozen=True)
class Settings:
    """What can be set when the Space is started; see `parser`."""

    model: str = PUBLISHED_MODEL
    device: str = "auto"
    precision: str = "auto"
    engine_url: str = ""
    transcript: str = ""
    direction: str = ""
    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    open: bool = False
    no_cache: bool = False
    queue_size: int = 100
    max_megabytes: int = 200
    max_seconds: float = 2 * 3600.0
    live_talks: int = 8

    def __post_init__(self) -> None:
        """An IPv6 address may stand in brackets, as in a URL."""
        object.__setattr__(self, "host", self.host.strip("[]"))

    @property
    def first_direction(self) -> Direction:
        """What the page begins with, unless told: what is known to work with the model.

        That the embedded checkpoint names the target language itself is measured. Of another one
        nobody knows before `evaluation.acceptance` was run with it.
        """
        if self.direction:
            return Direction(self.direction)
        known = self.model == PHRASEBOOK and not self.engine_url
        return Direction.AUTO if known else Direction.EN_JA


def parser(description: str = "") -> Parser:
    """The options. The environment gives the defaults: `--max-seconds` is SPEECH_MAX_SECONDS."""
    options = Parser(prog="app.py", description=description)

    def add(name: str, default: Any, what: str, known: Sequence[str] = (), form: str = "") -> None:
        variable = "SPEECH_" + name.upper().replace("-", "_")
        usual = os.environ.get(variable) or default
        shown = without_password(str(usual)).replace("%", "%%")
        options.add_argument(
            f"--{name}",
            type=_reader(type(default), variable, known, form),
            default=usual,
            help=f"{what} (default: {shown}; {variable})",
        )

    add(
        "model",
        Settings.model,
        "Hugging Face id, ID@REVISION, folder, or phrasebook, the embedded one",
    )
    devices = "auto, cpu, mps, cuda, cuda:N"
    add("device", Settings.device, devices, devices.split(", "), r"cuda:\d+")
    precisions = ("auto", *PRECISIONS)
    add("precision", Settings.precision, ", ".join(precisions), precisions)
    add(
        "engine-url",
        Settings.engine_url,
        "vLLM servers that do the work, ending in /v1",
        ["http://HOST:PORT/v1", "https://..."],
        rf"\s*{_ADDRESS}(\s*,\s*{_ADDRESS})*\s*",
    )
    options.add_argument(
        "--transcript",
        default=os.environ.get("SPEECH_TRANSCRIPT", ""),
        metavar="off|same|MODEL",
        help="what writes down what is said, if a visitor asks for it: the model that translates "
        "(same), or another model or server, loaded when it is first asked for (default: same "
        f"with the phrasebook, {ADVISED} with another model of this machine, off with servers and "
        "on ZeroGPU; SPEECH_TRANSCRIPT)",
    )
    directions = ", ".join(Direction)
    options.add_argument(
        "--direction",
        type=_reader(str, "SPEECH_DIRECTION", tuple(Direction)),
        default=os.environ.get("SPEECH_DIRECTION", ""),
        help=f"what the page begins with, {directions} (default: auto with the phrasebook, en2ja "
        "with a model of which nobody knows whether it names the target; SPEECH_DIRECTION)",
    )
    add("host", "0.0.0.0" if "SPACE_ID" in os.environ else Settings.host, "address to listen on")
    add("port", Settings.port, "port to listen on")
    add("queue-size", Settings.queue_size, "requests that may wait")
    add("max-megabytes", Settings.max_megabytes, "largest upload")
    add("max-seconds", Settings.max_seconds, "longest recording")
    add("live-talks", Settings.live_talks, "live captions at a time")
    for name, what in (
        ("share", "a public link through Gradio"),
        ("open", "open the page in a browser"),
        ("no-cache", "no copy of weights that were rounded to int8"),
    ):
        variable = "SPEECH_" + name.upper().replace("-", "_")
        options.add_argument(
            f"--{name}",
            nargs="?",
            const=True,
            metavar="yes|no",
            type=_switch(variable),
            default=os.environ.get(variable) or False,
            help=f"{what} ({variable}=1)",
        )
    return options


def _switch(variable: str) -> Callable[[str], bool]:
    """Reads an option that is on or off, as a variable says it."""

    def read(text: str) -> bool:
        if text.lower() in _ON:
            return True
        if text.lower() in _OFF:
            return False
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither yes nor no (the option, or {variable})"
        )

    return read


def _reader(
    kind: type, variable: str, known: Sequence[str] = (), form: str = ""
) -> Callable[[str], Any]:
    """Reads an option: a number above 0, or a text.

    The text is empty, or one of `known` or of the `form` of a pattern if there are any. argparse
    names the option, and whoever set the variable looks for that.
    """
    named = f" (the option, or {variable})"
    if kind is not str:
        return bounded(kind, above=0, endless=True, named=named)

    def read(text: str) -> str:
        if known and text and text not in known and not re.fullmatch(form, text):
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(known)}{named}")
        return text

    return read
