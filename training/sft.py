"""Full-parameter fine-tuning of Qwen3-ASR for speech translation, with the model card's recipe.

    python -m training.sft --train train.jsonl --eval eval.jsonl --output runs/1
    torchrun --nproc-per-node 8 -m training.sft --accumulate 1 ...      (8 x 8 x 1 = 64 again)

`OUTPUT/checkpoint-N` holds a whole model (float32, so that a resumed run repeats the uninterrupted
one) and the state of the optimiser; `OUTPUT/model` the best of them by evaluation loss, or the
last, in bfloat16 if it was trained so; `OUTPUT/loss.csv` and `loss.png` the curve.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import math
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

from speech_translation.engine.checkpoint import locate
from speech_translation.engine.devices import out_of_memory
from speech_translation.errors import AudioError, EngineError, ModelError, SpeechTranslationError
from training.memory import out_of_memory_advice, require_memory

if TYPE_CHECKING:
    import torch

    from speech_translation.manifest import Sample

_CURVE = ("step", "epoch", "loss", "eval_loss", "learning_rate", "grad_norm")
_GENERATION = "generation_config.json"


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
    batch: int = 8  # per device
    accumulate: int = 8  # batches per step
    evaluate_every: int = 500  # steps from one evaluation and checkpoint to the next
    checkpoints_kept: int = 2  # on the disk, the best among them; not in the card
    log_every: int = 10  # steps from one point of the curve to the next; not in the card
    bare_prompts: float = 0.0  # share without a system turn; not in the card
    encoder_window: bool = True  # 8 s of attention in the encoder; not in the card
    gradient_checkpointing: bool = False  # not in the card
    workers: int = 4  # processes that decode audio; not in the card
    seed: int = 0  # not in the card
    resume: bool = False


def fine_tune(recipe: Recipe) -> Path:
    """Run `recipe` to its end and return the folder of the finished model.

    Raises:
        ManifestError: a manifest is wrong or holds nothing to learn from.
        ModelError: the base model cannot be loaded, or the output folder already holds a run.
        AudioError: a recording cannot be decoded.
        EngineError: not enough memory, before the training begins or in it.
    """
    import torch

    if importlib.util.find_spec("matplotlib") is None:
        raise SpeechTranslationError("No matplotlib: run pip install -r requirements-train.txt")
    checkpoint = _start_point(recipe)

    from transformers.utils.logging import set_verbosity_error

    from training.data import BalancedSampler, Collator

    set_verbosity_error()
    trainset = _samples(recipe.train)
    evalset = _samples(recipe.eval) if recipe.eval else None
    model, processor = load_base(recipe.model)
    prepare(model, recipe.encoder_window)
    arguments = _arguments(recipe)
    update = recipe.batch * recipe.accumulate * arguments.world_size
    sampler = BalancedSampler(trainset, update, recipe.seed)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    require_memory(parameters, arguments.device)
    _say(f"{len(sampler)} samples an epoch, {update} a step, on {arguments.device}")

    base = Path(model.name_or_path)  # the folder, also of a model of the Hub
    try:
        trainer = _trainer_class()(
            model=model,
            args=arguments,
            data_collator=Collator(processor, recipe.bare_prompts),
            train_dataset=trainset,
            eval_dataset=evalset,
            callbacks=[_curve_callback(recipe.output)],
            sampler=sampler,
            save_extras=lambda folder: _save_extras(folder, processor, base),
        )
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except AudioError as error:
        # A worker of the DataLoader hands the sentence over at the end of its own traceback.
        raise AudioError(str(error).rpartition("AudioError: ")[2].strip()) from None
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise EngineError(
            out_of_memory_advice(parameters, recipe.batch, recipe.gradient_checkpointing)
        ) from error

    final = recipe.output / "model"
    if arguments.should_save:
        partial = final.with_name("model.partial")
        shutil.rmtree(partial, ignore_errors=True)
        model.to(torch.bfloat16 if arguments.bf16 else torch.float32).save_pretrained(partial)
        _save_extras(partial, processor, base)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    return final


def _samples(manifest: Path) -> list[Sample]:
    from training.data import load_samples

    samples, dropped = load_samples(manifest)
    targets = Counter(sample.target.tag if sample.target else "None" for sample in samples)
    _say(f"{manifest}: {len(samples)} samples by target {dict(targets)}, dropped {dict(dropped)}")
    return samples


def _start_point(recipe: Recipe) -> Path | None:
    """The checkpoint to continue from; half-written ones are removed.

    The Trainer writes trainer_state.json last, so a checkpoint with a whole one is complete.
    """
    try:
        recipe.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{recipe.output}: cannot write there ({error.strerror}).") from error
    folders = sorted(
        (p for p in recipe.output.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)),
        key=lambda p: int(p.name.partition("-")[2]),
    )
    if folders and not recipe.resume:
        raise ModelError(
            f"{recipe.output} already holds checkpoints: add --resume to go on from them, "
            "or choose another --output."
        )
    from transformers import TrainerState

    while folders:
        try:
            TrainerState.load_from_json(str(folders[-1] / "trainer_state.json"))
            return folders[-1]
        except (OSError, ValueError, TypeError):
            shutil.rmtree(folders.pop(), ignore_errors=True)
    return None


def load_base(name: str) -> tuple[Any, Any]:
    """The model in float32, all of it, and its processor. `name` is one that `locate` knows.

    Raises:
        ModelError: not a Qwen3-ASR checkpoint, incomplete, or the Hub cannot be reached.
    """
    import torch
    from qwen_asr.core.transformers_backend import Qwen3ASRProcessor

    from speech_translation.engine.whole import load_whole

    folder = locate(name)
    try:
        model = load_whole(folder, torch.float32)
        # True, as qwen-asr has it, replaces Qwen's splitting rule by Mistral's when the checkpoint
        # is a folder written by transformers 4.57.3 or later (tokenization_utils_base.py, 4.57.6).
        processor = Qwen3ASRProcessor.from_pretrained(str(folder), fix_mistral_regex=False)
        processor.tokenizer.init_kwargs.pop("fix_mistral_regex", None)
    except Exception as error:  # anything: transformers has no common error for a bad checkpoint
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{name}: cannot load this model ({reason}). Give a folder with a "
            "Qwen3-ASR checkpoint, or the name of one on the Hub and a connection to it."
        ) from error
    return model, processor


def prepare(model: Any, encoder_window: bool) -> None:
    """Make a `Qwen3ASRForConditionalGeneration` trainable as a whole.

    The outer class of qwen-asr 0.0.6 has no forward; it gets one here that returns the loss, so
    that what is trained and saved is the outer model with its own names of the weights.
    """
    from transformers import GenerationConfig

    from speech_translation.engine.attention import set_encoder_window

    def forward(
        self: Any, labels: torch.Tensor, num_items_in_batch: Any = None, **inputs: Any
    ) -> dict[str, torch.Tensor]:
        logits = self.thinker(**inputs, use_cache=False).logits
        return {"loss": token_loss(logits, labels, num_items_in_batch)}

    model.forward = MethodType(forward, model)
    # A base's generation_config may be one that transformers reads but refuses to write (a
    # temperature without sampling); the file is copied as it is instead, by `_save_extras`.
    model.generation_config = GenerationConfig()
    set_encoder_window(model, encoder_window)


def token_loss(
    logits: torch.Tensor, labels: torch.Tensor, count: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross-entropy summed over the learned tokens, divided by `count` or else by their number.

    `logits` is (batch, tokens, vocabulary), `labels` (batch, tokens). With the number of learned
    tokens in a whole update as `count`, each weighs the same however the update is cut into
    batches and devices. Only the learned positions are brought to float32.
    """
    import torch

    from training.data import IGNORE

    following = labels[:, 1:]
    learned = following != IGNORE
    total = torch.nn.functional.cross_entropy(
        logits[:, :-1][learned].float(), following[learned], reduction="sum"
    )
    return total / (learned.sum() if count is None else count)


