"""What `--precision int8` costs: beside exact on the embedded checkpoint, and layer by layer.

    python -m evaluation.performance.precision --layers .cache/full-size

Prints exact match and chrF2 of both, the share of tokens that differ, and by how much the weights
of a checkpoint's layers are off, relative to their size.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluation.samples import read_samples
from speech_translation.engine import PHRASEBOOK, Request, load_engine
from speech_translation.engine.local import LocalEngine
from speech_translation.types import Direction

TEST_SET = Path(__file__).resolve().parents[1] / "data" / "phrasebook.jsonl"


def edits(a: Sequence[int], b: Sequence[int]) -> int:
    """The fewest insertions, deletions and substitutions that make `b` of `a` (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            change = diagonal + (left != right)
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, change)
    return row[-1]


def layer_errors(folder: Path) -> Iterator[tuple[str, float]]:
    """(name, |W - int8(W)| / |W|) of each matrix that `--precision int8` rounds."""
    from speech_translation.engine.cpu.narrow import quantised
    from speech_translation.engine.cpu.weights import Weights

    weights = Weights(folder)
    for name in weights:
        weight = weights[name]
        if weight.dim() == 2:
            narrow, scale = quantised(weight)
            wide = weight.float()
            error = (wide - narrow * scale[:, None]).norm() / wide.norm().clamp_min(1e-30)
            yield name, float(error)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    from sacrebleu.metrics import CHRF

    parser = argparse.ArgumentParser(prog="evaluation.performance.precision", description=__doc__)
    parser.add_argument("--model", default=PHRASEBOOK)
    parser.add_argument("--data", type=Path, default=TEST_SET)
    parser.add_argument("--layers", type=Path, help="a checkpoint whose layers are compared")
    options = parser.parse_args(argv)
    engines = [load_engine(options.model, "cpu", precision=p) for p in ("float32", "int8")]
    assert all(isinstance(engine, LocalEngine) for engine in engines)
    samples = list(read_samples(options.data))
    for direction in (Direction.EN_JA, Direction.JA_EN):
        chosen = [sample for sample in samples if sample.direction is direction]
        texts = [
            [e.generate(Request([s.load()], direction))[0].text for s in chosen] for e in engines
        ]
        references = [sample.text for sample in chosen]
        tokenizer = engines[0].asr.processor.tokenizer  # type: ignore[attr-defined]
        ids = [[tokenizer(text).input_ids for text in column] for column in texts]
        changed = sum(edits(a, b) for a, b in zip(*ids, strict=True))
        print(f"{direction.value}, n {len(chosen)}")
        for engine, column in zip(engines, texts, strict=True):
            exact = statistics.mean(t == r for t, r in zip(column, references, strict=True))
            chrf = CHRF().corpus_score(column, [references]).score
            print(f"  {engine.description}: exact match {100 * exact:.1f} %, chrF2 {chrf:.1f}")
        tokens = sum(map(len, ids[0]))
        print(f"  {changed} of {tokens} tokens differ ({100 * changed / tokens:.2f} %)")
    if options.layers is not None:
        errors = dict(layer_errors(options.layers))
        worst = max(errors, key=lambda name: errors[name])
        print(
            f"{len(errors)} matrices of {options.layers}: relative error "
            f"{100 * statistics.median(errors.values()):.2f} % at the median, "
            f"{100 * errors[worst]:.2f} % at most ({worst})"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
