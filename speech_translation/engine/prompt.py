"""What is asked of a Qwen3-ASR model and what its reply says, whichever engine runs it."""

from __future__ import annotations

import re

from speech_translation.engine.base import OnText
from speech_translation.text import repeated, wrong_script
from speech_translation.types import SAMPLE_RATE, Direction, Flag, Flags, Language

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
AUDIO_START, AUDIO_END, AUDIO_PAD = "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>"
ASR_TEXT = "<asr_text>"
_BEGUN_TAG = re.compile("|".join(["language \\w*", *("language"[:n] for n in range(9))]))

# Tokens a segment may cost: speech seldom needs more than five a second, a loop needs all there is.
_TOKENS_AT_LEAST, _TOKENS_PER_SECOND = 24, 12

# Whisper's threshold (openai/whisper, transcribe.py, logprob_threshold); a checkpoint's
# generation_config.json may set its own as `low_confidence_logprob`.
LOW_CONFIDENCE_LOGPROB = -1.0


def token_budget(samples: int) -> int:
    """The most tokens a segment of so many samples may cost, tag and end token included."""
    return _TOKENS_AT_LEAST + round(_TOKENS_PER_SECOND * samples / SAMPLE_RATE)


def parse_reply(reply: str, *, growing: bool = False) -> tuple[Language | None, str]:
    """Split `language Japanese<asr_text>...` into the language named and the text.

    A reply without a tag is all text. Of one that is still `growing` the text is empty as long as
    it may become a tag.
    """
    tag, separator, text = reply.partition(ASR_TEXT)
    if not separator:
        return None, "" if growing and _BEGUN_TAG.fullmatch(tag) else reply.strip()
    names = {language.tag: language for language in Language}
    return names.get(tag.removeprefix("language ").strip()), text.strip()


def tag_of(reply: str) -> str:
    """What stands before the text of a reply, such as "language Japanese"; empty without a tag."""
    tag, separator, _ = reply.partition(ASR_TEXT)
    return tag.strip() if separator else ""


def without_tag(on_text: OnText) -> OnText:
    """`on_text` for replies that begin with a tag: it hears of the text only."""

    def listen(index: int, reply: str) -> None:
        text = parse_reply(reply, growing=True)[1]
        if text:
            on_text(index, text)

    return listen


def strip_control_tokens(context: str) -> str:
    """`context` without anything the tokenizer would read as a control token."""
    return re.sub(r"<\|[^|]*\|>|" + re.escape(ASR_TEXT), " ", context).strip()


def flags_for(
    text: str,
    direction: Direction,
    mean_logprob: float = 0.0,
    low_confidence: float = LOW_CONFIDENCE_LOGPROB,
    *,
    truncated: bool = False,
) -> Flags:
    """The flags of a hypothesis; `direction` is AUTO when the model named no language.

    A `mean_logprob` that is NaN is low confidence.
    """
    flags = set[Flag]()
    if truncated:
        flags.add(Flag.TRUNCATED)
    if not text:
        flags |= {Flag.NO_SPEECH, Flag.LOW_CONFIDENCE}
    # Not `<`, which NaN never is.
    if not mean_logprob >= low_confidence or direction is Direction.AUTO:
        flags.add(Flag.LOW_CONFIDENCE)
    if repeated(text):
        flags.add(Flag.REPEATED)
    if direction.target and wrong_script(text, direction.target):
        flags.add(Flag.WRONG_SCRIPT)
    return Flags(flags)
