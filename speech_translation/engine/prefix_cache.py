"""The encoder's output and the key-value cache of a beginning, kept until more of it is there.

While a recording still runs, its complete windows are encoded and prefilled; after its end only the
rest remains. The same holds when a recording is asked about again: to write down what is said in
it, in another direction, or with a repetition penalty. A part is used again only where its input is
equal bit by bit, so nothing has to be invalidated.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from itertools import pairwise
from typing import Any

import torch
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutput

from speech_translation.engine.qwen_asr_private import audio_tokens

_PARTS = 32  # kept, of 8 s and 1 MB each: two batches of four segments of 30 s


class EncoderCache(torch.nn.Module):
    """The audio encoder of a `Qwen3ASRForConditionalGeneration`, with a cache of its windows.

    What remains behind the last complete window of a clip is a part too.

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
        edges = [*range(0, input_features.shape[1], self.frames), input_features.shape[1]]
        if len(edges) > 2 and edges[-1] - edges[-2] < self._chunk:
            del edges[-2]  # so short a part is not encoded alone
        keys = [_digest(input_features[:, begin:end]) for begin, end in pairwise(edges)]
        known = list[torch.Tensor]()
        for key in keys:
            if key not in self._known:
                break
            self._known.move_to_end(key)
            known.append(self._known[key])
        if len(known) < len(keys):
            begin = edges[len(known)]
            rest = self.tower(input_features[:, begin:], feature_lens - begin).last_hidden_state
            sizes = [self.tokens] * (len(keys) - len(known) - 1)
            parts = rest.split([*sizes, len(rest) - sum(sizes)])
            for key, part in zip(keys[len(known) :], parts, strict=True):
                self._known[key] = part.clone()
            known += parts
        while len(self._known) > _PARTS:
            self._known.popitem(last=False)
        return BaseModelOutput(last_hidden_state=torch.cat(known))


class PromptCache:
    """The key-value cache of the last clip's prompt; the next prompt reuses the common beginning.

    It is a hook before the forward pass of the text model, `thinker.model`. That of a batch takes
    hundreds of megabytes: it is kept only with `keep_batch`, and until the next prompt.
    """

    def __init__(self, text_model: torch.nn.Module) -> None:
        self.keep_batch = False
        self._inputs = torch.empty(1, 0, 0)
        self._positions = torch.empty(3, 1, 0)
        self._cache: Cache | None = None
        text_model.register_forward_pre_hook(self._before, with_kwargs=True)

    def _before(
        self, _: torch.nn.Module, args: Any, options: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        inputs, cache = options["inputs_embeds"], options["past_key_values"]
        if cache is None or cache.get_seq_length() > 0:
            return args, options
        positions = options["position_ids"]
        common = self._common(inputs, positions)
        if common and self._cache is not None:
            for new, old in zip(cache.layers, self._cache.layers, strict=True):
                new.update(old.keys[:, :, :common], old.values[:, :, :common])
            options = options | {
                "inputs_embeds": inputs[:, common:],
                "position_ids": positions[..., common:],
                "cache_position": options["cache_position"][common:],
            }
        if len(inputs) == 1 or self.keep_batch:
            self._inputs, self._positions, self._cache = inputs, positions, cache
        elif len(self._inputs) > 1:
            self._inputs, self._cache = inputs.new_empty(1, 0, 0), None
        return args, options

    def _common(self, inputs: torch.Tensor, positions: torch.Tensor) -> int:
        """How many positions are in the cache; the last one is left out, its output is needed.

        Of a batch, in all of its rows: shorter prompts begin with padding, whose end the numbers of
        the `positions` tell.
        """
        if self._cache is None or len(self._inputs) != len(inputs):
            return 0
        done = self._cache.layers[-1].get_seq_length()  # less than the prompt where a pass failed
        most = min(done, self._inputs.shape[1], inputs.shape[1] - 1)
        same = (self._inputs[:, :most] == inputs[:, :most]).all(-1)
        same &= (self._positions[..., :most] == positions[..., :most]).all(0)
        return int(same.all(0).long().cumprod(0).sum())


def _digest(features: torch.Tensor) -> bytes:
    numbers = features.contiguous().view(torch.uint8).cpu().numpy().tobytes()
    return hashlib.blake2b(numbers, digest_size=16).digest()
