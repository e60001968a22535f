"""Make training data of recordings and translations: cleaned, filtered, in shards with an index.

    python -m training.prepare --output data --manifest mine.jsonl --hub covost2:en2ja \
        --exclude test.jsonl --eval-share 0.01
    python -m training.sft --train data/train.npz --eval data/eval.npz --output runs/1

`OUTPUT/train.npz` and `eval.npz` are what training reads, `OUTPUT/audio` has the shards, mono FLAC
at 16 kHz in tars, and `OUTPUT/prepared.json` the hours, and what was dropped for which reason.
Several processes work at once. A run that was stopped goes on with the shards that are missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from speech_translation.errors import SpeechTranslationError
from speech_translation.files import remove_leftovers, replace_file, unwritable
from speech_translation.manifest import ManifestError, Sample, read_manifest
from speech_translation.types import Direction
from training.console import say
from training.prepared import AUDIO, write_index
from training.shards import Rules, directions, key, read_shard, write_shard
from training.sources import folder_state, from_folder, samples_of, without_text

SHARD = 500  # samples
RECORD = "prepared.json"
NAMED = 5  # of what was dropped for a reason, on the screen


def prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Prepare the data and return the record that is written beside it.

    Raises:
        ManifestError: a source cannot be read, or nothing of it can be used.
        SpeechTranslationError: the folder holds other data, or a server or package is missing.
    """
    output: Path = options.output
    audio = output / AUDIO
    try:
        audio.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output)
        _require_same(output, audio, options)
        numbers = list(_shards(audio, options))
        return _write_indices(output, audio, numbers, options)
    except BrokenProcessPool as error:
        raise SpeechTranslationError(
            "A process was killed, most likely because the memory was full: use fewer --workers. "
            "The same command goes on with what is missing."
        ) from error
    except OSError as error:
        raise SpeechTranslationError(unwritable(error.filename or output, error)) from error


def _require_same(output: Path, audio: Path, options: argparse.Namespace) -> None:
    """Note what data this is; raise when the folder holds shards of other data."""
    asked: dict[str, Any] = {
        name: [str(x) for x in value] if isinstance(value, list) else str(value)
        for name, value in sorted(vars(options).items())
        if name not in ("output", "workers", "eval_share")
    }
    for path in options.manifest + options.exclude:
        if not path.is_file():
            raise ManifestError(f"{path}: there is no such manifest.")
        with path.open("rb") as content:
            asked[str(path)] = hashlib.file_digest(content, "sha256").hexdigest()
    for folder in options.folder:
        for name, state in folder_state(folder).items():
            asked[str(folder / name)] = state
    path = output / "options.json"
    if path.exists() and any(audio.glob("*.json")):
        old = json.loads(path.read_text("utf-8"))
        changed = sorted(name for name in {*old, *asked} if old.get(name) != asked.get(name))
        if changed:
            raise SpeechTranslationError(
                f"{output} holds data that was prepared otherwise; what has changed since is "
                f"{_listed(changed)}. Choose another --output, or remove that folder."
            )
    replace_file(path, json.dumps(asked, ensure_ascii=False, indent=1) + "\n")


