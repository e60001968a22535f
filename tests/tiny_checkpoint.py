"""What training can be tested with: a tiny Qwen3-ASR checkpoint and a few tones with texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from phrasebook.architecture import build_tokenizer, new_model, save_checkpoint, small_config

PAIRS = {
    "ja": ["おはようございます。", "駅はどこですか？"],
    "en": ["Good morning.", "Where is the station?"],
}


def make_tiny_checkpoint(folder: Path) -> Path:
    """One layer of each kind and about 350 tokens, saved as `Qwen3ASRModel` loads it."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer([text for texts in PAIRS.values() for text in texts], size=400)
    config = small_config(tokenizer)
    config.thinker_config.audio_config.encoder_layers = 1
    config.thinker_config.text_config.num_hidden_layers = 1
    save_checkpoint(new_model(config), tokenizer, folder, torch.float32)
    return folder


def write_tone(path: Path, hertz: float, seconds: float) -> Path:
    time = np.arange(round(seconds * 16_000)) / 16_000
    sf.write(path, 0.3 * np.sin(2 * np.pi * hertz * time), 16_000)
    return path


def make_manifest(path: Path, copies: int) -> Path:
    """A manifest of tones beside it: each text of `PAIRS` has its pitch, each copy its length."""
    rows = []
    for number, (target, text) in enumerate((t, x) for t in PAIRS for x in PAIRS[t]):
        for copy in range(copies):
            name = f"{number}-{copy}.wav"
            write_tone(path.parent / name, 300 + 200 * number, 0.6 + 0.1 * number + 0.05 * copy)
            rows.append({"audio": name, "text": text, "target_lang": target})
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path
