"""What other libraries offer for products with narrow weights, each where its package is installed.

Each function takes `x`, float32 (rows, inputs), and weights in bfloat16 (outputs, inputs); it
returns products by their names, and raises ImportError without its package.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from speech_translation.engine.cpu.narrow import quantised

Product = Callable[[int], Any]
"""The product with the copy of that number, float32 (rows, outputs)."""


def openvino(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> dict[str, Product]:
    """Weights as constants that the compiled model widens: int8 with a scale a row, or bfloat16."""
    import openvino as library
    from openvino import opset13 as op

    core, row = library.Core(), x.numpy()

    def compiled(weight: torch.Tensor, int8: bool, group: int) -> Any:
        sound = op.parameter(list(x.shape), np.float32)
        if int8:
            narrow, scale = quantised(weight)
            kept = op.constant(narrow.numpy())
            wide = op.multiply(op.convert(kept, "f32"), op.constant(scale.numpy()[:, None]))
        else:
            bits = weight.view(torch.uint16).numpy()
            kept = op.constant(library.Tensor(bits, list(bits.shape), library.Type.bf16))
            wide = op.convert(kept, "f32")
        model = library.Model([op.matmul(sound, wide, False, True)], [sound])
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(group),
            "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
            "PERFORMANCE_HINT": "LATENCY",
        }
        return core.compile_model(model, "CPU", options).create_infer_request()

    def product(int8: bool, group: int = 0) -> Product:
        requests = [compiled(weight, int8, group) for weight in weights]
        return lambda i: torch.from_numpy(next(iter(requests[i].infer([row]).values())))

    return {
        "OpenVINO, bfloat16": product(int8=False),
        "OpenVINO, int8": product(int8=True),
        "OpenVINO, int8, int8 activations": product(int8=True, group=32),
    }


def onnxruntime(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> dict[str, Product]:
    """MatMulNBits of 8 bits, blocks of 32 weights with a scale each."""
    import onnxruntime as library
    from onnx import TensorProto, helper

    block, (outputs, inputs), row = 32, weights[0].shape, x.numpy()

    def session(weight: torch.Tensor, accuracy: int) -> Any:
        blocks = weight.float().reshape(outputs, inputs // block, block)
        scale = blocks.abs().amax(2).clamp_min(1e-30) / 127
        codes = (blocks / scale[..., None]).round().add(128).to(torch.uint8)
        node = helper.make_node(
            "MatMulNBits",
            ["x", "codes", "scale"],
            ["y"],
            domain="com.microsoft",
            K=inputs,
            N=outputs,
            bits=8,
            block_size=block,
            accuracy_level=accuracy,
        )
        kept = [("codes", codes, TensorProto.UINT8), ("scale", scale, TensorProto.FLOAT)]
        graph = helper.make_graph(
            [node],
            "product",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(x), outputs])],
            [
                helper.make_tensor(name, kind, value.shape, value.numpy().tobytes(), raw=True)
                for name, value, kind in kept
            ],
        )
        versions = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=10)
        options = library.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # in others' way
        return library.InferenceSession(model.SerializeToString(), options)

    def product(accuracy: int) -> Product:
        sessions = [session(weight, accuracy) for weight in weights]
        return lambda i: torch.from_numpy(np.asarray(sessions[i].run(None, {"x": row})[0]))

    name = "ONNX Runtime, MatMulNBits, 8 bits"
    return {name: product(accuracy=1), f"{name}, int8 activations": product(accuracy=4)}


def ggml(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> dict[str, Product]:
    """bfloat16, and Q8_0: blocks of 32 weights with a scale each, and activations likewise."""
    import ggml as library

    def pointer(array: np.ndarray) -> Any:
        return ctypes.c_void_p(array.ctypes.data)

    (outputs, inputs), rows = weights[0].shape, len(x)
    sound = np.ascontiguousarray(x.numpy())
    threads = torch.get_num_threads()
    backend = library.ggml_backend_cpu_init()
    library.ggml_backend_cpu_set_n_threads(backend, threads)
    pool = library.ggml_threadpool_params_default(threads)
    library.ggml_backend_cpu_set_threadpool(
        backend, library.ggml_threadpool_new(ctypes.byref(pool))
    )

    def encoded(weight: torch.Tensor, kind: int) -> np.ndarray:
        if kind == library.GGML_TYPE_BF16:
            return weight.view(torch.uint16).numpy()
        wide = np.ascontiguousarray(weight.float().numpy())
        data = np.empty(outputs * library.ggml_row_size(kind, inputs), np.uint8)
        source = wide.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        library.ggml_quantize_chunk(kind, source, pointer(data), 0, outputs, inputs, None)
        return data

    def graph(weight: torch.Tensor, kind: int) -> tuple[Any, Any]:
        context = library.ggml_init(library.ggml_init_params(1 << 20, None, True))
        matrix = library.ggml_new_tensor_2d(context, kind, inputs, outputs)
        given = library.ggml_new_tensor_2d(context, library.GGML_TYPE_F32, inputs, rows)
        answer = library.ggml_mul_mat(context, matrix, given)
        made = library.ggml_new_graph(context)
        library.ggml_build_forward_expand(made, answer)
        library.ggml_backend_alloc_ctx_tensors(context, backend)
        for tensor, data in ((matrix, encoded(weight, kind)), (given, sound)):
            library.ggml_backend_tensor_set(tensor, pointer(data), 0, data.nbytes)
        return made, answer

    def product(kind: int) -> Product:
        graphs = [graph(weight, kind) for weight in weights]

        def multiply(i: int) -> torch.Tensor:
            out = np.empty((rows, outputs), np.float32)
            made, answer = graphs[i]
            library.ggml_backend_graph_compute(backend, made)
            library.ggml_backend_tensor_get(answer, pointer(out), 0, out.nbytes)
            return torch.from_numpy(out)

        return multiply

    return {
        "ggml, bfloat16, rounded activations": product(library.GGML_TYPE_BF16),
        "ggml, Q8_0, int8 activations": product(library.GGML_TYPE_Q8_0),
    }
