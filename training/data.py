"""Speech paired with its translation: clean text, balanced epochs, batches.

Manifests are read by `speech_translation.manifest`, which says what a line holds. A `direction` of
null is speech that the model must not translate.
"""

from __future__ import annotations

import random
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_translation.audio import load_audio
from speech_translation.engine.prompt import (
    ASR_TEXT,
    AUDIO_END,
    AUDIO_PAD,
    AUDIO_START,
    TURN_END,
    TURN_START,
)
from speech_translation.engine.qwen_asr_private import audio_tokens
from speech_translation.errors import AudioError, ModelError
from speech_translation.manifest import ManifestError, Sample, read_manifest
from speech_translation.text import JAPANESE, has_japanese
from speech_translation.types import SAMPLE_RATE, Language, Seconds

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

SHORTEST, LONGEST = 0.5, 30.0  # seconds, from the model card
IGNORE = -100
"""The label of every position that takes no part in the loss (PyTorch's own `ignore_index`)."""


def target_text(target: Language | None, text: str) -> str:
    """What the model shall write: the tag of the TARGET language and the text.

    None is the model's way to say that there is nothing to write: `language None<asr_text>`.
    """
    return f"language {target.tag if target else None}{ASR_TEXT}{text}"


# Full-width marks are what Japanese is written with, yet NFKC would turn them into ASCII.
_OUTSIDE_MARKS = re.compile("[^？！，．：；（）［］｛｝～…‥]+")
_AFTER = rf"(?<=[{JAPANESE}」』）〉》】])"  # only behind Japanese: "3.5", "10:30" and "Dr." stay
_BEFORE = r"(?![0-9A-Za-z])"
_JAPANESE_RULES = [
    (re.compile(pattern), mark)
    for pattern, mark in (
        (r"(?<=[0-9])[．](?=[0-9])", "."),
        (r"(?<=[0-9])[，](?=[0-9])", ","),
        (r"(?<=[0-9])[：](?=[0-9])", ":"),
        ("，", "、"),
        ("．", "。"),
        ("～", "〜"),
        (rf"{_AFTER} ?\?", "？"),
        (rf"{_AFTER} ?!", "！"),
        (rf"{_AFTER} ?,{_BEFORE}", "、"),
        (rf"{_AFTER} ?(?<!\.)\.{_BEFORE}(?!\.)", "。"),
        (rf'["“]([^"“”]*[{JAPANESE}][^"“”]*)["”]', r"「\1」"),
        # Japanese is written without spaces; beside Latin letters they are a matter of style.
        (
            rf"(?<=[{JAPANESE}、。？！「」『』（）]) (?=[{JAPANESE}、。？！「」『』（）])"
            r"|(?<=[、。？！「『（]) | (?=[、。？！」』）])",
            "",
        ),
    )
]
_ENGLISH_MARKS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("“”„‟″「」『』«»", '"'),
        **dict.fromkeys("‐‑‒–−", "-"),
        **dict.fromkeys("—―", " - "),
        "、": ", ",
        "。": ". ",
        "〜": "~",
    }
)


def clean_text(text: str, language: Language) -> str:
    """NFKC with the punctuation of `language`, single spaces, no invisible characters.

    Japanese keeps or gets 、。？！「」 in full width, digits and Latin letters in half width.
    English gets ASCII quotes and dashes.
    """
    text = "".join(
        " " if unicodedata.category(c) == "Cc" else c
        for c in text
        if unicodedata.category(c) != "Cf"  # zero-width spaces, marks of direction, soft hyphens
    )
    if language is Language.JAPANESE:
        text = _OUTSIDE_MARKS.sub(lambda part: unicodedata.normalize("NFKC", part[0]), text)
        text = " ".join(text.split())
        for pattern, mark in _JAPANESE_RULES:
            text = pattern.sub(mark, text)
    else:
        # The marks first: NFKC breaks "´" into a space and an accent.
        text = unicodedata.normalize("NFKC", text.translate(_ENGLISH_MARKS))
    return " ".join(text.split())


