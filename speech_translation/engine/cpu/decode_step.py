"""A decoder layer's step of one token, compiled whole: to call its parts takes torch as long."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from numba import prange

from speech_translation.engine.cpu.compiled import compiled, using
from speech_translation.engine.cpu.prefetching import PREFETCHING
from speech_translation.engine.cpu.products import product

_LARGE = 16_000_000  # bytes of a layer's weights, more than a cache keeps until the next token

_LOWEST = np.finfo(np.float32).min


def decode_step(
    hidden: np.ndarray,
    cos_sin: tuple[np.ndarray, np.ndarray],
    mask: np.ndarray,
    kv_cache: tuple[np.ndarray, np.ndarray],
    position: int,
    weights: tuple[np.ndarray, ...],
    scales: tuple[np.ndarray, ...],
    norms: tuple[np.ndarray, ...],
    epsilon: np.float32,
    scaling: np.float32,
    threads: int,
) -> None:
    """Apply a Qwen3 decoder layer to `hidden`, float32 (rows, size), one token a row, in place.

    `cos_sin` (rows or 1, head size) are those of the rotary embedding. `kv_cache` are keys and
    values (rows, heads, room, head size); the token's own are written at `position`. `mask` is
    bool (rows, position + 1), true where a row attends, or empty where every row attends to all.
    `weights` and `scales` (see `products.multiply`) belong to the q, k, v, o, gate, up and down
    projections; `norms` to the layer's input, q, k, and the MLP's input.
    """
    prefetching = PREFETCHING[weights[0].itemsize]
    large = sum(weight.nbytes for weight in weights) > _LARGE
    with using(threads), prefetching.tried() if large else nullcontext(0) as distance:
        _decode_step(
            hidden,
            cos_sin,
            mask,
            kv_cache,
            position,
            weights,
            scales,
            norms,
            epsilon,
            scaling,
            distance,
        )


@partial(compiled, parallel=False)
def _normalise(x: Any, weight: Any, epsilon: Any, out: Any) -> None:
    """Root mean square normalisation of each row."""
    for row in range(x.shape[0]):
        total = np.float32(0)
        for k in range(x.shape[1]):
            total += x[row, k] * x[row, k]
        factor = np.float32(1) / np.sqrt(total / np.float32(x.shape[1]) + epsilon)
        for k in range(x.shape[1]):
            out[row, k] = weight[k] * (x[row, k] * factor)


@partial(compiled, parallel=False)
def _rotate(x: Any, cosines: Any, sines: Any) -> None:
    """Rotary position embedding of heads (heads, size), in place."""
    half = x.shape[1] // 2
    for head in range(x.shape[0]):
        for k in range(half):
            a, b = x[head, k], x[head, k + half]
            x[head, k] = a * cosines[k] - b * sines[k]
            x[head, k + half] = b * cosines[k + half] + a * sines[k + half]


@compiled
def _attend(q: Any, kv_cache: Any, tokens: Any, mask: Any, scaling: Any, out: Any) -> None:
    """Attention of queries (rows, heads, size) to the first `tokens` of a key-value cache.

    The cache is (rows, key-value heads, room, size) each; `out` is (rows, heads * size).
    """
    keys, values = kv_cache
    rows, heads, size = q.shape
    group = heads // keys.shape[1]  # queries that share a key
    for index in prange(rows * heads):
        row, head = index // heads, index % heads
        query = q[row, head]
        key, value = keys[row, head // group], values[row, head // group]
        scores = np.empty(tokens, np.float32)
        largest = _LOWEST
        for token in range(tokens):
            score = _LOWEST
            if mask.size == 0 or mask[row, token]:
                score = np.float32(0)
                for k in range(size):
                    score += query[k] * key[token, k]
                score *= scaling
            scores[token] = score
            largest = max(largest, score)
        total = np.float32(0)
        weighted = np.zeros(size, np.float32)
        for token in range(tokens):
            if mask.size == 0 or mask[row, token]:
                probability = np.exp(scores[token] - largest)
                total += probability
                for k in range(size):
                    weighted[k] += probability * value[token, k]
        for k in range(size):
            out[row, head * size + k] = weighted[k] / total


@compiled
def _silu_times(gate: Any, up: Any) -> None:
    """SiLU(gate) * up, in place of `gate`."""
    for row in range(gate.shape[0]):
        for k in prange(gate.shape[1]):
            x = gate[row, k]
            gate[row, k] = x / (np.float32(1) + np.exp(-x)) * up[row, k]


@partial(compiled, parallel=False)
def _decode_step(
    hidden: Any,
    cos_sin: Any,
    mask: Any,
    kv_cache: Any,
    position: Any,
    weights: Any,
    scales: Any,
    norms: Any,
    epsilon: Any,
    scaling: Any,
    distance: Any,
) -> None:
    cosines, sines = cos_sin
    keys, values = kv_cache
    rows, size = hidden.shape
    heads, head_size = keys.shape[1], keys.shape[3]
    x = np.empty((rows, size), np.float32)
    _normalise(hidden, norms[0], epsilon, x)
    queries = np.empty((rows, weights[0].shape[0]), np.float32)
    new_keys = np.empty((rows, weights[1].shape[0]), np.float32)
    new_values = np.empty_like(new_keys)
    product(x, weights[0], scales[0], queries, distance)
    product(x, weights[1], scales[1], new_keys, distance)
    product(x, weights[2], scales[2], new_values, distance)
    q = queries.reshape(rows, -1, head_size)
    k = new_keys.reshape(rows, heads, head_size)
    for row in range(rows):
        at = min(row, len(cosines) - 1)  # a position for each row, or one for all
        for new, norm in ((q[row], norms[1]), (k[row], norms[2])):
            _normalise(new, norm, epsilon, new)
            _rotate(new, cosines[at], sines[at])
        keys[row, :, position] = k[row]
        values[row, :, position] = new_values[row].reshape(heads, head_size)
    attended = np.empty_like(queries)
    _attend(q, kv_cache, position + 1, mask, scaling, attended)
    product(attended, weights[3], scales[3], x, distance)
    hidden += x
    _normalise(hidden, norms[3], epsilon, x)
    gate = np.empty((rows, weights[4].shape[0]), np.float32)
    up = np.empty_like(gate)
    product(x, weights[4], scales[4], gate, distance)
    product(x, weights[5], scales[5], up, distance)
    _silu_times(gate, up)
    product(gate, weights[6], scales[6], x, distance)
    hidden += x
