"""Qwen3-ASR on a CPU: weights as narrow as they are stored, or int8; arithmetic in float32.

The published checkpoint is bfloat16. Its file is mapped into memory and never copied to float32 as
a whole: loading takes seconds, and decoding, which waits for the weights, reads half the bytes.
float32 holds every bfloat16, so the products are those of a model converted to float32.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from speech_translation.engine.checkpoint import HEAD, ties_embeddings
from speech_translation.engine.cpu.kept import Kept
from speech_translation.engine.qwen_asr_private import empty_model

_SCALE = "weight.scale"  # the name in a copy of what an int8 weight's rows are multiplied by


class Weights:
    """The tensors of a checkpoint's safetensors files, mapped.

    `together` maps each file once, for weights that stay; else each tensor is mapped when it is
    asked for, and what is not kept is unmapped again.
    """

    def __init__(self, folder: Path, *, together: bool = False) -> None:
        index = folder / "model.safetensors.index.json"
        if index.exists():
            self._files: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
        else:
            with safe_open(str(folder / "model.safetensors"), "pt") as file:
                self._files = dict.fromkeys(file.keys(), "model.safetensors")
        self._folder = folder
        self._together = together
        self._opened = dict[str, Any]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __getitem__(self, name: str) -> torch.Tensor:
        """A view on the file. ValueError when it is not there."""
        if name not in self._files:
            raise ValueError(f"the weight {name} is missing")
        path = str(self._folder / self._files[name])
        if self._together and path not in self._opened:
            self._opened[path] = safe_open(path, "pt")
        file = self._opened.get(path) or safe_open(path, "pt")
        tensor: torch.Tensor = file.get_tensor(name)
        return tensor


def load_narrow(folder: Path, *, int8: bool, kept: Kept | None = None) -> Any:
    """`Qwen3ASRForConditionalGeneration` for a CPU, its linear layers and embedding narrow.

    With `int8` these are rounded to 8 bits, one scale an output; else bfloat16 stays as it is and
    anything else becomes float32. Where a copy is `kept`, it takes the place of the checkpoint's
    files; where there is none, or one with other tensors, it is made. The output layer is the
    embedding where the configuration says so, as in transformers, or where the file has none. numba
    is imported where a layer is narrow. Any exception means that the checkpoint is not one.
    """
    from qwen_asr.core.transformers_backend import Qwen3ASRConfig
    from transformers import GenerationConfig

    config = Qwen3ASRConfig.from_pretrained(folder)
    model, arrays = None, kept.arrays() if kept is not None else None
    if arrays is not None:
        with contextlib.suppress(ValueError, LookupError, TypeError):  # it has other tensors
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            model, tied = _with_weights(config, folder, tensors, int8)
    if model is None:
        model, tied = _with_weights(config, folder, Weights(folder, together=not int8), int8)
        if kept is not None:
            kept.keep(_arrays(model))
    if tied:
        embedding = model.thinker.model.embed_tokens
        if isinstance(embedding, nn.Embedding):
            model.thinker.lm_head.weight = embedding.weight
        else:
            from speech_translation.engine.cpu.narrow import NarrowLinear

            model.thinker.lm_head = NarrowLinear(embedding.weight, embedding.scale, None)
    if not isinstance(model.thinker.model.layers[0].self_attn.q_proj, nn.Linear):
        from speech_translation.engine.cpu.layer import compile_layers

        compile_layers(model.thinker.model)
    if (folder / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval()


def _with_weights(
    config: Any, folder: Path, weights: Weights | dict[str, torch.Tensor], int8: bool
) -> tuple[Any, bool]:
    """A model with its weights, and whether its output layer, still empty, is the embedding."""
    model = empty_model(config)
    tied = ties_embeddings(folder) or HEAD not in weights
    for path, parent, name, module in list(_leaves(model)):
        if not (tied and HEAD.startswith(f"{path}.")):
            setattr(parent, name, _filled(module, path, weights, int8))
    return model, tied


def _arrays(model: nn.Module) -> dict[str, np.ndarray]:
    """All weights of a model whose products are int8; not those of a tied output layer."""
    from speech_translation.engine.cpu.narrow import NarrowEmbedding, NarrowLinear

    arrays = dict[str, np.ndarray]()
    for path, module in model.named_modules():
        tensors: dict[str, torch.Tensor | None] = dict(module.named_parameters(recurse=False))
        if isinstance(module, NarrowLinear | NarrowEmbedding):
            tensors = {"weight": module.weight, _SCALE: module.scale}
            tensors["bias"] = getattr(module, "bias", None)
        for name, tensor in tensors.items():
            if tensor is not None and not tensor.is_meta:
                arrays[f"{path}.{name}"] = tensor.detach().numpy()
    return arrays


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
    """(path, parent, name, module) of each module that has parameters of its own."""
    for above, parent in model.named_modules():
        for name, module in parent.named_children():
            if next(module.parameters(recurse=False), None) is not None:
                yield f"{above}.{name}".lstrip("."), parent, name, module


def _filled(
    module: nn.Module, path: str, weights: Weights | dict[str, torch.Tensor], int8: bool
) -> nn.Module:
    """`module` with its weights, or what takes its place."""
    tensors = dict[str, torch.Tensor]()
    for name, parameter in module.named_parameters(recurse=False):
        tensors[name] = _shaped(weights, f"{path}.{name}", parameter.shape)
    is_product = isinstance(module, nn.Linear | nn.Embedding)
    if is_product and (int8 or tensors["weight"].dtype == torch.bfloat16):
        from speech_translation.engine.cpu.narrow import NarrowEmbedding, NarrowLinear, quantised

        weight, scale = tensors["weight"], None
        if weight.dtype == torch.int8:
            scale = _shaped(weights, f"{path}.{_SCALE}", weight.shape[:1])
        elif int8:
            weight, scale = quantised(weight)
        if isinstance(module, nn.Embedding):
            return NarrowEmbedding(weight, scale)
        bias = tensors.get("bias")
        return NarrowLinear(weight, scale, None if bias is None else bias.float())
    for name, tensor in tensors.items():
        setattr(module, name, nn.Parameter(tensor.float(), requires_grad=False))
    return module


def _shaped(
    weights: Weights | dict[str, torch.Tensor], name: str, shape: torch.Size
) -> torch.Tensor:
    """The tensor `name`. ValueError where it has another shape."""
    tensor = weights[name]
    if tensor.shape != shape:
        raise ValueError(
            f"the weight {name} has the shape {tuple(tensor.shape)} instead of {tuple(shape)}"
        )
    return tensor
