"""What the phrasebook is trained on: clips as features, and the draw of examples from them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from phrasebook.augment import N_MELS, noise
from phrasebook.synthesis import Clip
from speech_translation.text import has_japanese
from speech_translation.types import Language

CHEAP_VOICES = ("flite", "mei")
ENGLISH = 0.58  # share of the speech: it is learned more slowly than Japanese
SHARES = {"kokoro": 0.54, "cheap": 0.23, "word": 0.12, "other": 0.09, "noise": 0.02}
TRANSCRIBE = 0.20  # share of the phrases that are written down in their own language
WORDS = 5  # single words are spoken in lists of up to so many
SENTENCES = (0.25, 0.18, 0.17, 0.15, 0.09, 0.07, 0.05, 0.04)  # shares of one, two ... in a row
LONGEST = 2600  # frames; no sentence is added beyond
BREATHES = 0.2  # share of the sentences with a pause put inside
# Who is asked before a sentence is over, as live captions ask, has not heard enough to translate
# it: the share of the sentences to be translated whose last one is cut off, and how much of that
# one is heard.
UNFINISHED, HEARD_OF_IT = 0.15, (0.15, 0.7)
STOPPED = "…"  # what a translation says of a sentence that is not over
PAUSE, LONG_PAUSE, IS_LONG = (10, 120), (120, 300), 0.1  # frames, and the share of long ones


@dataclass
class Example:
    """What one training sample says, before it is varied.

    `features` is (128, frames) log-mel; `target` None means speech that the model must not
    translate. `forced` puts the tag into the prompt, so that the loss starts after it. `spoken` is
    the text for CTC, empty for none or where it is not known to the word.
    """

    features: torch.Tensor
    target: Language | None
    text: str
    forced: bool
    spoken: str


def log_mel(samples: np.ndarray, extractor: Any) -> torch.Tensor:
    """Whisper's log-mel features (128, frames) of int16 samples, kept as float16."""
    features = extractor(samples.astype(np.float32) / 32768, sampling_rate=16_000, padding=True)
    return torch.from_numpy(np.asarray(features["input_features"][0])).half()


class Units:
    """What CTC spells in: pieces of English words, Japanese characters.

    Finer than the model's own tokens, which are mostly whole words: a few hundred units are
    learned to be heard in a fifth of the steps. Coarser than letters, which in quick English come
    faster than the encoder's 13 frames a second.
    """

    def __init__(self, english: Iterable[str], japanese: Iterable[str]) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        self._pieces = Tokenizer(models.BPE())
        self._pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        self._pieces.train_from_iterator(
            map(spelled, english), trainers.BpeTrainer(vocab_size=200, show_progress=False)
        )
        offset = self._pieces.get_vocab_size()
        characters = sorted(set(spelled("".join(japanese))))
        self._characters = {c: offset + i for i, c in enumerate(characters)}
        self.blank = offset + len(characters)

    def ids(self, text: str) -> list[int]:
        """The units of `text`; the language is told from its script."""
        text = spelled(text)
        if has_japanese(text):
            return [self._characters[c] for c in text if c in self._characters]
        ids: list[int] = self._pieces.encode(text).ids
        return ids


def spelled(text: str) -> str:
    """`text` in lower case without punctuation."""
    return re.sub(r"[^\w\s]", "", text.lower())


