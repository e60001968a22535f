"""Matrix products of a few rows with narrow weights, each weight read from memory once.

Decoding on a CPU waits for the weights. torch has no operator that reads bfloat16 and multiplies in
float32, and its int8 ones round the activations to int8 or reach a tenth of the memory's speed
(docs/speed.md has the figures); numba comes with librosa.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import get_num_threads, njit, prange, set_num_threads, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

_PREFETCH_BYTES = 16_384  # the processor's own prefetching is too slow for int8
_CACHE_LINE = 64  # bytes, as many as a vector has
LARGEST = 127 * 256
"""The largest activation in 16 bits, of which the upper half has 7 bits and a sign."""

_LOWEST = np.finfo(np.float32).min
MULTIPLIES_INTEGERS = bool(get_host_cpu_features().get("avx512vnni", False))
"""Whether the processor does: four products of int8 and their sum in one instruction."""

_one_call = threading.Lock()  # numba's pool of threads aborts the process when two calls overlap


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
    with _using(threads):
        _multiply(x, weight, scale, out)


def quantise(weight: np.ndarray, narrow: np.ndarray, scale: np.ndarray, threads: int) -> None:
    """Round `weight` to int8 into `narrow`; a row's `scale` is its largest value divided by 127.

    `weight` (outputs, inputs) is float32 or uint16, the bits of bfloat16. The loop allocates
    nothing: torch's temporaries left holes in the heap, a third of the weights' size.
    """
    with _using(threads):
        _quantise(weight, narrow, scale)


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
    `weights` and `scales` (see `multiply`) belong to the q, k, v, o, gate, up and down projections;
    `norms` to the layer's input, q, k, and the MLP's input.
    """
    with _using(threads):
        _decode_step(
            hidden, cos_sin, mask, kv_cache, position, weights, scales, norms, epsilon, scaling
        )


@contextmanager
def _using(threads: int) -> Iterator[None]:
    with _one_call:
        if threads != get_num_threads():
            set_num_threads(threads)
        yield


def _compiled(function: Any, *, parallel: bool = True) -> Any:
    """Compile when first called; the result is kept on the disk if that can be written."""
    options = {"parallel": parallel, "fastmath": True, "nogil": True}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that numba can keep it in
        return njit(**options)(function)


@no_type_check  # numba compares the bare signatures of these two
def _wide(value):
    """One weight as float32; compiled for each type below."""


@overload(_wide, inline="always")
@no_type_check
def _wide_of(value):
    if value == types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: np.float32(value)


@_compiled
def _quantise(weight: Any, narrow: Any, scale: Any) -> None:
    for i in prange(weight.shape[0]):
        largest = np.float32(1e-30)
        for k in range(weight.shape[1]):
            largest = max(largest, abs(_wide(weight[i, k])))
        scale[i] = largest / np.float32(127)
        for k in range(weight.shape[1]):
            narrow[i, k] = np.int8(np.rint(_wide(weight[i, k]) / scale[i]))


@intrinsic
@no_type_check
def _prefetch(typing_context, array, index):
    """Prefetch the cache line of `array` at a flat index; past its end nothing happens."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        # To read (0), into the second-level cache (2), data (1).
        builder.call(function, [address, *(ir.Constant(word, value) for value in (0, 2, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@_compiled
def _multiply_row(x: Any, weight: Any, scale: Any, out: Any) -> None:
    # One output after the other: two at a time read memory at half the speed.
    inputs = x.shape[0]
    for i in prange(weight.shape[0]):
        if weight.itemsize == 1:
            for k in range(0, inputs, _CACHE_LINE):
                _prefetch(weight, i * inputs + k + _PREFETCH_BYTES)
        total = np.float32(0.0)
        for k in range(inputs):
            total += _wide(weight[i, k]) * x[k]
        if scale.size > 0:
            total *= scale[i]
        out[i] = total


@_compiled
def _multiply_rows(x: Any, weight: Any, scale: Any, out: Any) -> None:
    # Two outputs by four rows at a time: each value loaded serves several multiplications.
    rows, inputs = x.shape
    outputs = weight.shape[0]
    zero = np.float32(0.0)
    for pair in prange((outputs + 1) // 2):
        i = 2 * pair
        j = min(i + 1, outputs - 1)  # an odd last row is computed twice
        u, v = weight[i], weight[j]
        whole = rows // 4 * 4
        for row in range(0, whole, 4):
            a, b, c, d = x[row], x[row + 1], x[row + 2], x[row + 3]
            ua = ub = uc = ud = va = vb = vc = vd = zero
            for k in range(inputs):
                first, second = _wide(u[k]), _wide(v[k])
                ak, bk, ck, dk = a[k], b[k], c[k], d[k]
                ua += first * ak
                ub += first * bk
                uc += first * ck
                ud += first * dk
                va += second * ak
                vb += second * bk
                vc += second * ck
                vd += second * dk
            out[row, i], out[row + 1, i], out[row + 2, i], out[row + 3, i] = ua, ub, uc, ud
            out[row, j], out[row + 1, j], out[row + 2, j], out[row + 3, j] = va, vb, vc, vd
        for row in range(whole, rows):
            a = x[row]
            ua = va = zero
            for k in range(inputs):
                ua += _wide(u[k]) * a[k]
            for k in range(inputs):
                va += _wide(v[k]) * a[k]
            out[row, i], out[row, j] = ua, va
        if scale.size > 0:
            for row in range(rows):
                out[row, i] *= scale[i]
                if j != i:
                    out[row, j] *= scale[j]


def _integer_products(count: int) -> Any:
    """A function that multiplies a row of int8 weights with `count` rows of int8 activations.

    The instruction takes one unsigned factor. The weights are shifted by 128, which adds 128 times
    the sum of the activations to each product.
    """

    @intrinsic
    @no_type_check
    def products(typing_context, weight, row, activations, first):
        def generate(context, builder, signature, arguments):
            row, first = arguments[1], arguments[3]
            weights, halves = (
                context.make_array(signature.args[i])(context, builder, arguments[i])
                for i in (0, 2)
            )
            inputs = builder.extract_value(weights.shape, 1)
            word, lanes = inputs.type, _CACHE_LINE // 4
            number, byte = ir.IntType(32), ir.IntType(8)
            bytes_of, numbers = ir.VectorType(byte, _CACHE_LINE), ir.VectorType(number, lanes)
            add_products = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(numbers, [numbers, bytes_of, bytes_of]),
                f"llvm.x86.avx512.vpdpbusd.{8 * _CACHE_LINE}",
            )
            add_up = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(number, [numbers]),
                f"llvm.vector.reduce.add.v{lanes}i32",
            )

            def row_of(array, index):
                return builder.gep(array.data, [builder.mul(index, inputs)])

            def vector(start, index):
                place = builder.bitcast(builder.gep(start, [index]), bytes_of.as_pointer())
                return builder.load(place, align=1)

            these = row_of(weights, row)
            those = [row_of(halves, builder.add(first, word(i))) for i in range(count)]
            totals = [cgutils.alloca_once_value(builder, numbers([0] * lanes)) for _ in those]
            above = bytes_of([-128] * _CACHE_LINE)
            step = cgutils.for_range_slice(builder, word(0), inputs, word(_CACHE_LINE), word)
            with step as (index, _):
                unsigned = builder.xor(vector(these, index), above)
                for total, start in zip(totals, those, strict=True):
                    factors = [builder.load(total), unsigned, vector(start, index)]
                    builder.store(builder.call(add_products, factors), total)
            sums = [builder.call(add_up, [builder.load(total)]) for total in totals]
            return context.make_tuple(builder, signature.return_type, sums)

        answer = types.UniTuple(types.int32, count)
        return answer(weight, row, activations, first), generate

    return products


_of_one_row, _of_four_rows = _integer_products(2), _integer_products(8)


@partial(_compiled, parallel=False)
def _halve(x: Any, halves: Any, steps: Any, excess: Any) -> None:
    """Round each row of `x` to 16-bit integers times a step; their bytes are two rows of `halves`.

    `excess` is 128 times the sum of a row (see `_integer_products`).
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


