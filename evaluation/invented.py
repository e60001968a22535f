"""What the model makes of sound that is no speech, and what the checks make of speech that is.

    python -m evaluation.invented

The sounds are made by a seed. The recordings of people are those of `data/human.jsonl`, or all in
the folder that `--speech` or the environment variable SPEECH_HUMAN names. Invented is text that is
not right and that no flag warns of. A false alarm is speech that the detector leaves out, or a
right text that a check takes for a loop or for the other script.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluation.console import status
from evaluation.samples import read_samples
from speech_translation.audio import EXTENSIONS, load_audio
from speech_translation.engine import PHRASEBOOK, Engine, load_engine
from speech_translation.levels import Samples
from speech_translation.segments import find_segments, span_of
from speech_translation.text import repeated, wrong_script
from speech_translation.translate import translate
from speech_translation.types import SAMPLE_RATE, Direction

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
DATA = Path(__file__).resolve().parent / "data"
_FRAME = SAMPLE_RATE // 50


@dataclass
class Outcome:
    """What came of all clips with one label."""

    clips: int = 0
    seconds: float = 0.0
    right: int = 0
    """Segments with the text that they should have."""
    invented: int = 0
    """Segments with another text, and without a flag."""
    flags: Counter[str] = field(default_factory=Counter)
    """Of the segments with another text."""


class Clip(NamedTuple):
    """A recording and what may come of it."""

    label: str
    samples: Samples
    direction: Direction = Direction.AUTO
    right: frozenset[str] = frozenset()


def sounds(seconds: float, seed: int) -> Iterator[Clip]:
    """Sound that is not speech, `seconds` of each."""
    rng = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE

    def coloured(power: float) -> np.ndarray:
        spectrum = np.fft.rfft(rng.standard_normal(count))
        spectrum[1:] /= np.arange(1, len(spectrum)) ** power
        sound = np.fft.irfft(spectrum, count)
        return np.asarray(0.2 * sound / np.abs(sound).max())

    def bursts(every: float, decay: float) -> np.ndarray:
        """Clicks, knocks or keystrokes."""
        sound = np.zeros(count)
        for at in rng.integers(0, count, max(1, round(seconds / every))):
            knock = rng.standard_normal(round(6 * decay * SAMPLE_RATE))
            knock *= np.exp(-np.arange(len(knock)) / (decay * SAMPLE_RATE))
            sound[at : at + len(knock)] += 0.3 * knock[: count - at]
        return sound

    def notes(every: float, harmonics: int, vibrato: float) -> np.ndarray:
        """A melody: a new note of a pentatonic scale in each interval."""
        scale = 220 * 2 ** (np.array([0, 2, 4, 7, 9, 12, 14]) / 12)
        which = rng.choice(scale, round(seconds / every) + 2)
        pitch = which[(time / every).astype(int)] * (1 + vibrato * np.sin(2 * np.pi * 5.5 * time))
        phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
        shape = np.exp(-(time % every) * 3)
        tones = [np.sin(k * phase) / k**1.5 for k in range(1, harmonics + 1)]
        return np.asarray(0.2 * shape * np.sum(tones, axis=0))

    def laughter() -> np.ndarray:
        """Voiced bursts five times a second, falling in pitch, in fits with pauses."""
        fit = (time % 4 < 2.5) * (np.sin(2 * np.pi * 5 * time) > -0.2)
        pitch = 260 - 40 * (time % 4) + 10 * np.sin(2 * np.pi * 3 * time)
        phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
        voice = np.sum([np.sin(k * phase) / k for k in range(1, 12)], axis=0)
        return np.asarray(fit * (0.12 * voice + 0.04 * rng.standard_normal(count)))

    for label, sound in (
        ("silence", np.zeros(count)),
        ("silence", np.full(count, 0.3)),
        ("silence", rng.integers(-1, 2, count) / 32768),
        ("noise", 0.1 * rng.standard_normal(count)),
        ("noise", coloured(0.5)),
        ("noise", coloured(1.0) * (1 + np.sin(2 * np.pi * 0.3 * time))),
        ("noise", np.clip(3 * rng.standard_normal(count), -1, 1)),
        ("noise", 0.3 * np.sin(2 * np.pi * 50 * time) + 0.02 * rng.standard_normal(count)),
        ("noise", bursts(0.4, 0.003)),
        ("noise", bursts(2.0, 0.05)),
        ("music", notes(0.5, 1, 0.0) + notes(2.0, 4, 0.0)),
        ("music", notes(0.6, 10, 0.01)),
        ("music", notes(0.15, 5, 0.0) + bursts(0.5, 0.04)),
        ("laughter", laughter()),
    ):
        yield Clip(label, np.clip(sound, -1, 1).astype(np.float32))


def odd_speech() -> Iterator[Clip]:
    """Speech that is not asked for. What is in the target language already is written down."""
    with (EXAMPLES / "clips.tsv").open(encoding="utf-8", newline="") as file:
        said = {row["file"]: row["spoken"] for row in csv.DictReader(file, delimiter="\t")}
    english, japanese = (load_audio(EXAMPLES / f"{name}.flac") for name in ("en_1", "ja_1"))
    in_english, in_japanese = said["en_1.flac"], said["ja_1.flac"]
    translated = (EXAMPLES / "en_1.txt").read_text("utf-8").strip()
    word = load_audio(EXAMPLES / "en_2.flac")
    word = word[_loud(word)[0] * _FRAME :][: SAMPLE_RATE * 2 // 5]
    both = np.concatenate([english, np.zeros(SAMPLE_RATE, np.float32), japanese])
    yield Clip("one word for 30 s", np.tile(word, 75), Direction.EN_JA)
    yield Clip("the other language", english, Direction.JA_EN, frozenset({in_english}))
    yield Clip("the other language", japanese, Direction.EN_JA, frozenset({in_japanese}))
    in_turn = (EXAMPLES / "ja_1.txt").read_text("utf-8").strip()
    yield Clip("two languages", both, Direction.EN_JA, frozenset({translated + in_japanese}))
    yield Clip("two languages", both, Direction.AUTO, frozenset({translated, in_turn}))


def outcomes(clips: Iterable[Clip], engine: Engine) -> dict[str, Outcome]:
    """What `engine` makes of clips, by label."""
    found = dict[str, Outcome]()
    for clip in clips:
        outcome = found.setdefault(clip.label, Outcome())
        outcome.clips += 1
        outcome.seconds += len(clip.samples) / SAMPLE_RATE
        for segment in translate(clip.samples, engine, clip.direction).segments:
            if segment.text in clip.right:
                outcome.right += 1
            elif any(map(str.isalnum, segment.text)):  # "…" invents nothing
                outcome.flags.update(segment.flags)
                outcome.invented += not segment.flags
    return found


def left_out(samples: Samples) -> tuple[int, int]:
    """Loud frames of 20 ms in a recording of speech: those outside of all segments, and all."""
    loud = _loud(samples) * _FRAME
    kept = np.zeros(len(samples), bool)
    for start, end in map(span_of, find_segments(samples)):
        kept[start:end] = True
    return int((~kept[loud]).sum()), len(loud)


def _loud(samples: Samples) -> np.ndarray:
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    return np.flatnonzero(np.sqrt((frames**2).mean(1)) > 0.05 * np.abs(samples).max())


def recordings(folder: Path | None = None) -> list[Path]:
    """The recordings of people in `folder`, or those of the benchmark."""
    if folder is None:
        return sorted(DATA.glob("human_*.flac"))
    return sorted(path for path in folder.rglob("*") if path.suffix in EXTENSIONS)


def right_texts() -> Iterator[tuple[str, Direction]]:
    """The references of the evaluation sets, and what was said, as text in its own language."""
    back = {Direction.EN_JA: Direction.JA_EN, Direction.JA_EN: Direction.EN_JA}
    for name in ("human", "phrasebook"):
        for sample in read_samples(DATA / f"{name}.jsonl"):
            yield sample.text, sample.direction
            yield sample.transcript, back[sample.direction]


def table(found: dict[str, Outcome]) -> str:
    """Outcomes as Markdown."""
    rows = ["| sound | minutes | right text | invented text | flagged |", "|---|---|---|---|---|"]
    for label, outcome in found.items():
        flags = ", ".join(f"{flag} {count}" for flag, count in sorted(outcome.flags.items()))
        rows.append(
            f"| {label} | {outcome.seconds / 60:.1f} | {outcome.right} | {outcome.invented} "
            f"| {flags or 0} |"
        )
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.invented", description=__doc__)
    parser.add_argument("--model", default=PHRASEBOOK, help="as in inference.py (%(default)s)")
    parser.add_argument(
        "--speech",
        type=Path,
        default=os.environ.get("SPEECH_HUMAN") or None,
        help="folder of recordings of people (default: SPEECH_HUMAN, else those of the benchmark)",
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="of each sound (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    return status(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    engine = load_engine(options.model)
    clips = itertools.chain(sounds(60 * options.minutes, options.seed), odd_speech())
    print(table(outcomes(clips, engine)))
    files = recordings(options.speech)
    missed, all_frames = map(sum, zip(*(left_out(load_audio(path)) for path in files), strict=True))
    texts = list(right_texts())
    doubted = sum(repeated(text) or wrong_script(text, d.target) for text, d in texts if d.target)
    print(
        f"\nFalse alarms: of {all_frames} loud frames in {len(files)} recordings of people "
        f"{missed} left out ({missed / all_frames:.2%}), "
        f"{doubted} of {len(texts)} right texts doubted ({doubted / len(texts):.2%})."
    )


if __name__ == "__main__":
    raise SystemExit(main())
