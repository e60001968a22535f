"""Decode steps in memory that never moves, replayed as CUDA graphs.

In a decode step of the 1.7B model Python starts about two thousand kernels one by one: 22 ms, where
the GPU needs 1 to 2 ms to read the weights. A CUDA graph starts all of them at once, but only in
the same memory each time. Ids, positions, mask and key-value cache therefore have fixed places
here. A batch is filled up to 1, 2, 4 or 8 rows, a cache to a power of two, and each size is
captured when it is first needed. Prefill stays as it is, and so does what is larger.

This has never run on a GPU. `capture` alone needs one. Without one the step itself is called, in
the same memory; so the tests run everything else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from speech_translation.engine.generation import PreallocatedLayer

BATCHES = (1, 2, 4, 8)
"""Rows that a step may have."""

TOKENS = (256, 512, 1024, 2048, 4096)
"""Positions that its key-value cache may have: prompt and reply, 115 kB a row each at full size."""

_WARM_UPS = 2  # before a capture, for what libraries set up at their first call

Step = Callable[[], torch.Tensor]


def capture(step: Step, device: torch.device) -> Step:
    """What does the same as `step`: on a GPU the replay of its CUDA graph, elsewhere itself.

    `step` reads and writes tensors that stay where they are, waits for nothing, and may be run
    several times. What the replay returns is overwritten by the next one.
    """
    if device.type != "cuda":
        return step
    with torch.cuda.device(device):
        here: torch.cuda.Stream = torch.cuda.current_stream()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                step()
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on with their own work on the GPU meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            out = step()

    def replay() -> torch.Tensor:
        graph.replay()
        return out

    return replay


class StaticLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values (batch, heads, tokens, head size) at a fixed place; all of it is attended."""

    def __init__(self, like: torch.Tensor, batch: int, tokens: int) -> None:
        super().__init__()
        self.lazy_initialization(like)
        _, heads, _, size = like.shape
        self.keys, self.values = (like.new_zeros(batch, heads, tokens, size) for _ in "kv")

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        cache_kwargs: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a position, which is itself a tensor, and return everything."""
        assert cache_kwargs is not None
        position = cache_kwargs["cache_position"]
        self.keys.index_copy_(2, position, key_states)
        self.values.index_copy_(2, position, value_states)
        return self.keys, self.values


class StaticStep:
    """Decode steps of a `thinker` with `batch` rows and a cache of `tokens` positions."""

    def __init__(self, thinker: Any, prompt: Cache, batch: int, tokens: int) -> None:
        like = prompt.layers[0].keys
        self._thinker = thinker
        self._cache = Cache(layers=[StaticLayer(x.keys, batch, tokens) for x in prompt.layers])
        self._ids = like.new_zeros(batch, 1, dtype=torch.long)
        self._rotary = like.new_zeros(batch, 1, dtype=torch.float32)
        self._position = like.new_zeros(1, dtype=torch.long)
        self._seen = like.new_zeros(batch, tokens, dtype=torch.bool)
        self._replay: Step | None = None

    def begin(self, prompt: Cache) -> None:
        """Take over a prompt's keys and values, each (rows, heads, tokens, head size)."""
        for layer, read in zip(self._cache.layers, prompt.layers, strict=True):
            for room, states in ((layer.keys, read.keys), (layer.values, read.values)):
                room.zero_()  # a NaN of the batch before would pass through the mask
                room[: len(states), :, : states.shape[2]] = states
        rows = len(prompt.layers[0].keys)
        self._seen.zero_()
        self._seen[rows:, 0] = True  # an empty row sees something, lest it has no numbers
        self._ids.zero_()
        self._rotary.zero_()

    def run(
        self, ids: torch.Tensor, seen: torch.Tensor, position: torch.Tensor, rotary: torch.Tensor
    ) -> torch.Tensor:
        """Logits (rows, 1, vocabulary) after `ids` (rows, 1); they last until the next step.

        `seen` (rows, positions) is 0 where a row is padded, `position` (1,) the place in the cache,
        `rotary` (rows, 1) the same counted without the padding.
        """
        rows, positions = seen.shape
        self._ids[:rows] = ids
        self._seen[:rows, :positions] = seen
        self._position.copy_(position)
        self._rotary[:rows] = rotary
        if self._replay is None:
            self._replay = capture(self.compute, self._ids.device)
        return self._replay()[:rows]

    def compute(self) -> torch.Tensor:
        """The step on what is in the buffers, as the model's own forward pass would do it."""
        thinker = self._thinker
        embedded = thinker.get_input_embeddings()(self._ids)
        mask = embedded.new_zeros(self._seen.shape).masked_fill(~self._seen, float("-inf"))
        hidden = thinker.model(
            inputs_embeds=embedded,
            attention_mask=mask[:, None, None],
            position_ids=self._rotary.expand(3, -1, -1),
            past_key_values=self._cache,
            cache_position=self._position,
            use_cache=True,
        ).last_hidden_state
        logits: torch.Tensor = thinker.lm_head(hidden)
        return logits


class StaticDecoding:
    """Takes the decode steps of a `thinker` over, for one generation at a time.

    It stands in front of `thinker.forward`, where `generate` finds it. The prompt is read into the
    cache that `generate` was given, a `key_value_cache`, and copied from there.
    """

    def __init__(self, thinker: Any, batches: Sequence[int] = BATCHES) -> None:
        self._thinker = thinker
        self._batches = batches
        self._steps = dict[tuple[int, int], StaticStep]()
        self._prompt: Cache | None = None  # whose keys and values `_step` has
        self._step: StaticStep | None = None
        ordinary = thinker.forward

        @functools.wraps(ordinary)  # generate() looks at the names of its arguments
        def forward(*args: Any, **inputs: Any) -> Any:
            return self._decode(**inputs) if self._takes(inputs) else ordinary(*args, **inputs)

        thinker.forward = forward

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """Rows and positions of the steps that there are by now."""
        return set(self._steps)

    def stop(self) -> None:
        """Leave the steps to `thinker` again, and give their memory back."""
        del self._thinker.forward
        self._steps.clear()
        self._step = self._prompt = None

    def _takes(self, inputs: dict[str, Any]) -> bool:
        """Whether these are the inputs of a decode step, of a size that there is."""
        ids, cache = inputs.get("input_ids"), inputs.get("past_key_values")
        seen = inputs.get("attention_mask")
        if ids is None or ids.shape[1] != 1 or cache is None or seen is None:
            return False
        layer = cache.layers[0]
        if not isinstance(layer, PreallocatedLayer) or layer.get_seq_length() == 0:
            return False
        return len(ids) <= max(self._batches) and layer.tokens <= max(TOKENS)

    def _decode(
        self,
        *,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        past_key_values: Cache,
        cache_position: torch.Tensor,
        **_: Any,
    ) -> Any:
        from qwen_asr.core.transformers_backend.modeling_qwen3_asr import (
            Qwen3ASRThinkerCausalLMOutputWithPast,
        )

        if self._step is None or past_key_values is not self._prompt:
            self._step, self._prompt = self._begin(past_key_values, len(input_ids)), past_key_values
        deltas = self._thinker.rope_deltas
        rotary = cache_position + deltas
        logits = self._step.run(input_ids, attention_mask, cache_position, rotary)
        return Qwen3ASRThinkerCausalLMOutputWithPast(
            logits=logits, past_key_values=past_key_values, rope_deltas=deltas
        )

    def _begin(self, prompt: Cache, rows: int) -> StaticStep:
        batch = min(x for x in self._batches if x >= rows)
        tokens = min(x for x in TOKENS if x >= prompt.layers[0].tokens)
        if (batch, tokens) not in self._steps:
            self._steps[batch, tokens] = StaticStep(self._thinker, prompt, batch, tokens)
        self._steps[batch, tokens].begin(prompt)
        return self._steps[batch, tokens]
