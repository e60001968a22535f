"""The Space: English speech to Japanese text and back, in a browser and as an API.

    python app.py --model phrasebook

Options also come from the environment, as on a Space: `--max-seconds` is SPEECH_MAX_SECONDS.
Importing this module loads no model.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
import ctypes
import json
import os
import re
import sys
import tempfile
import threading
import traceback
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import gradio as gr
import gradio.route_utils
import numpy as np
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from speech_translation.audio import load_audio
from speech_translation.captions import FORMATS, Format, cues, write
from speech_translation.engine import PHRASEBOOK, PRECISIONS, PUBLISHED_MODEL, Engine, load_engine
from speech_translation.engine import Request as EngineRequest
from speech_translation.engine.batching import SharedEngine
from speech_translation.errors import AudioError, SpeechTranslationError
from speech_translation.segments import cut, find_segments
from speech_translation.types import SAMPLE_RATE, Direction, Language, Translation
from web import html
from web.guard import Guard
from web.live import LiveSessions
from web.loading import Loading
from web.shutdown import Ending
from web.streaming import Update, stream
from web.texts import interface_language, say, texts
from web.uploads import NotUploaded, upload

ROOT = Path(__file__).resolve().parent
EXAMPLES = ROOT / "examples"
PREFIX = "speech_"  # of our texts: Gradio has an "audio" of its own
# Not False: that takes a part off the page, and at times Gradio fails to put it back.
HIDDEN: Literal["hidden"] = "hidden"
M_ARENA_MAX = -8  # malloc.h
VALIDATOR = -1  # what Gradio numbers all validators; ours looks at none of its inputs
MODEL_QUEUE = "model"  # everything that uses the model waits in one line
CACHE_SECONDS = 3600
SESSIONS, RECORDS = 100, 1000  # Gradio keeps 100 kB and 1 kB of each; nothing of ours is there
PLAYABLE = {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".mp4", ".webm"}

DIRECTIONS = [
    ("English → 日本語", Direction.EN_JA.value),
    ("日本語 → English", Direction.JA_EN.value),
    ("Auto・自動", Direction.AUTO.value),
]

Localised = Callable[[str], Any]

try:
    import spaces  # there on ZeroGPU only
except ImportError:
    spaces = None


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
        """Whose recordings are worked on while others wait; servers take many at a time."""
        return 32 if self.engine_url else 4


def parser() -> argparse.ArgumentParser:
    """The options, with what the environment says as defaults."""
    options = argparse.ArgumentParser(prog="app.py", description=(__doc__ or "").split("\n")[0])

    def add(name: str, default: Any, what: str) -> None:
        variable = "SPEECH_" + name.upper().replace("-", "_")
        options.add_argument(
            f"--{name}",
            type=type(default),
            default=os.environ.get(variable, default),
            help=f"{what} (default: %(default)s; {variable})",
        )

    add("model", Settings.model, "Hugging Face id, folder, or phrasebook, the embedded one")
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


def gpu_seconds(samples: np.ndarray, *_: object) -> int:
    """What to ask ZeroGPU for: twice the recording's share at 10 x real time, and a minute."""
    return 60 + round(len(samples) / SAMPLE_RATE / 5)


generate: Callable[..., Iterator[Update]] = stream
if spaces is not None:
    generate = spaces.GPU(duration=gpu_seconds)(stream)


def language_of(request: gr.Request | None) -> Language:
    """The interface language of whoever asks."""
    return interface_language(request.headers.get("accept-language") if request else None)


