"""Train the phrasebook checkpoint from nothing, on synthesised speech, on a CPU.

    python -m phrasebook.train --speech .cache/phrasebook/speech

The objective is the one of fine-tuning (`training.data`), plus CTC on the encoder's output against
the words spoken (Graves et al. 2006), which teaches an untrained encoder to listen; its head is
thrown away. Restartable: the state in `--work` is renewed every `SAVE_EVERY` steps.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import socket
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_model
from torch import nn
from torch.multiprocessing.spawn import spawn
from transformers import AttentionInterface, GenerationConfig

from phrasebook.architecture import build_tokenizer, new_model, save_checkpoint, small_config
from phrasebook.augment import N_MELS, augment, noise
from phrasebook.evaluate import hypotheses
from phrasebook.sentences import pairs
from phrasebook.synthesis import Clip, load_clips
from speech_translation.engine import load_engine
from speech_translation.engine.attention import windowed_attention
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.text import has_japanese
from speech_translation.types import Direction, Language
from training.data import IGNORE, encode_example

VOCABULARY = 1400
TRAINED_ON = ("train", "word", "other")
CHEAP_VOICES = ("flite", "mei")
BATCH = 16
PEAK_LR, WARMUP = 1e-3, 200
HEARD = 1.0  # CTC per unit below which the first, easy stage ends, and
EASY_AT_MOST = 0.25  # the share of the steps it may take
UNMASKED = 0.2  # share of the steps before SpecAugment sets in
CTC_WEIGHT = (0.5, 0.1)  # first and last
ENGLISH = 0.55  # share of the speech: it is learned more slowly than Japanese
SHARES = {"kokoro": 0.54, "cheap": 0.23, "word": 0.12, "other": 0.09, "noise": 0.02}
TRANSCRIBE, JOIN = 0.10, 0.20  # shares of the phrases
WORDS = 5  # single words are spoken in lists of up to so many
FORGOTTEN = 0.25  # share of the target's tokens that the decoder cannot read back
SYSTEM_TURN = 0.7  # vLLM leaves an empty system turn out
DOUBTED = 0.03  # share of right translations that may be flagged as unsure
REPORT_EVERY, SAVE_EVERY = 50, 500


@dataclass
class Example:
    """What one training sample says, before it is varied.

    `features` is (128, frames) log-mel; `target` None means speech that the model must not
    translate. `forced` puts the tag into the prompt, so that the loss starts after it. `spoken` is
    the text for CTC, empty for none.
    """

    features: torch.Tensor
    target: Language | None
    text: str
    forced: bool
    spoken: str


def log_mel(samples: np.ndarray, extractor: Any) -> torch.Tensor:
    """Whisper's log-mel features (128, frames) of int16 samples, kept as float16."""
    features = extractor(samples.astype(np.float32) / 32768, sampling_rate=16_000, padding=True)
    return torch.from_numpy(np.asarray(features["input_features"][0])).half()


class Units:
    """What CTC spells in: pieces of English words, Japanese characters.

    Finer than the model's own tokens, which are mostly whole words: a few hundred units are
    learned to be heard in a fifth of the steps. Coarser than letters, which in quick English come
    faster than the encoder's 13 frames a second.
    """

    def __init__(self, english: Iterable[str], japanese: Iterable[str]) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        self._pieces = Tokenizer(models.BPE())
        self._pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        self._pieces.train_from_iterator(
            map(spelled, english), trainers.BpeTrainer(vocab_size=200, show_progress=False)
        )
        offset = self._pieces.get_vocab_size()
        characters = sorted(set(spelled("".join(japanese))))
        self._characters = {c: offset + i for i, c in enumerate(characters)}
        self.blank = offset + len(characters)

    def ids(self, text: str) -> list[int]:
        """The units of `text`; the language is told from its script."""
        text = spelled(text)
        if has_japanese(text):
            return [self._characters[c] for c in text if c in self._characters]
        ids: list[int] = self._pieces.encode(text).ids
        return ids


def spelled(text: str) -> str:
    """`text` in lower case without punctuation."""
    return re.sub(r"[^\w\s]", "", text.lower())


