"""One shard: samples looked at, and those that can be learned from written into a tar."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speech_translation.errors import AudioError
from speech_translation.files import replace_file
from speech_translation.manifest import FilePart, Sample
from speech_translation.types import SAMPLE_RATE, Language
from training.data import LONGEST, SHORTEST, clean_transcript, text_fault
from training.prepared import shard_name
from training.quality import scorer, text_quality
from training.text import clean_text
from training.translation import translated

_BLOCK = 512  # of a tar: a header is one
_SILENT = 1e-4  # of full scale: below it nobody speaks


@dataclass(frozen=True)
class Rules:
    """What is kept, the same for every shard.

    `tests` are the `key`s of the sentences in test sets. `least` is the score under which a
    translation is dropped, where a `scorer` is named.
    """

    tests: frozenset[str] = frozenset()
    scorer: str | None = None
    least: float = 0.0
    translate_url: str | None = None
    translate_model: str = ""


def key(text: str) -> str:
    """A sentence without what two writers write differently: case, width, spaces, punctuation."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def write_shard(folder: Path, number: int, samples: Sequence[Sample], rules: Rules) -> Path:
    """Write the shard `number` of `samples` into `folder`, and beside it what became of each.

    Returns the latter file, which is written last: a shard that has it is whole.
    """
    if rules.translate_url:
        samples = translated(samples, rules.translate_url, rules.translate_model)
    dropped, kept = dict[str, list[str]](), list[tuple[Sample, np.ndarray]]()
    for sample in samples:
        looked_at = _look(sample, rules)
        if isinstance(looked_at, str):
            dropped.setdefault(f"{_direction(sample)}: {looked_at}", []).append(sample.id)
        else:
            kept.append(looked_at)
    if rules.scorer:
        scores = scorer(rules.scorer)([(sample.transcript, sample.text) for sample, _ in kept])
        low = [score < rules.least for score in scores]
        for (sample, _), is_low in zip(kept, low, strict=True):
            if is_low:
                dropped.setdefault(f"{_direction(sample)}: low quality", []).append(sample.id)
        kept = [pair for pair, is_low in zip(kept, low, strict=True) if not is_low]
    tar, rows = _pack(kept)
    replace_file(folder / shard_name(number), tar)
    beside = (folder / shard_name(number)).with_suffix(".json")
    replace_file(
        beside,
        json.dumps({"rows": rows, "dropped": dropped}, ensure_ascii=False),
    )
    return beside


def _look(sample: Sample, rules: Rules) -> tuple[Sample, np.ndarray] | str:
    """The sample as it is kept and its sound, or why it is dropped."""
    text = clean_text(sample.text, sample.target) if sample.target else ""
    fault = text_fault(text, sample.target)
    if fault:
        return fault
    if rules.tests & {key(text), key(sample.transcript)} - {""}:
        return "in a test set"
    try:
        sound = sample.load()
    except AudioError:
        return "unreadable audio"
    duration = len(sound) / SAMPLE_RATE
    if duration < SHORTEST:
        return f"shorter than {SHORTEST:g} s"
    if duration > LONGEST:
        return f"longer than {LONGEST:g} s"
    if np.abs(sound).max() < _SILENT:
        return "silent"
    fault = text_quality(text, sample.target, duration)
    if fault:
        return fault
    words = clean_transcript(sample)
    return replace(sample, text=text, transcript=words, duration=duration), sound


def _pack(kept: Sequence[tuple[Sample, np.ndarray]]) -> tuple[bytes, list[dict[str, Any]]]:
    """The tar of these samples, and a row for each of them."""
    file, rows = io.BytesIO(), list[dict[str, Any]]()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for place, (sample, sound) in enumerate(kept):
            pcm = np.round(np.clip(sound, -1, 1) * 32767).astype(np.int16)
            flac = io.BytesIO()
            soundfile.write(flac, pcm, SAMPLE_RATE, format="FLAC")
            row = {
                "target": sample.target,
                "source": sample.source,
                "duration": sample.duration,
                **{name: getattr(sample, name) for name in ("text", "transcript", "context", "id")},
            }
            _add(tar, f"{place:06d}.json", json.dumps(row, ensure_ascii=False).encode())
            offset = file.tell() + _BLOCK
            _add(tar, f"{place:06d}.flac", flac.getvalue())
            digest = hashlib.sha256(pcm.tobytes()).hexdigest()[:32]
            rows.append(row | {"offset": offset, "size": len(flac.getvalue()), "pcm": digest})
    return file.getvalue(), rows


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def read_shard(beside: Path) -> tuple[list[tuple[Sample, str]], dict[str, list[str]]]:
    """The samples of a shard with the digest of their sound; the names of those dropped, by why."""
    found = json.loads(beside.read_text("utf-8"))
    samples = [
        (
            Sample(
                audio=FilePart(beside.with_suffix(".tar"), row["offset"], row["size"]),
                target=Language(row["target"]) if row["target"] else None,
                source=Language(row["source"]) if row["source"] else None,
                **{name: row[name] for name in ("text", "transcript", "context", "id", "duration")},
            ),
            row["pcm"],
        )
        for row in found["rows"]
    ]
    return samples, found["dropped"]


def _direction(sample: Sample) -> str:
    """A sample's direction in a table; that of a transcription is its language."""
    if sample.target is None:
        return "none"
    return sample.target.value if sample.source is sample.target else sample.direction.value


def directions(samples: Sequence[Sample]) -> dict[str, tuple[int, float]]:
    """The number and the hours of samples by direction."""
    count, hours = Counter[str](), dict[str, float]()
    for sample in samples:
        name = _direction(sample)
        count[name] += 1
        hours[name] = hours.get(name, 0.0) + (sample.duration or 0.0) / 3600
    return {name: (count[name], hours[name]) for name in sorted(count)}
