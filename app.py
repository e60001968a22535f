"""The Space: English speech to Japanese text and back, in a browser and as an API.

    python app.py --model phrasebook

This file is the page, in the order in which a visitor reads it. What stands behind the page is in
web/: its parts and scripts in page/, options in settings.py, a visitor's request in service.py,
start and end in server.py. Importing this module loads no model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from speech_translation.types import Direction
from web import cards, html, server, zerogpu
from web.api import program_endpoints
from web.gradio_patches import UploadsOnly
from web.service import Service

ROOT = Path(__file__).resolve().parent
CHART = ROOT / "quality_scores.svg"
NARROW_CHART = ROOT / "web/page/scores_narrow.svg"
FIGURES = ROOT / "evaluation/results/published.json"

UPLOADS_KEPT = 3600  # seconds


def build_page(service: Service) -> gr.Blocks:
    """The whole page, its events and the endpoints for programs."""
    first = service.settings.first_direction
    demo: gr.Blocks = UploadsOnly(
        title="English ↔ Japanese speech translation",
        analytics_enabled=False,
        delete_cache=(UPLOADS_KEPT // 4, UPLOADS_KEPT),
    )
    with demo:
        show(html.part("header"))
        show(html.translate(first))
        show(html.part("live_absent") if zerogpu.ACTIVE else html.live(first))
        show(html.part("programs"))
        if CHART.exists() and FIGURES.exists():
            published = json.loads(FIGURES.read_text("utf-8"))
            narrow = NARROW_CHART.read_text("utf-8")
            show(html.benchmark(CHART.read_text("utf-8"), narrow, published))
        runs(service)
        program_endpoints(service)
        demo.unload(service.stop)
    return demo


def show(part: str) -> None:
    """A part of the page, in our style alone."""
    gr.HTML(part, apply_default_css=False)


def runs(service: Service) -> None:
    """What the page sends, and what it hears: web/page/runs.js fills in and reads both."""
    with gr.Group(visible="hidden"):
        recording = gr.Audio(sources=["microphone", "upload"], type="filepath")
        direction = gr.Radio(list(Direction), value=service.settings.first_direction)
        terms, owner = gr.Textbox(max_length=1000), gr.Textbox()
        transcript = gr.Checkbox()
        start, stop = gr.Button(elem_id="run"), gr.Button(elem_id="stop-run")
        answer = gr.HTML(
            elem_id="answer",
            html_template="",
            js_on_load="watch('value', () => window.speechPage.hear(props.value))",
        )

    def run(
        path: str | None,
        asked: str,
        wanted_terms: str | None,
        both: bool,
        card: str,
        request: gr.Request,
    ) -> Iterator[str]:
        """Translate a recording for a card of the page, which hears of it while the text grows."""
        for news in cards.run(service, path, asked, wanted_terms, request, transcript=both):
            yield json.dumps({"id": card, **news}, ensure_ascii=False)

    start.click(
        run,
        [recording, direction, terms, transcript, owner],
        answer,
        js="() => window.speechPage.request()",
        show_progress="hidden",
        trigger_mode="multiple",
        api_visibility="private",
        concurrency_limit=None,
    ).failure(None, js="() => window.speechPage.failed()", api_visibility="private")
    stop.click(service.stop, api_visibility="private", queue=False)


if __name__ == "__main__":
    raise SystemExit(server.main(build_page, (__doc__ or "").splitlines()[0]))
