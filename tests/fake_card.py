"""Two ways to test without a GPU what is for one.

`cpu_for_card` lets the CPU take the place of a card when a model is loaded: the numbers are real.
`Watch` sees tensors on the device "meta" as those of a card. They have shapes and hold no numbers,
so a program can ask nothing of them that a card would have to be waited for.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from speech_translation.engine import load as loading


def cpu_for_card(patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let the CPU take the place of a CUDA card; the options with which models are put on it."""
    asked = list[dict[str, Any]]()
    real: Any = PreTrainedModel.from_pretrained

    def from_pretrained(cls: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(options)
        return real.__func__(cls, *arguments, **(options | {"device_map": None}))

    patch.setattr(PreTrainedModel, "from_pretrained", classmethod(from_pretrained))
    patch.setattr(loading, "choose_device", lambda _: "cuda:0")
    return asked


class Watch(TorchDispatchMode):
    """While it is entered, `waits` collects what the CPU would have waited for.

    That is a number of a card's tensor, the shape of what a mask selects, and an operation on
    tensors of both devices. `selected` is how many elements a mask selects here.
    """

    def __init__(self, selected: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits = list[str]()
        self._selected = selected

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        on_card = [x.is_meta for x in tensors]
        on_cpu = [not x.is_meta and x.ndim > 0 for x in tensors]
        name = str(func)
        if any(on_card) and (any(on_cpu) or name == "aten._local_scalar_dense.default"):
            self.waits.append(name)
        if name == "aten.index.Tensor" and any(on_card):
            values, (mask, *_) = args
            if mask is not None and mask.dtype is torch.bool:
                self.waits.append(name)
                return values.new_empty(self._selected, *values.shape[mask.ndim :])
        return func(*args, **(kwargs or {}))
