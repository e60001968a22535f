"""Tiny checkpoints of the benchmark's other architectures: random weights, real processors.

The weights are so large where the decoder listens that what it writes depends on what it hears.
"""

from __future__ import annotations

import string
from itertools import product
from pathlib import Path

import torch
from tiny_checkpoint import PAIRS
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Blip2QFormerConfig,
    GenerationConfig,
    GraniteConfig,
    GraniteSpeechConfig,
    GraniteSpeechEncoderConfig,
    GraniteSpeechFeatureExtractor,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechProcessor,
    PreTrainedTokenizerFast,
    SeamlessM4TFeatureExtractor,
    SeamlessM4TProcessor,
    SeamlessM4TTokenizerFast,
    SeamlessM4Tv2Config,
    SeamlessM4Tv2ForSpeechToText,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizerFast,
)

_WHISPER_SPECIAL = [
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|ja|>", "<|translate|>"),
    *("<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
]
_TIMESTAMPS = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]


def make_tiny_whisper(folder: Path, mel_bins: int) -> Path:
    """One layer, two languages and made-up words; the tokens are in the order of the real ones."""
    tokenizer = _whisper_tokenizer()
    ids = tokenizer.get_vocab()
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    ends = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end}
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokenizer),
            num_mel_bins=mel_bins,
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            init_std=0.5,
            decoder_start_token_id=start,
            begin_suppress_tokens=None,
            **ends,
        )
    )
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        is_multilingual=True,
        lang_to_id={token: ids[token] for token in ("<|en|>", "<|ja|>")},
        task_to_id={task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        begin_suppress_tokens=[ids["Ġ"], end],
        # A trained model writes no timestamps where it is told not to.
        suppress_tokens=list(range(start, len(tokenizer))),
        **ends,
    )
    model.save_pretrained(folder)
    features = WhisperFeatureExtractor(feature_size=mel_bins)
    WhisperProcessor(features, tokenizer).save_pretrained(folder)
    return folder


def _whisper_tokenizer() -> WhisperTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made_up = ["Ġ" + "".join(word) for word in product(string.ascii_lowercase, repeat=2)]
    words = [*letters, *made_up, ""]  # by the empty one CTranslate2 knows a multilingual model
    raw = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(_WHISPER_SPECIAL)
    raw.add_tokens([AddedToken(token, normalized=False) for token in _TIMESTAMPS])
    return WhisperTokenizerFast(tokenizer_object=raw, additional_special_tokens=_WHISPER_SPECIAL)


def make_tiny_ct2(folder: Path, whisper: Path) -> Path:
    """`whisper` as faster-whisper reads it."""
    from ctranslate2.converters import TransformersConverter

    files = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(whisper), copy_files=files).convert(str(folder))
    return folder


def make_tiny_seamless(folder: Path) -> Path:
    """One layer of each kind, and pieces of single characters."""
    letters = sorted({letter for texts in PAIRS.values() for text in texts for letter in text})
    pieces = ["<pad>", "<unk>", "<s>", "</s>", "▁", *(x for x in letters if x != " ")]
    raw = Tokenizer(models.Unigram([(piece, 0.0) for piece in pieces], unk_id=1))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    tokenizer = SeamlessM4TTokenizerFast(
        tokenizer_object=raw, additional_special_tokens=["__eng__", "__jpn__"], tgt_lang="eng"
    )
    ids = tokenizer.get_vocab()
    torch.manual_seed(0)
    model = SeamlessM4Tv2ForSpeechToText(
        SeamlessM4Tv2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            initializer_range=0.5,
            decoder_layers=1,
            decoder_ffn_dim=64,
            decoder_attention_heads=2,
            speech_encoder_layers=1,
            speech_encoder_attention_heads=2,
            speech_encoder_intermediate_size=64,
        )
    )
    for layer in model.text_decoder.layers:
        layer.cross_attention.out_proj.weight.data *= 100
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids["</s>"],
        pad_token_id=ids["<pad>"],
        bos_token_id=ids["<s>"],
        eos_token_id=ids["</s>"],
        text_decoder_lang_to_code_id={x: ids[f"__{x}__"] for x in ("eng", "jpn")},
    )
    model.save_pretrained(folder)
    SeamlessM4TProcessor(SeamlessM4TFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


def make_tiny_granite(folder: Path) -> Path:
    """One layer of each kind, and a tokenizer of letters with Granite's turns."""
    letters = sorted(
        set(string.printable) | {x for texts in PAIRS.values() for t in texts for x in t}
    )
    special = ["<pad>", "<|end_of_text|>", "<|audio|>", "<|start_of_role|>", "<|end_of_role|>"]
    pieces = {piece: i for i, piece in enumerate([*special, "<unk>", *letters])}
    raw = Tokenizer(models.BPE(pieces, [], unk_token="<unk>"))
    raw.decoder = decoders.Fuse()
    raw.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        eos_token="<|end_of_text|>",
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = (
        "{% for x in messages %}<|start_of_role|>{{ x.role }}<|end_of_role|>{{ x.content }}"
        "<|end_of_text|>{% endfor %}<|start_of_role|>assistant<|end_of_role|>"
    )
    ids = tokenizer.get_vocab()
    ends = {"pad_token_id": ids["<pad>"], "eos_token_id": ids["<|end_of_text|>"]}
    torch.manual_seed(0)
    model = GraniteSpeechForConditionalGeneration(
        GraniteSpeechConfig(
            text_config=GraniteConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                initializer_range=0.5,
                **ends,
            ),
            encoder_config=GraniteSpeechEncoderConfig(
                hidden_dim=32, num_layers=2, num_heads=2, dim_head=16, output_dim=8
            ),
            projector_config=Blip2QFormerConfig(
                hidden_size=32,
                encoder_hidden_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=64,
                cross_attention_frequency=1,
            ),
            audio_token_index=ids["<|audio|>"],
            has_lora_adapter=False,
            initializer_range=0.5,
        )
    )
    model.generation_config = GenerationConfig(
        suppress_tokens=list(range(len(special) + 1)), **ends
    )
    model.save_pretrained(folder)
    GraniteSpeechProcessor(GraniteSpeechFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder
