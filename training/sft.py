"""Fine-tuning of Qwen3-ASR for speech translation, with the model card's recipe.

    python -m training.sft --train train.jsonl --eval eval.jsonl --output runs/1
    torchrun --nproc-per-node 8 -m training.sft --train train.jsonl --output runs/1

`OUTPUT/checkpoint-N` holds a whole model (float32, so that a resumed run repeats the uninterrupted
one) and the state of the optimiser; `OUTPUT/model` the best of them by evaluation loss, or the
last, in bfloat16 if it was trained so, with a model card; `OUTPUT/recipe.json` what made it;
`OUTPUT/loss.csv` and `loss.png` the curve.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_translation.engine.devices import out_of_memory
from speech_translation.errors import AudioError, EngineError, ModelError, SpeechTranslationError
from training.console import say
from training.memory import TrainingState
from training.recipe import Recipe, read_options

if TYPE_CHECKING:
    from speech_translation.manifest import Sample
    from training.data import Dropped


def fine_tune(recipe: Recipe) -> Path:
    """Run `recipe` to its end and return the folder of the finished model.

    Raises:
        ManifestError: a manifest is wrong or holds nothing to learn from.
        ModelError: the base model cannot be loaded, or the output folder holds another run.
        AudioError: too many recordings cannot be decoded.
        EngineError: not enough memory, before the training begins or in it.
        SpeechTranslationError: the options do not fit together, or need a package.
    """
    import torch

    recipe.require_packages()
    checkpoint = _start_point(recipe)

    from transformers.utils.logging import set_verbosity_error

    from training.batches import Collator
    from training.data import BalancedSampler, Lessons
    from training.model import load_base, prepare, save_extras
    from training.parts import choose_parts
    from training.record import begin, record
    from training.sharding import shard
    from training.trainer import SpeechTrainer, training_arguments
    from training.variation import Variation

    set_verbosity_error()
    arguments = training_arguments(recipe)
    sets = {"train": _samples(recipe.train, recipe.transcribe > 0)}
    if recipe.eval:
        sets["eval"] = _samples(recipe.eval, False)
    made = record(recipe, sets, f"{arguments.world_size} x {_device_name(arguments.device)}")
    model, processor = load_base(recipe.model)
    base = Path(model.name_or_path)  # the folder, also of a model of the Hub
    prepare(model, recipe.encoder_window, recipe.attention)
    narrow = torch.bfloat16 if arguments.bf16 and not recipe.shard else torch.float32
    model = choose_parts(model, recipe.freeze, recipe.lora, narrow)
    trainset, evalset = sets["train"][0], sets.get("eval", ([], None))[0]
    sampler = BalancedSampler(trainset, recipe.update, recipe.seed, recipe.transcribe)
    shards = arguments.world_size if recipe.shard else 1
    state = TrainingState.of(model, narrow.itemsize, recipe.optimizer, shards)
    state.require(arguments.device)
    if recipe.shard:
        shard(model, arguments.device)
    if arguments.should_save or checkpoint:
        for remark in begin(recipe.output, made, checkpoint is not None):
            say(remark)
    say(f"{state.trained:,} of {state.trained + state.frozen:,} parameters are trained")
    say(f"{len(sampler)} samples an epoch, {recipe.update} a step, on {arguments.device}")

    try:
        trainer = SpeechTrainer(
            recipe=recipe,
            sampler=sampler,
            collator=Collator(
                processor,
                recipe.bare_prompts,
                Variation(recipe.speed, recipe.noise, recipe.masks),
            ),
            plain=Collator(processor, recipe.bare_prompts),
            tokenizer=processor.tokenizer,
            evalset=evalset,
            save_extras=lambda folder: save_extras(folder, processor, base),
            model=model,
            args=arguments,
            train_dataset=Lessons(trainset),
        )
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except AudioError as error:
        # A worker of the DataLoader hands the sentence over at the end of its own traceback.
        raise AudioError(str(error).rpartition("AudioError: ")[2].strip()) from None
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise EngineError(state.advice(recipe.batch, recipe.gradient_checkpointing)) from error

    final = recipe.output / "model"
    weights = trainer.whole()
    if arguments.should_save:
        _write_model(final, trainer, weights, made)
    return final


def _write_model(final: Path, trainer: Any, weights: Any, made: dict[str, Any]) -> None:
    """Write the finished model with its record and card, all of it or nothing."""
    import torch

    from training.curve import curve
    from training.parts import merged
    from training.record import RECORD, model_card

    partial = final.with_name("model.partial")
    shutil.rmtree(partial, ignore_errors=True)
    dtype = torch.bfloat16 if trainer.args.bf16 else torch.float32
    if weights is None:
        merged(trainer.model).to(dtype).save_pretrained(partial)
    else:
        narrow = {name: weight.to(dtype) for name, weight in weights.items()}
        trainer.model.config.dtype = dtype
        trainer.model.save_pretrained(partial, state_dict=narrow)
    trainer.save_extras(partial)
    best = trainer.state.best_global_step or trainer.state.global_step
    points = {row["step"]: row for row in curve(trainer.state.log_history)}
    reached = {
        "steps": trainer.state.global_step,
        "step of this model": best,
        "loss per token (nats), evaluation": _shown(points.get(best, {}).get("eval_loss")),
        "chrF2, evaluation": _shown(points.get(best, {}).get("eval_chrf")),
        "recordings that could not be read": len(trainer.unreadable),
    }
    text = json.dumps({**made, "reached": reached}, ensure_ascii=False, indent=1)
    (partial / RECORD).write_text(text + "\n", encoding="utf-8")
    (partial / "README.md").write_text(model_card(made, reached), encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _device_name(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _samples(manifest: Path, transcripts: bool) -> tuple[Sequence[Sample], Dropped]:
    from training.data import load_samples
    from training.prepared import facts

    samples, dropped = load_samples(manifest, transcripts)
    targets = Counter(target.tag if target else "None" for target, _, _ in facts(samples))
    say(f"{manifest}: {len(samples)} samples by target {dict(targets)}, dropped {dict(dropped)}")
    return samples, dropped


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


def _leave_group() -> None:
    """End the connections to the other processes of a run.

    A process that exits with their threads still running may abort, and torchrun then calls a
    finished run failed.
    """
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0 when done and 1 on failure; wrong usage exits with 2."""
    recipe = read_options(argv)
    try:
        final = fine_tune(recipe)
    except SpeechTranslationError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; add --resume to go on from the last checkpoint")
        return 1
    finally:
        if "RANK" in os.environ:
            _leave_group()
    say(f"done: python inference.py AUDIO --model {final}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