Dropped = Counter[str]
"""How many samples were dropped, by reason."""


def select(samples: Sequence[Sample]) -> tuple[list[Sample], Dropped]:
    """Clean every text, find every duration, and drop what cannot be learned from.

    Reasons: `empty text`, `wrong script`, `prompt token in text`, `unreadable audio`,
    `shorter than 0.5 s`, `longer than 30 s`. A duration the manifest states is believed.
    """
    kept, dropped = [], Dropped()
    for sample in samples:
        text = clean_text(sample.text, sample.target) if sample.target else ""
        fault = _text_fault(text, sample.target)
        if not fault:
            try:
                duration = _duration(sample)
            except AudioError:
                fault = "unreadable audio"
            else:
                # What training does not need is not kept: there may be a million samples.
                sample = replace(sample, text=text, duration=duration, transcript="")
                if duration < SHORTEST:
                    fault = f"shorter than {SHORTEST:g} s"
                elif duration > LONGEST:
                    fault = f"longer than {LONGEST:g} s"
        if fault:
            dropped[fault] += 1
        else:
            kept.append(sample)
    return kept, dropped


def _text_fault(text: str, target: Language | None) -> str | None:
    if target is None:
        return None
    if ASR_TEXT in text or re.search(r"<\|\w+\|>", text):
        return "prompt token in text"
    if not any(c.isalnum() for c in text):
        return "empty text"
    if has_japanese(text) is not (target is Language.JAPANESE):
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


def load_samples(path: Path) -> tuple[list[Sample], Dropped]:
    """Read and `select` a manifest.

    Raises:
        ManifestError: as `read_manifest`, and when no sample is left.
    """
    samples, dropped = select(list(read_manifest(path)))
    if not samples:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
        raise ManifestError(f"{path}: no sample can be used ({reasons or 'the file is empty'}).")
    return samples, dropped


class BalancedSampler:
    """The order of the samples in each epoch: as many into Japanese as into English.

    The smaller direction is shown whole in every epoch, the larger one down-sampled to it: no
    sample is seen twice in an epoch, and the part left out is drawn afresh in the next. Samples
    without a target, and a single direction, are always shown. The order depends on `seed` and the
    epoch only, so that every process of a run, and a resumed run, agrees on it.

    The `update` samples of one optimiser step stay together and are sorted by duration inside it:
    batches of like length need less padding, and the sum of an update's gradients is the same.
    """

    def __init__(self, samples: Sequence[Sample], update: int, seed: int) -> None:
        self._samples = samples
        self._update = update
        self._seed = seed
        self._epoch = 0
        groups: dict[Language | None, list[int]] = {target: [] for target in (*Language, None)}
        for index, sample in enumerate(samples):
            groups[sample.target].append(index)
        self._always = groups.pop(None)
        self._directions = [indices for indices in groups.values() if indices]
        self._share = min(map(len, self._directions), default=0)

    def set_epoch(self, epoch: int) -> None:
        """Go on to `epoch`, never back: accelerate 1.12 sets a resumed loader to epoch 0."""
        self._epoch = max(self._epoch, epoch)

    def __len__(self) -> int:
        return len(self._always) + self._share * len(self._directions)

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self._seed}/{self._epoch}")
        order = list(self._always)
        for indices in self._directions:
            order += draw.sample(indices, self._share)
        draw.shuffle(order)
        for start in range(0, len(order), self._update):
            yield from sorted(
                order[start : start + self._update], key=lambda i: self._samples[i].duration or 0.0
            )


def prompt_text(audio_tokens: int = 1, context: str = "", system_turn: bool = True) -> str:
    """The prompt up to the model's turn, as Qwen3-ASR's chat template renders it.

    qwen-asr sends a system turn even when the context is empty; without a context vLLM's
    transcription endpoint leaves it out (`system_turn=False`).
    """
    system = f"{TURN_START}system\n{context}{TURN_END}\n" if context or system_turn else ""
    audio = f"{AUDIO_START}{AUDIO_PAD * audio_tokens}{AUDIO_END}"
    return f"{system}{TURN_START}user\n{audio}{TURN_END}\n{TURN_START}assistant\n"


