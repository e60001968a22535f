"""The audio encoder's attention window, on every attention implementation.

Qwen3-ASR's encoder attends within windows of 8 s (104 tokens; `n_window_infer` mel frames). With
FlashAttention 2 the boundaries it passes as `cu_seq_lens_q` are honoured; on sdpa and eager
qwen-asr 0.0.6 ignores them and every token sees the whole clip (QwenLM/Qwen3-ASR, issue 213). The
function below honours them; transformers' `AttentionInterface` makes it known by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from speech_translation.engine.qwen_asr_private import attention_of

if TYPE_CHECKING:
    import torch

WINDOWED = "sdpa_windowed"


def windowed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *,
    scaling: float,
    cu_seq_lens_q: torch.Tensor,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention inside each window and nowhere else.

    `query`, `key` and `value` are (1, heads, tokens, head size); `cu_seq_lens_q` holds the first
    token of each window and, last, the number of tokens. Returns (1, tokens, heads, head size).
    Several clips laid end to end stay apart too: their boundaries are window boundaries.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    lengths = cu_seq_lens_q.diff().tolist()
    windows = zip(*(torch.split(x, lengths, dim=2) for x in (query, key, value)), strict=True)
    out = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
        for q, k, v in windows
    ]
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None


def set_encoder_window(model: Any, windowed: bool) -> None:
    """Let the audio encoder of a `Qwen3ASRForConditionalGeneration` attend by windows, or not.

    FlashAttention 2 is left alone when windows are wanted: it applies them itself. Without windows
    every implementation gives way to plain sdpa, which sees the whole clip.
    """
    from transformers import AttentionInterface

    encoder = model.thinker.audio_tower
    if not windowed:
        encoder.set_attn_implementation("sdpa")
    elif attention_of(encoder) != "flash_attention_2":
        AttentionInterface.register(WINDOWED, windowed_attention)
        encoder.set_attn_implementation(WINDOWED)


def encode_together(thinker: Any) -> None:
    """Let the clips of a batch be encoded in one pass, laid end to end, instead of in a loop.

    For a GPU, which a single clip does not fill; on a CPU it is no faster. The encoder has to
    attend by windows, which keep clips apart.
    """
    import torch

    one_by_one = thinker.get_audio_features

    def get_audio_features(
        features: torch.Tensor, feature_attention_mask: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        if len(features) == 1:
            alone: torch.Tensor = one_by_one(features, feature_attention_mask)
            return alone
        lengths = feature_attention_mask.sum(-1)
        clips = [clip[:, :frames] for clip, frames in zip(features, lengths.tolist(), strict=True)]
        encoder = thinker.audio_tower.tower
        encoded: torch.Tensor = encoder(torch.cat(clips, dim=1), lengths).last_hidden_state
        return encoded

    thinker.get_audio_features = get_audio_features
