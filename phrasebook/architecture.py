"""A small checkpoint of the very Qwen3-ASR architecture: tokenizer, configuration, first weights.

What is written here loads with `Qwen3ASRModel.from_pretrained` unchanged and in vLLM's loader.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_translation.engine.prompt import (
    ASR_TEXT,
    AUDIO_END,
    AUDIO_PAD,
    AUDIO_START,
    END_OF_TEXT,
    TURN_END,
    TURN_START,
)
from speech_translation.engine.tokenizer import byte_level, qwen3_asr

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

# Byte-level BPE counts bytes, a kana or kanji has three: no token is longer than six of them, so
# that a slot word and the set phrase around it stay separate tokens.
_LONGEST_TOKEN_BYTES = 18

CHAT_TEMPLATE = (
    Path(__file__).resolve().parent.parent / "deploy" / "chat_template.jinja"
).read_text("utf-8")


def build_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of Qwen2's kind with `size` ids in all, learned from `texts`.

    `<asr_text>` is an added token but not a special one: decoding must keep it, since the reply is
    split there.
    """
    from tokenizers import AddedToken, models, pre_tokenizers, trainers

    special = [END_OF_TEXT, TURN_START, TURN_END, AUDIO_START, AUDIO_END, AUDIO_PAD]
    tokenizer = byte_level(models.BPE())
    # The words of the prompt itself are made single tokens by sheer frequency.
    prompt = ["system\n", "user\n", "assistant\n", "language English", "language Japanese"]
    prompt += ["language None"]
    tokenizer.train_from_iterator(
        [*texts, *(prompt * 1000)],
        trainers.BpeTrainer(
            vocab_size=size - len(special) - 1,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            max_token_length=_LONGEST_TOKEN_BYTES,
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.add_tokens([AddedToken(ASR_TEXT, special=False, normalized=False)])
    return qwen3_asr(
        tokenizer,
        additional_special_tokens=special[1:],
        chat_template=CHAT_TEMPLATE,
        model_max_length=4096,
    )


def small_config(tokenizer: PreTrainedTokenizerFast) -> Any:
    """The configuration of the phrasebook model: every kind of layer, about 4.6 M parameters.

    `n_window` stays 50: the length formula of qwen_asr 0.0.6 fixes 100 frames to 13 tokens.
    """
    from qwen_asr.core.transformers_backend import Qwen3ASRConfig

    ids = tokenizer.convert_tokens_to_ids
    return Qwen3ASRConfig(
        thinker_config={
            "audio_config": {
                "num_mel_bins": 128,
                "d_model": 192,
                "encoder_layers": 6,
                "encoder_attention_heads": 6,
                "encoder_ffn_dim": 768,
                "downsample_hidden_size": 24,
                "output_dim": 192,
                "n_window": 50,
                "n_window_infer": 800,
                "max_source_positions": 1500,
            },
            "text_config": {
                "vocab_size": len(tokenizer),
                "hidden_size": 192,
                "intermediate_size": 512,
                "num_hidden_layers": 4,
                "num_attention_heads": 6,
                "num_key_value_heads": 2,
                "head_dim": 32,
                "max_position_embeddings": 4096,
                "rope_theta": 10000.0,
                "rope_scaling": {
                    "rope_type": "default",
                    "mrope_section": [6, 5, 5],
                    "mrope_interleaved": True,
                    "interleaved": True,
                },
                "tie_word_embeddings": True,
                "pad_token_id": ids(END_OF_TEXT),
            },
            "audio_token_id": ids(AUDIO_PAD),
            "audio_start_token_id": ids(AUDIO_START),
            "audio_end_token_id": ids(AUDIO_END),
            "user_token_id": ids("user"),
            "pad_token_id": ids(END_OF_TEXT),
            "tie_word_embeddings": True,
        },
        support_languages=["English", "Japanese"],
        tie_word_embeddings=True,
        architectures=["Qwen3ASRForConditionalGeneration"],
    )


def new_model(config: Any) -> Any:
    """A `Qwen3ASRForConditionalGeneration` with first weights that let narrow layers learn.

    The library's normal(0, 0.02) starves a stack this narrow: each convolution would shrink its
    input. Kaiming for the convolutions, Xavier for the linear layers, with the ones that write to
    the residual stream scaled by (2 x layers)^-0.5 (GPT-2, section 2.3), 0.05 for the embedding.
    The convolutions' output is raised to the size of the sinusoids that are added to it: at a
    third of them it is learned from several times later.
    """
    import torch
    from qwen_asr.core.transformers_backend import Qwen3ASRForConditionalGeneration
    from torch import nn

    model = Qwen3ASRForConditionalGeneration(config)
    depth = {
        "audio_tower": config.thinker_config.audio_config.encoder_layers,
        "model": config.thinker_config.text_config.num_hidden_layers,
    }
    with torch.no_grad():
        for name, module in model.thinker.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.Linear) and name != "lm_head":
                nn.init.xavier_uniform_(module.weight)
                if name.endswith(("out_proj", "fc2", "o_proj", "down_proj")):
                    module.weight *= 1 / math.sqrt(2 * depth[name.split(".")[0]])
                if name.endswith("conv_out"):
                    module.weight *= 3.0
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.05)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    model.tie_weights()
    model.thinker.tie_weights()
    return model


def save_checkpoint(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    dtype: torch.dtype,
    **generation: float,
) -> None:
    """Write `model` with everything `Qwen3ASRModel.from_pretrained` needs, all of it or nothing.

    `generation` goes into generation_config.json beside the end-of-text and padding ids, which
    `LocalEngine` reads from there.
    """
    from qwen_asr.core.transformers_backend import Qwen3ASRProcessor
    from transformers import GenerationConfig, WhisperFeatureExtractor

    ids = tokenizer.convert_tokens_to_ids
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    state = {
        name: value.to(dtype).contiguous()
        for name, value in model.state_dict().items()
        if name != "thinker.lm_head.weight"  # tied to the embedding
    }
    model.save_pretrained(partial, state_dict=state)
    Qwen3ASRProcessor(
        feature_extractor=WhisperFeatureExtractor(feature_size=128),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(partial)
    GenerationConfig(
        eos_token_id=[ids(TURN_END), ids(END_OF_TEXT)],
        pad_token_id=ids(END_OF_TEXT),
        do_sample=False,
        **generation,
    ).save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
