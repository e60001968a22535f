"""How fast systems are, measured alike: python -m evaluation.system_speed --system NAME --output F

For each direction the same first clips of the data are translated one at a time, after some that
warm up, three times over; then in batches of what suits the system, or of --batch-size. The figures
are the real-time factor (seconds of computing for a second of speech) and tokens a second, with
those of the fastest and the slowest time. Tokens are Qwen's, of the text that came out, for every
system: Whisper's own tokenizer needs more of them for the same Japanese, and a system that counts
its end token would seem faster.

The file is written whole at the end of a run, so all of it is of one machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from evaluation.console import shown_command, status
from evaluation.metrics import direction_title
from evaluation.rivals import Rival
from evaluation.run import BOTH, engine_options, header, load_data, load_system
from evaluation.samples import DataError
from speech_translation.bounds import bounded
from speech_translation.engine import Engine, Request
from speech_translation.errors import AudioError
from speech_translation.files import replace_file
from speech_translation.types import SAMPLE_RATE, Direction, Seconds

CLIPS, WARM_UP, REPEATS = 20, 3, 3
LONGEST = 30 * SAMPLE_RATE
"""Of a clip that every system takes whole."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one system took for the clips of one direction, `batch` at a time.

    `seconds` has a value for each repetition; `tokens` are those of all texts.
    """

    direction: str
    batch: int
    clips: int
    audio_seconds: Seconds
    tokens: int
    seconds: Sequence[Seconds]


def measure(
    clips: Sequence[np.ndarray],
    direction: Direction,
    engine: Engine,
    batch: int,
    count: Callable[[str], int],
    clock: Callable[[], Seconds] = time.perf_counter,
) -> Row:
    """Translate `clips`, float32 (n,) at 16 kHz, REPEATS times; `count` says a text's tokens."""
    groups = [clips[i : i + batch] for i in range(0, len(clips), batch)]
    for group in groups[:WARM_UP]:
        engine.generate(Request(group, direction))
    seconds = list[Seconds]()
    for _ in range(REPEATS):
        texts, began = list[str](), clock()
        for group in groups:
            texts += [hypothesis.text for hypothesis in engine.generate(Request(group, direction))]
        seconds.append(clock() - began)
    audio = sum(map(len, clips)) / SAMPLE_RATE
    return Row(direction.value, batch, len(clips), audio, sum(map(count, texts)), seconds)


@cache
def qwen_tokens() -> Callable[[str], int]:
    """How many tokens of Qwen's vocabulary a text has."""
    from evaluation.performance.full_size import full_tokenizer

    tokenizer = full_tokenizer()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def fixed_clips(name: str, direction: Direction, count: int) -> list[np.ndarray]:
    """The first `count` clips of a direction that can be read and are at most 30 s long."""
    found = list[np.ndarray]()
    for sample in load_data(name, [direction]):
        try:
            sound = sample.load()
        except AudioError:
            continue
        if len(sound) <= LONGEST:
            found.append(sound)
        if len(found) == count:
            return found
    raise DataError(f"{name} has only {len(found)} clips of {direction.value}: ask for fewer.")


def figures(row: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Real-time factor and tokens a second of a row: mean, least and most of the repetitions."""
    seconds = np.array(row["seconds"])
    factors, rates = seconds / row["audio_seconds"], row["tokens"] / seconds
    return {
        name: (float(x.mean()), float(x.min()), float(x.max()))
        for name, x in (("rtf", factors), ("tokens_per_second", rates))
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """Systems side by side, as Markdown.

    Raises DataError when they were measured on different machines or data.
    """
    heads = [result["header"] for result in results]
    for key in ("machine", "gpu", "data"):
        if len(values := {str(head[key]) for head in heads}) > 1:
            raise DataError(
                f"Speeds of different {key}s cannot be compared ({', '.join(sorted(values))}): "
                "measure all systems on one."
            )
    lines = [
        "| system | direction | clips at a time | clips | real-time factor | tokens a second |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        for row in result["rows"]:
            x = figures(row)
            cells = [
                result["header"]["title"],
                direction_title(Direction(row["direction"])),
                str(row["batch"]),
                str(row["clips"]),
                _shown(x["rtf"], 3),
                _shown(x["tokens_per_second"], 1),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _shown(value: tuple[float, float, float], digits: int) -> str:
    mean, least, most = (f"{x:.{digits}f}" for x in value)
    return f"{mean} ({least} to {most})"


def rows(engine: Engine, options: argparse.Namespace) -> Iterator[Row]:
    """One clip at a time, then in batches, for each direction."""
    able = engine.directions if isinstance(engine, Rival) else BOTH
    together = options.batch_size or engine.batch_size
    for direction in able:
        clips = fixed_clips(options.data, direction, options.clips)
        for batch in sorted({1, together}):
            yield measure(clips, direction, engine, batch, qwen_tokens())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.system_speed", description=__doc__)
    engine_options(parser)
    parser.add_argument(
        "--clips", type=bounded(int, 1), default=CLIPS, help="of each direction (%(default)s)"
    )
    parser.set_defaults(auto=False, limit=None)
    options = parser.parse_args(argv)
    return status(lambda: _run(options, sys.argv[1:] if argv is None else argv))


def _run(options: argparse.Namespace, command: Sequence[str]) -> None:
    engine = load_system(options)
    result = {
        "header": header(engine, options),
        "date": time.strftime("%Y-%m-%d"),
        "command": shown_command("evaluation.system_speed", command),
        "rows": [asdict(row) for row in rows(engine, options)],
    }
    replace_file(options.output, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    print(table([result]))


if __name__ == "__main__":
    raise SystemExit(main())