class Admission:
    """Who may wait in line for the model: whoever comes when it is full is turned away in words.

    Gradio's own limit has no words to set and names no way out. Its validators run side by side
    before their visitors stand in line, so those who were admitted and are on their way count too.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queue: Any = None
        self._arriving = 0
        self._lock = threading.Lock()
        self._admitted = ContextVar[list[bool]]("admitted")  # filled while a request is pushed

    def watch(self, demo: gr.Blocks) -> None:
        """Count who is on the way into the line of `demo`, once it has one."""
        self._queue = demo._queue
        push = self._queue.push

        async def counted(*inputs: Any, **options: Any) -> Any:
            admitted = list[bool]()
            self._admitted.set(admitted)
            try:
                return await push(*inputs, **options)
            finally:
                with self._lock:
                    self._arriving -= len(admitted)

        self._queue.push = counted

    def __call__(self, *inputs: Any) -> list[Any]:
        """The validator: a verdict for each input, the first of which stands beside the recording.

        Its inputs are of no matter.
        """
        line = self._queue.event_queue_per_concurrency_id.get(MODEL_QUEUE)
        with self._lock:
            served = line.current_concurrency if line else 0
            free = self._settings.visitors_at_once - served
            ahead = max(0, (len(line.queue) if line else 0) + self._arriving - free)
            admitted = ahead < self._settings.queue_size
            if admitted:
                self._arriving += 1
                self._admitted.get().append(True)
        words = [say(language, "busy", ahead=ahead) for language in Language]
        verdict = gr.validate(admitted, " ".join(words))
        return [verdict] + [gr.validate(True, "")] * (len(inputs) - 1)


class Service:
    """What stands behind the page and the API: the engine, the limits, who may be stopped."""

    def __init__(self, settings: Settings, loading: Loading) -> None:
        self.settings = settings
        self.loading = loading
        self.ending = Ending()
        self.admission = Admission(settings)
        self.jobs: Callable[[], list[Any]] = list
        """Gradio's, of those who are served, in sets."""
        self._running = dict[threading.Event, str]()  # what ends each translation, and whose it is

    def read(self, path: str | None, language: Language) -> np.ndarray:
        """The recording as float32 (n,) at 16 kHz. gr.Error in the visitor's language."""
        if not path:
            raise self.refusal(say(language, "no_audio"))
        if Path(path).stat().st_size > self.settings.max_megabytes << 20:
            raise self.refusal(say(language, "too_large", megabytes=self.settings.max_megabytes))
        try:
            return load_audio(path, self.settings.max_seconds, name=Path(path).name)
        except AudioError as error:
            raise self.refusal(say(language, "bad_audio", reason=error)) from None

    def updates(
        self, path: str | None, direction: str, terms: str | None, request: gr.Request | None
    ) -> Iterator[Update]:
        """Translate an upload. Every failure is a gr.Error with a sentence for the visitor."""
        language = language_of(request)
        if direction not in tuple(Direction):
            raise self.refusal(say(language, "no_direction", direction=direction))
        if self.ending.asked:
            raise self.refusal(say(language, "ending"))
        stopped = threading.Event()
        self._running[stopped] = (request.session_hash if request else None) or ""
        try:
            samples = self.read(path, language)
            engine = self.loading.engine()
            for update in generate(samples, engine, Direction(direction), terms or "", stopped):
                if self.ending.over:
                    raise self.refusal(say(language, "ending"))
                if self._left(request):
                    raise self.refusal("The visitor has left.")
                yield update
        except gr.Error:
            raise
        except SpeechTranslationError as error:
            raise self.refusal(str(error)) from None
        except Exception as error:
            # Where it happened, without the message: that may quote the visitor.
            print(*traceback.format_tb(error.__traceback__), type(error).__name__, file=sys.stderr)
            raise self.refusal(say(language, "broken")) from None
        finally:
            stopped.set()
            del self._running[stopped]

    def translate(
        self, path: str | None, direction: str, terms: str, request: gr.Request | None
    ) -> Translation:
        """The whole translation, for programs."""
        translation = None
        for update in self.updates(path, direction, terms, request):
            translation = update.translation
        assert translation is not None
        return translation

    def stop(self, request: gr.Request) -> None:
        """End the generation of the visitor who asks, or who leaves."""
        for stopped, visitor in list(self._running.items()):
            if visitor and visitor == request.session_hash:
                stopped.set()

    def _left(self, request: gr.Request | None) -> bool:
        """Whether Gradio has noticed that whoever asks has gone. It lets functions run on."""
        asked = request.request if request else None
        jobs = [job for jobs in self.jobs() if jobs for job in jobs]
        return any(job.request is asked and not job.alive for job in jobs)

    @property
    def working(self) -> bool:
        """Whether a translation is under way."""
        return bool(self._running)

    def stop_all(self) -> None:
        """End every generation."""
        for stopped in list(self._running):
            stopped.set()

    def other_direction(self, path: str, asked: Direction) -> Direction | None:
        """The direction the model itself names, if it is not the one asked for.

        What is spoken in the target language already is written down instead of translated, and
        surely so: only the model's own tag tells. The shortest segment of a second is asked.
        """
        if asked is Direction.AUTO:
            return None
        samples = load_audio(path, self.settings.max_seconds)
        spans = sorted(find_segments(samples), key=lambda span: span.end - span.start)
        telling = [span for span in spans if span.end - span.start >= SAMPLE_RATE] or spans
        heard = self.loading.engine().generate(
            EngineRequest([cut(samples, span) for span in telling[:1]], Direction.AUTO)
        )
        for hypothesis in heard:
            if hypothesis.direction not in (Direction.AUTO, asked) and not hypothesis.flags:
                return hypothesis.direction
        return None

    @staticmethod
    def refusal(message: str) -> gr.Error:
        """A sentence for the visitor, without a trace in the log."""
        return gr.Error(message, print_exception=False)