def _arguments(recipe: Recipe) -> Any:
    import torch
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(recipe.output),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_ratio=recipe.warmup,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulate,
        bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False),
        gradient_checkpointing=recipe.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        eval_strategy="steps" if recipe.eval else "no",
        eval_steps=recipe.evaluate_every,
        save_steps=recipe.evaluate_every,
        save_total_limit=recipe.checkpoints_kept,
        load_best_model_at_end=recipe.eval is not None,
        metric_for_best_model="eval_loss" if recipe.eval else None,
        greater_is_better=False if recipe.eval else None,
        prediction_loss_only=True,
        label_names=["labels"],
        logging_steps=recipe.log_every,
        remove_unused_columns=False,
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        report_to=[],
        seed=recipe.seed,
    )
    # Several GPUs go through torchrun; without it the Trainer would copy the model to all of them
    # in every step (DataParallel), which a forward bound to one model does not survive.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _trainer_class() -> Any:
    from transformers import Trainer

    class SpeechTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
        """A Trainer with a given order of samples and checkpoints that load by themselves."""

        def __init__(self, *args: Any, sampler: Any, save_extras: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._sampler = sampler
            self._save_extras = save_extras

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return self._sampler

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            super()._save(output_dir, state_dict)
            self._save_extras(Path(output_dir or self.args.output_dir))

    return SpeechTrainer


def _save_extras(folder: Path, processor: Any, base: Path) -> None:
    """Write what a checkpoint needs beside its weights and configuration.

    That is tokenizer, feature extractor, chat template and generation configuration. `base` is the
    folder of the model that the training began with.
    """
    from transformers import GenerationConfig

    processor.save_pretrained(folder)
    if (base / _GENERATION).is_file():
        shutil.copyfile(base / _GENERATION, folder / _GENERATION)
    else:
        tokenizer = processor.tokenizer
        ends = [tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.pad_token_id]
        GenerationConfig(
            eos_token_id=ends, pad_token_id=tokenizer.pad_token_id, do_sample=False
        ).save_pretrained(folder)


def _curve_callback(output: Path) -> Any:
    from transformers import TrainerCallback

    class Curve(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        """Rewrites the loss curve at each log, and has the last step evaluated too."""

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                write_curve(state.log_history, output)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step >= state.max_steps and args.eval_strategy != "no":
                control.should_evaluate = True

    return Curve()


def write_curve(history: Sequence[dict[str, float]], output: Path) -> None:
    """Write `loss.csv` and `loss.png` into `output` from the Trainer's log history."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows: dict[float, dict[str, float]] = {}
    for entry in history:
        rows.setdefault(entry["step"], {}).update(entry)
    curve = [row for row in rows.values() if "loss" in row or "eval_loss" in row]
    partial = output / "loss.csv.partial"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _CURVE, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(curve)
    partial.replace(output / "loss.csv")

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="step", ylabel="loss per token (nats)")
    for key, label, style in (("loss", "training", "-"), ("eval_loss", "evaluation", "o-")):
        points = [(row["step"], row[key]) for row in curve if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    partial = output / "loss.png.partial"
    figure.savefig(partial, format="png", dpi=120)
    partial.replace(output / "loss.png")


def _say(message: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr, flush=True)


def _number(kind: type[int] | type[float], low: float, high: float = math.inf) -> Any:
    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value <= high or math.isinf(value):
            raise ValueError
        return value

    limits = f"{low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
    parse.__name__ = f"{kind.__name__} ({limits})"  # argparse: "invalid int (at least 1) value"
    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.sft",
        description="Fine-tune Qwen3-ASR for speech translation with the model card's recipe.",
    )
    count, positive, share = _number(int, 1), _number(float, 1e-12), _number(float, 0, 1)
    card = {field.name: field.default for field in fields(Recipe)}

    def add(flag: str, help: str, **options: Any) -> None:
        name = options.setdefault("dest", flag.strip("-").replace("-", "_"))
        if "action" not in options and card[name] not in (None, MISSING):
            options["default"] = card[name]
            help += " (default: %(default)s)"
        parser.add_argument(flag, help=help, **options)

    add("--train", "manifest, see speech_translation/manifest.py", type=Path, required=True)
    add("--output", "folder for checkpoints, model and loss curve", type=Path, required=True)
    add("--eval", "held-out manifest; without it the last checkpoint is kept", type=Path)
    add("--model", "base: a Hub id, ID@REVISION or a checkpoint folder", metavar="ID_OR_DIR")
    add("--resume", "go on from the last complete checkpoint in --output", action="store_true")
    add("--epochs", "passes over the data, may be a fraction", type=positive)
    add("--learning-rate", "peak of the cosine", type=positive)
    add("--warmup", "share of the steps that warm up", type=share)
    add("--batch-size", "samples per device and pass", type=count, dest="batch")
    add("--accumulate", "passes per step; divide it by the number of GPUs", type=count)
    add(
        "--every",
        "steps between evaluations, each with a checkpoint",
        type=count,
        dest="evaluate_every",
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
        "--no-encoder-window",
        "let the encoder see the whole clip instead of 8 s windows",
        action="store_false",
        dest="encoder_window",
    )
    add("--gradient-checkpointing", "less memory, slower steps", action="store_true")
    add("--workers", "processes that decode audio", type=_number(int, 0))
    add("--seed", "of the order of the samples", type=int)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0 when done and 1 on failure; wrong usage exits with 2."""
    recipe = Recipe(**vars(_parser().parse_args(argv)))
    try:
        final = fine_tune(recipe)
    except SpeechTranslationError as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; add --resume to go on from the last checkpoint")
        return 1
    _say(f"done: python inference.py AUDIO --model {final}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
