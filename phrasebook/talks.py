"""Speak the talks of `talks.toml`: long recordings of free speech whose sentences are known.

    python -m phrasebook.talks --out .cache/segmentation

They measure where a recording is cut (`evaluation.segmentation`). So the pauses say little: those
inside of sentences and those between them are drawn from ranges that overlap. `manifest.jsonl`
beside the recordings has a line for each, with the times of its sentences from the first sound to
the last. What is there already is not spoken again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile

from phrasebook.pauses import stretch
from phrasebook.voices import MARGIN, Pcm, Speaker
from speech_translation.files import replace_file
from speech_translation.types import SAMPLE_RATE, Direction, Language, Seconds

VOICES = {
    Language.JAPANESE: ("mei^1.00+0", "jf_alpha", "jf_gongitsune", "jf_nezumi", "jm_kumo"),
    Language.ENGLISH: ("af_heart", "am_adam", "bf_emma", "bm_george"),
}
"""In turn, one a talk."""

RATES = (0.95, 1.1)
COMMAS = {Language.ENGLISH: ", ", Language.JAPANESE: "、"}
INSIDE: tuple[Seconds, Seconds] = (0.3, 1.2)
"""Pauses at the commas of a sentence."""

BETWEEN: tuple[Seconds, Seconds] = (0.4, 1.5)
"""Pauses between sentences."""

NEW_SUBJECT: Seconds = 3.5
EDGE: Seconds = 0.5  # before the first sentence and after the last
PHRASED: Seconds = 0.22
"""Shorter silences are no pauses: a closure inside of a word (って) lasts up to 0.21 s."""

NOISE = 8.0
"""Standard deviation of the noise under a talk, of 32768: a room is never as silent as nothing."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said, and what it means; `opens` a subject or goes on with one."""

    transcript: str
    reference: str
    opens: bool = False


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence in a recording: from its first sound to its last, in seconds."""

    start: Seconds
    end: Seconds
    transcript: str
    reference: str


class Voices(Protocol):
    """`Speaker`, or what stands for it in a test."""

    def speak(self, text: str, language: Language, voice: str, rate: float = 1.0) -> Pcm:
        """`text` as mono int16 at 16 kHz, with `MARGIN` seconds around it."""
        ...


@cache
def talks(language: Language) -> Mapping[str, Sequence[Sentence]]:
    """The talks of a language by their names."""
    texts = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return {name: _sentences(text) for name, text in texts[language.value].items()}


def _sentences(text: str) -> list[Sentence]:
    sentences, opens = list[Sentence](), False
    for line in text.splitlines():
        if line:
            transcript, reference = line.split(" | ")
            sentences.append(Sentence(transcript, reference, opens))
        opens = not line
    return sentences


def speak_talk(
    sentences: Sequence[Sentence],
    language: Language,
    voice: str,
    rate: float,
    speaker: Voices,
    rng: random.Random,
) -> tuple[Pcm, list[Spoken]]:
    """A talk as int16 `(n,)` at 16 kHz, and where its sentences are.

    Pauses are drawn between sentences, and inside of them wherever the voice pauses at a comma.
    """
    parts, spoken = [_silence(EDGE)], list[Spoken]()
    at = len(parts[0])
    margin = round(MARGIN * SAMPLE_RATE)
    for number, sentence in enumerate(sentences):
        clip = speaker.speak(sentence.transcript, language, voice, rate)
        commas = sentence.transcript.count(COMMAS[language])
        pauses = [rng.uniform(*INSIDE) for _ in range(commas)]
        clip, _ = stretch(clip, pauses, shortest=PHRASED)
        speech = clip[margin:-margin]
        if number:
            parts.append(_silence(NEW_SUBJECT if sentence.opens else rng.uniform(*BETWEEN)))
            at += len(parts[-1])
        parts.append(speech)
        span = at / SAMPLE_RATE, (at + len(speech)) / SAMPLE_RATE
        spoken.append(Spoken(*span, sentence.transcript, sentence.reference))
        at += len(speech)
    parts.append(_silence(EDGE))
    sound = np.concatenate(parts).astype(np.float64)
    sound += np.random.default_rng(rng.getrandbits(32)).normal(0, NOISE, len(sound))
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16), spoken


def _silence(seconds: Seconds) -> Pcm:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def entry(name: str, language: Language, voice: str, spoken: Sequence[Spoken]) -> dict[str, Any]:
    """The line of the manifest."""
    return {
        "recording": f"{language}_{name}.flac",
        "direction": Direction.of(language).value,
        "voice": voice,
        "sentences": [asdict(sentence) for sentence in spoken],
    }


def is_spoken(known: Mapping[str, Any], voice: str, sentences: Sequence[Sentence]) -> bool:
    """Whether a line of the manifest is of these words by this voice."""
    words = [(sentence.transcript, sentence.reference) for sentence in sentences]
    said = [(row["transcript"], row["reference"]) for row in known["sentences"]]
    return bool(known["voice"] == voice and said == words)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="phrasebook.talks", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".cache/segmentation"))
    parser.add_argument("--styles", type=Path, default=Path(".cache/phrasebook/voices"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    manifest = options.out / "manifest.jsonl"
    lines = manifest.read_text("utf-8").splitlines() if manifest.exists() else []
    known = {row["recording"]: row for row in map(json.loads, lines)}
    speaker = Speaker(options.styles)
    for language, voices in VOICES.items():
        for number, (name, sentences) in enumerate(talks(language).items()):
            voice = voices[number % len(voices)]
            path = options.out / f"{language}_{name}.flac"
            row = known.get(path.name)
            if row is None or not is_spoken(row, voice, sentences) or not path.exists():
                rng = random.Random(f"{options.seed} {language} {name}")
                rate = rng.uniform(*RATES)
                sound, spoken = speak_talk(sentences, language, voice, rate, speaker, rng)
                soundfile.write(path, sound, SAMPLE_RATE)
                known[path.name] = entry(name, language, voice, spoken)
                rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in known.values())
                replace_file(manifest, "".join(rows))
                print(path, voice, f"{len(sound) / SAMPLE_RATE:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
