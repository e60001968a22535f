"""The endpoints for programs: `/translate`, `/translate_segments`, `/captions`, also MCP tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from speech_translation.captions import FORMATS, as_data
from speech_translation.segments import POLICIES
from speech_translation.types import Direction
from web.gradio_patches import Admission
from web.refusals import refusal
from web.service import Service, captions_files, language_of
from web.texts import say


def program_endpoints(service: Service, admission: Admission) -> None:
    """Add the three endpoints to the page that is being built. Nothing of them can be seen."""
    with gr.Row(visible=False):
        audio = gr.Audio(type="filepath", label="Recording: audio or video file")
        direction = choice([value.value for value in Direction], "auto", "Direction")
        context = gr.Textbox("", label="Names and terms that may occur (experimental)")
        format = choice(FORMATS, "srt", "Format of the file")
        segments = choice(list(POLICIES), "sentence", "What is translated as one")
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
            audio: The recording, an audio or video file of up to two hours; not a link.
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
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        """Translate speech between English and Japanese, with times and doubts.

        Args:
            audio: The recording, an audio or video file of up to two hours; not a link.
            direction: en2ja (English speech), ja2en (Japanese speech), or auto (the model tells).
            context: Names and terms that may occur, separated by commas (experimental).
            segments: sentence (one or a few as one), pause (cut at each of 0.5 s), or whole (30 s).

        Returns:
            text, direction, duration and compute_seconds, rtfx (duration / compute_seconds),
            tokens, flags, and segments: start, end and regions of speech in seconds, text,
            direction, flags (no_speech, truncated, repeated, wrong_script, low_confidence,
            terms_echoed, too_short, too_long), tokens, mean_logprob. If the GPU time ends on the
            way, these are the segments until then, and "missing" says why there are no more.
        """
        last = service.finished(audio, direction, context, request, segments)
        assert last.translation is not None
        data = as_data(last.translation)
        return {**data, "missing": last.missing} if last.missing else data

    def captions(
        audio: str,
        direction: str = "auto",
        format: str = "srt",
        segments: str = "sentence",
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> Iterator[str]:
        """Translate speech between English and Japanese into a subtitle file.

        Args:
            audio: The recording, an audio or video file of up to two hours; not a link.
            direction: en2ja (English speech), ja2en (Japanese speech), or auto (the model tells).
            format: txt, srt, vtt, tsv or json.
            segments: sentence (one or a few as one), pause (cut at each of 0.5 s), or whole (30 s).

        Returns:
            The file.
        """
        if format not in FORMATS:
            raise refusal(f"There is no format {format}: choose from {', '.join(FORMATS)}.")
        translation = service.translate(audio, direction, "", request, segments)
        with captions_files(translation, Path(audio).stem[:100]) as paths:
            if not paths:
                raise refusal(say(language_of(request), "no_files"))
            yield dict[str, str](paths.items())[format]

    for function, inputs, output in (
        (translate, [audio, direction, segments], text),
        (translate_segments, [audio, direction, context, segments], data),
        (captions, [audio, direction, format, segments], file),
    ):
        button.click(
            function, inputs, output, api_name=function.__name__, **admission.event_options
        )


def choice(values: Sequence[str], value: str, label: str) -> gr.Dropdown:
    """A documented choice. A value that is not on its list is refused by us, in words."""
    return gr.Dropdown(list(values), value=value, label=label, allow_custom_value=True)
