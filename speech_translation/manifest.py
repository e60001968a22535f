"""Manifests: recordings paired with their translations, for training and for evaluation.

A manifest is a JSONL file in UTF-8, one object a line:

    {"audio": "clips/1.flac", "direction": "en2ja", "text": "駅はどこですか？"}

| key          | what it says                                            | also read as           |
|--------------|---------------------------------------------------------|------------------------|
| `audio`      | the recording, relative to the manifest                 | `audio_filepath`       |
| `start`      | where the utterance begins in it, seconds; default 0    | `offset`               |
| `end`        | where it ends, seconds; default: the recording's end    |                        |
| `duration`   | with `start`: of the utterance, in place of `end`;      |                        |
|              | alone: of the whole recording, so that nobody opens it  |                        |
| `direction`  | `en2ja` or `ja2en`; null for speech that must not be    | `source_lang` and      |
|              | translated                                              | `target_lang`          |
| `text`       | the translation: what a model shall write               | `answer`,              |
|              |                                                         | `translation`          |
| `transcript` | the words spoken                                        | `text` beside `answer` |
|              |                                                         | or `translation`       |
| `context`    | names and terms for the prompt                          | `prompt`               |
| `id`         | the utterance's name; default: the number of the line   |                        |

`audio` and `text` are needed, and a direction; `target_lang` alone will do. Other keys are passed
over, so these forms are read as they are:

- NeMo's, with `audio_filepath`, `offset`, `duration`, `source_lang`, `target_lang` and `text` or
  `answer` (docs.nvidia.com/nemo, ASR datasets, Canary manifest).
- lhotse's cuts of one recording with one supervision. Its `custom` holds `tgt_lang` and `tgt_text`,
  as in lhotse's recipe iwslt22_ta, or NeMo's `source_lang`, `target_lang` and `answer`.
- Qwen's: `text` begins with `language Japanese<asr_text>`, which names the target
  (QwenLM/Qwen3-ASR, finetuning/README.md).
- Our own older ones: `source` and `target` (languages) beside `text`; `reference` (the translation)
  and `source` (the words spoken) beside `direction`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from speech_translation.audio import load_audio
from speech_translation.engine.prompt import ASR_TEXT
from speech_translation.errors import AudioError, SpeechTranslationError
from speech_translation.types import SAMPLE_RATE, Direction, Language, Seconds

ROUNDING: Seconds = 0.01
"""An utterance may end so much after its recording: manifests round their times."""


class ManifestError(SpeechTranslationError):
    """A manifest cannot be read, a line of it is wrong, or nothing in it can be used."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """A recording of `size` bytes that lies at `offset` in a larger file, as in a tar."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes. Raises AudioError when the file is not there."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise AudioError(f"{self.path} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True, slots=True)
class Sample:
    """One utterance and its translation.

    `audio` is a file, part of one, the bytes of one, or samples, float32 (n,) at 16 kHz. `target`
    None is speech that must not be translated. `end` None is the recording's end, `duration` None
    not yet known.
    """

    audio: Path | FilePart | bytes | np.ndarray
    text: str
    target: Language | None
    source: Language | None = None
    transcript: str = ""
    context: str = ""
    start: Seconds = 0.0
    end: Seconds | None = None
    duration: Seconds | None = None
    id: str = ""

    @property
    def direction(self) -> Direction:
        """From `source` into `target`; AUTO where nothing is to be translated."""
        if self.target is None or self.target is self.source:
            return Direction.AUTO
        return Direction.to(self.target)

    def load(self) -> np.ndarray:
        """The utterance, float32 (n,) at 16 kHz.

        A recording is decoded whole; the last one is kept for the utterances that follow it.

        Raises:
            AudioError: the recording cannot be read, or the utterance is not within it.
        """
        if isinstance(self.audio, np.ndarray):
            whole = self.audio
        elif isinstance(self.audio, bytes):
            whole = load_audio(self.audio, name=self.id)
        elif isinstance(self.audio, FilePart):
            whole = load_audio(self.audio.read(), name=self.id)
        else:
            whole = _decoded(self.audio)
        start = round(self.start * SAMPLE_RATE)
        end = len(whole) if self.end is None else round(self.end * SAMPLE_RATE)
        if not start < end <= len(whole) + ROUNDING * SAMPLE_RATE or start >= len(whole):
            seconds = len(whole) / SAMPLE_RATE
            raise AudioError(f"{self.id} is not within the {seconds:.1f} s of its recording.")
        return whole[start:end]


@lru_cache(maxsize=1)
def _decoded(path: Path) -> np.ndarray:
    return load_audio(path)


def read_manifest(path: Path) -> Iterator[Sample]:
    """The lines of a manifest as they stand; empty ones are passed over.

    Raises:
        ManifestError: the file cannot be read, or a line is wrong (named as `file:line`).
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield _sample(_row(line), path.parent, str(number))
                except ValueError as error:
                    raise ManifestError(f"{path}:{number}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot read this manifest: {error}") from error


def _row(line: str) -> dict[str, Any]:
    """The object of a line, in the keys of the table's first column and two languages."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(found, dict):
        raise ValueError(
            'a line must be an object like {"audio": ..., "direction": ..., "text": ...}'
        )
    if "supervisions" in found:
        found = _from_cut(found)
    null = ("direction", "target_lang", "target")  # where null says that there is none
    row = {key: value for key, value in found.items() if value is not None or key in null}

    def rename(old: str, new: str) -> None:
        if old in row:
            value = row.pop(old)
            if row.setdefault(new, value) != value:
                raise ValueError(f'"{old}" and "{new}" do not agree: keep one')

    tagged = isinstance(row.get("text"), str) and ASR_TEXT in row["text"]
    if "source" in row:  # a language in one of our older forms, words in the other
        if ("target" in row or tagged) == ("reference" in row):
            raise ValueError(
                '"source" may be a language or words: write "source_lang" or "transcript"'
            )
        rename("source", "transcript" if "reference" in row else "source_lang")
    rename("audio_filepath", "audio")
    rename("offset", "start")
    rename("prompt", "context")
    rename("target", "target_lang")
    rename("reference", "text")
    if "answer" in row or "translation" in row:
        rename("text", "transcript")
        rename("answer", "text")
        rename("translation", "text")
    if "direction" in row:
        direction = row.pop("direction")
        if direction not in (None, Direction.EN_JA, Direction.JA_EN):
            raise ValueError('"direction" must be en2ja, ja2en or null')
        languages = {
            "source_lang": Direction(direction).source if direction else None,
            "target_lang": Direction(direction).target if direction else None,
        }
        for key, language in languages.items():
            if row.setdefault(key, language) != language:
                raise ValueError(f'"direction" and "{key}" do not agree: keep one')
    if tagged and "target_lang" not in row:
        row["text"], row["target_lang"] = _untagged(row["text"])
    return row


def _from_cut(cut: dict[str, Any]) -> dict[str, Any]:
    """A cut of lhotse in keys of the table."""
    try:
        (supervision,) = cut["supervisions"]
        (source,) = cut["recording"]["sources"]
        custom = (cut.get("custom") or {}) | (supervision.get("custom") or {})
        row = {
            "id": cut["id"],
            "audio": source["source"],
            "start": cut["start"] + supervision["start"],
            "duration": supervision["duration"],
            "source_lang": custom.get("source_lang") or supervision.get("language"),
            "target_lang": custom.get("tgt_lang") or custom["target_lang"],
            "text": supervision.get("text"),
            "context": custom.get("context"),
        }
        translation = custom.get("tgt_text") or custom.get("answer")
        return row | ({"translation": translation} if translation else {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            "a cut of lhotse must have a recording in one file, one supervision and, in its "
            f'"custom", tgt_lang or target_lang ({error})'
        ) from error


def _untagged(text: str) -> tuple[str, Language | None]:
    """The text behind `language Japanese<asr_text>` and the language that it names."""
    tag, _, rest = text.partition(ASR_TEXT)
    for target in (*Language, None):
        if tag == f"language {target.tag if target else None}":
            return rest, target
    raise ValueError(f'"text" begins with "{tag}{ASR_TEXT}", which names no language of ours')


def _sample(row: dict[str, Any], folder: Path, line: str) -> Sample:
    if "target_lang" not in row:
        raise ValueError(
            'no "direction", no "target_lang", and no text that begins with '
            '"language Japanese<asr_text>" or the like'
        )
    start = _seconds(row, "start")
    end = _seconds(row, "end")
    duration = _seconds(row, "duration")
    if end is not None:
        length = round(end - (start or 0.0), 9)
        if length <= 0 or abs(length - (duration or length)) > ROUNDING:
            raise ValueError('"end" does not fit "start" or "duration"')
        duration = length
    elif start is not None and duration is not None:
        end = start + duration
    return Sample(
        audio=folder / _string(row, "audio"),
        text=_string(row, "text"),
        target=_language(row, "target_lang"),
        source=_language(row, "source_lang"),
        transcript=_string(row, "transcript", ""),
        context=_string(row, "context", ""),
        start=start or 0.0,
        end=end,
        duration=duration,
        id=str(row.get("id", line)),
    )


def _string(row: dict[str, Any], key: str, default: str | None = None) -> str:
    value = row.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise ValueError(f'"{key}" is missing or not a string')
    return value


def _seconds(row: dict[str, Any], key: str) -> Seconds | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f'"{key}" is not a number of seconds')
    return value


def _language(row: dict[str, Any], key: str) -> Language | None:
    value = row.get(key)
    if value is None:
        return None
    try:
        return Language(value)
    except ValueError:
        raise ValueError(f'"{key}" is {value!r}; it must be "en" or "ja"') from None
