"""The encoder's window, proved against a direct computation on the real encoder class."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from fake_card import Watch
from qwen_asr.core.transformers_backend.configuration_qwen3_asr import Qwen3ASRAudioEncoderConfig
from qwen_asr.core.transformers_backend.modeling_qwen3_asr import Qwen3ASRAudioEncoder
from torch.nn import functional

from speech_translation.engine.attention import WINDOWED, encode_together, windowed_attention
from speech_translation.engine.prefix_cache import EncoderCache

WINDOW = 104  # tokens in 8 s


class Model:
    """What `set_encoder_window` looks at: model.thinker.audio_tower."""

    def __init__(self, encoder: Qwen3ASRAudioEncoder) -> None:
        self.thinker = self
        self.audio_tower = encoder


@pytest.fixture(scope="module")
def encoder() -> Any:
    torch.manual_seed(0)
    config = Qwen3ASRAudioEncoderConfig(
        d_model=64,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=128,
        downsample_hidden_size=8,
        output_dim=32,
        n_window=50,
        n_window_infer=800,
    )
    encoder = Qwen3ASRAudioEncoder._from_config(config, attn_implementation="sdpa")
    for parameter in encoder.parameters():  # sharp attention, so that a wrong window shows
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder.eval()


def encode(encoder: Any, windowed: bool, *clips: torch.Tensor) -> torch.Tensor:
    from speech_translation.engine.attention import set_encoder_window

    set_encoder_window(Model(encoder), windowed)
    lengths = torch.tensor([clip.shape[1] for clip in clips])
    with torch.inference_mode():
        return encoder(torch.cat(clips, dim=1), feature_lens=lengths).last_hidden_state


def masked(encoder: Any, clip: torch.Tensor) -> torch.Tensor:
    """The encoder with upstream's own block mask handed to every layer, in plain sdpa."""
    encoder.config._attn_implementation = "sdpa"
    whole = {}

    def with_mask(layer: Any, args: tuple[torch.Tensor, torch.Tensor], kwargs: Any) -> Any:
        hidden, boundaries = args
        whole["mask"] = encoder._prepare_attention_mask(hidden, boundaries)
        return args, kwargs | {"attention_mask": whole["mask"]}

    hooks = [x.register_forward_pre_hook(with_mask, with_kwargs=True) for x in encoder.layers]
    with torch.inference_mode():
        out = encoder(clip, feature_lens=torch.tensor([clip.shape[1]])).last_hidden_state
    for hook in hooks:
        hook.remove()
    assert (whole["mask"][0, 0] == 0).sum() < whole["mask"].numel()
    return out


def test_windows_equal_the_block_mask_and_differ_from_full_attention(encoder: Any) -> None:
    clip = torch.randn(128, 2000)  # 20 s
    expected = masked(encoder, clip)
    scale = expected.std()
    assert (encode(encoder, True, clip) - expected).abs().max() < 1e-4 * scale
    assert (encode(encoder, False, clip) - expected).abs().max() > 0.1 * scale


def test_a_window_does_not_see_the_next_one(encoder: Any) -> None:
    clip = torch.randn(128, 1600)
    changed = clip.clone()
    changed[:, 800:] = 0
    before, after = encode(encoder, True, clip), encode(encoder, True, changed)
    assert torch.equal(before[:WINDOW], after[:WINDOW])
    assert not torch.equal(before[WINDOW:], after[WINDOW:])


def test_clips_laid_end_to_end_stay_apart(encoder: Any) -> None:
    clips = [torch.randn(128, frames) for frames in (230, 1010, 900)]
    together = encode(encoder, True, *clips)
    alone = torch.cat([encode(encoder, True, clip) for clip in clips])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_short_clip_is_one_window_and_so_unchanged(encoder: Any) -> None:
    clip = torch.randn(128, 750)
    torch.testing.assert_close(encode(encoder, True, clip), encode(encoder, False, clip))


class Thinker:
    """What `encode_together` looks at."""

    def __init__(self, encoder: Qwen3ASRAudioEncoder) -> None:
        self.audio_tower = EncoderCache(encoder)
        self.get_audio_features: Any = None


@pytest.mark.parametrize("layers", [1, 3])
def test_a_card_is_waited_for_once_and_not_in_every_layer(encoder: Any, layers: int) -> None:
    """Only for where the tokens are among the padding of the convolutions."""
    thinker = Thinker(deepcopy(encoder))
    tower = thinker.audio_tower.tower
    tower.layers = torch.nn.ModuleList(deepcopy(encoder.layers[0]) for _ in range(layers))
    tower.config._attn_implementation = WINDOWED
    encode_together(thinker)
    frames = torch.tensor([900, 2000, 2000])
    lengths = (torch.arange(2000) < frames[:, None]).long()
    tower.to("meta")
    with Watch(selected=9 * 13 + 2 * 20 * 13) as watch, torch.inference_mode():
        encoded = thinker.get_audio_features(torch.empty(3, 128, 2000, device="meta"), lengths)
    assert encoded.is_meta
    assert encoded.shape == (637, 32)
    assert watch.waits == ["aten.index.Tensor"]


def test_lengths_on_a_card_would_be_waited_for(encoder: Any) -> None:
    tower = deepcopy(encoder).to("meta")
    frames = torch.tensor([900], device="meta")
    with torch.inference_mode(), pytest.raises(RuntimeError, match="item"):
        tower(torch.empty(128, 900, device="meta"), feature_lens=frames)


def test_the_function_itself_against_a_loop() -> None:
    torch.manual_seed(1)
    query, key, value = (torch.randn(1, 3, 17, 4) for _ in range(3))
    boundaries = torch.tensor([0, 4, 9, 10, 14, 17], dtype=torch.int32)  # two are equally long
    out, _ = windowed_attention(
        torch.nn.Identity(), query, key, value, scaling=0.5, cu_seq_lens_q=boundaries
    )
    for first, last in ((0, 4), (4, 9), (9, 10), (10, 14), (14, 17)):
        for head in range(3):
            weights = query[0, head, first:last] @ key[0, head, first:last].T * 0.5
            expected = weights.softmax(-1) @ value[0, head, first:last]
            torch.testing.assert_close(out[0, first:last, head], expected)


def test_windows_of_one_length_are_one_call(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    called, real = list[int](), functional.scaled_dot_product_attention

    def attention(query: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
        called.append(len(query))
        return real(query, *others, **options)

    clips = [torch.randn(128, frames) for frames in (2000, 1600, 800)]
    expected = encode(encoder, True, *clips)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", attention)
    assert torch.equal(encode(encoder, True, *clips), expected)
    assert called == [5, 1] * len(encoder.layers)  # two whole windows and a half, two, and one


@pytest.mark.parametrize("before", ["sdpa", "eager", "flash_attention_2"])
def test_windows_take_the_place_of_every_attention(encoder: Any, before: str) -> None:
    from speech_translation.engine.attention import set_encoder_window

    encoder.config._attn_implementation = before
    set_encoder_window(Model(encoder), windowed=True)
    assert encoder.config._attn_implementation == WINDOWED
    encoder.config._attn_implementation = before
    set_encoder_window(Model(encoder), windowed=False)
    assert encoder.config._attn_implementation == "sdpa"
