"""Parts of a generation: last logits, key-value cache, limits, confidence, growing text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer
from transformers.generation import LogitsProcessor, StoppingCriteria
from transformers.generation.streamers import BaseStreamer


class LastPosition(torch.nn.Module):
    """The output layer at the last position only: generation needs no other.

    At all of a prompt's positions its logits take a tenth of the time and, on a GPU, much memory.
    """

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, size) to (batch, 1, vocabulary)."""
        logits: torch.Tensor = self.head(hidden[:, -1:])
        return logits


def key_value_cache(layers: int, tokens: int) -> Cache:
    """A key-value cache for `tokens` of prompt and reply.

    transformers' own cache is copied in every decode step.
    """
    return Cache(layers=[PreallocatedLayer(tokens) for _ in range(layers)])


class PreallocatedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values (batch, heads, tokens, head size) in memory that is allocated once."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        """How many there is room for."""
        self._room: tuple[torch.Tensor, ...] = ()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append to the cache; returns what it holds."""
        first = self.get_seq_length()
        batch, heads, new, size = key_states.shape
        if not self.is_initialized:
            self.lazy_initialization(key_states)
            self._room = tuple(key_states.new_empty(batch, heads, self.tokens, size) for _ in "kv")
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, first : first + new] = states
        return self._hold(first + new)

    def next_position(self) -> tuple[torch.Tensor, torch.Tensor, int]:
        """All the room there is, of keys and of values, and the position to write to next."""
        position = self.get_seq_length()
        self._hold(position + 1)
        keys, values = self._room
        return keys, values, position

    def _hold(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (room[:, :, :tokens] for room in self._room)
        return self.keys, self.values


class Limits(StoppingCriteria):  # type: ignore[misc]
    """Stops each row at its own budget, and all of them when the work is cancelled."""

    def __init__(
        self, prompt: int, budgets: Sequence[int], cancelled: Callable[[], bool] | None
    ) -> None:
        self._prompt = prompt
        self._budgets = torch.tensor(budgets)
        self._cancelled = cancelled

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Which rows of `input_ids` (batch, tokens) are done, as bool (batch,)."""
        done = self._budgets <= input_ids.shape[1] - self._prompt
        if self._cancelled is not None and self._cancelled():
            done[:] = True
        return done.to(input_ids.device)


class Confidence(LogitsProcessor):  # type: ignore[misc]
    """Notes the log-probability of the token that greedy decoding takes at each step.

    Kept as one number a row and step: the whole scores of a long batch would fill a GPU.
    """

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Take note of `scores` (batch, vocabulary) and return them unchanged."""
        self._steps.append(scores.float().log_softmax(-1).amax(-1))
        return scores

    def logprobs(self) -> list[list[float]]:
        """Natural-log probabilities, a list of steps for each row."""
        rows: list[list[float]] = torch.stack(self._steps, dim=1).tolist()
        return rows


class TextStreamer(BaseStreamer):  # type: ignore[misc]
    """Tells `on_text(row, reply so far)` after each token, for every row of a batch."""

    def __init__(self, tokenizer: Any, rows: int, on_text: Callable[[int, str], None]) -> None:
        self._tokenizer = tokenizer
        self._on_text = on_text
        self._ids: list[list[int]] = [[] for _ in range(rows)]
        self._shown = [""] * rows
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt (batch, tokens) once, then one token a row (batch,)."""
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for row, token in enumerate(value.tolist()):
            self._ids[row].append(token)
            text = self._tokenizer.decode(self._ids[row], skip_special_tokens=True)
            # A character may be spread over tokens; half of one is not shown.
            text = text.rstrip("\ufffd")
            if text != self._shown[row]:
                self._shown[row] = text
                self._on_text(row, text)

    def end(self) -> None:
        """Nothing to flush: every token was told at once."""
