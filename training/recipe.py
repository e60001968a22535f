"""The options of a run, with the model card's defaults, and the command line that sets them."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from speech_translation.bounds import bounded
from speech_translation.errors import SpeechTranslationError

FROZEN = ("encoder", "decoder")
OPTIMIZERS = {"adamw": None, "adamw8bit": "bitsandbytes"}
ATTENTION = {"sdpa": None, "flash_attention_2": "flash_attn"}
REPORTS = {"none": None, "tensorboard": "tensorboard", "wandb": "wandb"}
"""The choices, and the package that each needs."""


@dataclass(frozen=True)
class Recipe:
    """One run. The defaults are those of the model card; what it leaves open is marked so."""

    train: Path
    output: Path
    eval: Path | None = None
    model: str = "Qwen/Qwen3-ASR-1.7B"
    epochs: float = 1.3
    learning_rate: float = 1e-5
    warmup: float = 0.03  # share of all steps
    weight_decay: float = 0.0  # not in the card
    optimizer: str = "adamw"  # or adamw8bit, bitsandbytes' with moments of 8 bits
    lora: int | None = None  # rank of adapters that are trained in place of all parameters
    freeze: str | None = None  # "encoder" or "decoder", which then stays as it is
    clip: float = 1.0  # the gradient's largest norm; not in the card
    batch: int = 8  # samples per device and pass
    update: int = 64  # samples per step, on all devices together
    evaluate_every: int = 500  # steps from one evaluation and checkpoint to the next
    chrf_clips: int = 200  # of the evaluation set that are translated then; not in the card
    checkpoints_kept: int = 2  # on the disk, the best among them; not in the card
    log_every: int = 10  # steps from one point of the curve to the next; not in the card
    bare_prompts: float = 0.0  # share without a system turn; not in the card
    transcribe: float = 0.0  # share of samples that are transcribed; not in the card
    speed: float = 0.0  # clips up to so much faster or slower; not in the card
    noise: float = 0.0  # share of clips with noise; not in the card
    masks: bool = False  # SpecAugment; not in the card
    report_to: str = "none"  # or tensorboard or wandb, beside loss.csv
    encoder_window: bool = True  # 8 s of attention in the encoder; not in the card
    shard: bool = False  # weights, gradients and optimiser spread over the devices
    attention: str = "sdpa"  # or flash_attention_2; not in the card
    gradient_checkpointing: bool = False  # not in the card
    workers: int = min(4, os.cpu_count() or 1)  # processes that decode audio; not in the card
    seed: int = 0  # not in the card
    resume: bool = False

    def require_packages(self) -> None:
        """Raise SpeechTranslationError when an option needs another one or a missing package."""
        if self.shard and (self.lora is not None or self.optimizer != "adamw"):
            raise SpeechTranslationError(
                "--shard goes with neither --lora nor --optimizer adamw8bit, which need little "
                "memory without it: leave it out."
            )
        if self.shard and "RANK" not in os.environ:
            raise SpeechTranslationError(
                "--shard spreads a run over several devices: start it with torchrun."
            )
        needed = {"matplotlib": "matplotlib"}
        if self.lora is not None:
            needed["peft"] = "peft"
        for package in (
            OPTIMIZERS[self.optimizer],
            ATTENTION[self.attention],
            REPORTS[self.report_to],
        ):
            if package:
                needed[package] = package.replace("_", "-")
        for package, name in needed.items():
            if importlib.util.find_spec(package) is None:
                ours = name in ("matplotlib", "peft", "tensorboard")
                raise SpeechTranslationError(
                    f"No {name}: run pip install " + ("-r requirements-train.txt" if ours else name)
                )

    def passes(self, devices: int) -> int:
        """Batches of each device in one step. Raises SpeechTranslationError without a whole number.

        It follows the number of devices, so that more of them learn the same from the same steps.
        """
        together = self.batch * devices
        if self.update % together:
            raise SpeechTranslationError(
                f"{self.update} samples a step are no whole number of batches of {self.batch} on "
                f"{devices} device{'s' if devices > 1 else ''}: choose an --update that "
                f"{together} divides, or another --batch-size."
            )
        return self.update // together


def parser() -> argparse.ArgumentParser:
    """The options, each with its default."""
    command = argparse.ArgumentParser(
        prog="python -m training.sft",
        description="Fine-tune Qwen3-ASR for speech translation with the model card's recipe.",
    )
    count, positive, share = bounded(int, 1), bounded(float, 1e-12), bounded(float, 0, 1)
    card = {field.name: field.default for field in fields(Recipe)}

    def add(flag: str, help: str, **options: Any) -> None:
        name = options.setdefault("dest", flag.strip("-").replace("-", "_"))
        if "action" not in options and card[name] not in (None, MISSING):
            options["default"] = card[name]
            help += " (default: %(default)s)"
        command.add_argument(flag, help=help, **options)

    add("--train", "manifest, see speech_translation/manifest.py", type=Path, required=True)
    add("--output", "folder for checkpoints, model and loss curve", type=Path, required=True)
    add("--eval", "held-out manifest; without it the last checkpoint is kept", type=Path)
    add("--model", "base: a Hub id, ID@REVISION or a checkpoint folder", metavar="ID_OR_DIR")
    add("--resume", "go on from the last complete checkpoint in --output", action="store_true")
    add("--epochs", "passes over the data, may be a fraction", type=positive)
    add("--learning-rate", "peak of the cosine", type=positive)
    add("--warmup", "share of the steps that warm up", type=share)
    add("--batch-size", "samples per device and pass", type=count, dest="batch")
    add("--update", "samples per step, on all devices together", type=count)
    add("--weight-decay", "of AdamW", type=bounded(float, 0))
    add("--optimizer", "adamw8bit needs bitsandbytes and a GPU", choices=list(OPTIMIZERS))
    add(
        "--lora",
        "train adapters of this rank, merged at the end; try 16, and a learning rate of 2e-4",
        type=count,
    )
    add("--freeze", "leave a part of the model as it is", choices=FROZEN)
    add("--clip", "the gradient's largest norm", type=positive)
    add(
        "--every",
        "steps between evaluations, each with a checkpoint",
        type=count,
        dest="evaluate_every",
    )
    add(
        "--chrf-clips",
        "of the evaluation set, translated at each evaluation; 0 for none",
        type=bounded(int, 0),
    )
    add(
        "--keep",
        "checkpoints kept on the disk, the best among them",
        type=count,
        dest="checkpoints_kept",
    )
    add("--log-every", "steps between points of the loss curve", type=count)
    add("--bare-prompts", "share of prompts without system turn, as vLLM's", type=share)
    add(
        "--transcribe",
        "share of samples that are written in the language spoken, with their transcript",
        type=bounded(float, 0, 0.9),
    )
    add("--speed", "clips up to so much faster or slower; try 0.1", type=bounded(float, 0, 0.5))
    add("--noise", "share of clips with noise, 5 to 30 dB below them", type=share)
    add("--masks", "hide bands and spans of the features (SpecAugment)", action="store_true")
    add("--report-to", "another place for the curve", choices=list(REPORTS))
    add(
        "--no-encoder-window",
        "let the encoder see the whole clip instead of 8 s windows",
        action="store_false",
        dest="encoder_window",
    )
    add("--shard", "spread the model over the GPUs that torchrun starts", action="store_true")
    add("--attention", "flash_attention_2 needs flash-attn and a GPU", choices=list(ATTENTION))
    add("--gradient-checkpointing", "less memory, slower steps", action="store_true")
    add("--workers", "processes that decode audio", type=bounded(int, 0))
    add("--seed", "of the order of the samples", type=int)
    return command


def read_options(argv: Sequence[str] | None = None) -> Recipe:
    """The recipe that a command line asks for; wrong usage exits with 2."""
    return Recipe(**vars(parser().parse_args(argv)))
