"""Errors whose text is shown to the user as it stands.

SpeechTranslationError
├── AudioError    the recording: missing, empty, broken, silent track, too long
├── ModelError    the checkpoint or the device: not found, incomplete, refused
│   └── HubUnreachable      not now: another try may succeed
└── EngineError   the generation itself: out of memory, no numbers
    └── ServerUnreachable   not now: another try may succeed

Every message is one sentence or two: what is wrong, with which file, and what to do.
"""

from __future__ import annotations

import re

# Before the last @ of an address's authority, which ends at the first of /, ? and #. Of an address
# that lacks its http:// a port or a path must follow: else 10:30@noon were one.
_PASSWORD = re.compile(
    r"(?<=//)[^/?#\n]*@|(?<![^,\s'\"=])[^,\s'\"/?#@:]+:(?!\\)[^/?#\s]*@(?=[^/?#@\s]+[:/])"
)


NO_MEMORY = "There is not enough memory: end what else uses it, or split the recording"


def first_words(error: BaseException) -> str:
    """What a library says, as part of a sentence of ours."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def one_line(name: str) -> str:
    """A file's name as part of a sentence: what a terminal would act on, or not print, is "?"."""
    return "".join(char if char.isprintable() else "?" for char in name)


def without_password(addresses: str) -> str:
    """A text without the names and passwords of the addresses in it, which may hold an @."""
    return _PASSWORD.sub("", addresses)


def shown_address(url: str) -> str:
    """What is meant to be a server's address without name and password, its http:// lacking too."""
    return without_password(url) if "://" in url else without_password(f"//{url}")[2:]


class SpeechTranslationError(Exception):
    """Base of everything this library raises on purpose."""


class AudioError(SpeechTranslationError):
    """The audio cannot be read or holds nothing that can be translated.

    `kind` says which, for programs that have words of their own: too_long, empty, no_track (a film
    without sound), no_sound (nothing that can be decoded), or unreadable. Of a video to which
    captions are added: no_pictures, joined (of several recordings), clock (it jumps), or container
    (which cannot hold it).
    """

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


class ModelError(SpeechTranslationError):
    """The model cannot be loaded: unknown, incomplete, unreachable, or no such device."""


class HubUnreachable(ModelError):
    """The Hugging Face Hub does not answer now; another try may succeed."""


def missing_package(error: ImportError) -> ModelError:
    """What to tell the user when a package cannot be imported."""
    # transformers says of its own modules that they cannot be imported; the reason lies below.
    cause: ImportError = error
    while isinstance(cause.__cause__, ImportError):
        cause = cause.__cause__
    # The loader says no more where memory is short; a folder of no programs is "not permitted".
    if str(cause).endswith("failed to map segment from shared object"):
        return ModelError(f"{NO_MEMORY} ({first_words(cause)}).")
    name = f"The package {cause.name}" if cause.name else "A package"
    return ModelError(
        f"{name} is missing or broken ({first_words(cause)}): install the packages of "
        "requirements.txt again."
    )


class EngineError(SpeechTranslationError):
    """A loaded model could not produce a translation."""


class ServerUnreachable(EngineError):
    """No vLLM server answers now; another try may succeed."""
