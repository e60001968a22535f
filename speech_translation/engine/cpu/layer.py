"""A decode step through a decoder layer with narrow weights, compiled as one function.

In a decode step the matrix products of a layer take 2 ms. The hundred small operations between them
take another 0.6 ms, since torch and Python start each of them alone. Here they are loops in one
function. The arithmetic is that of the `Qwen3` layer in modeling_qwen3_asr.py of qwen-asr 0.0.6, in
float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from speech_translation.engine.cpu.decode_step import decode_step
from speech_translation.engine.cpu.narrow import FEW_ROWS, NarrowLinear
from speech_translation.engine.generation import PreallocatedLayer, key_value_cache

_NO_MASK = np.ones((0, 0), np.bool_)


class CompiledLayer(nn.Module):
    """A decoder layer whose decode steps, for few rows, are compiled; prefill is left to torch."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self._at: int = layer.self_attn.layer_idx
        linears = _linears(layer)
        self._weights = tuple(linear.bits for linear in linears)
        self._scales = tuple(linear.scales for linear in linears)
        attention = layer.self_attn
        norms = (
            layer.input_layernorm,
            attention.q_norm,
            attention.k_norm,
            layer.post_attention_layernorm,
        )
        self._norms = tuple(norm.weight.detach().numpy() for norm in norms)
        self._epsilon = np.float32(layer.input_layernorm.variance_epsilon)
        self._scaling = np.float32(attention.scaling)

    def forward(
        self,
        hidden: torch.Tensor,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> torch.Tensor:
        """The layer's output for `hidden`, (batch, tokens, size)."""
        rows, tokens, _ = hidden.shape
        cache: Any = past_key_values.layers[self._at] if past_key_values is not None else None
        has_room = isinstance(cache, PreallocatedLayer) and cache.is_initialized
        if tokens > 1 or rows > FEW_ROWS or not has_room:
            done: torch.Tensor = self.layer(
                hidden,
                position_embeddings=position_embeddings,
                attention_mask=attention_mask,
                past_key_values=past_key_values,
                **options,
            )
            return done
        keys, values, position = cache.next_position()
        cosines, sines = (part[:, 0].contiguous().numpy() for part in position_embeddings)
        out = hidden.clone(memory_format=torch.contiguous_format)
        decode_step(
            out[:, 0].numpy(),
            (cosines, sines),
            _NO_MASK if attention_mask is None else attention_mask[:, 0, 0].contiguous().numpy(),
            (keys.numpy(), values.numpy()),
            position,
            self._weights,
            self._scales,
            self._norms,
            self._epsilon,
            self._scaling,
            torch.get_num_threads(),
        )
        return out


def compile_layers(text_model: Any) -> None:
    """Compile the layers of a Qwen3 text model, if all their weights are narrow."""
    layers = text_model.layers
    if text_model.config.hidden_act == "silu" and all(map(_is_narrow, layers)):
        text_model.layers = nn.ModuleList(CompiledLayer(layer) for layer in layers)
        _compile(text_model.layers[0], text_model.config)


def _compile(layer: CompiledLayer, config: Any) -> None:
    """Run two decode steps of the first layer: compiling takes 10 s once on a machine."""
    cache = key_value_cache(1, 2)
    nothing = torch.zeros(1, 1, config.head_dim)
    for _ in range(2):
        layer(
            torch.zeros(1, 1, config.hidden_size),
            position_embeddings=(nothing, nothing),
            past_key_values=cache,
        )


def _linears(layer: Any) -> list[Any]:
    attention, mlp = layer.self_attn, layer.mlp
    attended = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    return [*attended, mlp.gate_proj, mlp.up_proj, mlp.down_proj]


def _is_narrow(layer: Any) -> bool:
    return all(isinstance(x, NarrowLinear) and x.bias is None for x in _linears(layer))
