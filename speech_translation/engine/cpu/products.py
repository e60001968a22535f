"""Matrix products with narrow weights, each weight read from memory once.

Decoding on a CPU waits for the weights. torch has no operator that reads bfloat16 and multiplies in
float32, and its int8 ones round the activations to int8 or reach a tenth of the memory's speed
(docs/speed.md has the figures); numba comes with librosa.
"""

from __future__ import annotations

from functools import partial
from typing import Any, no_type_check

import numpy as np
from numba import prange, types
from numba.extending import overload

from speech_translation.engine.cpu.compiled import compiled, using
from speech_translation.engine.cpu.prefetching import PREFETCHING
from speech_translation.engine.cpu.processor import CACHE_LINE, LANES, MULTIPLIES_INTEGERS
from speech_translation.engine.cpu.vectors import (
    ABREAST,
    MOST_ROWS,
    block_products,
    integer_products,
    prefetch,
    wide,
)

LARGEST = 127 * 256
"""The largest activation in 16 bits, of which the upper half has 7 bits and a sign."""

_TILE = 32  # outputs whose weights stay in a core's cache while all rows are multiplied


def multiply(
    x: np.ndarray, weight: np.ndarray, scale: np.ndarray, out: np.ndarray, threads: int
) -> None:
    """Write x weight^T into `out`, float32 (rows, outputs).

    `x` is float32 (rows, inputs). `weight` (outputs, inputs) is uint16, the bits of bfloat16, or
    int8. Row i of int8 weights is multiplied by `scale[i]`; `scale` is float32 (outputs,), and
    empty for bfloat16.

    The arithmetic is in float32. For int8 on a processor that multiplies integers (AVX512-VNNI),
    each row of `x` is rounded to 16-bit integers, and their upper and lower bytes are multiplied
    exactly. That takes a third of the instructions and loses 2^-16 of the row's largest value.
    """
    with using(threads):
        _multiply(x, weight, scale, out, PREFETCHING[weight.itemsize].distance)


def quantise(weight: np.ndarray, narrow: np.ndarray, scale: np.ndarray, threads: int) -> None:
    """Round `weight` to int8 into `narrow`; a row's `scale` is its largest value divided by 127.

    `weight` (outputs, inputs) is float32 or uint16, the bits of bfloat16. The loop allocates
    nothing: torch's temporaries left holes in the heap, a third of the weights' size.
    """
    with using(threads):
        _quantise(weight, narrow, scale)


@compiled
def _quantise(weight: Any, narrow: Any, scale: Any) -> None:
    for i in prange(weight.shape[0]):
        largest = np.float32(1e-30)
        for k in range(weight.shape[1]):
            largest = max(largest, abs(wide(weight[i, k])))
        scale[i] = largest / np.float32(127)
        for k in range(weight.shape[1]):
            narrow[i, k] = np.int8(np.rint(wide(weight[i, k]) / scale[i]))