@_compiled
def _multiply_halves(x: Any, weight: Any, scale: Any, out: Any) -> None:
    rows, inputs = x.shape
    halves = np.empty((2 * rows, inputs), np.int8)
    steps, excess = np.empty(rows, np.float32), np.empty(rows, np.int64)
    _halve(x, halves, steps, excess)
    for i in prange(weight.shape[0]):
        for k in range(0, inputs, _CACHE_LINE):
            _prefetch(weight, i * inputs + k + _PREFETCH_BYTES)
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
def _product(x, weight, scale, out):
    """What `multiply` does, for compiled code; another one for each kind of weights."""


@overload(_product)
@no_type_check
def _product_of(x, weight, scale, out):
    def in_float32(x, weight, scale, out):
        if x.shape[0] == 1:
            _multiply_row(x[0], weight, scale, out[0])
        else:
            _multiply_rows(x, weight, scale, out)

    def in_halves(x, weight, scale, out):
        if weight.shape[1] % _CACHE_LINE == 0:
            _multiply_halves(x, weight, scale, out)
        else:
            _multiply_rows(x, weight, scale, out)

    return in_halves if weight.dtype == types.int8 and MULTIPLIES_INTEGERS else in_float32


@partial(_compiled, parallel=False)
def _multiply(x: Any, weight: Any, scale: Any, out: Any) -> None:
    _product(x, weight, scale, out)


@partial(_compiled, parallel=False)
def _normalise(x: Any, weight: Any, epsilon: Any, out: Any) -> None:
    """Root mean square normalisation of each row."""
    for row in range(x.shape[0]):
        total = np.float32(0)
        for k in range(x.shape[1]):
            total += x[row, k] * x[row, k]
        factor = np.float32(1) / np.sqrt(total / np.float32(x.shape[1]) + epsilon)
        for k in range(x.shape[1]):
            out[row, k] = weight[k] * (x[row, k] * factor)


@partial(_compiled, parallel=False)
def _rotate(x: Any, cosines: Any, sines: Any) -> None:
    """Rotary position embedding of heads (heads, size), in place."""
    half = x.shape[1] // 2
    for head in range(x.shape[0]):
        for k in range(half):
            a, b = x[head, k], x[head, k + half]
            x[head, k] = a * cosines[k] - b * sines[k]
            x[head, k + half] = b * cosines[k + half] + a * sines[k + half]


@_compiled
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


@_compiled
def _silu_times(gate: Any, up: Any) -> None:
    """SiLU(gate) * up, in place of `gate`."""
    for row in range(gate.shape[0]):
        for k in prange(gate.shape[1]):
            x = gate[row, k]
            gate[row, k] = x / (np.float32(1) + np.exp(-x)) * up[row, k]


@partial(_compiled, parallel=False)
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
    _product(x, weights[0], scales[0], queries)
    _product(x, weights[1], scales[1], new_keys)
    _product(x, weights[2], scales[2], new_values)
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
    _product(attended, weights[3], scales[3], x)
    hidden += x
    _normalise(hidden, norms[3], epsilon, x)
    gate = np.empty((rows, weights[4].shape[0]), np.float32)
    up = np.empty_like(gate)
    _product(x, weights[4], scales[4], gate)
    _product(x, weights[5], scales[5], up)
    _silu_times(gate, up)
    _product(gate, weights[6], scales[6], x)
    hidden += x
