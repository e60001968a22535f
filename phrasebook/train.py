"""Train the phrasebook checkpoint from nothing, on synthesised speech, on a CPU.

    python -m phrasebook.train --speech .cache/phrasebook/speech

The objective is the one of fine-tuning (`training.batches`), plus CTC on the encoder's output
against the words spoken (Graves et al. 2006), which teaches an untrained encoder to listen; its
head is thrown away. Restartable: the state in `--work` is renewed every `SAVE_EVERY` steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_model
from torch import nn
from transformers import AttentionInterface, GenerationConfig

from phrasebook.architecture import build_tokenizer, new_model, save_checkpoint, small_config
from phrasebook.augment import augment
from phrasebook.evaluate import hypotheses
from phrasebook.sentences import pairs
from phrasebook.speech import Example, Speech, Units
from phrasebook.synthesis import load_clips
from phrasebook.workers import average, average_gradients, run_workers
from speech_translation.engine import load_engine
from speech_translation.engine.attention import windowed_attention
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.types import Direction, Language
from training.batches import IGNORE, encode_example

VOCABULARY = 1400
TRAINED_ON = ("train", "word", "other")
BATCH = 16
PEAK_LR, WARMUP = 1e-3, 200
HEARD = 1.0  # CTC per unit below which the first, easy stage ends, and
EASY_AT_MOST = 0.25  # the share of the steps it may take
UNMASKED = 0.2  # share of the steps before SpecAugment sets in
CTC_WEIGHT = (0.5, 0.1)  # first and last
FORGOTTEN = 0.25  # share of the target's tokens that the decoder cannot read back
SYSTEM_TURN = 0.7  # vLLM leaves an empty system turn out
DOUBTED = 0.03  # share of right translations that may be flagged as unsure, and
LEEWAY = 4.5  # how much less sure the model may be of several sentences, or in another room
REPORT_EVERY, SAVE_EVERY = 50, 500


def audio_tokens(frames: torch.Tensor) -> torch.Tensor:
    """Encoder tokens for a number of mel frames: 13 for each 100, and the rest by the strides."""
    rest = frames % 100
    for _ in range(3):
        rest = (rest - 1) // 2 + 1
    return rest + frames // 100 * 13


def losses(
    model: Any,
    head: nn.Linear,
    tokenizer: Any,
    units: Units,
    batch: Sequence[Example],
    *,
    easy: bool,
    masked: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(cross-entropy of the targets, CTC of the words spoken) for one batch.

    An easy batch is not varied, and only listened to: its cross-entropy is 0.
    """
    lengths = torch.tensor([x.features.shape[1] for x in batch])
    padded = nn.utils.rnn.pad_sequence([x.features.T.float() for x in batch], batch_first=True)
    features = padded.transpose(1, 2)
    if not easy:
        features, lengths = augment(features, lengths, masked=masked)
    flat = torch.cat([x[:, :n] for x, n in zip(features, lengths, strict=True)], dim=1)
    thinker = model.thinker
    encoded = thinker.audio_tower(flat, feature_lens=lengths).last_hidden_state
    counts = audio_tokens(lengths).tolist()
    per_clip = encoded.split(counts)

    spoken = [i for i, x in enumerate(batch) if x.spoken]
    words = [torch.tensor(units.ids(batch[i].spoken)) for i in spoken]
    logits = head(nn.utils.rnn.pad_sequence([per_clip[i] for i in spoken]))
    ctc = F.ctc_loss(
        logits.float().log_softmax(-1),
        torch.cat(words),
        torch.tensor([counts[i] for i in spoken]),
        torch.tensor([len(x) for x in words]),
        blank=units.blank,
        zero_infinity=True,
    )
    if easy:
        return torch.zeros(()), ctc

    encoded_examples = [
        encode_example(
            tokenizer,
            audio_tokens=count,
            target=x.target,
            text=x.text,
            forced=x.forced,
            system_turn=random.random() < SYSTEM_TURN,
        )
        for x, count in zip(batch, counts, strict=True)
    ]
    # Padding on the right, where a causal decoder never looks: no mask is needed.
    ids, labels = (
        nn.utils.rnn.pad_sequence([torch.tensor(x[k]) for x in encoded_examples], True, pad)
        for k, pad in ((0, tokenizer.pad_token_id), (1, IGNORE))
    )
    embedded = thinker.get_input_embeddings()(ids)
    # Without its own words before it, the decoder has to listen for the next one (word dropout,
    # Bowman et al. 2016): else it completes sentences that it knows by heart.
    forgotten = (labels != IGNORE) & (torch.rand(labels.shape) < FORGOTTEN)
    embedded = embedded.masked_fill(forgotten[..., None], 0.0)
    audio = (ids == model.config.thinker_config.audio_token_id)[..., None].expand_as(embedded)
    hidden = thinker.model(
        inputs_embeds=embedded.masked_scatter(audio, encoded.to(embedded.dtype))
    ).last_hidden_state
    following = labels[:, 1:]
    kept = following != IGNORE
    logits = thinker.lm_head(hidden[:, :-1][kept])
    return F.cross_entropy(logits.float(), following[kept]), ctc