class Speech:
    """The synthesised clips as features, and the draw of training examples from them."""

    def __init__(self, clips: Sequence[Clip], seed: str) -> None:
        from transformers import WhisperFeatureExtractor

        extractor = WhisperFeatureExtractor(feature_size=N_MELS)
        self.random = random.Random(seed)
        self.count = len(clips)
        self.easy = False  # single phrases by the few cheap voices only
        self.pools: dict[tuple[str, Language], list[tuple[Clip, torch.Tensor]]] = {}
        for clip in clips:
            kind = "cheap" if clip.voice.startswith(CHEAP_VOICES) else "kokoro"
            kind = clip.set if clip.set in ("other", "word") else kind
            pool = self.pools.setdefault((kind, clip.language), [])
            pool.append((clip, log_mel(clip.samples, extractor)))

    def draw(self) -> Example:
        """One example: languages by `ENGLISH`, kinds by `SHARES`."""
        rng = self.random
        spoken_in = Language.ENGLISH if rng.random() < ENGLISH else Language.JAPANESE
        other_language = next(x for x in Language if x is not spoken_in)
        if self.easy:
            clip, features = rng.choice(self.pools["cheap", spoken_in])
            return Example(features, other_language, clip.translation, False, clip.text)
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        if kind == "noise":
            return self._untranslatable(noise(rng.randrange(50, 300)).half())
        clip, features = rng.choice(self.pools[kind, spoken_in])
        if kind == "other":
            return self._untranslatable(features)
        spoken, text = clip.text, clip.translation
        if kind == "word":
            following = ["word"] * rng.randrange(WORDS)
        else:
            count = rng.choices(range(len(SENTENCES)), SENTENCES)[0]
            following = rng.choices(("kokoro", "cheap"), (0.7, 0.3), k=count)
            features = self._breathing(features)
        before, over = features[:, :0], ""  # what comes before the last sentence
        for next_kind in following:
            if features.shape[1] > LONGEST:
                break
            second, more = rng.choice(self.pools[next_kind, spoken_in])
            gap = self._pause(features, long=kind != "word" and rng.random() < IS_LONG)
            before, over = torch.cat((features, gap), dim=1), text
            features = torch.cat((before, more if kind == "word" else self._breathing(more)), dim=1)
            spoken = join(spoken, second.text, spoken_in)
            text = join(text, second.translation, other_language)
        if rng.random() < TRANSCRIBE:
            return Example(features, spoken_in, spoken, True, spoken)
        if kind != "word" and rng.random() < UNFINISHED:
            heard = self._beginning(features[:, before.shape[1] :])
            text = join(over, STOPPED, other_language) if over else STOPPED
            return Example(torch.cat((before, heard), dim=1), other_language, text, False, "")
        return Example(features, other_language, text, False, spoken)

    def _pause(self, features: torch.Tensor, *, long: bool = False) -> torch.Tensor:
        frames = self.random.randrange(*(LONG_PAUSE if long else PAUSE))
        return torch.full((N_MELS, frames), float(features.min())).half()

    def _breathing(self, sentence: torch.Tensor) -> torch.Tensor:
        """Some of the time, a pause put where the sentence is quiet."""
        if self.random.random() >= BREATHES or sentence.shape[1] < 60:
            return sentence
        at = self._quiet_place(sentence, 1 / 6, 5 / 6)
        return torch.cat((sentence[:, :at], self._pause(sentence), sentence[:, at:]), dim=1)

    def _beginning(self, sentence: torch.Tensor) -> torch.Tensor:
        """The first part of the sentence: up to where it is quiet, or to somewhere within a word.

        Without the pause behind it, which live captions do not give to the model either: the model
        would take silence for the sign of an unfinished sentence.
        """
        if self.random.random() < 0.5:
            return sentence[:, : self._quiet_place(sentence, *HEARD_OF_IT)]
        return sentence[:, : round(self.random.uniform(*HEARD_OF_IT) * sentence.shape[1])]

    def _quiet_place(self, sentence: torch.Tensor, first: float, last: float) -> int:
        """One of the quietest frames between these shares of the sentence."""
        level = sentence.float().mean(0).unfold(0, 5, 1).mean(1)
        begin, end = round(first * len(level)), round(last * len(level))
        quiet = level[begin:end].argsort()[: max(4, (end - begin) // 12)].tolist()
        return int(self.random.choice(quiet)) + begin + 2

    def _untranslatable(self, features: torch.Tensor) -> Example:
        """Sound to be answered with `language None` or, when a language is forced, nothing."""
        if self.random.random() < 0.5:
            return Example(features, None, "", False, "")
        return Example(features, self.random.choice(list(Language)), "", True, "")

    def batches(self, size: int) -> Iterator[list[Example]]:
        """Batches of clips of similar length, for ever.

        Their lengths come in the same order in every worker, so that none waits for another one's.
        """
        order = random.Random(0)
        while True:
            drawn = sorted(
                (self.draw() for _ in range(size * 16)), key=lambda x: x.features.shape[1]
            )
            groups = [drawn[i : i + size] for i in range(0, len(drawn), size)]
            order.shuffle(groups)
            yield from groups


def join(first: str, second: str, language: Language) -> str:
    """Two sentences as one text, by the rule of `Translation.text`."""
    return first + (" " if language is Language.ENGLISH else "") + second
