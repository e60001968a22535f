"""What a model under training reaches on held-out samples: loss per token, and chrF."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from speech_translation.engine.prompt import TURN_END, token_budget
from speech_translation.manifest import Sample
from speech_translation.types import SAMPLE_RATE, Language
from training.batches import IGNORE, Collator


def loss_sum(model: Any, batch: dict[str, Any]) -> tuple[float, int]:
    """The loss summed over the learned tokens of a batch, and their number.

    Sums can be added over batches of any size, means of batches cannot.
    """
    import torch

    inputs = {name: value for name, value in batch.items() if name != "unreadable"}
    with torch.no_grad():
        total = model(**inputs, num_items_in_batch=1)["loss"]
    return float(total), int((batch["labels"][:, 1:] != IGNORE).sum())


def chosen(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples with a translation, the same at every evaluation."""
    speaking = [sample for sample in samples if sample.target is not None]
    drawn = random.Random(0).sample(speaking, min(count, len(speaking)))
    return sorted(drawn, key=lambda sample: sample.duration or 0.0)  # less padding


def translations(
    model: Any,
    collator: Collator,
    tokenizer: Any,
    samples: Sequence[Sample],
    device: Any,
    together: bool = False,
) -> list[tuple[Language, str, str]]:
    """Target, greedy translation into it and reference of each sample of a batch.

    `together` lets a process that is done go on with the others, which need its part of the model.
    """
    import torch

    if not samples:
        return []
    inputs, heard = collator.prompts(samples)
    longest = max(sample.duration or 30.0 for sample in heard)
    ends = [tokenizer.convert_tokens_to_ids(TURN_END), tokenizer.pad_token_id]
    prompt = inputs["input_ids"].shape[1]
    with torch.no_grad():
        replies = model.generate(
            **{name: value.to(device) for name, value in inputs.items()},
            max_new_tokens=token_budget(round(longest * SAMPLE_RATE)),
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
            do_sample=False,
            use_cache=True,
            synced_gpus=together,
        )
    ids = getattr(replies, "sequences", replies)[:, prompt:]
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [
        (sample.target, text.strip(), sample.text)
        for sample, text in zip(heard, texts, strict=True)
        if sample.target is not None
    ]


def chrf(answers: Sequence[tuple[Language, str, str]]) -> float | None:
    """Mean chrF2 (0 to 100) of the languages, by sacreBLEU; None where nothing was translated."""
    from sacrebleu.metrics import CHRF

    scores = []
    for language in Language:
        own = [(text, reference) for target, text, reference in answers if target is language]
        if own:
            texts, references = zip(*own, strict=True)
            scores.append(CHRF().corpus_score(list(texts), [list(references)]).score)
    return sum(scores) / len(scores) if scores else None