def encode_example(
    tokenizer: PreTrainedTokenizerBase,
    *,
    audio_tokens: int,
    target: Language | None,
    text: str,
    context: str = "",
    system_turn: bool = True,
    forced: bool = False,
) -> tuple[list[int], list[int]]:
    """Token ids of prompt and reply, and their labels: `IGNORE` except for the reply.

    The reply is `target_text` and the end of the turn. With `forced` its tag belongs to the prompt,
    as when a language is asked for, and is not learned. Prompt, tag and text are tokenised apart:
    no token reaches across, as none can when the model continues a prompt.
    """
    parts = (
        prompt_text(audio_tokens, context, system_turn),
        target_text(target, ""),
        text + TURN_END,
    )
    prompt, tag, reply = (tokenizer(part, add_special_tokens=False).input_ids for part in parts)
    unlearned = len(prompt) + (len(tag) if forced else 0)
    ids = [*prompt, *tag, *reply]
    return ids, [IGNORE] * unlearned + ids[unlearned:]


class Collator:
    """Samples to one batch for the model, padded to the longest of it.

    `bare_prompts` is the share of the samples without a context whose prompt has no system turn, so
    that the model knows vLLM's prompt too. Which ones is a property of the sample: a run repeats
    itself.

    Raises:
        ModelError: the checkpoint's chat template gives another prompt than the one trained here.
    """

    def __init__(self, processor: Any, bare_prompts: float = 0.0) -> None:
        self._extractor = processor.feature_extractor
        self._tokenizer = processor.tokenizer
        self._bare_prompts = bare_prompts
        messages = [
            {"role": "system", "content": "context"},
            {"role": "user", "content": [{"type": "audio", "audio": ""}]},
        ]
        rendered = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        if rendered != prompt_text(context="context"):
            raise ModelError(
                f"The model's chat template renders {rendered!r}, which is not Qwen3-ASR's prompt; "
                "fine-tune a Qwen3-ASR checkpoint."
            )

    def __call__(self, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        """Read the audio and build the batch.

        Returns `input_ids`, `attention_mask` and `labels`, each int64 (batch, tokens), padded on
        the tokenizer's side; `input_features` float32 (batch, 128, frames) and
        `feature_attention_mask` (batch, frames), padded on the right.

        Raises:
            AudioError: a recording cannot be read.
        """
        import torch

        audio = self._extractor(
            [sample.load() for sample in samples],
            sampling_rate=SAMPLE_RATE,
            padding=True,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        counts = audio_tokens(audio["attention_mask"].sum(-1)).tolist()
        encoded = [
            encode_example(
                self._tokenizer,
                audio_tokens=count,
                target=sample.target,
                text=sample.text,
                context=sample.context,
                system_turn=not self._is_bare(sample),
            )
            for sample, count in zip(samples, counts, strict=True)
        ]

        def pad(rows: list[list[int]], value: int) -> torch.Tensor:
            return torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(row) for row in rows],
                batch_first=True,
                padding_value=value,
                padding_side=self._tokenizer.padding_side,
            )

        return {
            "input_ids": pad([ids for ids, _ in encoded], self._tokenizer.pad_token_id),
            "attention_mask": pad([[1] * len(ids) for ids, _ in encoded], 0),
            "labels": pad([labels for _, labels in encoded], IGNORE),
            "input_features": audio["input_features"],
            "feature_attention_mask": audio["attention_mask"],
        }

    def _is_bare(self, sample: Sample) -> bool:
        return (
            zlib.crc32(f"{_file(sample).name}\n{sample.text}".encode()) / 2**32 < self._bare_prompts
        )
