"""The Space: English speech to Japanese text and back, in a browser and as an API.

    python app.py --model phrasebook

This file is the page, in the order in which a visitor reads it. What stands behind the page is in
web/: options in settings.py, a visitor's request in service.py, start and end in server.py.
Importing this module loads no model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import numpy as np

from speech_translation.audio import load_audio
from speech_translation.captions import cues
from speech_translation.types import SAMPLE_RATE, Direction, Translation
from web import html, server, zerogpu
from web.api import program_endpoints
from web.examples import examples
from web.gradio_patches import Admission, UploadsOnly
from web.server import Localised
from web.service import Service, captions_files, language_of
from web.texts import say

ROOT = Path(__file__).resolve().parent
CHART = ROOT / "quality_scores.svg"
FIGURES = ROOT / "evaluation/results/published.json"

DIRECTIONS = [
    ("English → 日本語", Direction.EN_JA.value),
    ("日本語 → English", Direction.JA_EN.value),
    ("Auto・自動", Direction.AUTO.value),
]
# A part that is not visible is hidden. False would remove it, and at times Gradio 6.17.3 fails to
# put a removed part back.
HIDDEN: Literal["hidden"] = "hidden"
PLAYABLE = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".mp4", ".webm"}
UPLOADS_KEPT = 3600  # seconds


def build_page(service: Service, admission: Admission, t: Localised) -> gr.Blocks:
    """The whole page, its events and the endpoints for programs."""
    demo: gr.Blocks = UploadsOnly(
        title="English ↔ Japanese speech translation",
        analytics_enabled=False,
        delete_cache=(UPLOADS_KEPT // 4, UPLOADS_KEPT),
    )
    with demo:
        gr.HTML('<h1 data-text="title"></h1><p data-text="subtitle"></p>', elem_id="title")
        banner = gr.HTML(elem_id="banner")
        with gr.Tab(t("tab_translate"), elem_id="tab-translate"):
            translate_tab(service, admission, t)
        with gr.Tab(t("tab_live"), elem_id="tab-live"):
            live_tab(service, t)
        if CHART.exists() and FIGURES.exists():
            with gr.Tab(t("tab_benchmark"), elem_id="tab-benchmark"):
                published = json.loads(FIGURES.read_text("utf-8"))
                gr.HTML(html.benchmark(CHART.read_bytes(), published), elem_id="benchmark-chart")
        program_endpoints(service, admission)

        def show_model(request: gr.Request) -> tuple[str, Any]:
            words = html.banner(service.loading, language_of(request))
            return words, gr.Timer(active=not service.loading.finished)

        timer = gr.Timer(1.0)
        for event in (demo.load, timer.tick):
            event(show_model, None, [banner, timer], api_visibility="private", queue=False)
        demo.unload(service.stop)
    return demo


def translate_tab(service: Service, admission: Admission, t: Localised) -> None:
    """Direction, recording, Translate, result, examples; the rest appears with a result."""
    direction = gr.Radio(
        DIRECTIONS,
        value=service.settings.first_direction.value,
        label=t("direction"),
        elem_id="direction",
    )
    audio = gr.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        label=t("audio"),
        buttons=[],
        elem_id="audio",
    )
    with gr.Row():
        start = gr.Button(t("translate"), variant="primary", elem_id="translate")
        stop = gr.Button(t("stop"), elem_id="stop", visible=HIDDEN)
    progress = gr.HTML(elem_id="progress")
    result = gr.Textbox(
        label=t("result"),
        lines=3,
        max_lines=12,
        buttons=["copy"],
        interactive=False,
        elem_id="result",
    )
    with gr.Row(elem_id="actions"):
        speak = gr.Button(t("speak"), size="sm", elem_id="speak", visible=HIDDEN)
        switch = gr.Button(t("switch"), size="sm", elem_id="switch", visible=HIDDEN)
    cost = gr.HTML(elem_id="cost")
    player = gr.Audio(
        label=t("player"), interactive=False, visible=HIDDEN, buttons=["download"], elem_id="player"
    )
    with gr.Accordion(t("details"), open=False, visible=HIDDEN, elem_id="details") as details:
        table = gr.HTML(elem_id="segments")
        files = gr.File(
            label=t("downloads"), file_count="multiple", interactive=False, elem_id="downloads"
        )
    with gr.Accordion(t("terms_title"), open=False):
        terms = gr.Textbox(label=t("terms"), info=t("terms_info"), max_length=1000, elem_id="terms")
    gr.HTML('<span data-text="examples"></span>')
    with gr.Row(elem_id="examples"):
        buttons = {
            example: gr.Button(example.spoken, size="sm", elem_id=f"example-{example.name}")
            for example in examples()
        }

    def run(
        path: str | None, asked: str, wanted_terms: str | None, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        """Translate the recording. Yields the changes of the page, by component, while it grows."""
        language = language_of(request)
        hidden, shown = gr.update(visible=HIDDEN), gr.update(visible=True)
        waiting = say(language, "waiting" if service.loading.finished else "loading")
        yield {
            result: "",
            progress: html.status(waiting),
            stop: shown,
            speak: hidden,
            switch: hidden,
            cost: "",
            player: hidden,
            details: hidden,
        }
        try:
            last = None
            for last in service.updates(path, asked, wanted_terms, request, offer=True):
                if last.translation is None:
                    bar = html.progress_bar(last.done, last.total, last.left, language)
                    yield {result: last.text, progress: bar}
            assert last is not None
            assert last.translation is not None
            assert path is not None
            translation = last.translation
            with captions_files(translation, Path(path).stem[:100]) as written:
                if not written:
                    gr.Warning(say(language, "no_files"))
                doubt = last.missing or ("" if translation.text else say(language, "nothing"))
                yield {
                    result: translation.text,
                    progress: warning(doubt) if doubt else "",
                    stop: hidden,
                    speak: shown if translation.text else hidden,
                    cost: html.cost(translation, language),
                    player: playback(path, translation),
                    details: shown if translation.segments else hidden,
                    table: html.segment_table(translation.segments, language),
                    files: list(written.values()),
                }
            other = service.other_direction(path, Direction(asked), last)
            if other is not None:
                label = next(words for words, value in DIRECTIONS if value == other)
                words = say(language, "other_direction", direction=label)
                yield {progress: warning(words), switch: shown}
        except gr.Error as error:
            yield {progress: html.status(str(error.message), "warning"), stop: hidden}
            raise

    on_translate: dict[str, Any] = {
        "fn": run,
        "inputs": [audio, direction, terms],
        "outputs": [result, progress, stop, speak, switch, cost, player, details, table, files],
        "show_progress": "hidden",
        "api_visibility": "private",
        **admission.event_options,
    }
    at_once: dict[str, Any] = {"api_visibility": "private", "queue": False}
    start.click(**on_translate)
    switch.click(reverse, direction, direction, **at_once).then(**on_translate)
    stop.click(service.stop, **at_once)
    for example, button in buttons.items():
        chosen = (str(example.path), example.direction.value)
        button.click(lambda chosen=chosen: chosen, None, [audio, direction], **at_once).then(
            **on_translate
        )


def reverse(direction: str) -> str:
    """The other one of the two directions."""
    is_english = direction == Direction.EN_JA.value
    return Direction.JA_EN.value if is_english else Direction.EN_JA.value


def warning(words: str) -> str:
    """`words` as HTML for the page; they are also shown for a moment on top of it."""
    gr.Warning(words)
    return html.status(words, "warning")


def playback(path: str, translation: Translation) -> Any:
    """The recording with its translation as subtitles, in a format that browsers play.

    There is no player without speech, nor when the upload is gone: `UPLOADS_KEPT` may be over
    before a long translation is.
    """
    if not translation.segments or not Path(path).exists():
        return gr.update(visible=HIDDEN)
    recording: Any = path
    if Path(path).suffix.lower() not in PLAYABLE:
        samples = load_audio(path, translation.duration + 1)
        recording = (SAMPLE_RATE, np.round(samples * 32767).astype(np.int16))
    # As a list: Gradio would read a file again at each later update.
    subtitles = [
        {"text": cue.text, "timestamp": [cue.start_ms / 1000, cue.end_ms / 1000]}
        for cue in cues(translation)
    ]
    return gr.Audio(recording, subtitles=subtitles, visible=True)


def live_tab(service: Service, t: Localised) -> None:
    """Direction, Start and Stop, captions, downloads."""
    if zerogpu.ACTIVE:
        gr.HTML('<p data-text="live_absent"></p>')
        return
    gr.Radio(
        DIRECTIONS,
        value=service.settings.first_direction.value,
        label=t("direction"),
        elem_id="live-direction",
    )
    gr.HTML(html.live_frame())


if __name__ == "__main__":
    raise SystemExit(server.main(build_page, (__doc__ or "").splitlines()[0]))