@contextmanager
def captions_files(translation: Translation, stem: str) -> Iterator[dict[Format, str]]:
    """Files with `translation` in every format, as long as this lasts; none on a full disk."""
    with ExitStack() as kept:
        paths = dict[Format, str]()
        try:
            folder = Path(kept.enter_context(tempfile.TemporaryDirectory()))
            for format in FORMATS:
                path = folder / f"{stem}.{format}"
                write(translation, path, format)
                paths[format] = str(path)
        except OSError as error:
            print(f"captions cannot be written: {error.strerror}", file=sys.stderr)
            paths = {}
        yield paths


def as_data(translation: Translation) -> dict[str, Any]:
    """What `/translate_segments` answers."""
    return {
        "text": translation.text,
        "direction": translation.direction.value,
        "duration": round(translation.duration, 3),
        "compute_seconds": round(translation.compute_seconds, 3),
        "tokens": translation.tokens,
        "flags": sorted(translation.flags),
        "segments": [
            {
                "start": round(segment.start, 3),
                "end": round(segment.end, 3),
                "text": segment.text,
                "direction": segment.direction.value,
                "flags": sorted(segment.flags),
                "mean_logprob": round(segment.mean_logprob, 4),
            }
            for segment in translation.segments
        ],
    }


def banner(loading: Loading, language: Language) -> str:
    """Which checkpoint runs, where and how; for the phrasebook, what it can translate."""
    if loading.error is not None:
        return html.status(say(language, "model_failed", reason=loading.error), "warning")
    if not loading.ready:
        return html.status(say(language, "model_loading", model=loading.model))
    shown = html.status(say(language, "model_ready", description=loading.engine().description))
    if loading.model != PHRASEBOOK:
        return shown
    phrases = "".join(
        f'<li lang="{name[:2]}">{escape(spoken)}</li>' for name, spoken in example_phrases()
    )
    words = escape(say(language, "phrasebook"))
    return f"{shown}<details><summary>{words}</summary><ul>{phrases}</ul></details>"


def example_phrases() -> list[tuple[str, str]]:
    """Names of the short example clips and what is said in them."""
    with (EXAMPLES / "clips.tsv").open(encoding="utf-8", newline="") as file:
        clips = {row["file"]: row["spoken"] for row in csv.DictReader(file, delimiter="\t")}
    return [(name, clips[f"{name}.flac"]) for name in ("en_1", "en_2", "ja_1", "ja_2")]


def theme() -> gr.themes.Base:
    """One accent, and fonts that every visitor has: none is fetched."""
    return gr.themes.Base(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="stone",
        font=(
            "system-ui",
            "Hiragino Sans",
            "Noto Sans CJK JP",
            "Noto Sans JP",
            "Yu Gothic UI",
            "Meiryo",
            "sans-serif",
        ),
        font_mono=("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"),
    ).set(
        # Dark enough to be read: 4.5:1 on their backgrounds.
        color_accent="*primary_700",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        checkbox_label_background_fill_selected="*primary_100",
        checkbox_label_background_fill_selected_dark="*primary_900",
        checkbox_label_border_color_selected="*primary_700",
        checkbox_background_color_selected="*primary_700",
        checkbox_background_color_selected_dark="*primary_500",
    )


class Recent(OrderedDict[str, Any]):
    """The last so many records. Gradio keeps one of every request for ever."""

    def __setitem__(self, key: str, value: Any) -> None:
        """Add a record, and forget the oldest."""
        super().__setitem__(key, value)
        if len(self) > RECORDS:
            self.popitem(last=False)


