"""The HTML of the page. Text that a model or a visitor wrote is always escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from speech_translation.captions import FORMATS
from speech_translation.engine import PHRASEBOOK
from speech_translation.types import Flags, Language, Seconds, Segment, Translation
from web.examples import examples
from web.loading import Loading
from web.texts import clock, say


def banner(loading: Loading, language: Language) -> str:
    """Which checkpoint runs, where and how; for the phrasebook, what it can translate."""
    error = loading.error
    if error is not None:
        key = "model_failed" if loading.finished else "model_waiting"
        return status(say(language, key, reason=error), "warning")
    if not loading.ready:
        return status(say(language, "model_loading", model=loading.model))
    shown = status(say(language, "model_ready", description=loading.engine().description))
    if loading.model != PHRASEBOOK:
        return shown
    phrases = "".join(
        f'<li lang="{example.language}">{escape(example.spoken)}</li>' for example in examples()
    )
    words = escape(say(language, "phrasebook"))
    return f"{shown}<details><summary>{words}</summary><ul>{phrases}</ul></details>"


def flag_words(flags: Flags, language: Language) -> str:
    """The flags in words, in one order."""
    joint = ", " if language is Language.ENGLISH else "、"
    return joint.join(say(language, flag.value) for flag in sorted(flags))


def lang_attribute(segment: Segment) -> str:
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
            f"<td{lang_attribute(segment)}>{escape(segment.text)}</td>"
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
    """How far a recording is: seconds of audio done and in total, seconds of time left."""
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
    """How long the recording is, and what its translation took."""
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
    """What the page shows of each finished caption: time, text, its language, flags in words."""
    return [
        {
            "time": clock(segment.start),
            "text": segment.text,
            "lang": segment.direction.target.value if segment.direction.target else "",
            "flags": flag_words(segment.flags, language),
        }
        for segment in segments
    ]


def live_frame() -> str:
    """The frame of the live captions, which page.js and web/live.py fill."""
    formats = "".join(
        f'<button type="button" class="play" data-live-format="{format}">{format.upper()}</button> '
        for format in FORMATS
    )
    return (
        '<button type="button" id="live-audio" class="primary-button" aria-pressed="false" '
        'data-text="live_start"></button>'
        '<div id="live-captions" role="log" aria-live="polite" tabindex="0">'
        '<p id="live-empty" data-text="live_idle"></p><div id="live-fixed"></div>'
        '<p id="live-line"><span class="settled"></span><span class="tentative"></span></p></div>'
        '<p id="live-note" role="status"></p>'
        f'<div id="live-download"><span data-text="live_download"></span> {formats}</div>'
        '<button type="button" id="live-clear" class="play" data-text="live_clear"></button>'
    )


def benchmark(chart: bytes, published: dict[str, Any]) -> str:
    """The chart, an SVG file, and the table of the published figures with their provenance."""
    picture = base64.b64encode(chart).decode()
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _published_row(system)) + "</tr>"
        for system in published["systems"]
    )
    return (
        f'<p data-text="benchmark_info"></p><p lang="en">{escape(published["provenance"])}</p>'
        f'<img src="data:image/svg+xml;base64,{picture}" alt="">'
        f'<div class="scroll"><table><thead><tr><th data-text="system"></th>'
        f'<th data-text="parameters"></th><th>EN→JA</th><th>JA→EN</th>'
        f'<th data-text="speed"></th></tr></thead><tbody>{rows}</tbody></table></div>'
        '<p data-text="reproduce"></p><pre><code>make benchmark-fleurs</code></pre>'
    )


def _published_row(system: dict[str, Any]) -> list[str]:
    """Title, parameters, quality in both directions, speed."""
    quality = [system[direction] for direction in ("en2ja", "ja2en")]
    scores = ["N/A" if score is None else f"{score:.1f}/5" for score in quality]
    return [system["title"], system["parameters"], *scores, f"{system['tokens_per_second']:.1f}"]
