"""transformers' Trainer, with this recipe's order of samples, evaluation and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from speech_translation.errors import AudioError
from speech_translation.manifest import Sample
from training.batches import Collator
from training.curve import draw, write_table
from training.data import BalancedSampler
from training.recipe import Recipe
from training.sharding import clip_norm, load_optimizer, load_weights, save_optimizer, whole_weights
from training.validation import chosen, chrf, loss_sum, translations

UNREADABLE = 0.001
"""The share of a manifest's recordings that may turn out unreadable before a run ends."""


class SpeechTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """A Trainer that follows a sampler, survives a few bad clips and saves whole checkpoints.

    `collator` makes the batches to learn, `plain` those of the evaluation. `save_extras` writes
    into the folder of a checkpoint what it needs beside its weights.
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        sampler: BalancedSampler,
        collator: Collator,
        plain: Collator,
        tokenizer: Any,
        evalset: Sequence[Sample],
        save_extras: Callable[[Path], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(
            data_collator=collator,
            eval_dataset=list(evalset) or None,
            callbacks=[Curve(recipe.output)],
            **kwargs,
        )
        self._recipe = recipe
        self._sampler = sampler
        self._collator = plain
        self._tokenizer = tokenizer
        self._evalset = list(evalset)
        self.save_extras = save_extras
        self._allowed = UNREADABLE * (len(self.train_dataset) // 2 + len(evalset))
        self.unreadable = set[str]()
        if recipe.shard:  # the model is spread already, and must not be copied to each device
            self.accelerator.prepare_model = lambda model, **_: model
            self.accelerator.clip_grad_norm_ = clip_norm

    def _get_train_sampler(self, train_dataset: Any = None) -> BalancedSampler:
        return self._sampler

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        self.save_extras(Path(output_dir or self.args.output_dir))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write a checkpoint, of a run in shards a whole one too."""
        if not self._recipe.shard:
            super().save_model(output_dir, _internal_call)
            return
        weights = whole_weights(self.model)
        if self.args.should_save:
            self._save(output_dir, weights)

    def whole(self) -> dict[str, Any] | None:
        """The gathered weights of a run in shards; None of another."""
        return whole_weights(self.model) if self._recipe.shard else None

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self._recipe.shard:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        folder, rank = Path(output_dir), self.args.process_index
        save_optimizer(self.model, self.optimizer.optimizer, folder / "optimizer.pt", rank)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), folder / "scheduler.pt")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self._recipe.shard or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        folder, rank = Path(checkpoint), self.args.process_index
        load_optimizer(self.model, self.optimizer.optimizer, folder / "optimizer.pt", rank)
        self.lr_scheduler.load_state_dict(torch.load(folder / "scheduler.pt", weights_only=True))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self._recipe.shard:
            load_weights(self.model, Path(resume_from_checkpoint), self.args.process_index)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if self._recipe.shard:
            self._load_from_checkpoint(self.state.best_model_checkpoint)
        else:
            super()._load_best_model()

    def compute_loss(self, *args: Any, **options: Any) -> Any:
        """The loss, in the precision of the run whoever wraps the model."""
        with self.accelerator.autocast():
            return super().compute_loss(*args, **options)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any) -> Any:
        """One pass, after the clips that could not be read are counted."""
        self._count(inputs.pop("unreadable"))
        return super().training_step(model, inputs, *args)

    def _count(self, faults: Sequence[str]) -> None:
        """Note recordings that another one stands in for; too many of them end the run."""
        for fault in faults:
            if fault in self.unreadable:
                continue
            self.unreadable.add(fault)
            if len(self.unreadable) > self._allowed:
                raise AudioError(
                    f"{fault} That makes {len(self.unreadable)}, more than {UNREADABLE:.1%} of "
                    "all: mend these recordings, or prepare the data again."
                )
            print(f"replaced by another one: {fault}", flush=True)

    def evaluation_loop(
        self, dataloader: Any, description: str, *_: Any, **options: Any
    ) -> EvalLoopOutput:
        """Loss per token of the evaluation set, and chrF of some of its translations.

        Both are the same for each size of the batches and each number of devices: sums are added,
        not means. Each process takes its share in equally many batches, some of them empty.
        """
        from accelerate.utils import gather_object
        from torch.utils.data import DataLoader

        model = self.model
        model.eval()
        samples = self._share(self._evalset)
        spoken = self._share(chosen(self._evalset, self._recipe.chrf_clips))
        answers = []
        totals = [0.0, 0.0]
        some: Any = [part or self._evalset[:1] for part in samples]
        loader: Any = DataLoader(
            some,
            batch_size=None,
            collate_fn=self._collator,
            num_workers=self.args.dataloader_num_workers,
        )
        with self.accelerator.autocast():
            for part, inputs in zip(samples, loader, strict=True):
                faults = inputs.pop("unreadable")
                loss, tokens = loss_sum(model, self._prepare_inputs(inputs))
                if part:
                    self._count(faults)
                    totals = [totals[0] + loss, totals[1] + tokens]
            for part in spoken:
                found = translations(
                    model,
                    self._collator,
                    self._tokenizer,
                    part or self._evalset[:1],
                    self.args.device,
                    together=self._recipe.shard,
                )
                answers += found if part else []
        loss, tokens = self.accelerator.reduce(
            torch.tensor(totals, dtype=torch.float64, device=self.args.device)
        ).tolist()
        prefix = options.get("metric_key_prefix", "eval")
        metrics = {f"{prefix}_loss": loss / tokens}
        score = chrf(gather_object(answers)) if spoken else None
        if score is not None:
            metrics[f"{prefix}_chrf"] = score
        return EvalLoopOutput(None, None, metrics, len(self._evalset))

    def _share(self, samples: Sequence[Sample]) -> list[list[Sample]]:
        """This process's batches; each process has equally many."""
        batch, world = self._recipe.batch, self.args.world_size
        mine = samples[self.args.process_index :: world]
        count = math.ceil(len(samples) / (batch * world))
        return [list(mine[i * batch : (i + 1) * batch]) for i in range(count)]


class Curve(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Keeps the loss curve, and has the last step evaluated too."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Renew the table."""
        if state.is_world_process_zero:
            write_table(state.log_history, self._output)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Renew the picture."""
        if state.is_world_process_zero:
            draw(state.log_history, self._output)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Renew the picture, also without an evaluation."""
        self.on_evaluate(args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for an evaluation of the last step."""
        if state.global_step >= state.max_steps and args.eval_strategy != "no":
            control.should_evaluate = True


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """The Trainer's own options."""
    arguments = TrainingArguments(
        output_dir=str(recipe.output),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_ratio=recipe.warmup,
        weight_decay=recipe.weight_decay,
        optim={"adamw": "adamw_torch_fused", "adamw8bit": "adamw_bnb_8bit"}[recipe.optimizer],
        max_grad_norm=recipe.clip,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=recipe.batch,
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
        report_to=[] if recipe.report_to == "none" else [recipe.report_to],
        logging_dir=str(recipe.output / "tensorboard"),
        seed=recipe.seed,
    )
    arguments.gradient_accumulation_steps = recipe.passes(arguments.world_size)
    # Several GPUs go through torchrun; without it the Trainer would copy the model to all of them
    # in every step (DataParallel), which a forward bound to one model does not survive.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