def _shards(audio: Path, options: argparse.Namespace) -> Iterator[int]:
    """Write the shards that are missing, in several processes; yield the numbers of all."""
    tests = frozenset(
        key(text)
        for path in options.exclude
        for sample in read_manifest(path)
        for text in (sample.text, sample.transcript)
        if key(text)
    )
    rules = Rules(
        tests, options.scorer, options.least, options.translate_url, options.translate_model
    )
    samples = samples_of(
        options.manifest, options.folder, options.hub, options.direction, options.previous
    )
    running: set[Future[Path]] = set()
    with ProcessPoolExecutor(options.workers) as pool:
        try:
            for number, part in enumerate(_batches(samples, SHARD)):
                yield number
                if _beside(audio, number).exists():
                    continue
                running.add(pool.submit(write_shard, audio, number, part, rules))
                if len(running) >= 2 * options.workers:  # no more in memory than is worked on
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        say(f"{future.result().stem}: done")
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _batches(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    part = list[Sample]()
    for sample in samples:
        part.append(sample)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _beside(audio: Path, number: int) -> Path:
    return audio / f"{number:06d}.json"


def _write_indices(
    output: Path, audio: Path, numbers: Sequence[int], options: argparse.Namespace
) -> dict[str, Any]:
    """Write the indices of both sets, without samples that came before."""
    dropped, seen = dict[str, list[str]](), set[tuple[str, str]]()
    for folder in options.folder:
        if names := without_text(folder):
            dropped.setdefault(f"{options.direction}: no .txt beside it", []).extend(names)
    sets: dict[str, list[tuple[int, Sample]]] = {"train": [], "eval": []}
    for number in numbers:
        samples, reasons = read_shard(_beside(audio, number))
        for reason, names in reasons.items():
            dropped.setdefault(reason, []).extend(names)
        for sample, pcm in samples:
            if (pcm, sample.text) in seen:
                name = next(iter(directions([sample])))
                dropped.setdefault(f"{name}: came before", []).append(sample.id)
                continue
            seen.add((pcm, sample.text))
            sets["eval" if _held_out(sample, options.eval_share) else "train"].append(
                (number, sample)
            )
    dropped = dict(sorted(dropped.items(), key=lambda reason: -len(reason[1])))
    if not any(sets.values()):  # empty shards must not keep a better command from this folder
        for number in numbers:
            _beside(audio, number).unlink()
    if not sets["train"]:
        reasons_text = ", ".join(f"{len(names)} {reason}" for reason, names in dropped.items())
        raise ManifestError(
            f"No sample can be used ({reasons_text or 'there are none'}): "
            f"{_other_direction(options, dropped) or 'name other data.'}"
        )
    record: dict[str, Any] = {
        "sets": {},
        "dropped": {reason: len(names) for reason, names in dropped.items()},
        "dropped_names": dropped,
    }
    for name, rows in sets.items():
        write_index(output / f"{name}.npz", rows)
        record["sets"][name] = {
            direction: {"samples": count, "hours": round(hours, 3)}
            for direction, (count, hours) in directions([sample for _, sample in rows]).items()
        }
    replace_file(output / RECORD, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    return record


def _other_direction(options: argparse.Namespace, dropped: Mapping[str, Sequence[str]]) -> str:
    """What to try where most texts of the folders are not in the language of --direction, or ""."""
    foreign = dropped.get(f"{options.direction}: wrong script", ())  # of manifests, too
    if not foreign:
        return ""
    names = {sample.id for x in options.folder for sample in from_folder(x, options.direction)}
    if 2 * len(names.intersection(foreign)) <= len(names):
        return ""
    return (
        f"most texts in --folder are not in the language of --direction {options.direction}; if "
        f"its recordings are translated the other way, use --direction {options.direction.spoken}."
    )


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _held_out(sample: Sample, share: float) -> bool:
    """Whether a sample is for evaluation: all readings of a sentence are, or none."""
    sentence = key(sample.transcript) or key(sample.text)
    return zlib.crc32(sentence.encode()) / 2**32 < share


def table(record: dict[str, Any]) -> str:
    """Hours by set and direction, and what was dropped, for people."""
    lines = []
    for name, found in record["sets"].items():
        for direction, x in found.items():
            lines.append(
                f"{name:<6} {direction:<6} {x['samples']:>9,} samples {x['hours']:>9.1f} hours"
            )
    lines += [
        f"dropped {len(names):,}  {reason} ({_listed(names)})"
        for reason, names in record["dropped_names"].items()
    ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The options, each with its default."""
    command = argparse.ArgumentParser(
        prog="python -m training.prepare",
        description="Make training data of manifests, folders and data sets of the Hub.",
    )
    add = command.add_argument
    add("--output", type=Path, required=True, help="folder for the data")
    add("--manifest", type=Path, nargs="+", default=[], help="manifests (docs/training.md)")
    add("--folder", type=Path, nargs="+", default=[], help="1.wav with its translation in 1.txt")
    add("--hub", nargs="+", default=[], help="covost2:en2ja, fleurs:ja2en or another (docs)")
    add(
        "--direction",
        choices=[Direction.EN_JA.value, Direction.JA_EN.value],
        default=Direction.EN_JA.value,
        help="of the recordings in --folder (default: en2ja)",
    )
    add("--exclude", type=Path, nargs="+", default=[], help="test manifests to keep out")
    add("--eval-share", type=_share, default=0.01, help="held out for evaluation (default: 0.01)")
    add("--previous", action="store_true", help="context: the utterance before, in manifests")
    add("--translate-url", help="an OpenAI-compatible server, for samples without a translation")
    add("--translate-model", default="", help="the model's name there")
    add("--scorer", help="judge translations: cometkiwi")
    add("--least", type=float, default=0.0, help="the score under which they are dropped")
    add("--workers", type=_count, default=os.cpu_count() or 1, help="processes")
    return command


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0 when done and 1 on failure; wrong usage exits with 2."""
    command = parser()
    options = command.parse_args(argv)
    options.direction = Direction(options.direction)
    if not (options.manifest or options.folder or options.hub):
        command.error("name data: --manifest, --folder or --hub")
    try:
        record = prepare(options)
    except SpeechTranslationError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; the same command goes on with what is missing")
        return 1
    print(table(record))
    if advice := _other_direction(options, record["dropped_names"]):
        say(advice)
    say(f"done: python -m training.sft --train {options.output / 'train.npz'} ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
