"""What training takes of a device's memory, and what helps where it is short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speech_translation.errors import EngineError

if TYPE_CHECKING:
    import torch

MOMENTS = {"adamw": 8.0, "adamw8bit": 2 + 8 / 256}
"""Bytes of the optimiser's two moments for each trained parameter.

bitsandbytes has a float32 scale for each 256 moments of 8 bits (`optim/optimizer.py` of 0.50.2).
"""


@dataclass(frozen=True)
class TrainingState:
    """Weights, gradients and optimiser: what a run holds whatever its batches are.

    A trained parameter is float32, as are its gradient and AdamW's two moments, also under bfloat16
    autocast: 16 bytes. A frozen one has its weight only, of `frozen_width` bytes. `embedded` of the
    trained ones are the embedding's, whose moments stay float32 (transformers' `Trainer`).
    """

    trained: int
    frozen: int
    frozen_width: int
    optimizer: str = "adamw"
    shards: int = 1
    embedded: int = 0

    @property
    def bytes(self) -> int:
        """All of it, on each device."""
        moments = (self.trained - self.embedded) * MOMENTS[self.optimizer]
        moments += self.embedded * MOMENTS["adamw"]
        whole = self.trained * 8 + moments + self.frozen * self.frozen_width
        return int(whole / self.shards)

    @property
    def copies(self) -> int:
        """bfloat16 copies of trained weights, which autocast keeps for the time of a pass."""
        return 2 * self.trained if self.frozen_width == 2 and self.shards == 1 else 0

    @classmethod
    def of(
        cls, model: Any, frozen_width: int, optimizer: str = "adamw", shards: int = 1
    ) -> TrainingState:
        """That of a model whose parts are chosen: what `requires_grad` is trained."""
        from torch.nn import Embedding

        numbers = {True: 0, False: 0}
        for parameter in model.parameters():
            numbers[parameter.requires_grad] += parameter.numel()
        embedded = sum(
            module.weight.numel()
            for module in model.modules()
            if isinstance(module, Embedding) and module.weight.requires_grad
        )
        return cls(numbers[True], numbers[False], frozen_width, optimizer, shards, embedded)

    def require(self, device: torch.device) -> None:
        """Raise EngineError when a GPU has no room for it."""
        free = free_bytes(device)
        if free is None or free >= self.bytes + self.copies:
            return
        ways = ["use a GPU with more memory, or a smaller base"]
        if self.frozen == 0:
            ways = ["add --lora 16", *ways]
        if self.shards == 1:
            ways.append("or start several GPUs with torchrun and --shard")
        raise EngineError(
            f"{self._words()}, and {device} has {free / 1e9:.1f} GB free: {', '.join(ways)}. "
            "Smaller batches do not change this."
        )

    def advice(self, batch: int, checkpointing: bool) -> str:
        """What to do when a run that begins to fit runs out of memory: its activations do not."""
        ways = ["halve --batch-size"] if batch > 1 else []
        ways += [] if checkpointing else ["add --gradient-checkpointing"]
        ways = ways or ["use a GPU with more memory, or drop the longest recordings"]
        return f"The device ran out of memory. {self._words()}; for the rest, {', or '.join(ways)}."

    def _words(self) -> str:
        return (
            f"Weights, gradients and optimiser of {self.trained / 1e9:.2f} billion trained and "
            f"{self.frozen / 1e9:.2f} billion frozen parameters take {self.bytes / 1e9:.1f} GB "
            "whatever the batch"
            + (f", and copies in bfloat16 {self.copies / 1e9:.1f} GB more" if self.copies else "")
        )


def free_bytes(device: torch.device) -> int | None:
    """What a GPU has free; None for a device that does not tell."""
    import torch

    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
