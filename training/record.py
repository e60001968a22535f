"""The record of a run: what made a model, for whoever wants to make it again or trusts it.

`OUTPUT/recipe.json` is written when a run begins. A run that is resumed must have the same recipe.
At its end the record and a model card lie beside the weights.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from speech_translation.errors import ModelError
from speech_translation.files import replace_file
from speech_translation.manifest import Sample
from speech_translation.types import Language
from training.data import Dropped
from training.prepared import facts
from training.recipe import Recipe

RECORD = "recipe.json"
PACKAGES = ("torch", "transformers", "qwen-asr", "accelerate", "peft")

# Options that a resumed run may change: the result is that of the same samples in the same steps.
_FREE = {
    *("output", "resume", "train", "eval"),  # manifests are compared by what is in them
    *("batch", "workers", "gradient_checkpointing", "checkpoints_kept", "log_every"),
    "report_to",
}


def record(
    recipe: Recipe,
    sets: Mapping[str, tuple[Sequence[Sample], Dropped]],
    devices: str,
) -> dict[str, Any]:
    """What makes a run: options, the manifests `sets` of it (train, eval), versions, commit."""
    options = {key: str(x) if isinstance(x, Path) else x for key, x in asdict(recipe).items()}
    manifests = {"train": recipe.train, "eval": recipe.eval}
    return {
        "options": {key: x for key, x in options.items() if key not in ("output", "resume")},
        "data": {
            name: _data(path, *sets[name]) for name, path in manifests.items() if path is not None
        },
        "devices": devices,
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in PACKAGES},
        "commit": _commit(),
        "begun": date.today().isoformat(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _data(path: Path, samples: Sequence[Sample], dropped: Dropped) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    hours, count = defaultdict[str, float](float), Counter[str]()
    for target, source, duration in facts(samples):
        kind = _kind(target, source)
        count[kind] += 1
        hours[kind] += duration / 3600
    return {
        "manifest": path.name,
        "sha256": digest,
        "samples": dict(count),
        "hours": {kind: round(x, 2) for kind, x in hours.items()},
        "dropped": dict(dropped),
    }


def _kind(target: Language | None, source: Language | None) -> str:
    """What a sample teaches, in the words of a table."""
    if target is None:
        return "nothing to write"
    return f"transcription, {target.tag}" if target is source else f"into {target.tag}"


def _commit() -> str | None:
    """The commit of this repository, with "-dirty" where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a resumed run would learn otherwise than the run that it goes on with."""
    found = [
        f"{key} is {new['options'].get(key)!r} and was {old['options'].get(key)!r}"
        for key in sorted({*old["options"], *new["options"]} - _FREE)
        if old["options"].get(key) != new["options"].get(key)
    ]
    for name in sorted({*old["data"], *new["data"]}):
        before, now = (x["data"].get(name, {}).get("sha256") for x in (old, new))
        if before != now:
            what = "has other lines" if before and now else "is new" if now else "is missing"
            found.append(f"the manifest --{name} {what}")
    return found


def begin(output: Path, new: dict[str, Any], resumed: bool) -> list[str]:
    """Write the record of a run that begins; compare it with the old one of a run that goes on.

    Returns remarks for the user. Raises ModelError for a run with another recipe.
    """
    path = output / RECORD
    if not resumed:
        replace_file(path, json.dumps(new, ensure_ascii=False, indent=1) + "\n")
        return []
    try:
        old = json.loads(path.read_text("utf-8"))
        found = differences(old, new)
        versions = {**old["versions"], "commit": old["commit"]}
    except FileNotFoundError:
        return [f"{path} is missing: nobody knows whether this is the recipe the run began with."]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read ({error}): put it back as it was.") from error
    if found:
        raise ModelError(
            f"{output} holds a run with another recipe: {'; '.join(found)}. Resume with the recipe "
            "that it began with, or choose another --output."
        )
    now = {**new["versions"], "commit": new["commit"]}
    return [
        f"{name} is {now.get(name)} and was {version} when the run began."
        for name, version in versions.items()
        if now.get(name) != version
    ]


def model_card(made: dict[str, Any], reached: dict[str, Any]) -> str:
    """README.md of the finished model, in the Hub's form. `reached` are figures of its end."""
    options = made["options"]
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: automatic-speech-recognition",
        "language: [en, ja]",
        f"base_model: {options['model']}",
        "tags: [speech-translation, qwen3-asr]",
        "---",
        "",
        "# Speech translation, English and Japanese",
        "",
        f"Fine-tuned from `{options['model']}`. The language that is asked for names the language "
        "of the text: `Japanese` for English speech writes Japanese.",
        "",
        "```bash",
        "python inference.py talk.mp3 --model FOLDER",
        "vllm serve FOLDER --chat-template deploy/chat_template.jinja",
        "```",
        "",
        "## Data",
        "",
        "| set | what | samples | hours |",
        "|---|---|---|---|",
    ]
    for name, data in made["data"].items():
        lines += [
            f"| {name}: {data['manifest']} | {kind} | {count:,} | {data['hours'][kind]:g} |"
            for kind, count in data["samples"].items()
        ]
    lines += ["", "## Result", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in reached.items()]
    lines += ["", "## Recipe", "", "| option | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in options.items()]
    lines += [f"| {name} | {version} |" for name, version in made["versions"].items()]
    lines += [
        f"| devices | {made['devices']} |",
        f"| commit of the recipe | {made['commit']} |",
        f"| begun | {made['begun']} |",
        "",
        f"`{RECORD}` has the same for programs, with the SHA-256 of each manifest.",
        "",
    ]
    return "\n".join(lines)
