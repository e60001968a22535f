"""A run whose weights, gradients and optimiser lie in shards on several devices.

That is FSDP2, torch's `fully_shard` (Zhao et al. 2023, arXiv 2304.11277): each device holds a part
of every weight, and the layers of the decoder are gathered one at a time. transformers' and
accelerate's own way does not work on CPUs, where the tests run, so what differs is here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from speech_translation.engine.checkpoint import HEAD, weight_files

if TYPE_CHECKING:
    import torch


def shard(model: Any, device: torch.device) -> None:
    """Spread the weights of a `Qwen3ASRForConditionalGeneration` over all processes of the run.

    What is not a layer of the decoder is one group. The encoder is in it because processes run it
    equally often only by chance (`encode_together`), and gathering waits for all of them.
    """
    import torch.distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in model.thinker.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model.thinker, mesh=mesh)


def whole_weights(model: Any) -> dict[str, torch.Tensor]:
    """The gathered weights on the CPU, by the names of a checkpoint; empty but in process 0.

    All processes have to call this.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: dict[str, Any] = get_model_state_dict(model, options=options)
    if model.config.thinker_config.text_config.tie_word_embeddings:
        weights.pop(HEAD, None)
    return weights


def load_weights(model: Any, folder: Path, rank: int) -> None:
    """Read a checkpoint in process 0 and give each process its shard."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    weights: dict[str, Any] = {}
    for file in weight_files(folder) if rank == 0 else ():
        weights |= load_file(file)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
    set_model_state_dict(model, weights, options=options)


def save_optimizer(model: Any, optimizer: Any, file: Path, rank: int) -> None:
    """Write the gathered state of the optimiser, in process 0. All processes have to call this."""
    import torch
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_optimizer_state_dict(model, optimizer, options=options)
    if rank == 0:
        torch.save(state, file)


def load_optimizer(model: Any, optimizer: Any, file: Path, rank: int) -> None:
    """Read the state of the optimiser in process 0 and give each process its shard."""
    import torch
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    state = torch.load(file, map_location="cpu", weights_only=True) if rank == 0 else {}
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_optimizer_state_dict(model, optimizer, state, options=options)


def clip_norm(parameters: Any, most: float) -> torch.Tensor:
    """Clip gradients that lie in shards; the norm of the whole gradient."""
    import torch

    norm: Any = torch.nn.utils.clip_grad_norm_(parameters, most)
    whole: torch.Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return whole
