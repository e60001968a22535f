"""The engine of this machine: `qwen_asr.Qwen3ASRModel` on its GPU or CPU."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from speech_translation.engine.base import Request
from speech_translation.engine.devices import empty_cache, out_of_memory
from speech_translation.engine.features import clip_features
from speech_translation.engine.prompt import (
    ASR_TEXT,
    END_OF_TEXT,
    LOW_CONFIDENCE_LOGPROB,
    TURN_END,
    flags_for,
    parse_reply,
    strip_control_tokens,
    tag_of,
    token_budget,
    without_tag,
)
from speech_translation.engine.qwen_asr_private import audio_tokens, prompt_text
from speech_translation.errors import EngineError
from speech_translation.types import SAMPLE_RATE, Direction, Hypothesis

if TYPE_CHECKING:
    import torch

    from speech_translation.engine.prefix_cache import PromptCache

_HOP, _FRAME = 160, 400  # samples from one mel frame to the next, and of one

_engines = weakref.WeakSet["LocalEngine"]()  # of this process, to renew their locks in a fork


class LocalEngine:
    """`qwen_asr.Qwen3ASRModel` on this machine's GPU or CPU.

    Greedy decoding. One generation at a time: the model keeps state between steps, and two would
    only halve each other's speed.
    """

    def __init__(
        self,
        asr: Any,
        name: str,
        precision: str,
        batch_size: int,
        prompts: PromptCache | None = None,
    ) -> None:
        self.asr = asr
        """Upstream's `Qwen3ASRModel`, which measurements look into."""
        self.fixed_tokens: int | None = None
        """How many tokens every reply has, for measurements; random weights do not end one."""
        self._prompts = prompts
        self._precision = precision
        self._lock = threading.Lock()
        _engines.add(self)
        self._name = name
        self.batch_size = batch_size
        config = asr.model.generation_config
        tokenizer = asr.processor.tokenizer
        # generate() hard-codes Qwen's ids of both ends. A checkpoint's own tokenizer has the right
        # ones; its generation_config may name others, one of the two, or none.
        stated = config.eos_token_id
        ends = tokenizer.convert_tokens_to_ids([TURN_END, END_OF_TEXT])
        ends += [stated] if isinstance(stated, int) else stated or []
        self._ends: list[int] = sorted({end for end in ends if end is not None})
        pad = config.pad_token_id
        self._pad: int = tokenizer.pad_token_id if pad is None else pad
        self._tag_end: int = tokenizer.convert_tokens_to_ids(ASR_TEXT)
        self._names = {
            direction: tokenizer.encode(
                f"language {direction.target.tag}", add_special_tokens=False
            )
            for direction in (Direction.EN_JA, Direction.JA_EN)
            if direction.target
        }
        self._low_confidence: float = getattr(
            config, "low_confidence_logprob", LOW_CONFIDENCE_LOGPROB
        )

    @property
    def description(self) -> str:
        """Checkpoint, device and precision, for people."""
        return f"{self._name} on {self.asr.device} in {self._precision}"

    def generate(self, request: Request) -> list[Hypothesis]:
        """See `Engine.generate`. A batch that does not fit into memory is halved until it does.

        Raises EngineError when one segment does not fit, and when the scores are no numbers.
        """
        batch = request.batch
        try:
            with self._lock:
                return self._named(request) if request.only_direction else self._generate(request)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise EngineError(f"The model failed on {self.asr.device}: {error}") from error
            if len(batch) == 1:
                seconds = len(batch[0]) / SAMPLE_RATE
                raise EngineError(
                    f"Not enough memory on {self.asr.device} for {seconds:.0f} s of audio: "
                    "use shorter segments, another device or a smaller model."
                ) from error
        empty_cache(self.asr.device)
        half = len(batch) // 2
        on_text, on_second = request.on_text, None
        if on_text is not None:

            def on_second(index: int, text: str) -> None:
                on_text(index + half, text)

        first = replace(request, batch=batch[:half])
        second = replace(request, batch=batch[half:], on_text=on_second)
        return self.generate(first) + self.generate(second)

    def prefill(self, request: Request) -> None:
        """See `Prefills.prefill`. The encoder's complete windows are encoded and read."""
        import torch

        from speech_translation.engine.prefix_cache import EncoderCache

        encoder = self.asr.model.thinker.audio_tower
        if not isinstance(encoder, EncoderCache):
            return
        complete = (len(request.batch[0]) - _FRAME) // (_HOP * encoder.frames)
        if complete < 1 or not self._lock.acquire(blocking=False):
            return
        try:
            # What fails here fails in `generate` too, which says so.
            with contextlib.suppress(RuntimeError, MemoryError), torch.inference_mode():
                self._prefill(request, complete)
        finally:
            self._lock.release()

    def _prefill(self, request: Request, windows: int) -> None:
        """Encode the first `windows` of the audio and read the prompt up to their end."""
        import torch

        from speech_translation.engine.generation import key_value_cache

        thinker = self.asr.model.thinker
        encoder = thinker.audio_tower
        inputs = self._inputs(request)
        inputs["feature_attention_mask"][:, windows * encoder.frames :] = 0
        sound = inputs["input_ids"][0] == thinker.config.audio_token_id
        known = int(sound.long().argmax()) + windows * encoder.tokens
        for name in ("input_ids", "attention_mask"):
            inputs[name] = inputs[name][:, :known]
        thinker(
            **inputs,
            past_key_values=key_value_cache(thinker.config.text_config.num_hidden_layers, known),
            cache_position=torch.arange(known, device=self.asr.device),
            use_cache=True,
        )

    def _named(self, request: Request) -> list[Hypothesis]:
        """What the reply would name as its language, without the reply."""
        import torch

        names = self._names
        pairs = zip(*names.values(), strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        begun = self.asr.processor.tokenizer.decode(names[Direction.EN_JA][:shared])
        inputs = self._inputs(replace(request, direction=Direction.AUTO), begun)
        with torch.inference_mode():
            logits = self.asr.model.thinker(**inputs, use_cache=False).logits[:, -1]
        logprobs = logits.float().log_softmax(-1)
        likely = {direction: ids[shared] for direction, ids in names.items()}
        by_token = {token: direction for direction, token in likely.items()}
        best = logprobs.max(-1)
        self._require_numbers(best.values.tolist())
        return [
            Hypothesis("", by_token.get(token, Direction.AUTO), 0, logprob)
            for token, logprob in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _generate(self, request: Request) -> list[Hypothesis]:
        import torch

        from speech_translation.engine.generation import (
            Confidence,
            Limits,
            TextStreamer,
            key_value_cache,
        )

        budgets = [self.fixed_tokens or token_budget(len(samples)) for samples in request.batch]
        confidence = Confidence()
        streamer, on_text = None, request.on_text
        if on_text is not None:
            shown = without_tag(on_text) if request.direction is Direction.AUTO else on_text
            streamer = TextStreamer(self.asr.processor.tokenizer, len(request.batch), shown)
        inputs = self._inputs(request)
        prompt = inputs["input_ids"].shape[1]
        layers = self.asr.model.config.thinker_config.text_config.num_hidden_layers
        if self._prompts is not None:
            self._prompts.keep_batch = request.asked_again
        with torch.inference_mode():
            output = self.asr.model.generate(
                **inputs,
                max_new_tokens=max(budgets),
                eos_token_id=self._ends,
                pad_token_id=self._pad,
                do_sample=False,
                repetition_penalty=request.repetition_penalty,
                logits_processor=[confidence],
                stopping_criteria=[Limits(prompt, budgets, request.cancelled)],
                streamer=streamer,
                past_key_values=key_value_cache(layers, prompt + max(budgets)),
                synced_gpus=False,  # transformers would import PyTorch's FSDP to find out
            )
        replies = output.sequences[:, prompt:].tolist()
        logprobs = confidence.logprobs()
        return [
            self._hypothesis(reply, row, budget, request.direction)
            for reply, row, budget in zip(replies, logprobs, budgets, strict=True)
        ]

    def _inputs(self, request: Request, begun: str = "") -> dict[str, torch.Tensor]:
        """Prompt ids (batch, tokens), padded on the left; features (batch, 128, frames).

        `begun` is the beginning of the reply, for the model to go on from.
        """
        import torch

        processor, model = self.asr.processor, self.asr.model
        batch, target = request.batch, request.direction.target
        padded, frames = clip_features(processor.feature_extractor, batch)
        prompt = prompt_text(
            self.asr, strip_control_tokens(request.context), target.tag if target else None
        )
        prompt += begun
        prompts = processor.replace_multimodal_special_tokens(
            [prompt] * len(batch), iter(audio_tokens(frames).tolist())
        )
        tokens = processor.tokenizer(
            prompts, padding=True, padding_side="left", return_tensors="pt"
        )
        return {
            "input_ids": tokens["input_ids"].to(model.device),
            "attention_mask": tokens["attention_mask"].to(model.device),
            "input_features": padded.to(model.device, model.dtype),
            # Python reads the clips' lengths off it, many times: on a GPU each would be a wait.
            "feature_attention_mask": (torch.arange(padded.shape[2]) < frames[:, None]).long(),
        }

    def _hypothesis(
        self, reply: list[int], logprobs: list[float], budget: int, direction: Direction
    ) -> Hypothesis:
        reply = reply[:budget]  # what follows is padding, and may look like an end
        end = next((i for i, token in enumerate(reply) if token in self._ends), None)
        truncated = end is None
        length = len(reply) if end is None else end + 1
        reply = reply[:length]
        decoded = self.asr.processor.tokenizer.decode(
            reply, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        if direction is Direction.AUTO:
            tag = tag_of(decoded)
            language, text = parse_reply(decoded)
            direction = Direction.to(language) if language else Direction.AUTO
            text_start = reply.index(self._tag_end) + 1 if self._tag_end in reply else 0
        else:
            tag, text, text_start = "", decoded.strip(), 0
        self._require_numbers(logprobs[:length])
        scored = logprobs[text_start:length]
        mean = sum(scored) / len(scored) if scored else 0.0
        flags = flags_for(text, direction, mean, self._low_confidence, truncated=truncated)
        return Hypothesis(text, direction, length, mean, flags, tag)

    def _require_numbers(self, logprobs: Sequence[float]) -> None:
        """Raise EngineError where a score is NaN: the reply then means nothing, "!!!" mostly."""
        if all(map(math.isfinite, logprobs)):
            return
        raise EngineError(
            f"The model computes no numbers on {self.asr.device} in {self._precision}: "
            + (
                "its weights may be damaged, so copy the checkpoint again, or use another device."
                if self._precision == "float32"
                else "use --precision float32."
            )
        )


def _renew_locks() -> None:
    """Begin anew in a forked process: a lock may be held by a thread that it lacks."""
    for engine in _engines:
        engine._lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_locks)
