"""Steps that numba has no words for, written in LLVM's: what the products compute in registers."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from speech_translation.engine.cpu.processor import CACHE_LINE, LANES

ABREAST, MOST_ROWS = (4, 6) if LANES == 16 else (2, 5)
"""Rows of weights, and of activations, whose products registers hold."""


@no_type_check  # numba compares the bare signatures of these two
def wide(value):
    """One weight as float32; compiled for each type below."""


@overload(wide, inline="always")
@no_type_check
def _wide_of(value):
    if value == types.uint16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: np.float32(value)


@intrinsic
@no_type_check
def prefetch(typing_context, array, index):
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


def block_products(rows: int) -> Any:
    """A function that multiplies `rows` rows of activations with `ABREAST` rows of weights.

    Each value that is loaded serves several products, which stay in registers. The compiler's own
    vectors are too short on some processors, and take twice the instructions to widen bfloat16:
    here a vector of 32-bit words has two neighbours each, of which the upper one needs its lower
    half cleared and the lower one a shift. So `_interleaved` puts the activations in that order.
    """

    @intrinsic
    @no_type_check
    def products(typing_context, weight, first, x, row, scale, out):
        int8 = weight.dtype == types.int8

        def generate(context, builder, signature, arguments):
            first, row = arguments[1], arguments[3]
            weights, activations, scales, results = (
                context.make_array(signature.args[i])(context, builder, arguments[i])
                for i in (0, 2, 4, 5)
            )
            inputs = builder.extract_value(weights.shape, 1)
            outputs = builder.extract_value(results.shape, 1)
            word, real = inputs.type, ir.FloatType()
            floats = ir.VectorType(real, LANES)
            words = ir.VectorType(ir.IntType(32), LANES)
            bytes_of = ir.VectorType(ir.IntType(8), LANES)
            multiply_add = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(floats, [floats, floats, floats]),
                f"llvm.fma.v{LANES}f32",
            )
            add_up = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(real, [real, floats]),
                f"llvm.vector.reduce.fadd.v{LANES}f32",
            )

            def wide(these, index):
                """The next two vectors of a row of weights, as float32."""
                if int8:
                    halves = (index, builder.add(index, word(LANES)))
                    narrow = (_load(builder, these, half, bytes_of) for half in halves)
                    return [builder.sitofp(builder.sext(x, words), floats) for x in narrow]
                pairs = _load(builder, these, index, words)
                lower = builder.shl(pairs, words([16] * LANES))
                upper = builder.and_(pairs, words([-(1 << 16)] * LANES))
                return [builder.bitcast(half, floats) for half in (lower, upper)]

            these = _rows(builder, weights, first, ABREAST)
            those = _rows(builder, activations, row, rows)
            totals = [
                [cgutils.alloca_once_value(builder, floats([0.0] * LANES)) for _ in these]
                for _ in those
            ]
            step = cgutils.for_range_slice(builder, word(0), inputs, word(2 * LANES), word)
            with step as (index, _):
                factors = [wide(start, index) for start in these]
                for half in (0, 1):
                    place = builder.add(index, word(half * LANES))
                    for start, sums in zip(those, totals, strict=True):
                        values = _load(builder, start, place, floats)
                        for factor, total in zip(factors, sums, strict=True):
                            product = [factor[half], values, builder.load(total)]
                            builder.store(builder.call(multiply_add, product), total)
            for i, sums in enumerate(totals):
                for j, total in enumerate(sums):
                    column = builder.add(first, word(j))
                    parts = [real(0.0), builder.load(total)]
                    value = builder.call(add_up, parts, fastmath=("reassoc",))
                    if int8:
                        of_row = builder.load(builder.gep(scales.data, [column]))
                        value = builder.fmul(value, of_row)
                    line = builder.mul(builder.add(row, word(i)), outputs)
                    place = builder.gep(results.data, [builder.add(line, column)])
                    builder.store(value, place)
            return context.get_dummy_value()

        return types.void(weight, first, x, row, scale, out), generate

    return products


def integer_products(count: int) -> Any:
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
            word, lanes = inputs.type, CACHE_LINE // 4
            number, byte = ir.IntType(32), ir.IntType(8)
            bytes_of, numbers = ir.VectorType(byte, CACHE_LINE), ir.VectorType(number, lanes)
            add_products = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(numbers, [numbers, bytes_of, bytes_of]),
                f"llvm.x86.avx512.vpdpbusd.{8 * CACHE_LINE}",
            )
            add_up = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(number, [numbers]),
                f"llvm.vector.reduce.add.v{lanes}i32",
            )

            (these,) = _rows(builder, weights, row, 1)
            those = _rows(builder, halves, first, count)
            totals = [cgutils.alloca_once_value(builder, numbers([0] * lanes)) for _ in those]
            above = bytes_of([-128] * CACHE_LINE)
            step = cgutils.for_range_slice(builder, word(0), inputs, word(CACHE_LINE), word)
            with step as (index, _):
                unsigned = builder.xor(_load(builder, these, index, bytes_of), above)
                for total, start in zip(totals, those, strict=True):
                    signed = _load(builder, start, index, bytes_of)
                    factors = [builder.load(total), unsigned, signed]
                    builder.store(builder.call(add_products, factors), total)
            sums = [builder.call(add_up, [builder.load(total)]) for total in totals]
            return context.make_tuple(builder, signature.return_type, sums)

        answer = types.UniTuple(types.int32, count)
        return answer(weight, row, activations, first), generate

    return products


def _rows(builder: Any, matrix: Any, first: Any, count: int) -> list[Any]:
    """Where `count` rows of a matrix begin, from the row `first` on."""
    columns = builder.extract_value(matrix.shape, 1)
    numbers = (builder.add(first, columns.type(i)) for i in range(count))
    return [builder.gep(matrix.data, [builder.mul(number, columns)]) for number in numbers]


def _load(builder: Any, start: Any, index: Any, kind: Any) -> Any:
    """A vector of that kind, at an index behind the start of a row."""
    place = builder.bitcast(builder.gep(start, [index]), kind.as_pointer())
    return builder.load(place, align=1)
