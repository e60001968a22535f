"""What full-parameter training takes of a device's memory, and what helps where it is short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speech_translation.errors import EngineError

if TYPE_CHECKING:
    import torch

BYTES_PER_PARAMETER = 16
"""float32: the weight, its gradient and AdamW's two moments, 4 bytes each.

With bfloat16 autocast, as the recipe trains on a GPU, all four stay float32.
"""


def require_memory(parameters: int, device: torch.device) -> None:
    """Raise EngineError when a GPU has no room for the training state of so many parameters."""
    free = free_bytes(device)
    if free is None or free >= parameters * BYTES_PER_PARAMETER:
        return
    raise EngineError(
        f"{_state(parameters)}, and {device} has {free / 1e9:.1f} GB free: use a GPU with more "
        "memory, or a smaller base. Smaller batches do not change this, and several GPUs hold it "
        "all each."
    )


def free_bytes(device: torch.device) -> int | None:
    """What a GPU has free; None for a device that does not tell."""
    import torch

    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def out_of_memory_advice(parameters: int, batch: int, checkpointing: bool) -> str:
    """What to do when a training that begins to fit runs out of memory: its activations do not."""
    ways = ["halve --batch-size and double --accumulate"] if batch > 1 else []
    ways += [] if checkpointing else ["add --gradient-checkpointing"]
    ways = ways or ["use a GPU with more memory, or drop the longest recordings"]
    return (
        f"The device ran out of memory. {_state(parameters)}; for the rest, {', or '.join(ways)}."
    )


def _state(parameters: int) -> str:
    return (
        f"Weights, gradients and optimiser of {parameters / 1e9:.2f} billion parameters take "
        f"{parameters * BYTES_PER_PARAMETER / 1e9:.1f} GB ({BYTES_PER_PARAMETER} bytes each) "
        "whatever the batch"
    )