class Speech:
    """The synthesised clips as features, and the draw of training examples from them."""

    def __init__(self, clips: Sequence[Clip], seed: str) -> None:
        from transformers import WhisperFeatureExtractor

        extractor = WhisperFeatureExtractor(feature_size=N_MELS)
        self.random = random.Random(seed)
        self.count = len(clips)
        self.easy = False  # single phrases by the few cheap voices only
        self.pools: dict[tuple[str, Language], list[tuple[Clip, torch.Tensor]]] = {}
        for clip in clips:
            kind = "cheap" if clip.voice.startswith(CHEAP_VOICES) else "kokoro"
            kind = clip.set if clip.set in ("other", "word") else kind
            pool = self.pools.setdefault((kind, clip.language), [])
            pool.append((clip, log_mel(clip.samples, extractor)))

    def draw(self) -> Example:
        """One example: languages by `ENGLISH`, kinds by `SHARES`."""
        rng = self.random
        spoken_in = Language.ENGLISH if rng.random() < ENGLISH else Language.JAPANESE
        other_language = next(x for x in Language if x is not spoken_in)
        if self.easy:
            clip, features = rng.choice(self.pools["cheap", spoken_in])
            return Example(features, other_language, clip.translation, False, clip.text)
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        if kind == "noise":
            return self._untranslatable(noise(rng.randrange(50, 300)).half())
        clip, features = rng.choice(self.pools[kind, spoken_in])
        if kind == "other":
            return self._untranslatable(features)
        spoken, text = clip.text, clip.translation
        following = list[str]()
        if kind == "word":
            following = ["word"] * rng.randrange(WORDS)
        elif rng.random() < JOIN:
            following = [rng.choice(("kokoro", "cheap"))]
        for next_kind in following:
            second, more = rng.choice(self.pools[next_kind, spoken_in])
            gap = torch.full((N_MELS, rng.randrange(10, 60)), float(features.min())).half()
            features = torch.cat((features, gap, more), dim=1)
            spoken = join(spoken, second.text, spoken_in)
            text = join(text, second.translation, other_language)
        if rng.random() < TRANSCRIBE:
            return Example(features, spoken_in, spoken, True, spoken)
        return Example(features, other_language, text, False, spoken)

    def _untranslatable(self, features: torch.Tensor) -> Example:
        """Sound to be answered with `language None` or, when a language is forced, nothing."""
        if self.random.random() < 0.5:
            return Example(features, None, "", False, "")
        return Example(features, self.random.choice(list(Language)), "", True, "")

    def batches(self, size: int) -> Iterator[list[Example]]:
        """Batches of clips of similar length, for ever."""
        while True:
            drawn = sorted(
                (self.draw() for _ in range(size * 16)), key=lambda x: x.features.shape[1]
            )
            groups = [drawn[i : i + size] for i in range(0, len(drawn), size)]
            self.random.shuffle(groups)
            yield from groups


def join(first: str, second: str, language: Language) -> str:
    """Two sentences as one text, by the rule of `Translation.text`."""
    return first + (" " if language is Language.ENGLISH else "") + second


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


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up to `PEAK_LR`, then a cosine to a hundredth of it."""
    if step < WARMUP:
        return PEAK_LR * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return PEAK_LR * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def train(
    speech: Path,
    work: Path,
    output: Path,
    steps: int,
    seed: int,
    workers: int,
    start: Path | None = None,
) -> None:
    """Train for `steps` steps of `workers` x `BATCH` clips, one process and thread each.

    Resumes from `work`, else goes on from the checkpoint `start`, else begins from nothing; writes
    the checkpoint to `output`.
    """
    work.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    arguments = (workers, meeting, speech, work, output, steps, seed, start)
    spawn(_train_worker, arguments, nprocs=workers)  # type: ignore[no-untyped-call]


def _train_worker(
    rank: int,
    workers: int,
    meeting: str,
    speech: Path,
    work: Path,
    output: Path,
    steps: int,
    seed: int,
    checkpoint: Path | None,
) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # faint features otherwise make each step several times slower
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=workers)

    sentences = pairs()
    tokenizer = build_tokenizer([t for p in sentences for t in (p.en, p.ja)], VOCABULARY)
    units = Units([p.en for p in sentences], [p.ja for p in sentences])
    torch.manual_seed(seed)
    model = new_model(small_config(tokenizer))
    prepare_for_cpu(model)
    head = nn.Linear(model.config.thinker_config.audio_config.output_dim, units.blank + 1)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.01, fused=True
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
            group["lr"] = learning_rate(done, steps)
        masked = done > UNMASKED * steps
        with torch.autocast("cpu", dtype=torch.bfloat16):
            entropy, ctc = losses(model, head, tokenizer, units, batch, easy=easy, masked=masked)
        weight = CTC_WEIGHT[0] + (CTC_WEIGHT[1] - CTC_WEIGHT[0]) * done / steps
        (entropy + (1.0 if easy else weight) * ctc).backward()  # type: ignore[no-untyped-call]
        _average_gradients(parameters, workers)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        shown.append((entropy.item(), ctc.item()))
        if done % REPORT_EVERY == 0:
            means = torch.tensor(shown).mean(0)
            torch.distributed.all_reduce(means)
            loss, ctc_loss = (means / workers).tolist()
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

    Below it lie `DOUBTED` of the right translations of the dev clips: sentences that were held out,
    but not for the evaluation.
    """
    engine = load_engine(str(checkpoint), "cpu")
    sure = []
    for language in Language:
        clips = [c for c in load_clips(speech) if c.set == "dev" and c.language is language]
        answers = zip(hypotheses(engine, clips, Direction.of(language)), clips, strict=True)
        sure += [h.mean_logprob for h, clip in answers if h.text == clip.translation]
    threshold = round(float(np.quantile(sure, DOUBTED)), 3)
    config = GenerationConfig.from_pretrained(checkpoint)
    config.low_confidence_logprob = threshold
    config.save_pretrained(checkpoint)
    return threshold


def _average_gradients(parameters: Sequence[nn.Parameter], workers: int) -> None:
    """Give every worker the mean gradient; what got none in a CTC step stays without."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= workers
    means = torch.split(flat, [g.numel() for g in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


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
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(argv)
    train(**vars(options))
    threshold = calibrate(options.output, options.speech)
    report(f"low confidence is a mean log-probability below {threshold}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
