"""Products with narrow weights: this project's beside what other libraries offer.

    python -m evaluation.performance.kernels

The shape is the decoder's largest, 6144 x 2048, in as many copies as do not fit a cache; one row is
a decode step, 148 rows are the prompt of 10 s of speech. The products take turns, and the best of
many rounds counts. ONNX Runtime is compared where the package onnx is installed, OpenVINO where
openvino is, and ggml where ggml-python is (`evaluation/performance/rivals.py`); the project itself
needs none of them.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence

import torch

from evaluation.performance import rivals
from evaluation.performance.machine import processor
from evaluation.performance.rivals import Product
from evaluation.performance.rounds import watched
from speech_translation.engine.cpu.narrow import NarrowLinear, quantised
from speech_translation.types import Seconds

OUTPUTS, INPUTS, COPIES = 6144, 2048, 12
ROWS = (1, 148)


def products(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> dict[str, Product]:
    """By name; `x` is float32 (rows, inputs), the weights are bfloat16 (outputs, inputs)."""
    wide = [weight.float() for weight in weights]
    narrow = [quantised(weight) for weight in weights]
    scales = [scale.bfloat16().float() for _, scale in narrow]
    exact = [NarrowLinear(weight, None, None) for weight in weights]
    int8 = [NarrowLinear(weight, scale, None) for weight, scale in narrow]
    dynamic = [_dynamic(weight) for weight in wide]
    halved, blocked = x.bfloat16(), x.to_mkldnn()
    linear = torch.nn.functional.linear
    found: dict[str, Product] = {
        "this project, bfloat16": lambda i: exact[i](x),
        "this project, int8": lambda i: int8[i](x),
        "torch, float32 (MKL)": lambda i: linear(x, wide[i]),
        "torch, float32 (oneDNN)": lambda i: linear(blocked, wide[i]).to_dense(),
        "torch, bfloat16, rounded activations": lambda i: linear(halved, weights[i]).float(),
        "torch, `_weight_int8pack_mm`": lambda i: torch._weight_int8pack_mm(
            x, narrow[i][0], scales[i]
        ),
        "torch, `quantize_dynamic`, int8 activations": lambda i: dynamic[i](x),
    }
    for rival in (rivals.onnxruntime, rivals.openvino, rivals.ggml):
        try:
            found |= rival(x, weights)
        except ImportError as error:
            print(f"{error}: left out.", file=sys.stderr)
    return found


def _dynamic(weight: torch.Tensor) -> torch.nn.Module:
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: torch.nn.Module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            torch.nn.Sequential(layer), {torch.nn.Linear}, dtype=torch.qint8
        )
    return model


def compare(
    rows: int, seconds: Seconds, outputs: int = OUTPUTS, inputs: int = INPUTS, copies: int = COPIES
) -> dict[str, tuple[Seconds, float]]:
    """Of each product the best time for one copy, and its error relative to float64."""
    torch.manual_seed(0)
    weights = [torch.randn(outputs, inputs).mul_(0.02).bfloat16() for _ in range(copies)]
    x = torch.randn(rows, inputs)
    wanted = x.double() @ weights[0].double().T
    best, errors = dict[str, float](), dict[str, float]()
    with torch.inference_mode():
        compared = products(x, weights)
        for name, product in compared.items():
            errors[name] = float((product(0) - wanted).norm() / wanted.norm())
        end = time.monotonic() + seconds
        while not best or time.monotonic() < end:
            for name, product in compared.items():
                began = time.perf_counter()
                for copy in range(copies):
                    product(copy)
                taken = (time.perf_counter() - began) / copies
                best[name] = min(best.get(name, taken), taken)
    return {name: (best[name], errors[name]) for name in compared}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.performance.kernels", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="for each number of rows")
    options = parser.parse_args(argv)
    with watched() as busy:
        figures = {rows: compare(rows, options.seconds) for rows in ROWS}
    print("| kernel | one row: weights a second | 148 rows: GFLOP/s | relative error |")
    print("|---|---|---|---|")
    for name in figures[1]:
        (one, error), (many, _) = figures[1][name], figures[148][name]
        size = OUTPUTS * INPUTS / 1e9
        print(f"| {name} | {size / one:.1f} G | {2 * 148 * size / many:.0f} | {error:.0e} |")
    here = processor()
    took = "unknown" if busy.others is None else f"{100 * busy.others:.0f} %"
    print(f"\n{here.name}, {' '.join(here.instructions)}, {torch.get_num_threads()} threads,")
    print(f"{time.strftime('%Y-%m-%d')}; other processes took {took} of the processors' time.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
