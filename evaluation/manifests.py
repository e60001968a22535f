"""Test sets as manifests: python -m evaluation.manifests NAME ... --output FOLDER

    python -m evaluation.manifests fleurs --output data/fleurs        # from the Hub, with its audio
    python -m evaluation.manifests covost2 --output data/covost2
    python -m evaluation.manifests speechbsd --folder speechBSD --output data/speechbsd
    python -m evaluation.manifests acl6060 --folder 2/acl_6060 --output data/acl6060

FOLDER/manifest.jsonl has single sentences for evaluation.run. Of talks (ACL 60/60) there is
FOLDER/recordings.jsonl as well, for evaluation.segmentation and evaluation.live (--data). Data that
lies in a folder already stays there; the manifest names it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluation.acl6060 import acl6060_talks
from evaluation.console import status
from evaluation.long_recordings import Recording
from evaluation.run import BOTH, HUB
from evaluation.samples import DataError
from speech_translation.files import replace_file
from speech_translation.manifest import Sample
from speech_translation.types import Direction, Language

SPLITS = ("test", "dev", "eval")


def speech_bsd(folder: Path, split: str) -> Iterator[Sample]:
    """The dialogues of SpeechBSD (Shimizu et al. 2023), both sides of each sentence.

    `folder` is a clone of ku-nlp/speechBSD with its archive of audio: txt/SPLIT.json and
    wav/SPLIT/. CC BY-NC-SA 4.0.
    """
    path = folder / "txt" / f"{split}.json"
    try:
        scenarios = json.loads(path.read_text("utf-8"))
        for scenario in scenarios:
            for line in scenario["conversation"]:
                for language, other in (("en", "ja"), ("ja", "en")):
                    source, target = Language(language), Language(other)
                    yield Sample(
                        audio=folder / "wav" / split / line[f"{language}_wav"],
                        text=line[f"{other}_sentence"],
                        target=target,
                        source=source,
                        transcript=line[f"{language}_sentence"],
                        id=f"{Direction.to(target).value}-{scenario['id']}-{line['no']}",
                    )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not SpeechBSD's ({error!r}): name its folder.") from error


def write_samples(samples: Iterable[Sample], output: Path) -> int:
    """Write manifest.jsonl, and the audio of samples that have it as bytes; how many they are."""
    rows = []
    for sample in samples:
        path = sample.audio
        if isinstance(path, bytes):
            path = output / "audio" / f"{sample.id}.bin"  # whatever the Hub has it in
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sample.audio if isinstance(sample.audio, bytes) else b"")
        assert isinstance(path, Path)
        row: dict[str, Any] = {
            "audio": os.path.relpath(path, output),
            "direction": sample.direction.value,
            "text": sample.text,
            "transcript": sample.transcript,
            "id": sample.id,
        }
        if sample.end is not None:
            row |= {"start": sample.start, "end": sample.end}
        rows.append(row)
    _write(output / "manifest.jsonl", rows)
    return len(rows)


def write_talks(talks: Sequence[Recording], output: Path) -> int:
    """Write recordings.jsonl, and manifest.jsonl of their sentences; how many these are."""
    rows, samples = list[dict[str, Any]](), list[Sample]()
    for talk in talks:
        assert isinstance(talk.audio, Path)
        sentences = [
            {"start": x.start, "end": x.end, "transcript": x.transcript, "reference": x.reference}
            for x in talk.sentences
        ]
        path = os.path.relpath(talk.audio, output)
        rows.append({"recording": path, "direction": talk.direction.value, "sentences": sentences})
        for number, x in enumerate(talk.sentences, 1):
            samples.append(
                Sample(
                    talk.audio,
                    x.reference,
                    talk.direction.target,
                    talk.direction.source,
                    x.transcript,
                    start=x.start,
                    end=x.end,
                    id=f"{talk.name}-{number}",
                )
            )
    _write(output / "recordings.jsonl", rows)
    return write_samples(samples, output)


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _from_hub(name: str) -> Callable[[argparse.Namespace], int]:
    def write(options: argparse.Namespace) -> int:
        samples = (x for direction in BOTH for x in HUB[name](direction, options.split))
        return write_samples(samples, options.output)

    return write


def _folder(options: argparse.Namespace) -> Path:
    if options.folder is None:
        raise DataError(f"{options.data} is read from a folder: name it with --folder.")
    found: Path = options.folder
    return found


DATA: dict[str, Callable[[argparse.Namespace], int]] = {
    **{name: _from_hub(name) for name in HUB},
    "speechbsd": lambda x: write_samples(speech_bsd(_folder(x), x.split), x.output),
    "acl6060": lambda x: write_talks(list(acl6060_talks(_folder(x), x.split)), x.output),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.manifests", description=__doc__)
    parser.add_argument("data", choices=DATA)
    parser.add_argument("--folder", type=Path, help="where SpeechBSD or ACL 60/60 lies")
    parser.add_argument("--split", choices=SPLITS, help="default: test; of ACL 60/60 eval")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(argv)
    options.split = options.split or ("eval" if options.data == "acl6060" else "test")
    return status(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    count = DATA[options.data](options)
    print(f"{options.output / 'manifest.jsonl'}: {count} sentences")


if __name__ == "__main__":
    raise SystemExit(main())
