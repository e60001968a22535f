"""The HTML and the words of the page that are made here; web/page/ has the rest.

Text that a model or a visitor wrote is always escaped.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from speech_translation.captions import as_data
from speech_translation.tracks import language_of
from speech_translation.types import (
    Direction,
    Flags,
    Language,
    Remark,
    RemarkKind,
    Segment,
    Show,
    Translation,
)
from web.texts import Words, clock, moment, say, texts, words

PAGE = Path(__file__).with_name("page")


def part(name: str) -> str:
    """A part of the page: static HTML, in which web/page/words.js fills in the texts."""
    return (PAGE / f"{name}.html").read_text("utf-8")


def translate(first: Direction) -> str:
    """The part where recordings are translated; `first` is the direction that it begins with."""
    return _chosen(part("translate"), "direction", first)


def live(first: Direction) -> str:
    """The part with live captions."""
    return _chosen(part("live"), "live-direction", first)


def _chosen(html: str, name: str, direction: Direction) -> str:
    choice = f'name="{name}" value="{direction.value}"'
    assert choice in html
    return html.replace(choice, f"{choice} checked")


def scripts() -> str:
    """The page's texts and scripts, for the head of a document in the folder of the page."""
    words = json.dumps(texts(), ensure_ascii=False).replace("</", "<\\/")
    first = (PAGE / "first.js").read_text("utf-8")
    return f"<script>window.speechTexts = {words};</script><script>{first}</script>"


def flag_words(flags: Flags, language: Language) -> str:
    """The flags in words, in one order."""
    joint = ", " if language is Language.ENGLISH else "、"
    return joint.join(say(language, flag.value) for flag in sorted(flags))


def remark_words(translation: Translation) -> Words | None:
    """What is to be said of the recording in both languages, or nothing.

    What is not translated is left out: the state of the card says it.
    """
    said = list[Words]()
    for remark in translation.remarks:
        if remark.kind is RemarkKind.UNTRANSLATED:
            continue
        said.append(
            words(
                f"remark_{remark.kind}",
                start=moment(remark.start),
                end=moment(remark.end),
                number=remark.number,
                of=f"{remark.of}{remark.listed}",
                jump=remark.jump,
            )
        )
        if _has_another(remark):
            said.append(words("remark_another"))
    joint = {Language.ENGLISH: " ", Language.JAPANESE: ""}
    return {x: joint[x].join(one[x] for one in said) for x in Language} if said else None


def _has_another(remark: Remark) -> bool:
    """Whether there is a sound track that another direction would take."""
    languages = [language_of(tag) for tag in remark.languages]
    taken = languages[remark.number - 1 : remark.number]
    return any(language and language not in taken for language in languages)


def live_captions(segments: Sequence[Segment], language: Language) -> list[dict[str, Any]]:
    """Each finished caption: time, text, its language, flags in words, and all of its data.

    `source` is what was said, where it is written down.
    """
    every = as_data(Translation(segments, Direction.AUTO, 0.0), Show.BOTH)["segments"]
    return [
        {
            "time": clock(segment.start),
            "text": segment.text,
            "lang": segment.direction.target.value if segment.direction.target else "",
            "flags": flag_words(segment.flags, language),
            "source": segment.source_text,
            "source_lang": segment.direction.source.value if segment.direction.source else "",
            "source_flags": flag_words(segment.source_flags, language),
            "data": data,
        }
        for segment, data in zip(segments, every, strict=True)
    ]


def benchmark(chart: str, narrow: str, published: dict[str, Any]) -> str:
    """The chart, an SVG file, and the table of the published figures with their provenance.

    A phone shows the `narrow` chart in its place.
    """
    pictures = "".join(
        f'<img src="data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"'
        f' alt="" lang="{language.value}" class="{width}">'
        for width, drawn in (("wide", chart), ("narrow", narrow))
        for language, svg in _charts(drawn, published).items()
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _published_row(system)) + "</tr>"
        for system in published["systems"]
    )
    return (
        '<section id="panel-benchmark" role="tabpanel" aria-labelledby="tab-benchmark" hidden>'
        '<p data-text="benchmark_info"></p><p data-text="benchmark_here"></p>'
        '<div class="scroll chart" tabindex="0" role="region" data-label="tab_benchmark">'
        f"{pictures}</div>"
        '<div class="scroll" tabindex="0" role="region" data-label="system"><table>'
        '<thead><tr><th data-text="system"></th>'
        '<th data-text="parameters"></th><th>EN → JA</th><th>JA → EN</th>'
        f'<th data-text="speed"></th></tr></thead><tbody>{rows}</tbody></table></div>'
        '<p data-text="reproduce"></p><pre><code>make benchmark-fleurs</code></pre>'
        '<details><summary data-text="provenance"></summary>'
        f'<p lang="en">{escape(published["provenance"])}</p></details></section>'
    )


def _charts(chart: str, published: dict[str, Any]) -> dict[Language, str]:
    """The chart in both languages. Its texts are text, and three of them are sentences or words."""
    japanese = chart
    for name in ("quality", "speed", "caption"):
        own = say(Language.JAPANESE, f"chart_{name}")
        japanese = japanese.replace(f">{escape(published[name], quote=False)}<", f">{own}<")
    return {Language.ENGLISH: chart, Language.JAPANESE: japanese}


def _published_row(system: dict[str, Any]) -> list[str]:
    """Title, parameters, quality in both directions, speed."""
    quality = [system[direction] for direction in ("en2ja", "ja2en")]
    scores = ["N/A" if score is None else f"{score:.1f}/5" for score in quality]
    return [system["title"], system["parameters"], *scores, f"{system['speed']:.1f}"]
