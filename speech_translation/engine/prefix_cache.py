"""The encoder's output and the key-value cache of a beginning, kept until more of it is there.

While a recording still runs, its complete windows are encoded and prefilled; after its end only the
rest remains. The same holds when a recording is asked about again, in another direction or with a
repetition penalty. A part is used again only where its input is equal bit by bit, so nothing has to
be invalidated.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import torch
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutput

from speech_translation.engine.qwen_asr_private import audio_tokens

_WINDOWS = 16  # kept, of 8 s and 1 MB each


class EncoderCache(torch.nn.Module):
    """The audio encoder of a `Qwen3ASRForConditionalGeneration`, with a cache of its windows.

    The encoder has to attend by windows (`attention.set_encoder_window`), which makes the output
    of a window independent of the others.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower
        self.config = tower.config
        self.frames: int = tower.n_window_infer
        """Mel frames of a window."""
        self.tokens = int(audio_tokens(torch.tensor(self.frames)))
        """Tokens of a window."""
        self._chunk: int = 2 * tower.n_window  # frames; the convolutions pad what is shorter
        self._known = OrderedDict[bytes, torch.Tensor]()

    def forward(self, input_features: torch.Tensor, feature_lens: torch.Tensor) -> BaseModelOutput:
        """Encode a clip, (mel bins, frames), to (tokens, size); `feature_lens` is its frames."""
        frames = input_features.shape[1]
        begins = range(0, frames - self.frames + 1, self.frames)
        keys = [_digest(input_features[:, begin : begin + self.frames]) for begin in begins]
        known = list[torch.Tensor]()
        for key in keys:
            if key not in self._known:
                break
            self._known.move_to_end(key)
            known.append(self._known[key])
        if known and frames - len(known) * self.frames < self._chunk:
            known.pop()
        begin = len(known) * self.frames
        rest = self.tower(input_features[:, begin:], feature_lens - begin).last_hidden_state
        for i, key in enumerate(keys[len(known) :]):
            self._known[key] = rest[i * self.tokens : (i + 1) * self.tokens].clone()
        while len(self._known) > _WINDOWS:
            self._known.popitem(last=False)
        return BaseModelOutput(last_hidden_state=torch.cat([*known, rest]))


class PromptCache:
    """The key-value cache of the last clip's prompt; the next prompt reuses the common beginning.

    It is a hook before the forward pass of the text model, `thinker.model`.
    """

    def __init__(self, text_model: torch.nn.Module) -> None:
        self._inputs = torch.empty(1, 0, 0)
        self._cache: Cache | None = None
        text_model.register_forward_pre_hook(self._before, with_kwargs=True)

    def _before(
        self, _: torch.nn.Module, args: Any, options: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        inputs, cache = options["inputs_embeds"], options["past_key_values"]
        if len(inputs) > 1 or cache is None or cache.get_seq_length() > 0:
            return args, options
        common = self._common(inputs)
        if common and self._cache is not None:
            for new, old in zip(cache.layers, self._cache.layers, strict=True):
                new.update(old.keys[:, :, :common], old.values[:, :, :common])
            options = options | {
                "inputs_embeds": inputs[:, common:],
                "position_ids": options["position_ids"][..., common:],
                "cache_position": options["cache_position"][common:],
            }
        self._inputs, self._cache = inputs, cache
        return args, options

    def _common(self, inputs: torch.Tensor) -> int:
        """How many positions are in the cache; the last one is left out, its output is needed."""
        if self._cache is None:
            return 0
        done = self._cache.layers[-1].get_seq_length()  # less than the prompt where a pass failed
        most = min(done, self._inputs.shape[1], inputs.shape[1] - 1)
        same = (self._inputs[0, :most] == inputs[0, :most]).all(-1)
        return int(same.long().cumprod(0).sum())


def _digest(features: torch.Tensor) -> bytes:
    numbers = features.contiguous().view(torch.uint8).cpu().numpy().tobytes()
    return hashlib.blake2b(numbers, digest_size=16).digest()
