"""The documents' benchmark tables and quality_scores.svg, made from the files of results.

    python -m evaluation.report
    python -m evaluation.report --scores out/results.json --judged out/judged.json --chart out.svg

Without options it renews what the repository shows; with them it shows a comparison of one's own:
judged quality where there is a judge, else chrF2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.chart import draw
from evaluation.metrics import direction_title
from evaluation.samples import DataError
from speech_translation.errors import SpeechTranslationError
from speech_translation.files import replace_file, replace_section
from speech_translation.types import Direction

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "evaluation" / "results"
PUBLISHED = RESULTS / "published.json"
CHART = ROOT / "quality_scores.svg"
DOCUMENTS = {
    "published": ROOT / "README.md",
    "benchmark": ROOT / "docs" / "results.md",
}
"""The document that holds each generated section, by the section's name."""

DIRECTIONS = (Direction.EN_JA, Direction.JA_EN)
BLEU = {Direction.EN_JA: "BLEU ja-mecab", Direction.JA_EN: "BLEU 13a"}


def load(path: Path) -> Any:
    """A file of results. Raises DataError."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} holds no results ({error}).") from error


def sections() -> dict[str, str]:
    """The generated sections, as Markdown, by their names."""
    return {
        "published": quality_table(load(PUBLISHED)),
        "benchmark": score_table(load(RESULTS / "phrasebook_set.json")),
    }


def quality_table(results: dict[str, Any]) -> str:
    """What `chart.draw` draws, as Markdown."""
    top = results["highest"]
    lines = [
        f"| system | parameters | EN->JA (of {top}) | JA->EN (of {top}) | tokens per second |",
        "|---|---|---|---|---|",
    ]
    for system in results["systems"]:
        cells = [_number(system[x.value], system.get(f"{x.value}_interval")) for x in DIRECTIONS]
        cells.append(_number(system["tokens_per_second"], None))
        lines.append(f"| {system['title']} | {system['parameters']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", results["caption"], ""])


def _number(value: float | None, interval: float | None) -> str:
    if value is None:
        return "N/A"
    return f"{value:.1f}" + (f" ± {interval:.1f}" if interval else "")


def score_table(results: dict[str, Any]) -> str:
    """The scores of `evaluation.run score` side by side, as Markdown."""
    lines = [
        "| system | direction | n | exact | BLEU | chrF2 | wrong language | empty |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for system in results["systems"]:
        head = system["header"]
        name = f"{head['title']}, {head['parameters']}"
        for direction in DIRECTIONS:
            row = f"| {name} | {direction_title(direction)} |"
            reached = system["scores"].get(direction.value)
            if reached is None:
                lines.append(row + " N/A | | | | | |")
                continue
            cells = [str(reached["n"]), f"{100 * reached['exact']:.1f} %"]
            for metric in (BLEU[direction], "chrF2"):
                score = reached["metrics"][metric]
                cells.append(_number(score["score"], score["interval"]))
            cells += [f"{100 * reached[rate]:.1f} %" for rate in ("off_target", "empty")]
            lines.append(f"{row} {' | '.join(cells)} |")
    machine = sorted(
        {f"{x['header']['engine']}, {x['header']['machine']}" for x in results["systems"]}
    )
    lines += ["", f"{'; '.join(machine)}; {results['date']}.", ""]
    return "\n".join(lines)


def comparison(scores: dict[str, Any], judged: dict[str, Any] | None) -> dict[str, Any]:
    """Results of one's own in the form of the published ones, for table and chart."""
    systems = []
    for system in scores["systems"]:
        head = system["header"]
        entry = {"title": head["title"], "parameters": head["parameters"]}
        entry["tokens_per_second"] = (system.get("speed") or {}).get("tokens_per_second")
        for direction in DIRECTIONS:
            if judged:
                entry[direction.value] = _judged(judged, head["system"], direction)
            elif reached := system["scores"].get(direction.value):
                chrf = reached["metrics"]["chrF2"]
                entry[direction.value] = chrf["score"]
                entry[f"{direction.value}_interval"] = chrf["interval"]
            else:
                entry[direction.value] = None
        systems.append(entry)
    data = ", ".join(sorted({system["header"]["data"] for system in scores["systems"]}))
    by = f"judged by {judged['judge']}" if judged else "chrF2 with 95 % intervals"
    return {
        "quality": "quality, 1 to 5" if judged else "chrF2",
        "highest": 5 if judged else 100,
        "caption": f"{data}, {by}; {scores['date']}.",
        "systems": systems,
    }


def _judged(judged: dict[str, Any], system: str, direction: Direction) -> float | None:
    """Mean of accuracy and fluency; None for a system that was not judged in this direction."""
    for row in judged["scores"]:
        if (row["system"], row["direction"]) == (system, direction.value) and row["n"]:
            return float(row["accuracy"] + row["fluency"]) / 2
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.report", description=__doc__)
    parser.add_argument("--scores", type=Path, help="what evaluation.run score wrote")
    parser.add_argument("--judged", type=Path, help="what evaluation.judge wrote")
    parser.add_argument("--chart", type=Path, help="where to draw the comparison (SVG)")
    options = parser.parse_args(argv)
    try:
        if options.scores is None:
            for name, content in sections().items():
                replace_section(DOCUMENTS[name], name, content)
                print(content)
            replace_file(CHART, draw(load(PUBLISHED)))
            return 0
        judged = load(options.judged) if options.judged else None
        results = comparison(load(options.scores), judged)
    except SpeechTranslationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(quality_table(results))
    if options.chart:
        replace_file(options.chart, draw(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