def prepare_for_cpu(model: Any) -> None:
    """Set the attention and the memory layout that train fastest on a CPU."""
    AttentionInterface.register("windowed_float32", full_precision_attention)
    model.thinker.audio_tower.set_attn_implementation("windowed_float32")
    model.thinker.model.set_attn_implementation("eager")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def full_precision_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *_: Any,
    **kw: Any,
) -> tuple[torch.Tensor, None]:
    """`windowed_attention` in float32: its backward pass in bfloat16 is thrice as slow on a CPU."""
    with torch.autocast("cpu", enabled=False):
        return windowed_attention(module, query.float(), key.float(), value.float(), **kw)


def learning_rate(step: int, steps: int, peak: float = PEAK_LR) -> float:
    """Linear warm-up to `peak`, then a cosine to a hundredth of it."""
    if step < WARMUP:
        return peak * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def train(
    speech: Path,
    work: Path,
    output: Path,
    steps: int,
    seed: int,
    workers: int,
    start: Path | None = None,
    peak_lr: float = PEAK_LR,
) -> None:
    """Train for `steps` steps of `workers` x `BATCH` clips, one process and thread each.

    Resumes from `work`, else goes on from the checkpoint `start`, else begins from nothing; writes
    the checkpoint to `output`.
    """
    work.mkdir(parents=True, exist_ok=True)
    run_workers(_train_worker, workers, workers, speech, work, output, steps, seed, start, peak_lr)


