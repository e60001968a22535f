"""The pieces of HTML that the Space shows. Everything a model or a visitor wrote is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from speech_translation.types import Flags, Language, Seconds, Segment, Translation
from web.texts import clock, say


def flag_words(flags: Flags, language: Language) -> str:
    """The flags in words, in one order."""
    joint = ", " if language is Language.ENGLISH else "、"
    return joint.join(say(language, flag.value) for flag in sorted(flags))


def lang_of(segment: Segment) -> str:
    """The lang attribute for a segment's text."""
    return f' lang="{segment.direction.target.value}"' if segment.direction.target else ""


def segment_table(segments: Sequence[Segment], language: Language) -> str:
    """A table with a row for each segment; its button plays that stretch of the recording."""
    rows = []
    for segment in segments:
        play = escape(say(language, "play", time=clock(segment.start)), quote=True)
        rows.append(
            f'<tr data-start="{segment.start:.3f}" data-end="{segment.end:.3f}">'
            f'<td><button type="button" class="play" aria-label="{play}">'
            f"{clock(segment.start)}</button></td><td>{clock(segment.end)}</td>"
            f"<td{lang_of(segment)}>{escape(segment.text)}</td>"
            f'<td class="flags">{escape(flag_words(segment.flags, language))}</td></tr>'
        )
    heads = "".join(
        f'<th scope="col">{escape(say(language, key))}</th>'
        for key in ("start", "end", "text", "flags")
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{say(language, "segments")}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def progress_bar(done: Seconds, total: Seconds, left: Seconds | None, language: Language) -> str:
    """How far a recording is: seconds of audio done and in all, seconds of time left."""
    words = say(language, "working", done=clock(done), total=clock(total))
    if left is not None:
        joint = " · " if language is Language.ENGLISH else "・"
        words += joint + say(language, "left", left=clock(left + 0.5))
    return (
        f'<label class="progress">{escape(words)}'
        f'<progress max="{max(total, 0.1):.1f}" value="{done:.1f}"></progress></label>'
    )


def status(message: str, kind: str = "note") -> str:
    """One line about what is going on; `kind` is a CSS class: note or warning."""
    return f'<p class="status {kind}" role="status">{escape(message)}</p>'


def cost(translation: Translation, language: Language) -> str:
    """What the translation took."""
    words = say(
        language,
        "cost",
        duration=f"{translation.duration:.1f} s",
        compute=f"{translation.compute_seconds:.1f} s",
        speed=f"{translation.rtfx:.1f}",
        tokens=translation.tokens,
    )
    return f'<p class="cost">{escape(words)}</p>'


def live_captions(segments: Sequence[Segment], language: Language) -> list[dict[str, str]]:
    """What the page needs of each fixed caption: time, text, its language, flags in words."""
    return [
        {
            "time": clock(segment.start),
            "text": segment.text,
            "lang": segment.direction.target.value if segment.direction.target else "",
            "flags": flag_words(segment.flags, language),
        }
        for segment in segments
    ]
