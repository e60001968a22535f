"""The audio encoder's attention window.

Qwen3-ASR's encoder attends within windows of 8 s (104 tokens; `n_window_infer` mel frames). It
passes their boundaries as `cu_seq_lens_q`, which only FlashAttention 2 honours; qwen-asr 0.0.6
never reaches it, whatever is asked for, since transformers 4.57.6 does not hand the choice down to
the encoder. On sdpa and eager every token sees the whole clip (QwenLM/Qwen3-ASR, issue 213). The
function below honours the boundaries; transformers' `AttentionInterface` makes it known by name.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

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

    Windows of one length are computed in one call. All are equally long but for the last of each
    clip, and a GPU would wait for a call of each.

    The boundaries are read in every layer. They are where the clips' lengths are, and those belong
    on the CPU (`LocalEngine._inputs`): on a GPU each layer would wait for the one before.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    lengths = cu_seq_lens_q.diff().tolist()
    alike = defaultdict[int, list[int]](list)
    for window, length in enumerate(lengths):
        alike[length].append(window)
    parts = [torch.split(x, lengths, dim=2) for x in (query, key, value)]
    out: list[torch.Tensor] = [query] * len(lengths)
    for windows in alike.values():
        q, k, v = (torch.cat([split[window] for window in windows]) for split in parts)
        done = scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
        for window, attended in zip(windows, torch.split(done, 1), strict=True):
            out[window] = attended
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None


def set_encoder_window(model: Any, windowed: bool) -> None:
    """Let the audio encoder of a `Qwen3ASRForConditionalGeneration` attend by windows, or not.

    Without windows it is plain sdpa, which sees the whole clip.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(WINDOWED, windowed_attention)
    model.thinker.audio_tower.set_attn_implementation(WINDOWED if windowed else "sdpa")


def encode_together(thinker: Any) -> None:
    """Let the clips of a batch be encoded in one pass, laid end to end, instead of in a loop.

    For a GPU, which a single clip does not fill, in inference and in training; on a CPU it is no
    faster. The encoder has to attend by windows, which keep clips apart. It convolves pieces of a
    second, and pads the last of a clip to a second, but not a clip that is shorter. Such clips are
    encoded alone, because their last token would depend on the batch.

    A batch that comes twice, to be written down as well as translated, is encoded once, unless
    the encoder is being trained.
    """
    import torch

    from speech_translation.engine.qwen_asr_private import audio_tokens

    one_by_one = thinker.get_audio_features
    last: tuple[torch.Tensor, ...] = ()  # features, mask and encoding of the batch before

    def get_audio_features(
        features: torch.Tensor, feature_attention_mask: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        nonlocal last
        asked = features, feature_attention_mask
        if torch.is_grad_enabled():
            last = ()  # the next weights encode otherwise
        if last and all(torch.equal(old, new) for old, new in zip(last, asked, strict=False)):
            return last[2]
        lengths = feature_attention_mask.sum(-1).cpu()  # asked for in every layer
        tower = thinker.audio_tower
        encoder = getattr(tower, "tower", tower)  # without the cache, which serves single clips
        together = [i for i, n in enumerate(lengths.tolist()) if n >= 2 * encoder.n_window]
        if len(together) < 2:
            together = []
        parts = dict[int, torch.Tensor]()
        if together:
            chosen = lengths[together]
            clips = [features[i, :, :n] for i, n in zip(together, chosen.tolist(), strict=True)]
            states = encoder(torch.cat(clips, dim=1), chosen).last_hidden_state
            parts = dict(zip(together, states.split(audio_tokens(chosen).tolist()), strict=True))
        for i in {*range(len(features))}.difference(together):
            parts[i] = one_by_one(features[i : i + 1], feature_attention_mask[i : i + 1])
        encoded = torch.cat([parts[i] for i in range(len(features))])
        if len(features) > 1 and not torch.is_grad_enabled():
            last = *asked, encoded
        return encoded

    thinker.get_audio_features = get_audio_features
