"""Systems of other architectures, each behind the library's `Engine`, as transformers runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speech_translation.engine import Request
from speech_translation.engine.devices import choose_device, choose_precision
from speech_translation.engine.hub import split_revision
from speech_translation.engine.prompt import flags_for
from speech_translation.errors import ModelError, first_words
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis, Language

if TYPE_CHECKING:
    import torch

MAX_NEW_TOKENS = 256
SEED = 0


class Rival(ABC):
    """What the engines of other architectures share: no context, no confidence, no streaming.

    `model` is the library's own object, `processor` what turns sound into its input, if it has one.
    """

    architecture: str
    """The class of transformers that a checkpoint is loaded as, where transformers runs it."""

    model: Any
    processor: Any = None
    recommended = False
    """Whether it decodes as its authors recommend, or greedily like all others."""

    greedy: Mapping[str, Any] = {"do_sample": False, "num_beams": 1}
    best: Mapping[str, Any] = {}
    """What `generate` of the library is told for each."""

    directions: Sequence[Direction] = (Direction.EN_JA, Direction.JA_EN)
    batch_size = 8
    max_new_tokens: int | None = MAX_NEW_TOKENS  # or what the library has as its own limit
    packages: Sequence[str] = ("torch", "transformers")

    def __init__(self, checkpoint: str, device: str, precision: str) -> None:
        import torch

        self._device = choose_device(device)
        if precision == "int8":
            raise ModelError(f"{checkpoint} has no int8 here: it is for Qwen3-ASR on a CPU.")
        precision = choose_precision(precision, self._device)
        self._dtype: torch.dtype = getattr(torch, precision)
        self.description = f"{checkpoint} on {self._device} in {precision}"
        try:
            self._load(*split_revision(checkpoint))
        except Exception as error:  # whatever a missing checkpoint sets off in the libraries below
            raise ModelError(
                f"The checkpoint {checkpoint} cannot be loaded ({first_words(error)}): name a "
                "folder with --model, or check the network."
            ) from error

    def generate(self, request: Request) -> list[Hypothesis]:
        """Translate the segments of a request; its other options do not apply.

        Raises ModelError for a direction that the system does not have.
        """
        import torch

        direction = request.direction
        if direction not in self.directions:
            raise ModelError(f"{self.description} does not translate {direction.value}.")
        torch.manual_seed(SEED)  # a batch says the same in a run that was stopped
        with torch.inference_mode():
            replies = self._reply(list(request.batch), direction)
        return [
            Hypothesis(
                text.strip(),
                direction,
                tokens,
                flags=flags_for(text.strip(), direction, truncated=tokens == self.max_new_tokens),
            )
            for text, tokens in replies
        ]

    @property
    def decoding(self) -> Mapping[str, Any]:
        """How it decodes: the options of the library's `generate`."""
        return self.best if self.recommended else self.greedy

    def _load(self, checkpoint: str, revision: str | None) -> None:
        """Load model and processor; any exception means that the checkpoint cannot be had.

        `revision` is that of a checkpoint on the Hub, None where none was named.
        """
        import transformers

        pinned = {"revision": revision or "main"}
        self.processor = transformers.AutoProcessor.from_pretrained(checkpoint, **pinned)
        architecture = getattr(transformers, self.architecture)
        model = architecture.from_pretrained(checkpoint, dtype=self._dtype, **pinned)
        self.model = model.to(self._device)

    @abstractmethod
    def _reply(
        self, batch: Sequence[np.ndarray], direction: Direction
    ) -> Sequence[tuple[str, int]]:
        """Text and number of generated tokens for each segment."""


class Whisper(Rival):
    """Whisper's `translate` task, which names the language spoken and writes English.

    Recommended is the fallback to higher temperatures, with the thresholds of the model card of
    whisper-large-v3.
    """

    architecture = "WhisperForConditionalGeneration"
    directions: Sequence[Direction] = (Direction.JA_EN,)
    best: Mapping[str, Any] = {
        "num_beams": 1,
        "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        "compression_ratio_threshold": 1.35,
        "logprob_threshold": -1.0,
        "condition_on_prev_tokens": False,
    }

    def _named(self, direction: Direction) -> Language:
        """The language in the decoder's prompt."""
        assert direction.source is not None
        return direction.source

    def _reply(
        self, batch: Sequence[np.ndarray], direction: Direction
    ) -> Sequence[tuple[str, int]]:
        inputs = self.processor(
            list(batch), sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True
        )
        output = self.model.generate(
            inputs.input_features.to(self._device, self._dtype),
            attention_mask=inputs.attention_mask.to(self._device),
            task="translate",
            language=self._named(direction).value,
            max_new_tokens=self.max_new_tokens,
            **self.decoding,
        )
        return _decoded(self.processor.tokenizer, output)


class WhisperBothWays(Whisper):
    """Whisper fine-tuned so that `translate` also writes Japanese for spoken English."""

    directions = Rival.directions


class KotobaWhisper(WhisperBothWays):
    """Kotoba-Whisper-bilingual, whose `translate` names the language to write.

    It has not been run with real weights.
    """

    def _named(self, direction: Direction) -> Language:
        assert direction.target is not None
        return direction.target


class Seamless(Rival):
    """SeamlessM4T v2, speech to text.

    One clip at a time: in a batch the model reads into its neighbours' padding. Recommended are
    five beams, as in its paper.
    """

    architecture = "SeamlessM4Tv2ForSpeechToText"
    batch_size = 1
    best: Mapping[str, Any] = {"do_sample": False, "num_beams": 5}

    def _reply(
        self, batch: Sequence[np.ndarray], direction: Direction
    ) -> Sequence[tuple[str, int]]:
        inputs = self.processor(
            audio=list(batch), sampling_rate=SAMPLE_RATE, return_tensors="pt", padding=True
        )
        output = self.model.generate(
            input_features=inputs["input_features"].to(self._device, self._dtype),
            attention_mask=inputs["attention_mask"].to(self._device),
            tgt_lang="jpn" if direction is Direction.EN_JA else "eng",
            max_new_tokens=self.max_new_tokens,
            **self.decoding,
        )
        return _decoded(self.processor.tokenizer, output)


class GraniteSpeech(Rival):
    """IBM's Granite Speech, which is asked in words: it transcribes, translates and chats.

    One clip at a time: its encoder sees what a batch is padded with. It has not been run with real
    weights.
    """

    architecture = "GraniteSpeechForConditionalGeneration"
    batch_size = 1
    best = Rival.greedy  # as on its model card
    packages = ("torch", "transformers", "torchaudio")

    def _reply(
        self, batch: Sequence[np.ndarray], direction: Direction
    ) -> Sequence[tuple[str, int]]:
        return [self._one(sound, direction) for sound in batch]

    def _one(self, sound: np.ndarray, direction: Direction) -> tuple[str, int]:
        import torch

        assert direction.target is not None
        question = f"{self.processor.audio_token}translate the speech to {direction.target.tag}."
        prompt = self.processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        inputs = self.processor(prompt, torch.from_numpy(sound)[None], return_tensors="pt")
        inputs = inputs.to(self._device)
        inputs["input_features"] = inputs["input_features"].to(self._dtype)
        output = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, **self.decoding)
        ((text, tokens),) = _decoded(
            self.processor.tokenizer, output[:, inputs["input_ids"].shape[1] :]
        )
        return text, tokens


def _decoded(tokenizer: Any, output: Any) -> Sequence[tuple[str, int]]:
    special = set(tokenizer.all_special_ids)
    return [
        (tokenizer.decode(row, skip_special_tokens=True), sum(x not in special for x in row))
        for row in output.tolist()
    ]


class FasterWhisper(Rival):
    """Whisper as a CTranslate2 folder, by faster-whisper (an optional package).

    Recommended are its five beams. It would go on to higher temperatures, but CTranslate2's draws
    cannot be repeated, so a run that was stopped would end in another file.
    """

    greedy: Mapping[str, Any] = {"beam_size": 1, "temperature": 0}
    best: Mapping[str, Any] = {"beam_size": 5, "temperature": 0}
    directions = (Direction.JA_EN,)
    packages = ("faster-whisper", "ctranslate2")
    max_new_tokens = None

    def _load(self, checkpoint: str, revision: str | None) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise ModelError("faster-whisper is not installed: pip install it first.") from error
        kind, _, index = self._device.partition(":")
        self.model = WhisperModel(
            checkpoint,
            device=kind,
            device_index=int(index or 0),
            compute_type=str(self._dtype).removeprefix("torch."),
            **({"revision": revision} if revision else {}),
        )

    def _reply(
        self, batch: Sequence[np.ndarray], direction: Direction
    ) -> Sequence[tuple[str, int]]:
        replies = []
        for sound in batch:
            segments, _ = self.model.transcribe(
                sound, task="translate", language="ja", **self.decoding
            )
            parts = list(segments)
            tokens = sum(len(part.tokens) for part in parts)
            replies.append((" ".join(part.text.strip() for part in parts), tokens))
        return replies
