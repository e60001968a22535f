"""The options of the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from speech_translation.audio import EXTENSIONS, MAX_SECONDS
from speech_translation.bounds import bounded
from speech_translation.bulk import LISTS, is_single
from speech_translation.captions import FORMATS
from speech_translation.engine import PRECISIONS, PUBLISHED_MODEL
from speech_translation.errors import one_line, without_password
from speech_translation.journal import JOURNAL, STANDARD_INPUT
from speech_translation.segments import POLICIES
from speech_translation.transcripts import ADVISED, OFF, SAME, usual_transcriber
from speech_translation.types import Direction, Show
from speech_translation.video import VIDEO_FORMATS

_EPILOG = f"""\
With --output-dir the results lie as the recordings do below their folder or
list; namesakes are numbered. {JOURNAL} there says which are done: the same
command again goes on with the others, and translates again what has changed or
failed. To have results again, delete them or name another folder. Another model,
direction, context, --precision, --full-attention, --segments, --track, --show,
--transcript, --aligner or --readings needs another folder; another format does not,
but mkv and mp4 come with --show both.

Offline, with the small embedded model: --model phrasebook
"""


class Parser(argparse.ArgumentParser):
    """One whose complaints, which quote what was written, show no password."""

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        dashed = [word for word in sys.argv[1:] if word[:1] == "-" and os.path.isfile(word)]
        hint = f": write ./{one_line(dashed[0])}, which is a file" if dashed else ""
        super().error(without_password(message) + hint)


def parser() -> Parser:
    """The options, with the published checkpoint as the default model."""

    def name(text: str) -> str:
        if not text:
            raise argparse.ArgumentTypeError("the name is empty: check what the shell put there")
        return text

    def folder(text: str) -> Path:
        return Path(name(text))

    options = Parser(
        description="Translate English speech to Japanese text and Japanese speech to English.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add(
        "audio",
        nargs="+",
        help=f"audio or video files; folders of them ({' '.join(sorted(EXTENSIONS))}); lists of "
        f"them ({' '.join(sorted(LISTS))}), one path a line, relative to the list's folder, "
        "and lines that begin with # are comments; or - for standard input",
    )
    add(
        "--direction",
        choices=[direction.value for direction in Direction],
        default=Direction.AUTO.value,
        help="en2ja, ja2en, or auto: the model tells from the speech (default: auto)",
    )
    add(
        "--model",
        type=name,
        default=PUBLISHED_MODEL,
        help="Hugging Face id, ID@REVISION, folder, or phrasebook (default: %(default)s)",
    )
    add(
        "--engine-url",
        default="",
        metavar="URL",
        help="let a vLLM server, with its own model, do the work: http://host:8000/v1; several "
        "with commas",
    )
    add("--device", default="auto", help="auto, cpu, mps, cuda, cuda:N (default: auto)")
    add(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="what to compute in (default: auto, what suits the device)",
    )
    add(
        "--no-cache",
        action="store_true",
        help="keep no copy of weights that were rounded to int8, and use none",
    )
    add(
        "--full-attention",
        action="store_true",
        help="let the encoder see the whole segment instead of windows of 8 s",
    )
    add(
        "--format",
        choices=[*FORMATS, *VIDEO_FORMATS],
        default="txt",
        help="what to write; mkv and mp4 are the video itself with caption tracks (default: txt)",
    )
    add(
        "--show",
        choices=[show.value for show in Show],
        help="what to write: the translation, what was said (source), or both (default: "
        "translation; both with --transcript, and for mkv and mp4)",
    )
    add(
        "--transcript",
        type=name,
        metavar="off|same|MODEL",
        help="what writes down what is said: the model that translates (same), or another one, as "
        "--model takes it, or a server's URL; loaded when the first recording needs it (default: "
        f"same with the phrasebook, {ADVISED} with another --model, off while --show is "
        "translation)",
    )
    add(
        "--aligner",
        type=name,
        metavar="MODEL",
        help="time the words of what is said by a checkpoint like Qwen/Qwen3-ForcedAligner-0.6B; "
        "subtitles then follow them (never run with that one)",
    )
    add(
        "--readings",
        action="store_true",
        help="add how the Japanese is read: romaji to tsv and json, to json also kana; needs "
        "SudachiPy",
    )
    add(
        "--output-dir",
        type=folder,
        metavar="FOLDER",
        help="write one file for each recording there, and a journal",
    )
    add(
        "--segments",
        choices=list(POLICIES),
        default="sentence",
        help="what is translated as one: a sentence or a few of them; what lies between two pauses "
        "of 0.5 s (pause); or up to 30 s whatever the pauses (whole) (default: %(default)s)",
    )
    add(
        "--track",
        type=name,
        metavar="N|LANG",
        help="which of several sound tracks: its number, from 1, or its language (default: that in "
        "the language that --direction translates, or the one that a player takes)",
    )
    add("--context", default="", help="names and terms that may occur (experimental)")
    add(
        "--max-seconds",
        type=bounded(float, above=0, endless=True),
        default=MAX_SECONDS,
        help="refuse longer recordings (default: %(default)g)",
    )
    add("--batch-size", type=bounded(int, above=0), help="segments translated at a time")
    add(
        "--jobs",
        type=bounded(int, above=0),
        default=1,
        metavar="N",
        help="translate N recordings at a time into --output-dir (default: %(default)s)",
    )
    add("--quiet", action="store_true", help="only errors on standard error")
    return options


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a run that can be done; else the program ends with status 2.

    `show` and `transcript` are what they come to: neither is None.
    """
    usage = parser()
    options = usage.parse_args(argv)
    if options.output_dir is not None and os.path.isfile(options.output_dir):
        usage.error(f"--output-dir {options.output_dir} is a file: name a folder")
    if options.output_dir is None:
        if not is_single(options.audio) and options.format != "txt":
            usage.error(f"several recordings as {options.format} need an --output-dir")
        if options.jobs > 1:
            usage.error("--jobs needs an --output-dir")
        if options.format in VIDEO_FORMATS:
            usage.error(f"--format {options.format} needs an --output-dir")
    if options.format in VIDEO_FORMATS and STANDARD_INPUT in options.audio:
        usage.error(f"--format {options.format} takes files, folders and lists, not standard input")
    if options.jobs > 1 and STANDARD_INPUT in options.audio:
        # A thread that waits for standard input cannot be interrupted.
        usage.error("--jobs above 1 takes files, folders and lists, not standard input")
    if options.readings and options.format not in ("tsv", "json"):
        usage.error("--readings needs --format tsv or json")
    if options.show is None:
        both = options.transcript or (SAME if options.format in VIDEO_FORMATS else OFF)
        options.show = Show.TRANSLATION if both == OFF else Show.BOTH
    options.show = Show(options.show)
    if options.transcript is None:
        options.transcript = _usual(options, usage)
    if (options.show is Show.TRANSLATION) != (options.transcript == OFF):
        usage.error(
            f"--show {options.show} and --transcript {options.transcript} contradict each other"
        )
    if options.aligner and options.show is Show.TRANSLATION:
        usage.error("--aligner times what was said: add --show both or source")
    return options


def _usual(options: argparse.Namespace, usage: argparse.ArgumentParser) -> str:
    if options.show is Show.TRANSLATION:
        return OFF
    if options.engine_url:
        usage.error(
            "--show needs --transcript with --engine-url: same, if the servers' model can write "
            "down what is said, or another model or server that can"
        )
    return usual_transcriber(options.model)
