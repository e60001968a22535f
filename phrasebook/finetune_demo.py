"""Teach the phrasebook new sentences, with the recipe that is used at full size.

    python -m phrasebook.finetune_demo

Prepares recordings of eight new sentences, and of old ones, so that these are kept. Trains all
parameters, and adapters. Then asks all three models for both kinds of sentences, by voices that
were not trained on, prints a table, and fails if a sentence was not learned or one was forgotten.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from phrasebook.evaluate import counted, hypotheses
from phrasebook.held_out import TEST_SET, read_test_set
from phrasebook.new_speech import NEW_SPEECH
from phrasebook.synthesis import Clip
from speech_translation.engine import load_engine
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.errors import SpeechTranslationError
from speech_translation.types import Direction, Language
from training import prepare
from training.console import say
from training.recipe import Recipe
from training.sft import fine_tune

KEPT = 40  # old sentences of each language that are trained on again, and as many that are asked
LEARNED, FORGOTTEN = 0.8, 0.1
"""The share of new sentences that must be right, and by how much old ones may get worse."""

OWN = "made-by-finetune-demo"
"""A file that says whose a folder is, so that the next run may empty it."""

FULL = {"learning_rate": 3e-4}
ADAPTERS = {"learning_rate": 3e-3, "lora": 16}


def old_clips(name: str) -> list[Clip]:
    """Known sentences of the test set `name`, as many of each language."""
    clips = [clip for clip in read_test_set(TEST_SET) if clip.set == name]
    return [
        clip
        for language in Language
        for clip in [clip for clip in clips if clip.language is language][:KEPT]
    ]


def write_manifest(path: Path, source: Path, chosen: str, count: int | None = None) -> None:
    """The lines of a test set, `count` of each language, with the recordings where they are."""
    rows = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
    lines = []
    for language in Language:
        direction = Direction.of(language).value
        own = [row for row in rows if row["set"] == chosen and row["direction"] == direction]
        lines += [row | {"audio": str((source.parent / row["audio"]).resolve())} for row in own][
            :count
        ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines), "utf-8")


def right(model: str, clips: Sequence[Clip]) -> float:
    """The share of exact translations."""
    engine = load_engine(model, "cpu")
    found = 0
    for language in Language:
        own = [clip for clip in clips if clip.language is language]
        heard = hypotheses(engine, own, Direction.of(language))
        found += sum(h.text == clip.translation for h, clip in zip(heard, own, strict=True))
    return found / len(clips)


def empty_folder(work: Path) -> None:
    """Make the folder, or empty one of an earlier run.

    Raises SpeechTranslationError where there is anything that the demo did not make.
    """
    if work.exists() and not (work / OWN).is_file():
        if not work.is_dir() or any(work.iterdir()):
            raise SpeechTranslationError(
                f"{work} is not empty, and this program did not make it, so it does not delete "
                "it: name a new folder with --work."
            )
    elif work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    (work / OWN).touch()


def demo(work: Path, epochs: float) -> int:
    """Run it in the folder `work`; 0 when all was learned and kept."""
    empty_folder(work)
    write_manifest(work / "new.jsonl", NEW_SPEECH, "new_train")
    write_manifest(work / "old.jsonl", TEST_SET, "eval_seen", KEPT)
    manifests = [str(work / "new.jsonl"), str(work / "old.jsonl")]
    options = ["--output", str(work / "data"), "--eval-share", "0", "--manifest", *manifests]
    if prepare.main(options):
        return 1
    models, minutes = {"as it is shipped": str(PHRASEBOOK_FOLDER)}, {"as it is shipped": 0.0}
    for name, settings in (("all parameters", FULL), ("adapters, merged", ADAPTERS)):
        start = time.monotonic()
        recipe = Recipe(
            train=work / "data" / "train.npz",
            output=work / name.split(",")[0].replace(" ", "-"),
            model=str(PHRASEBOOK_FOLDER),
            epochs=epochs,
            batch=8,
            update=16,
            workers=0,
            **settings,  # type: ignore[arg-type]  # numbers by the names of the fields
        )
        models[name] = str(fine_tune(recipe))
        minutes[name] = (time.monotonic() - start) / 60
    new = [clip for clip in read_test_set(NEW_SPEECH) if clip.set == "new_test"]
    old = old_clips("eval_voices")
    counts = counted(len(new)), counted(len(old))
    print("\n| model | new sentences right, n = {} | old ones, n = {} | training |".format(*counts))
    print("|---|---|---|---|")
    shares = {}
    for name, model in models.items():
        shares[name] = right(model, new), right(model, old)
        learned, kept = shares[name]
        print(f"| {name} | {learned:.0%} | {kept:.0%} | {minutes[name]:.1f} min |")
    failed = faults(shares.pop("as it is shipped"), shares)
    print("\n" + ("; ".join(failed) or "Both learned the new sentences and kept the old ones."))
    return 1 if failed else 0


def faults(before: tuple[float, float], after: dict[str, tuple[float, float]]) -> list[str]:
    """What each model failed at, by its shares of new and of old sentences that are right."""
    found = []
    for name, (learned, kept) in after.items():
        if learned < LEARNED:
            found.append(f"{name}: not learned")
        if kept < before[1] - FORGOTTEN:
            found.append(f"{name}: forgotten")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="phrasebook.finetune_demo", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache/finetune-demo"))
    parser.add_argument("--epochs", type=float, default=8)
    options = parser.parse_args(argv)
    try:
        return demo(options.work, options.epochs)
    except SpeechTranslationError as error:
        say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
