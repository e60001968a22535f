"""Products of one row with narrow weights: ours beside what torch and ONNX Runtime offer.

    python -m evaluation.performance.kernels

The shape is the decoder's largest, 6144 x 2048, in as many copies as do not fit a cache. Prints
weights a second and the error relative to float64, medians of several rounds taken in turn.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper

from speech_translation.engine.cpu.weights import NarrowLinear, quantised

OUTPUTS, INPUTS, COPIES, ROUNDS = 6144, 2048, 16, 7
FLOAT32, INT8 = 1, 4  # ONNX Runtime's accuracy levels

Product = Callable[[int], torch.Tensor]
"""The product with the copy of that number."""


def products(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> dict[str, Product]:
    """By name; `x` is float32 (1, inputs), the weights are bfloat16 (outputs, inputs)."""
    wide = [weight.float() for weight in weights]
    narrow = [quantised(weight) for weight in weights]
    scales = [scale.bfloat16().float() for _, scale in narrow]
    exact = [NarrowLinear(weight, None, None) for weight in weights]
    int8 = [NarrowLinear(weight, scale, None) for weight, scale in narrow]
    dynamic = [_dynamic(weight) for weight in wide]
    halved = x.bfloat16()
    return {
        "ours, bfloat16": lambda i: exact[i](x),
        "ours, int8": lambda i: int8[i](x),
        "torch, float32": lambda i: torch.nn.functional.linear(x, wide[i]),
        "torch, bfloat16": lambda i: torch.nn.functional.linear(halved, weights[i]).float(),
        "torch, _weight_int8pack_mm": lambda i: torch._weight_int8pack_mm(
            x, narrow[i][0], scales[i]
        ),
        "torch, quantize_dynamic (int8 activations)": lambda i: dynamic[i](x),
        "ONNX Runtime, MatMulNBits 8 bits": _nbits(x, wide, 8, FLOAT32),
        "ONNX Runtime, MatMulNBits 8 bits (int8 activations)": _nbits(x, wide, 8, INT8),
        "ONNX Runtime, MatMulNBits 4 bits": _nbits(x, wide, 4, FLOAT32),
    }


def _dynamic(weight: torch.Tensor) -> torch.nn.Module:
    layer = torch.nn.Linear(INPUTS, OUTPUTS, bias=False)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: torch.nn.Module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            torch.nn.Sequential(layer), {torch.nn.Linear}, dtype=torch.qint8
        )
    return model


def _nbits(x: torch.Tensor, weights: Sequence[torch.Tensor], bits: int, accuracy: int) -> Product:
    """MatMulNBits, blocks of 32 weights with a scale each."""
    sessions = []
    block = 32
    levels = 1 << bits
    for weight in weights:
        blocks = weight.reshape(OUTPUTS, INPUTS // block, block)
        scale = blocks.abs().amax(2).clamp_min(1e-30) / (levels / 2 - 1)
        codes = (blocks / scale[..., None]).round().add(levels / 2).to(torch.uint8)
        if bits == 4:
            codes = codes[..., ::2] | (codes[..., 1::2] << 4)
        node = helper.make_node(
            "MatMulNBits",
            ["x", "codes", "scale"],
            ["y"],
            domain="com.microsoft",
            K=INPUTS,
            N=OUTPUTS,
            bits=bits,
            block_size=block,
            accuracy_level=accuracy,
        )
        kept = [("codes", codes, TensorProto.UINT8), ("scale", scale, TensorProto.FLOAT)]
        graph = helper.make_graph(
            [node],
            "product",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, INPUTS])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, OUTPUTS])],
            [
                helper.make_tensor(name, kind, value.shape, value.numpy().tobytes(), raw=True)
                for name, value, kind in kept
            ],
        )
        versions = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # in the others' way
        sessions.append(onnxruntime.InferenceSession(model.SerializeToString(), options))
    row = x.numpy()
    return lambda i: torch.from_numpy(np.asarray(sessions[i].run(None, {"x": row})[0]))


def main() -> int:
    """Command line; see the module's docstring."""
    torch.manual_seed(0)
    weights = [torch.randn(OUTPUTS, INPUTS).mul_(0.02).bfloat16() for _ in range(COPIES)]
    x = torch.randn(1, INPUTS)
    wanted = x.double() @ weights[0].double().T
    compared = products(x, weights)
    taken = {name: list[float]() for name in compared}
    with torch.inference_mode():
        for _ in range(ROUNDS + 1):
            for name, product in compared.items():
                began = time.perf_counter()
                for copy in range(COPIES):
                    product(copy)
                taken[name].append(time.perf_counter() - began)
    print(f"{'':52s}weights a second   relative error")
    for name, product in compared.items():
        rate = COPIES * OUTPUTS * INPUTS / statistics.median(taken[name][1:]) / 1e9
        error = float((product(0) - wanted).norm() / wanted.norm())
        print(f"{name:52s}{rate:13.1f} G {error:16.1e}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
