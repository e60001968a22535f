"""What ZeroGPU says when it lends no GPU, in the visitor's language and with what to do.

`spaces` 0.51.3 raises gr.Error with an English sentence, of which programs get another one than the
page does (spaces/zero/client.py). Its titles and figures are read here.
"""

from __future__ import annotations

import re

from speech_translation.types import Language, Seconds
from web.texts import clock, say

WORKER = "The worker says"
"""The title of an error that our own code raises in the worker."""

_FIGURES = re.compile(r"\((\d+)s requested vs\. (-?\d+)s left\)")
_WAIT = re.compile(r"Try again in (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")


def explained(title: str, message: str, language: Language) -> str:
    """The sentence for a visitor who reads `language`, of an error raised by a borrowed GPU."""
    if title == WORKER:
        return message or say(language, "broken")
    if title in ("ZeroGPU queue timeout", "ZeroGPU client error") or "No GPU was" in message:
        return say(language, "gpu_busy")
    if title == "ZeroGPU pending credits exceeded":
        return say(language, "gpu_pending")
    if title == "ZeroGPU worker error":
        return say(language, "gpu_aborted")
    figures = _FIGURES.search(message)
    if figures is not None:
        spent = say(language, "gpu_spent", needed=figures[1], left=max(0, int(figures[2])))
    else:  # the number of runs, a limit of the Space, or a duration that nobody may ask for
        spent = say(language, "gpu_limit")
    remedy = "gpu_sign_in"
    if "free ZeroGPU" in message:
        remedy = "gpu_subscribe"
    elif "Pro ZeroGPU" in message:
        remedy = "gpu_credits"
    wait = _wait(message)
    again = say(language, "gpu_again", wait=clock(wait)) if wait else ""
    joint = " " if language is Language.ENGLISH else ""
    return joint.join(filter(None, (spent, again, say(language, remedy))))


def _wait(message: str) -> Seconds:
    """After how long there is more; 0 where that is not said."""
    found = _WAIT.search(message)
    if found is None:
        return 0
    days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
