"""Layers whose weights are narrow, bfloat16 or int8, and whose arithmetic is float32.

Importing this imports numba, which takes half a second: only where a checkpoint has such layers.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from speech_translation.engine.cpu.processor import MULTIPLIES_INTEGERS
from speech_translation.engine.cpu.products import LARGEST, multiply, quantise

FEW_ROWS = 24
"""Up to so many rows, reading the weights takes longer than multiplying."""


class NarrowLinear(nn.Module):
    """x W^T + b in float32, W (outputs, inputs) being bfloat16 or, with a `scale` a row, int8."""

    def __init__(
        self, weight: torch.Tensor, scale: torch.Tensor | None, bias: torch.Tensor | None
    ) -> None:
        super().__init__()
        # Not parameters: those would be converted with the model and would name its precision.
        self.weight, self.scale, self.bias = weight, scale, bias
        self.bits = _bits(weight)
        self.scales = (torch.empty(0) if scale is None else scale).numpy()
        self._in_halves = weight.dtype == torch.int8 and MULTIPLIES_INTEGERS

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., outputs)."""
        rows = x.reshape(-1, x.shape[-1])
        if self._in_halves and len(rows) > FEW_ROWS:
            out = self._multiply_in_halves(rows)
        else:
            out = torch.empty(len(rows), len(self.weight))
            threads = torch.get_num_threads()
            multiply(rows.contiguous().numpy(), self.bits, self.scales, out.numpy(), threads)
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], len(self.weight))

    def _multiply_in_halves(self, rows: torch.Tensor) -> torch.Tensor:
        """The activations as 16-bit integers, multiplied exactly, upper and lower byte apart.

        For processors that multiply int8 (VNNI), thrice as fast as float32. 16 bits a row lose
        less than bfloat16 activations would: 2^-16 of a row's largest value.
        """
        assert self.scale is not None
        step = rows.abs().amax(1, keepdim=True).clamp_min(1e-30) / LARGEST
        whole = (rows / step).round_().to(torch.int32)
        upper = (whole + 128) >> 8
        halves = torch.cat([upper, whole - (upper << 8)]).to(torch.int8)
        products = torch._int_mm(halves, self.weight.T).float()
        out = products[: len(rows)].mul_(256).add_(products[len(rows) :])
        return out.mul_(step).mul_(self.scale)


class NarrowEmbedding(nn.Module):
    """Rows of a bfloat16 or int8 table (see `NarrowLinear`) as float32."""

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor | None) -> None:
        super().__init__()
        self.weight, self.scale = weight, scale

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(...) ids to (..., size)."""
        rows = self.weight[ids].float()
        return rows if self.scale is None else rows * self.scale[ids][..., None]


def quantised(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(int8 weights, float32 scale of each row); the largest value of a row becomes 127."""
    narrow, scale = torch.empty(weight.shape, dtype=torch.int8), torch.empty(len(weight))
    wide = weight if weight.dtype == torch.bfloat16 else weight.float()
    quantise(_bits(wide), narrow.numpy(), scale.numpy(), torch.get_num_threads())
    return narrow, scale


def _bits(weight: torch.Tensor) -> np.ndarray:
    """The same memory for numpy, which knows no bfloat16."""
    bits = weight.view(torch.uint16) if weight.dtype == torch.bfloat16 else weight
    array: np.ndarray = bits.contiguous().numpy()
    return array
