"""Matrix products with narrow weights, each read from memory once, the arithmetic in float32.

Decoding on a CPU waits for the weights. torch has no operator that reads bfloat16 and multiplies in
float32, and its int8 ones round the activations to int8 or reach a tenth of the memory's speed
(`python -m evaluation.kernels` compares them); numba comes with librosa.
"""

from __future__ import annotations

import threading
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import get_num_threads, njit, prange, set_num_threads, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

_AHEAD = 16_384  # bytes; int8 is used up faster than the processor fetches ahead by itself
_LINE = 64  # bytes of a cache line

_at_once = threading.Lock()  # numba's own pool of threads ends the process when two calls meet


def multiply(
    x: np.ndarray, weight: np.ndarray, scale: np.ndarray, out: np.ndarray, threads: int
) -> None:
    """Write x weight^T into `out`, float32 (rows, outputs); for a few rows.

    `x` is float32 (rows, inputs). `weight` (outputs, inputs) is uint16, the bits of bfloat16, or
    int8, of which row i counts `scale[i]`; `scale` is float32 (outputs,), or empty for none.
    """
    with _at_once:
        if threads != get_num_threads():
            set_num_threads(threads)
        if len(x) == 1:
            _multiply_row(x[0], weight, scale, out[0])
        else:
            _multiply_rows(x, weight, scale, out)


def _compiled(function: Any) -> Any:
    """Compile when first called; the result is kept on the disk if that can be written."""
    options = {"parallel": True, "fastmath": True, "nogil": True}
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


@intrinsic
@no_type_check
def _prefetch(typing_context, array, index):
    """Ask for the line of `array` at a flat index; past its end it does nothing."""

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
            for k in range(0, inputs, _LINE):
                _prefetch(weight, i * inputs + k + _AHEAD)
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