class Page(gr.Blocks):
    """Blocks whose events take uploads only: no links, no paths of the server."""

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], *arguments: Any, **options: Any
    ) -> list[Any]:
        """Turn an event's inputs into its function's arguments."""
        if block_fn._id == VALIDATOR:  # refused here, most clients would not be told why
            return inputs
        try:
            sent = list(map(self._checked, block_fn.inputs, inputs))
        except NotUploaded:  # who asks is not known here
            words = " ".join(say(language, "uploads_only") for language in Language)
            raise Service.refusal(words) from None
        prepared: list[Any] = await super().preprocess_data(block_fn, sent, *arguments, **options)
        return prepared

    def _checked(self, block: Any, value: Any) -> Any:
        if isinstance(block, gr.Audio):
            return upload(value, Path(self.GRADIO_CACHE))
        if isinstance(value, dict | list):  # Gradio opens files wherever it finds one
            raise NotUploaded
        return value


class UploadParser(gradio.route_utils.GradioMultiPartParser):
    """Gradio's, but one file at a time, and nothing stays of an upload that failed.

    Gradio 6.17.3 leaves its temporary file when a visitor breaks off, the form is broken or has no
    end, or the file is in another field or named "..".
    """

    async def parse(self) -> FormData:
        """The form, with a file in the field `files`. Raises MultiPartException."""
        self.max_files, self.max_fields = 1, 0
        kept = set[str]()
        try:
            form = await super().parse()
            file = form.get("files")
            if not isinstance(file, UploadFile):
                raise MultiPartException("An upload is a form with a file in the field files.")
            # Gradio's links escape neither of these, and "." is a folder to it.
            name = re.sub("[%#]", "_", Path(file.filename or "").name)
            file.filename = name if any(map(str.isalnum, name)) else "recording"
            kept.add(str(file.file.name))
            return form
        except FormParserError as error:
            raise MultiPartException("The form of this upload is broken.") from error
        finally:
            for written in self._files_to_close_on_error:
                if written.name not in kept:
                    written.close()
                    Path(written.name).unlink(missing_ok=True)


