"""Which parts of the model are trained: all, all but a frozen one, or low-rank adapters.

Adapters (LoRA, Hu et al. 2021) add the product of two small matrices to a frozen one. They are
peft's. `merged` adds them to the weights for good, so that the finished model is an ordinary one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_LAYERS = {
    "encoder": r"audio_tower\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|fc[12])",
    "decoder": r"model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)",
}
"""The products of each part that get adapters: all of its attention and feed-forward layers."""


def choose_parts(model: Any, freeze: str | None, lora: int | None, dtype: torch.dtype) -> Any:
    """The model with only the chosen parts trainable.

    `freeze` is "encoder", "decoder" or None, `lora` the rank of adapters or None. What is frozen is
    kept in `dtype`.
    """
    if freeze is not None:
        for parameter in _part(model, freeze):
            parameter.requires_grad_(False)
    if lora is not None:
        model = _with_adapters(model, freeze, lora)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return model


def _part(model: Any, name: str) -> list[Any]:
    thinker = model.thinker
    if name == "encoder":
        return list(thinker.audio_tower.parameters())
    return [*thinker.model.parameters(), *thinker.lm_head.parameters()]


def _with_adapters(model: Any, freeze: str | None, rank: int) -> Any:
    import torch.distributed.tensor  # noqa: F401  # peft 0.18 uses it and does not import it
    from peft import LoraConfig, get_peft_model

    layers = "|".join(layers for part, layers in _LAYERS.items() if part != freeze)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=rf"thinker\.({layers})")
    return get_peft_model(model, config)


def merged(model: Any) -> Any:
    """The model with its adapters added to its weights, in float32; another model as it is."""
    import torch

    if not hasattr(model, "merge_and_unload"):
        return model
    return model.to(torch.float32).merge_and_unload(safe_merge=True)
