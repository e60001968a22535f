"""Neural metrics of files of hypotheses, in an environment of their own.

    make neural                     # makes .cache/neural from requirements-neural.txt
    .cache/neural/bin/python -P evaluation/neural.py out/fleurs/*.jsonl

Beside each file it writes NAME.neural.json with the score of every line, its metric's signature and
the digest of the file; `evaluation.run score` takes them in: means, intervals and p, with empty and
off-target text at the metric's minimum, which these models do not see (Zouhar et al. 2024, the
pitfalls that sacreCOMET lists). COMET-22 and MetricX-24 are free; XCOMET (--metrics xcomet) is for
research only, CC BY-NC-SA 4.0, and its checkpoint asks for an account.

Nothing of this project is imported (-P leaves its folder off the path), so that the environment
needs no more than the metrics do. None
of the metrics has been run with its weights here.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BATCH = 16
LONGEST = 1536  # tokens of MetricX-24's input
SCORE_TOKEN = 250089
"""MetricX's score is the logit of this token of mT5, <extra_id_10>, in the first place."""

Rows = Sequence[dict[str, str]]
"""For each line `source`, `text` and `reference`."""

Scorer = Callable[[Rows], list[float]]
"""A model that is loaded: one has gigabytes, and several files to score."""


def comet(checkpoint: str) -> tuple[Scorer, str]:
    """Scores of 0 to 100, and sacreCOMET's signature, of a model of unbabel-comet."""
    from comet import download_model, load_from_checkpoint

    path = checkpoint if Path(checkpoint).exists() else download_model(checkpoint)
    model = load_from_checkpoint(path)

    def score(rows: Rows) -> list[float]:
        data = [{"src": x["source"], "mt": x["text"], "ref": x["reference"]} for x in rows]
        return [100 * x for x in model.predict(data, batch_size=BATCH, gpus=_gpus()).scores]

    version = importlib.metadata.version("unbabel-comet")
    return score, f"Python{platform.python_version()}|Comet{version}|fp32|{checkpoint}|r1"


def metricx(checkpoint: str) -> tuple[Scorer, str]:
    """Errors of 0, the best, to 25, with the reference (Juraska et al. 2024)."""
    import torch
    import transformers
    from transformers import AutoTokenizer, MT5ForConditionalGeneration

    folder = Path(checkpoint).is_dir()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint if folder else "google/mt5-xl")
    model = MT5ForConditionalGeneration.from_pretrained(checkpoint).eval()
    model.to("cuda" if _gpus() else "cpu")
    score_token = min(SCORE_TOKEN, model.config.vocab_size - 1)

    def score(rows: Rows) -> list[float]:
        scores = list[float]()
        for start in range(0, len(rows), BATCH):
            texts = [
                f"source: {x['source']} candidate: {x['text']} reference: {x['reference']}"
                for x in rows[start : start + BATCH]
            ]
            ids = [
                torch.tensor(tokenizer(text, max_length=LONGEST, truncation=True)["input_ids"][:-1])
                for text in texts  # without the end token, as it was trained
            ]
            padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-1)
            first = torch.zeros((len(ids), 1), dtype=torch.long, device=model.device)
            with torch.inference_mode():
                logits = model(
                    input_ids=padded.clamp(min=0).to(model.device),
                    attention_mask=(padded >= 0).long().to(model.device),
                    decoder_input_ids=first,
                ).logits
            scores += logits[:, 0, score_token].float().clamp(0, 25).tolist()
        return scores

    version = transformers.__version__
    return score, f"Python{platform.python_version()}|transformers{version}|fp32|{checkpoint}|r1"


def _gpus() -> int:
    import torch

    return int(torch.cuda.is_available())


METRICS: dict[str, tuple[str, str, float, Callable[[str], tuple[Scorer, str]]]] = {
    "comet22": ("COMET-22", "Unbabel/wmt22-comet-da", 0.0, comet),
    "metricx24": ("MetricX-24", "google/metricx-24-hybrid-xl-v2p6", 25.0, metricx),
    "xcomet": ("XCOMET", "Unbabel/XCOMET-XL", 0.0, comet),
}
"""By name: title, checkpoint, the worst score, and what loads it."""


def score_files(paths: Sequence[Path], chosen: dict[str, str]) -> None:
    """Write the scores of files of hypotheses; `chosen` names metrics and their checkpoints.

    A metric is loaded once, and what it said is kept when the next one fails.
    """
    lines, records = dict[Path, Rows](), dict[Path, dict[str, Any]]()
    for path in paths:
        content = path.read_bytes()
        lines[path] = [row for row in map(json.loads, content.splitlines()[1:]) if "id" in row]
        if unheard := [line["id"] for line in lines[path] if not line["source"]]:
            raise ValueError(f"{path}: {unheard[0]} has no transcript, which these metrics need")
        records[path] = {"hypotheses": hashlib.sha256(content).hexdigest(), "metrics": {}}
    for name, checkpoint in chosen.items():
        title, _, least, load = METRICS[name]
        score, signature = load(checkpoint)
        for path, rows in lines.items():
            scores = {row["id"]: x for row, x in zip(rows, score(rows), strict=True)}
            said = {"signature": signature, "least": least, "scores": scores}
            records[path]["metrics"][title] = said
            output = path.with_suffix(".neural.json")
            fresh = output.with_suffix(".new")
            fresh.write_text(
                json.dumps(records[path], ensure_ascii=False, indent=1) + "\n", "utf-8"
            )
            os.replace(fresh, output)
            print(f"{title}: {output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.neural", description=__doc__)
    parser.add_argument("hypotheses", nargs="+", type=Path)
    parser.add_argument(
        "--metrics",
        nargs="+",
        choices=METRICS,
        default=["comet22", "metricx24"],
        help="%(default)s",
    )
    parser.add_argument("--model", help="another checkpoint, of one metric: folder, file or ID")
    options = parser.parse_args(argv)
    if options.model and len(options.metrics) != 1:
        parser.error("--model is for one metric: name it with --metrics")
    chosen = {name: options.model or METRICS[name][1] for name in options.metrics}
    try:
        score_files(options.hypotheses, chosen)
    except ImportError as error:
        print(f"error: {error}: run it in the environment of `make neural`.", file=sys.stderr)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: {' '.join(str(error).split())[:300]}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
