"""The options that name long recordings, and the recordings that they name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from evaluation.long_recordings import (
    JOINED_SENTENCES,
    Recording,
    joined,
    people,
    read_recordings,
    segment_list,
)
from evaluation.run import BOTH, load_data
from evaluation.samples import DataError
from speech_translation.bounds import bounded
from speech_translation.types import Direction

TALKS = Path(".cache/segmentation/manifest.jsonl")
PEOPLE = Path(os.environ.get("SPEECH_HUMAN", ""))


def data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which recordings are used."""
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data", type=Path, default=TALKS, help="manifest of long recordings")
    data.add_argument(
        "--people",
        type=Path,
        nargs="?",
        const=PEOPLE,
        help="folder with people's clips; default: what SPEECH_HUMAN names",
    )
    data.add_argument("--join", help="fleurs, covost2, or a manifest of single sentences (JSONL)")
    data.add_argument("--segment-list", type=Path, help="YAML of segments, as IWSLT's sets have it")
    parser.add_argument(
        "--each", type=bounded(int, 1), default=JOINED_SENTENCES, help="sentences to join"
    )
    parser.add_argument("--recordings", type=Path, help="of --segment-list: the folder of its wavs")
    parser.add_argument("--transcripts", type=Path, help="of --segment-list, a line for each")
    parser.add_argument("--references", type=Path, help="of --segment-list, a line for each")
    parser.add_argument("--title", help="what the data is called in the table")
    parser.add_argument("--direction", choices=["both", *(d.value for d in BOTH)], default="both")
    parser.add_argument(
        "--limit", type=bounded(int, 1), help="only the first recordings of each direction"
    )


def recordings_of(options: argparse.Namespace) -> tuple[str, Iterator[Recording]]:
    """The data that was asked for, and what it is called."""
    directions = [x for x in BOTH if options.direction in ("both", x.value)]
    if options.people is not None:
        if not options.people.name:
            raise DataError("Name the folder: --people FOLDER, or set SPEECH_HUMAN.")
        found = people(options.people)
        return "People's speech, joined", (x for x in found if x.direction in directions)
    if options.join is not None:
        samples = load_data(options.join, directions)
        title = f"Sentences of {Path(options.join).name}, joined"
        return title, joined(samples, Path(options.join).stem, options.each)
    if options.segment_list is not None:
        if not (options.transcripts and options.references and options.direction != "both"):
            raise DataError("--segment-list needs --transcripts, --references and one --direction.")
        wavs = options.recordings or options.segment_list.parent
        texts = options.transcripts, options.references
        direction = Direction(options.direction)
        title = f"{options.segment_list.stem}"
        return title, segment_list(options.segment_list, wavs, *texts, direction)
    found = read_recordings(options.data)
    return "Talks by synthetic voices", (x for x in found if x.direction in directions)
