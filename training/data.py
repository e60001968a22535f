"""Speech paired with its translation: what can be learned from, and in which order.

Manifests are read by `speech_translation.manifest`, which says what a line holds. A `direction` of
null is speech that the model must not translate.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from speech_translation.audio import load_audio
from speech_translation.engine.prompt import ASR_TEXT
from speech_translation.errors import AudioError
from speech_translation.manifest import ManifestError, Sample, read_manifest
from speech_translation.text import wrong_script
from speech_translation.types import SAMPLE_RATE, Language, Seconds
from training.prepared import SUFFIX, Indexed, Prepared, facts, spoken
from training.text import clean_text

SHORTEST, LONGEST = 0.5, 30.0  # seconds, from the model card


Dropped = Counter[str]
"""How many samples were dropped, by reason."""


def select(samples: Sequence[Sample], transcripts: bool = False) -> tuple[list[Sample], Dropped]:
    """Clean every text, find every duration, and drop what cannot be learned from.

    Reasons: `empty text`, `wrong script`, `prompt token in text`, `unreadable audio`,
    `shorter than 0.5 s`, `longer than 30 s`. A duration the manifest states is believed.
    """
    kept, dropped = [], Dropped()
    for sample in samples:
        text = clean_text(sample.text, sample.target) if sample.target else ""
        fault = text_fault(text, sample.target)
        if not fault:
            try:
                duration = _duration(sample)
            except AudioError:
                fault = "unreadable audio"
            else:
                # What training does not need is not kept: there may be a million samples.
                words = clean_transcript(sample) if transcripts else ""
                sample = replace(sample, text=text, duration=duration, transcript=words)
                if duration < SHORTEST:
                    fault = f"shorter than {SHORTEST:g} s"
                elif duration > LONGEST:
                    fault = f"longer than {LONGEST:g} s"
        if fault:
            dropped[fault] += 1
        else:
            kept.append(sample)
    return kept, dropped


def clean_transcript(sample: Sample) -> str:
    """The clean words spoken, or nothing where they cannot be learned."""
    if not sample.transcript or sample.source is None:
        return ""
    words = clean_text(sample.transcript, sample.source)
    return "" if text_fault(words, sample.source) else words


def text_fault(text: str, target: Language | None) -> str | None:
    """Why a clean text cannot be learned as one of `target`."""
    if target is None:
        return None
    if ASR_TEXT in text or re.search(r"<\|\w+\|>", text):
        return "prompt token in text"
    if not any(c.isalnum() for c in text):
        return "empty text"
    if wrong_script(text, target):
        return "wrong script"
    return None


def _duration(sample: Sample) -> Seconds:
    import soundfile

    path = _file(sample)
    if sample.duration is not None:
        if not path.is_file():
            raise AudioError(f"{path}: no such file.")
        return sample.duration
    try:
        whole = float(soundfile.info(str(path)).duration)
    except soundfile.SoundFileError:  # not a container of libsndfile: decode it
        whole = len(load_audio(path)) / SAMPLE_RATE
    if sample.start >= whole:
        raise AudioError(f"{path}: nothing stands at {sample.start:g} s.")
    return whole - sample.start


def _file(sample: Sample) -> Path:
    assert isinstance(sample.audio, Path)  # it came from a manifest
    return sample.audio


def load_samples(path: Path, transcripts: bool = False) -> tuple[Sequence[Sample], Dropped]:
    """Read and `select` a manifest, with the words spoken if `transcripts`.

    What `training.prepare` wrote is taken as it is.

    Raises:
        ManifestError: as `read_manifest`, and when no sample is left.
    """
    if path.suffix == SUFFIX:
        return Prepared(path), Dropped()
    samples, dropped = select(list(read_manifest(path)), transcripts)
    if not samples:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
        raise ManifestError(f"{path}: no sample can be used ({reasons or 'the file is empty'}).")
    return samples, dropped


class Lessons(Indexed):
    """Samples, and behind them each one's transcription: the language spoken, the words spoken."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return 2 * len(self._samples)

    def sample(self, index: int) -> Sample:
        """A sample, or the transcription of one."""
        sample = self._samples[index % len(self._samples)]
        if index < len(self._samples):
            return sample
        return replace(sample, target=sample.source, text=sample.transcript, transcript="")


class BalancedSampler:
    """The order of the samples in each epoch: as many into Japanese as into English.

    The smaller direction is shown whole in every epoch, the larger one down-sampled to it: no
    sample is seen twice in an epoch, and the part left out is drawn afresh in the next. Samples
    without a target, and a single direction, are always shown. So are transcriptions, whose target
    is the language spoken, where `transcribe` is 0. The order depends on `seed` and the epoch only,
    so that every process of a run, and a resumed run, agrees on it.

    `transcribe` is the share of transcriptions in an epoch, half of them of each language as far as
    there are so many. An index from `len(samples)` on is the transcription of a sample: `Lessons`.

    The `update` samples of one optimiser step stay together and are sorted by duration inside it:
    batches of like length need less padding, and the sum of an update's gradients is the same.
    """

    def __init__(
        self, samples: Sequence[Sample], update: int, seed: int, transcribe: float = 0.0
    ) -> None:
        self._durations = np.zeros(2 * len(samples), np.float32)
        self._update = update
        self._seed = seed
        self._epoch = 0
        groups: dict[Language | None, list[int]] = {target: [] for target in (*Language, None)}
        transcriptions: dict[Language, list[int]] = {language: [] for language in Language}
        for index, (target, source, duration) in enumerate(facts(samples)):
            self._durations[index] = self._durations[index + len(samples)] = duration
            if target is not None and target is source:
                transcriptions[target].append(index)
            else:
                groups[target].append(index)
        self._always = groups.pop(None)
        if not transcribe:
            self._always += [i for indices in transcriptions.values() for i in indices]
        self._directions = [indices for indices in groups.values() if indices]
        self._share = min(map(len, self._directions), default=0)
        wanted = self._share * len(self._directions) * transcribe / (1 - transcribe) / len(Language)
        self._written: list[tuple[list[int], int]] = []
        for language, own in transcriptions.items() if transcribe else ():
            known = set(own)
            pool = own + [i + len(samples) for i in spoken(samples, language) if i not in known]
            self._written.append((pool, min(len(pool), round(wanted))))

    def set_epoch(self, epoch: int) -> None:
        """Go on to `epoch`, never back: accelerate 1.12 sets a resumed loader to epoch 0."""
        self._epoch = max(self._epoch, epoch)

    def __len__(self) -> int:
        written = sum(count for _, count in self._written)
        return len(self._always) + self._share * len(self._directions) + written

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self._seed}/{self._epoch}")
        order = list(self._always)
        for indices in self._directions:
            order += draw.sample(indices, self._share)
        for pool, count in self._written:
            order += draw.sample(pool, count)
        draw.shuffle(order)
        for start in range(0, len(order), self._update):
            yield from sorted(order[start : start + self._update], key=self._durations.__getitem__)