def build_demo(service: Service, t: Localised) -> gr.Blocks:
    """The page, its events and the endpoints for programs."""
    demo: gr.Blocks = Page(
        title="English ↔ Japanese speech translation",
        analytics_enabled=False,
        delete_cache=(CACHE_SECONDS // 4, CACHE_SECONDS),
    )
    with demo:
        gr.HTML('<h1 data-text="title"></h1><p data-text="subtitle"></p>', elem_id="title")
        shown_banner = gr.HTML(elem_id="banner")
        with gr.Tab(t("tab_translate"), elem_id="tab-translate"):
            translate_tab(service, t)
        with gr.Tab(t("tab_live"), elem_id="tab-live"):
            live_tab(t)
        benchmark_tab(t)
        program_endpoints(service)

        def tell(request: gr.Request) -> tuple[str, Any]:
            loading = service.loading
            return banner(loading, language_of(request)), gr.Timer(active=not loading.finished)

        timer = gr.Timer(1.0)
        for event in (demo.load, timer.tick):
            event(tell, None, [shown_banner, timer], api_visibility="private", queue=False)
        demo.unload(service.stop)
    service.jobs = lambda: demo._queue.active_jobs
    return demo


def translate_tab(service: Service, t: Localised) -> None:
    """Direction, recording, Translate, result; the rest appears with a result."""
    direction = gr.Radio(
        DIRECTIONS, value=Direction.AUTO.value, label=t("direction"), elem_id="direction"
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
    note = gr.HTML(elem_id="cost")
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
    shown = [result, progress, stop, speak, switch, note, player, details, table, files]
    names = [
        "result",
        "progress",
        "stop",
        "speak",
        "switch",
        "note",
        "player",
        "details",
        "table",
        "files",
    ]

    def update(**changes: Any) -> list[Any]:
        return [changes.get(name, gr.skip()) for name in names]

    def run(
        path: str | None, asked: str, wanted_terms: str | None, request: gr.Request
    ) -> Iterator[list[Any]]:
        language = language_of(request)
        waiting = say(language, "waiting" if service.loading.finished else "loading")
        hidden = gr.update(visible=HIDDEN)
        yield update(
            result="",
            progress=html.status(waiting),
            stop=gr.update(visible=True),
            speak=hidden,
            switch=hidden,
            note="",
            player=hidden,
            details=hidden,
        )
        try:
            last = None
            for last in service.updates(path, asked, wanted_terms, request):
                if last.translation is None:
                    bar = html.progress_bar(last.done, last.total, last.left, language)
                    yield update(result=last.text, progress=bar)
            assert last is not None
            assert last.translation is not None
            assert path is not None
            translation = last.translation
            with captions_files(translation, Path(path).stem[:100]) as files:
                if not files:
                    gr.Warning(say(language, "no_files"))
                yield update(
                    result=translation.text,
                    progress=outcome(translation, last, language),
                    stop=hidden,
                    speak=gr.update(visible=bool(translation.text) or HIDDEN),
                    note=html.cost(translation, language),
                    player=playback(path, translation),
                    details=gr.update(visible=bool(translation.segments) or HIDDEN),
                    table=html.segment_table(translation.segments, language),
                    files=list(files.values()),
                )
            other = service.other_direction(path, Direction(asked))
            if other is not None:
                label = {value: words for words, value in DIRECTIONS}[other.value]
                words = say(language, "other_direction", direction=label)
                gr.Warning(words)
                yield update(
                    progress=html.status(words, "warning"),
                    switch=gr.update(visible=True),
                )
        except gr.Error as error:
            yield update(progress=html.status(str(error.message), "warning"), stop=hidden)
            raise

    def outcome(translation: Translation, last: Update, language: Language) -> str:
        if translation.text:
            return ""
        gr.Warning(say(language, "nothing"))
        return html.status(say(language, "nothing"), "warning")

    settings: dict[str, Any] = {
        "concurrency_id": MODEL_QUEUE,
        "concurrency_limit": service.settings.visitors_at_once,
        "api_visibility": "private",
        "show_progress": "hidden",
        "validator": service.admission,
    }
    inputs = [audio, direction, terms]
    start.click(run, inputs, shown, **settings)
    switch.click(
        lambda asked: (
            Direction.JA_EN.value if asked == Direction.EN_JA.value else Direction.EN_JA.value
        ),
        direction,
        direction,
        api_visibility="private",
        queue=False,
    ).then(run, inputs, shown, **settings)
    stop.click(service.stop, api_visibility="private", queue=False)
    gr.HTML('<span data-text="examples"></span>')
    with gr.Row(elem_id="examples"):
        for name, spoken in example_phrases():
            value = Direction.EN_JA.value if name.startswith("en") else Direction.JA_EN.value
            chosen = (str(EXAMPLES / f"{name}.flac"), value)
            gr.Button(spoken, size="sm", elem_id=f"example-{name}").click(
                lambda chosen=chosen: chosen,
                None,
                [audio, direction],
                api_visibility="private",
                queue=False,
            ).then(run, inputs, shown, **settings)


def playback(path: str, translation: Translation) -> Any:
    """The recording with its translation as subtitles, in a kind that browsers play."""
    if not translation.segments:
        return gr.update(visible=HIDDEN)
    recording: Any = path
    if Path(path).suffix.lower() not in PLAYABLE:
        samples = load_audio(path, translation.duration + 1)
        recording = (SAMPLE_RATE, np.round(samples * 32767).astype(np.int16))
    # As a list: a file would be read again at each later update.
    subtitles = [
        {"text": cue.text, "timestamp": [cue.start_ms / 1000, cue.end_ms / 1000]}
        for cue in cues(translation)
    ]
    return gr.Audio(recording, subtitles=subtitles, visible=True)


def live_tab(t: Localised) -> None:
    """The frame of the live captions; page.js and web/live.py fill it."""
    gr.Radio(DIRECTIONS, value=Direction.AUTO.value, label=t("direction"), elem_id="live-direction")
    formats = "".join(
        f'<button type="button" class="play" data-live-format="{format}">{format.upper()}</button> '
        for format in FORMATS
    )
    gr.HTML(
        '<button type="button" id="live-audio" class="primary-button" aria-pressed="false" '
        'data-text="live_start"></button>'
        '<div id="live-captions" role="log" aria-live="polite" tabindex="0">'
        '<p id="live-empty" data-text="live_idle"></p><div id="live-fixed"></div>'
        '<p id="live-line"><span class="settled"></span><span class="tentative"></span></p></div>'
        '<p id="live-note" role="status"></p>'
        f'<div id="live-download"><span data-text="live_download"></span> {formats}</div>'
        '<button type="button" id="live-clear" class="play" data-text="live_clear"></button>'
    )


def benchmark_tab(t: Localised) -> None:
    """The chart and the published figures, if they are there."""
    chart, figures = ROOT / "quality_scores.svg", ROOT / "evaluation/results/published.json"
    if not (chart.exists() and figures.exists()):
        return
    with gr.Tab(t("tab_benchmark"), elem_id="tab-benchmark"):
        picture = base64.b64encode(chart.read_bytes()).decode()
        published = json.loads(figures.read_text("utf-8"))
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in published_row(system)) + "</tr>"
            for system in published["systems"]
        )
        gr.HTML(
            f'<p data-text="benchmark_info"></p><p lang="en">{escape(published["provenance"])}</p>'
            f'<img src="data:image/svg+xml;base64,{picture}" alt="">'
            f'<div class="scroll"><table><thead><tr><th data-text="system"></th>'
            f'<th data-text="parameters"></th><th>EN→JA</th><th>JA→EN</th>'
            f'<th data-text="speed"></th></tr></thead><tbody>{rows}</tbody></table></div>'
            '<p data-text="reproduce"></p><pre><code>make benchmark-fleurs</code></pre>',
            elem_id="benchmark-chart",
        )