@compiled
def _multiply_row(x: Any, weight: Any, scale: Any, out: Any, distance: Any) -> None:
    # One output after the other: two at a time read memory at half the speed.
    inputs = x.shape[0]
    for i in prange(weight.shape[0]):
        if distance > 0:
            for k in range(0, inputs, CACHE_LINE // weight.itemsize):
                prefetch(weight, i * inputs + k + distance // weight.itemsize)
        total = np.float32(0.0)
        for k in range(inputs):
            total += wide(weight[i, k]) * x[k]
        if scale.size > 0:
            total *= scale[i]
        out[i] = total


@compiled
def _multiply_rows(x: Any, weight: Any, scale: Any, out: Any) -> None:
    # For shapes that `_multiply_blocks` has no whole vectors for.
    for i in prange(weight.shape[0]):
        for row in range(x.shape[0]):
            total = np.float32(0.0)
            for k in range(x.shape[1]):
                total += wide(weight[i, k]) * x[row, k]
            if scale.size > 0:
                total *= scale[i]
            out[row, i] = total


_most_rows, _four_rows = block_products(MOST_ROWS), block_products(4)
_two_rows, _one_row = block_products(2), block_products(1)


@compiled
def _interleaved(x: Any) -> Any:
    """The rows of `x` in the order of `block_products`: of two vectors first the even places."""
    out = np.empty_like(x)
    for row in prange(x.shape[0]):
        for start in range(0, x.shape[1], 2 * LANES):
            for k in range(LANES):
                out[row, start + k] = x[row, start + 2 * k]
                out[row, start + LANES + k] = x[row, start + 2 * k + 1]
    return out


@compiled
def _multiply_blocks(x: Any, weight: Any, scale: Any, out: Any) -> None:
    outputs, rows = weight.shape[0], x.shape[0]
    ordered = x if weight.itemsize == 1 else _interleaved(x)
    for tile in prange((outputs + _TILE - 1) // _TILE):
        begin, end = tile * _TILE, min((tile + 1) * _TILE, outputs)
        row = 0
        while row < rows:
            left = rows - row
            for i in range(begin, end, ABREAST):
                first = min(i, outputs - ABREAST)  # some of the last are computed twice
                if left >= MOST_ROWS:
                    _most_rows(weight, first, ordered, row, scale, out)
                elif left >= 4:
                    _four_rows(weight, first, ordered, row, scale, out)
                elif left >= 2:
                    _two_rows(weight, first, ordered, row, scale, out)
                else:
                    _one_row(weight, first, ordered, row, scale, out)
            row += MOST_ROWS if left >= MOST_ROWS else 4 if left >= 4 else min(left, 2)


_of_one_row, _of_four_rows = integer_products(2), integer_products(8)


@partial(compiled, parallel=False)
def _halve(x: Any, halves: Any, steps: Any, excess: Any) -> None:
    """Round each row of `x` to 16-bit integers times a step; their bytes are two rows of `halves`.

    `excess` is 128 times the sum of a row (see `integer_products`).
    """
    for row in range(x.shape[0]):
        largest = np.float32(1e-30)
        for k in range(x.shape[1]):
            largest = max(largest, abs(x[row, k]))
        step = largest / np.float32(LARGEST)
        inverse = np.float32(1) / step
        total = np.int32(0)
        for k in range(x.shape[1]):
            whole = np.int32(np.rint(x[row, k] * inverse))
            upper = (whole + np.int32(128)) >> np.int32(8)
            halves[2 * row, k] = upper
            halves[2 * row + 1, k] = whole - (upper << np.int32(8))
            total += whole
        steps[row] = step
        excess[row] = np.int64(total) * 128


@compiled
def _multiply_halves(x: Any, weight: Any, scale: Any, out: Any, distance: Any) -> None:
    rows, inputs = x.shape
    halves = np.empty((2 * rows, inputs), np.int8)
    steps, excess = np.empty(rows, np.float32), np.empty(rows, np.int64)
    _halve(x, halves, steps, excess)
    for i in prange(weight.shape[0]):
        if distance > 0:
            for k in range(0, inputs, CACHE_LINE):
                prefetch(weight, i * inputs + k + distance)
        whole = rows // 4 * 4
        for first in range(0, whole, 4):
            sums = _of_four_rows(weight, i, halves, 2 * first)
            for j in range(4):
                row = first + j
                total = np.int64(sums[2 * j]) * 256 + sums[2 * j + 1] - excess[row]
                out[row, i] = np.float32(total) * steps[row] * scale[i]
        for row in range(whole, rows):
            upper, lower = _of_one_row(weight, i, halves, 2 * row)
            total = np.int64(upper) * 256 + lower - excess[row]
            out[row, i] = np.float32(total) * steps[row] * scale[i]


@no_type_check
def product(x, weight, scale, out, distance):
    """What `multiply` does, for compiled code; another one for each kind of weights."""


@overload(product)
@no_type_check
def _product_of(x, weight, scale, out, distance):
    def in_float32(x, weight, scale, out, distance):
        if x.shape[0] == 1:
            _multiply_row(x[0], weight, scale, out[0], distance)
        elif x.shape[1] % (2 * LANES) == 0 and weight.shape[0] >= ABREAST:
            _multiply_blocks(x, weight, scale, out)
        else:
            _multiply_rows(x, weight, scale, out)

    def in_halves(x, weight, scale, out, distance):
        if weight.shape[1] % CACHE_LINE == 0:
            _multiply_halves(x, weight, scale, out, distance)
        else:
            _multiply_rows(x, weight, scale, out)

    return in_halves if weight.dtype == types.int8 and MULTIPLIES_INTEGERS else in_float32


@partial(compiled, parallel=False)
def _multiply(x: Any, weight: Any, scale: Any, out: Any, distance: Any) -> None:
    product(x, weight, scale, out, distance)