def _train_worker(
    rank: int,
    workers: int,
    speech: Path,
    work: Path,
    output: Path,
    steps: int,
    seed: int,
    checkpoint: Path | None,
    peak_lr: float,
) -> None:
    sentences = pairs()
    tokenizer = build_tokenizer([t for p in sentences for t in (p.en, p.ja)], VOCABULARY)
    units = Units([p.en for p in sentences], [p.ja for p in sentences])
    torch.manual_seed(seed)
    model = new_model(small_config(tokenizer))
    prepare_for_cpu(model)
    head = nn.Linear(model.config.thinker_config.audio_config.output_dim, units.blank + 1)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=peak_lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    state_file, first, easy = work / "state.pt", 0, True
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        first, easy = state["step"], state["easy"]
    elif checkpoint:
        load_model(model, str(checkpoint / "model.safetensors"))
        easy = False
    draws = f"{seed} {rank} {first}"  # a resumed run draws anew
    torch.manual_seed(zlib.crc32(draws.encode()))
    random.seed(draws)

    start = time.monotonic()
    data = Speech([clip for clip in load_clips(speech) if clip.set in TRAINED_ON], draws)
    if rank == 0:
        report(f"{data.count} clips as features in {time.monotonic() - start:.0f} s, step {first}")

    data.easy = easy
    model.train()
    parent = os.getppid()
    start, shown = time.monotonic(), []
    for done, batch in enumerate(islice(data.batches(BATCH), steps - first), start=first + 1):
        if os.getppid() != parent:
            return  # whoever started this is gone, and may have started it anew
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(done, steps, peak_lr)
        masked = done > UNMASKED * steps
        with torch.autocast("cpu", dtype=torch.bfloat16):
            entropy, ctc = losses(model, head, tokenizer, units, batch, easy=easy, masked=masked)
        # The head is new, and an encoder that can listen must not be upset by what it says.
        weight = CTC_WEIGHT[1] if checkpoint else np.interp(done, (0, steps), CTC_WEIGHT)
        (entropy + (1.0 if easy else float(weight)) * ctc).backward()  # type: ignore[no-untyped-call]
        average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        shown.append((entropy.item(), ctc.item()))
        if done % REPORT_EVERY == 0:
            loss, ctc_loss = average(torch.tensor(shown).mean(0)).tolist()
            shown.clear()
            if easy and (ctc_loss < HEARD or done > EASY_AT_MOST * steps):
                easy = data.easy = False
        if rank > 0:
            continue
        if done % REPORT_EVERY == 0:
            pace = (time.monotonic() - start) / (done - first)
            report(
                f"step {done}/{steps}  loss {loss:.3f}  ctc {ctc_loss:.3f}  "
                f"{workers * BATCH / pace:.0f} clips/s  {pace * (steps - done) / 60:.0f} min left"
            )
            with (work / "loss.jsonl").open("a") as log:
                log.write(json.dumps({"step": done, "loss": loss, "ctc": ctc_loss}) + "\n")
        if done % SAVE_EVERY == 0:
            state = {
                "model": model.state_dict(),
                "head": head.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": done,
                "easy": easy,
            }
            torch.save(state, state_file.with_suffix(".tmp"))
            os.replace(state_file.with_suffix(".tmp"), state_file)
            save_checkpoint(model, tokenizer, work / "latest", torch.float16)
    if rank == 0:
        save_checkpoint(model, tokenizer, output, torch.float16)
        report(f"wrote {output}")


def calibrate(checkpoint: Path, speech: Path) -> float:
    """Set the checkpoint's threshold of confidence and return it.

    It is `LEEWAY` times what `DOUBTED` of the right translations of the dev clips lie below. These
    are single sentences that were held out, but not for the evaluation.
    """
    engine = load_engine(str(checkpoint), "cpu")
    sure = []
    for language in Language:
        clips = [c for c in load_clips(speech) if c.set == "dev" and c.language is language]
        answers = zip(hypotheses(engine, clips, Direction.of(language)), clips, strict=True)
        sure += [h.mean_logprob for h, clip in answers if h.text == clip.translation]
    threshold = round(LEEWAY * float(np.quantile(sure, DOUBTED)), 3)
    config = GenerationConfig.from_pretrained(checkpoint)
    config.low_confidence_logprob = threshold
    config.save_pretrained(checkpoint)
    return threshold


def report(message: str) -> None:
    """Progress, for the log."""
    print(time.strftime("%H:%M:%S"), message, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="phrasebook.train", description=__doc__)
    parser.add_argument("--speech", type=Path, default=Path(".cache/phrasebook/speech"))
    parser.add_argument("--work", type=Path, default=Path(".cache/phrasebook/run"))
    parser.add_argument("--output", type=Path, default=PHRASEBOOK_FOLDER)
    parser.add_argument("--steps", type=int, default=11_000)
    parser.add_argument("--start", type=Path, help="go on from this checkpoint of the same size")
    parser.add_argument("--peak-lr", type=float, default=PEAK_LR)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(argv)
    train(**vars(options))
    threshold = calibrate(options.output, options.speech)
    report(f"low confidence is a mean log-probability below {threshold}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