def published_row(system: dict[str, Any]) -> list[str]:
    """Title, parameters, quality in both directions, speed."""
    quality = [system[direction] for direction in ("en2ja", "ja2en")]
    scores = ["N/A" if score is None else f"{score:.1f}/5" for score in quality]
    return [system["title"], system["parameters"], *scores, f"{system['tokens_per_second']:.1f}"]


def choice(values: Sequence[str], value: str, label: str) -> gr.Radio:
    """A choice of programs: documented like any Radio, a wrong one refused by us, in words."""
    radio = gr.Radio(list(values), value=value, label=label)
    radio.preprocess = lambda payload: payload  # type: ignore[method-assign]
    return radio


def program_endpoints(service: Service) -> None:
    """The three endpoints for programs; they show in the API page and as MCP tools."""
    with gr.Row(visible=False):
        audio = gr.Audio(type="filepath", label="Recording: audio or video file")
        direction = choice([value.value for value in Direction], "auto", "Direction")
        context = gr.Textbox("", label="Names and terms that may occur (experimental)")
        format = choice(FORMATS, "srt", "Format of the file")
        text, data, file = (
            gr.Textbox(label="Translation"),
            gr.JSON(label="Segments, times, flags and figures"),
            gr.File(label="Captions"),
        )
        button = gr.Button()

    def translate(audio: str, direction: str = "auto", request: gr.Request = None) -> str:  # type: ignore[assignment]
        """Translate English speech to Japanese text, or Japanese speech to English text.

        Args:
            audio: The recording, an audio or video file of up to two hours; not a link.
            direction: en2ja (English speech), ja2en (Japanese speech), or auto (the model tells).

        Returns:
            The translation as plain text; empty if nobody speaks.
        """
        return service.translate(audio, direction, "", request).text

    def translate_segments(
        audio: str,
        direction: str = "auto",
        context: str = "",
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        """Translate speech between English and Japanese, with times and doubts.

        Args:
            audio: The recording, an audio or video file of up to two hours; not a link.
            direction: en2ja (English speech), ja2en (Japanese speech), or auto (the model tells).
            context: Names and terms that may occur, separated by commas (experimental).

        Returns:
            text, direction, duration and compute_seconds, tokens, flags, and segments: start and
            end in seconds, text, direction, flags (no_speech, truncated, repeated, wrong_script,
            low_confidence, terms_echoed), mean_logprob.
        """
        return as_data(service.translate(audio, direction, context, request))

    def captions(
        audio: str,
        direction: str = "auto",
        format: str = "srt",
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> Iterator[str]:
        """Translate speech between English and Japanese into a subtitle file.

        Args:
            audio: The recording, an audio or video file of up to two hours; not a link.
            direction: en2ja (English speech), ja2en (Japanese speech), or auto (the model tells).
            format: txt, srt, vtt, tsv or json.

        Returns:
            The file.
        """
        if format not in FORMATS:
            raise service.refusal(f"There is no format {format}: choose from {', '.join(FORMATS)}.")
        translation = service.translate(audio, direction, "", request)
        with captions_files(translation, Path(audio).stem[:100]) as paths:
            if not paths:
                raise service.refusal(say(language_of(request), "no_files"))
            yield dict[str, str](paths.items())[format]

    for function, inputs, output in (
        (translate, [audio, direction], text),
        (translate_segments, [audio, direction, context], data),
        (captions, [audio, direction, format], file),
    ):
        button.click(
            function,
            inputs,
            output,
            api_name=function.__name__,
            validator=service.admission,
            concurrency_id=MODEL_QUEUE,
            concurrency_limit=service.settings.visitors_at_once,
        )


def web_routes(service: Service) -> list[Any]:
    """What the server answers beside Gradio."""
    sessions = LiveSessions(service.loading.engine, service.settings.live_talks)

    def healthz(_: Request) -> JSONResponse:
        loading = service.loading
        state = "ready" if loading.ready else "failed" if loading.error else "loading"
        state = "ending" if service.ending.asked else state
        return JSONResponse({"model": state}, 200 if state == "ready" else 503)

    return [Route("/healthz", healthz), *sessions.routes]


def guarded(settings: Settings) -> Callable[[Any], contextlib.AbstractAsyncContextManager[None]]:
    """What puts the guard in front of Gradio's own middleware, which `middleware` would not."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.middleware_stack = Guard(app.middleware_stack, settings.max_megabytes, app.root_path)
        yield

    return lifespan


def launch(settings: Settings, *, wait: bool = True) -> tuple[gr.Blocks, str]:
    """Start the Space; returns the demo and its address once it answers.

    With `wait` it only returns when the server is stopped.
    """

    def load() -> Engine:
        engine = load_engine(
            settings.model,
            settings.device,
            precision=settings.precision,
            url=settings.engine_url,
        )
        # ZeroGPU runs each visitor in a process of their own: nothing can be shared there. Servers
        # make batches of whatever reaches them.
        alone = spaces is not None or settings.engine_url
        return engine if alone else SharedEngine(engine)

    loading = Loading(load, settings.model)
    service = Service(settings, loading)
    if wait:
        service.ending.listen()
    if spaces is not None:
        loading.run()  # ZeroGPU wants the weights on cuda before the server starts
    else:
        loading.start()
    i18n = gr.I18n(
        **{
            language: {PREFIX + key: text for key, text in words.items()}
            for language, words in texts().items()
        }
    )
    demo = build_demo(service, lambda key: i18n(PREFIX + key))
    # Nobody passes the queue. Its own limit is for what has no validator: whoever was admitted
    # would be turned away by it without a word of ours.
    admitted = settings.queue_size + settings.visitors_at_once
    demo.queue(max_size=2 * admitted, api_open=False)
    service.admission.watch(demo)
    demo._queue.event_analytics = Recent()
    gradio.route_utils.GradioMultiPartParser = UploadParser  # type: ignore[misc]
    page = (ROOT / "web/page.js").read_text("utf-8")
    words = json.dumps(texts(), ensure_ascii=False).replace("</", "<\\/")
    _, url, _ = demo.launch(
        server_name=settings.host,
        server_port=settings.port,
        share=settings.share,
        inbrowser=settings.open,
        prevent_thread_lock=True,
        max_file_size=settings.max_megabytes << 20,
        allowed_paths=[str(EXAMPLES / f"{name}.flac") for name, _ in example_phrases()],
        mcp_server=True,
        ssr_mode=False,
        state_session_capacity=SESSIONS,
        show_error=True,
        quiet=True,
        footer_links=["api", "settings"],
        i18n=i18n,
        theme=theme(),
        css_paths=ROOT / "web/style.css",
        head=f"<script>window.speechTexts = {words};</script><script>{page}</script>",
        app_kwargs={"routes": web_routes(service), "lifespan": guarded(settings)},
    )
    print(f"ready at {url}", file=sys.stderr)
    if wait:
        service.ending.wait()
        service.ending.finish(lambda: service.working, service.stop_all)
        # At once: an orderly exit ends threads that are inside of torch, at which the C++ runtime
        # aborts the process.
        os._exit(0)
    return demo, url


def share_heaps() -> None:
    """Let all threads share two heaps: glibc would keep up to 16, and what each once needed."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    share_heaps()
    launch(Settings(**vars(parser().parse_args(argv))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
