"""Qwen3-ASR on a CPU: weights as narrow as they are stored, or int8; arithmetic in float32.

The published checkpoint is bfloat16. Its file is mapped into memory and never copied to float32 as
a whole: loading takes seconds, and decoding, which waits for the weights, reads half the bytes.
float32 holds every bfloat16, so the products are those of a model converted to float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from speech_translation.engine.checkpoint import HEAD, ties_embeddings
from speech_translation.engine.cpu.kernels import LARGEST, MULTIPLIES_INTEGERS, multiply, quantise
from speech_translation.engine.qwen_asr_private import empty_model

FEW_ROWS = 24
"""Up to so many rows, reading the weights takes longer than multiplying."""

_TILE = 1024  # weights widened at a time: with 2048 inputs 8 MB, which stay in the cache


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
        if len(rows) <= FEW_ROWS:
            out = torch.empty(len(rows), len(self.weight))
            threads = torch.get_num_threads()
            multiply(rows.contiguous().numpy(), self.bits, self.scales, out.numpy(), threads)
        elif self._in_halves:
            out = self._multiply_in_halves(rows)
        else:
            out = self._multiply_widened(rows)
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], len(self.weight))

    def _multiply_widened(self, rows: torch.Tensor) -> torch.Tensor:
        """A tile of the weights at a time as float32; the product is transposed, as BLAS likes."""
        out = torch.empty(len(self.weight), len(rows))
        wide = torch.empty(_TILE, self.weight.shape[1])
        for first in range(0, len(self.weight), _TILE):
            part = self.weight[first : first + _TILE]
            tile = wide[: len(part)].copy_(part)
            torch.mm(tile, rows.T, out=out[first : first + _TILE])
        if self.scale is not None:
            out *= self.scale[:, None]
        return out.T.contiguous()

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


class Weights:
    """The tensors of a checkpoint's safetensors files, each mapped when it is asked for."""

    def __init__(self, folder: Path) -> None:
        index = folder / "model.safetensors.index.json"
        if index.exists():
            self._files: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
        else:
            with safe_open(str(folder / "model.safetensors"), "pt") as file:
                self._files = dict.fromkeys(file.keys(), "model.safetensors")
        self._folder = folder

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __getitem__(self, name: str) -> torch.Tensor:
        """A view on the file. ValueError when it is not there."""
        if name not in self._files:
            raise ValueError(f"the weight {name} is missing")
        # Opened anew each time: what is not kept is unmapped again.
        with safe_open(str(self._folder / self._files[name]), "pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor


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


def load_narrow(folder: Path, *, int8: bool) -> Any:
    """`Qwen3ASRForConditionalGeneration` for a CPU, its linear layers and embedding narrow.

    With `int8` these are rounded to 8 bits, one scale an output; else bfloat16 stays as it is and
    anything else becomes float32. The output layer is the embedding where the configuration says
    so, as in transformers, or where the file has none. Any exception means that the checkpoint is
    not one.
    """
    from qwen_asr.core.transformers_backend import Qwen3ASRConfig
    from transformers import GenerationConfig

    config = Qwen3ASRConfig.from_pretrained(folder)
    weights = Weights(folder)
    model = empty_model(config)
    tied = ties_embeddings(folder) or HEAD not in weights
    for path, parent, name, module in list(_leaves(model)):
        if not (tied and HEAD.startswith(f"{path}.")):
            setattr(parent, name, _filled(module, path, weights, int8))
    if tied:
        embedding = model.thinker.model.embed_tokens
        if isinstance(embedding, NarrowEmbedding):
            model.thinker.lm_head = NarrowLinear(embedding.weight, embedding.scale, None)
        else:
            model.thinker.lm_head.weight = embedding.weight
    if (folder / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval()


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
    """(path, parent, name, module) of each module that has parameters of its own."""
    for above, parent in model.named_modules():
        for name, module in parent.named_children():
            if next(module.parameters(recurse=False), None) is not None:
                yield f"{above}.{name}".lstrip("."), parent, name, module


def _filled(module: nn.Module, path: str, weights: Weights, int8: bool) -> nn.Module:
    """`module` with its weights, or what takes its place."""
    tensors = dict[str, torch.Tensor]()
    for name, parameter in module.named_parameters(recurse=False):
        tensor = weights[f"{path}.{name}"]
        if tensor.shape != parameter.shape:
            raise ValueError(
                f"the weight {path}.{name} has the shape {tuple(tensor.shape)} instead of "
                f"{tuple(parameter.shape)}"
            )
        tensors[name] = tensor
    if isinstance(module, nn.Linear | nn.Embedding):
        weight, scale = tensors["weight"], None
        if int8:
            weight, scale = quantised(weight)
        if weight.dtype in (torch.int8, torch.bfloat16):
            if isinstance(module, nn.Embedding):
                return NarrowEmbedding(weight, scale)
            bias = tensors.get("bias")
            return NarrowLinear(weight, scale, None if bias is None else bias.float())
    for name, tensor in tensors.items():
        setattr(module, name, nn.Parameter(tensor.float(), requires_grad=False))
    return module
