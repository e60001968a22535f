"""The endpoints for programs: `/translate`, `/translate_segments`, `/captions`, also MCP tools."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from speech_translation.captions import FORMATS, as_data
from speech_translation.errors import AudioError, SpeechTranslationError
from speech_translation.segments import POLICIES
from speech_translation.types import Direction, Show
from speech_translation.video import VIDEO_FORMATS, require_captionable
from web.browser_files import captions_files
from web.film import impossible, write_film
from web.refusals import Refusal, refusal
from web.service import Service, language_of, shown


def program_endpoints(service: Service) -> None:
    """Add the three endpoints to the page that is being built. Nothing of them can be seen."""
    with gr.Row(visible=False):
        audio = gr.Audio(type="filepath", label="Recording: audio or video file")
        direction = choice([value.value for value in Direction], "auto", "Direction")
        context = gr.Textbox("", label="Names and terms that may occur (experimental)")
        format = choice((*FORMATS, *VIDEO_FORMATS), "srt", "Format of the file")
        segments = choice(list(POLICIES), "sentence", "What is translated as one")
        show = choice([value.value for value in Show], "translation", "Which texts are wanted")
        readings = gr.Checkbox(label="How the Japanese is read")
        text, data, file = (
            gr.Textbox(label="Translation"),
            gr.JSON(label="Segments, times, flags and figures"),
            gr.File(label="Captions"),
        )
        button = gr.Button()

    def translate(
        audio: str,
        direction: str = "auto",
        segments: str = "sentence",
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> str:
        """Translate English speech to Japanese text, or Japanese speech to English text.

        Args:
            audio: A recording (up to two hours): upload, its address or a data: URL; no other link.
            direction: en2ja (English speech), ja2en (Japanese speech), or auto (the model tells).
            segments: sentence (one or a few as one), pause (cut at each of 0.5 s), or whole (30 s).

        Returns:
            The translation as plain text; empty if nobody speaks.
        """
        return service.translate(audio, direction, "", request, segments).text

    def translate_segments(
        audio: str,
        direction: str = "auto",
        context: str = "",
        segments: str = "sentence",
        show: str = "translation",
        readings: bool = False,
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        """Translate speech between English and Japanese, with times and doubts.

        A flag is no_speech, truncated, repeated, wrong_script, low_confidence, terms_echoed,
        too_short or too_long. With show both or source, the answer and each segment also have
        source_text, and each segment source_flags. With readings, each segment has readings
        (pieces with their kana) and romaji. If the GPU time ends on the way, the answer has the
        segments until then, and "missing" says why there are no more.

        Args:
            audio: A recording (up to two hours): upload, its address or a data: URL; no other link.
            direction: en2ja (English speech), ja2en (Japanese speech), or auto (the model tells).
            context: Names and terms that may occur, separated by commas (experimental).
            segments: sentence (one or a few as one), pause (cut at each of 0.5 s), or whole (30 s).
            show: translation, both (what was said, too), or source (what was said, alone).
            readings: whether to add how the Japanese is read, in kana and in Latin letters.

        Returns:
            text and direction
            duration and compute_seconds in seconds
            rtfx (duration / compute_seconds)
            tokens and flags of the whole recording
            and segments with start, end and regions of speech in seconds
            text, direction, flags, tokens and mean_logprob of each segment
        """
        # Gradio puts a comma between two lines of what is returned.
        texts = shown(show, language_of(request))
        last = service.finished(
            audio, direction, context, request, segments, transcript=texts is not Show.TRANSLATION
        )
        assert last.translation is not None
        try:
            data = as_data(last.translation, texts, readings=bool(readings))
        except SpeechTranslationError as error:  # a package is missing
            raise Refusal(str(error)) from None
        missing = {"missing": last.missing[language_of(request)]} if last.missing else {}
        return {**data, **missing}

    def captions(
        audio: str,
        direction: str = "auto",
        format: str = "srt",
        segments: str = "sentence",
        show: str = "translation",
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> Iterator[str]:
        """Translate speech between English and Japanese into a subtitle file.

        Args:
            audio: A recording (up to two hours): upload, its address or a data: URL; no other link.
            direction: en2ja (English speech), ja2en (Japanese speech), or auto (the model tells).
            format: txt, srt, vtt, tsv or json; mkv or mp4 for the video itself with captions in it.
            segments: sentence (one or a few as one), pause (cut at each of 0.5 s), or whole (30 s).
            show: translation, both (two lines a subtitle, two tracks), or source (what was said).

        Returns:
            The file.
        """
        language = language_of(request)
        film = next((known for known in VIDEO_FORMATS if known == format), None)
        if not film and format not in FORMATS:
            formats = ", ".join((*FORMATS, *VIDEO_FORMATS))
            raise refusal(language, "no_format", format=format, formats=formats)
        texts = shown(show, language)
        if film and audio:
            try:
                require_captionable(audio, film)
            except AudioError as error:
                raise impossible(error, Path(audio), film, language) from None
        translation = service.translate(
            audio, direction, "", request, segments, transcript=texts is not Show.TRANSLATION
        )
        if film:
            path = write_film(Path(audio), translation, film, texts, language)
            try:
                yield str(path)
            finally:
                shutil.rmtree(path.parent, ignore_errors=True)
            return
        with captions_files(translation, Path(audio).stem[:100], texts) as paths:
            if not paths:
                raise refusal(language, "no_files")
            yield dict[str, str](paths.items())[format]

    for function, inputs, output in (
        (translate, [audio, direction, segments], text),
        (translate_segments, [audio, direction, context, segments, show, readings], data),
        (captions, [audio, direction, format, segments, show], file),
    ):
        # The line in front of the model (web/line.py) limits them, not Gradio's queue.
        button.click(function, inputs, output, api_name=function.__name__, concurrency_limit=None)


def choice(values: Sequence[str], value: str, label: str) -> gr.Dropdown:
    """A documented choice. A value that is not on its list is refused by us, in words."""
    return gr.Dropdown(list(values), value=value, label=label, allow_custom_value=True)
