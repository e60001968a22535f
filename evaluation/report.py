"""The documents' benchmark tables and the charts, made from the files of results.

    python -m evaluation.report
    python -m evaluation.report --scores out/results.json --judged out/judged.json \\
        --speed out/*.speed.json --chart out.svg

Without options it renews what the repository shows; with them it shows a comparison of one's own:
judged quality where there is a judge, else chrF2.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation import live_curve
from evaluation.bootstrap import MEASURED
from evaluation.chart import draw
from evaluation.console import status
from evaluation.metrics import direction_title, number
from evaluation.samples import DataError
from evaluation.system_speed import figures, table
from speech_translation.files import replace_file, replace_section
from speech_translation.types import Direction

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "evaluation" / "results"
PUBLISHED = RESULTS / "published.json"
LIVE = RESULTS / "live.json"
SPEEDS = [RESULTS / f"{system}.speed.json" for system in ("phrasebook", "whisper-base")]
DOCUMENTS = {
    "published": ROOT / "README.md",
    "benchmark": ROOT / "docs" / "results.md",
    "benchmark-speed": ROOT / "docs" / "results.md",
    "noise": ROOT / "docs" / "results.md",
    "live": ROOT / "docs" / "results.md",
}
"""The document that holds each generated section, by the section's name."""

DIRECTIONS = (Direction.EN_JA, Direction.JA_EN)
SPEED = "seconds of speech a second, JA->EN, one clip at a time"
"""The one thing that every system does; the table of speeds has the rest."""

NOISES = {
    "noise": "hiss, hum and knocks",
    "music": "chords",
    "babble": "five others talking",
}
"""What a reader is told of `noise.KINDS` and babble."""

NEURAL = ("COMET-22", "MetricX-24", "XCOMET")
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
        "benchmark-speed": speed_table([load(path) for path in SPEEDS]),
        "noise": noise_table(load(RESULTS / "noise.json")),
        "live": live_curve.table(load(LIVE)),
    }


def charts() -> dict[Path, str]:
    """The repository's charts, as SVG, by their files."""
    return {
        ROOT / "quality_scores.svg": draw(load(PUBLISHED)),
        ROOT / "web" / "page" / "scores_narrow.svg": draw(load(PUBLISHED), narrow=True),
        ROOT / "docs" / "live.svg": live_curve.draw(load(LIVE)),
    }


def quality_table(results: dict[str, Any]) -> str:
    """What `chart.draw` draws, as Markdown."""
    top = results["highest"]
    judged = any("missing" in system for system in results["systems"])
    lines = [
        f"| system | parameters | EN->JA (of {top}) | JA->EN (of {top}) | {results['speed']} |"
        + (" answers missing |" if judged else ""),
        "|---|---|---|---|---|" + ("---|" if judged else ""),
    ]
    for system in results["systems"]:
        cells = [
            number(system[x.value], system.get(f"{x.value}_interval"), system.get(f"{x.value}_p"))
            for x in DIRECTIONS
        ]
        cells.append(number(system["speed"], system.get("speed_interval")))
        if judged:
            cells.append(f"{100 * system['missing']:.1f} %")
        lines.append(f"| {system['title']} | {system['parameters']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", results["caption"], ""])


def score_table(results: dict[str, Any]) -> str:
    """The scores of `evaluation.run score` side by side, as Markdown."""
    reached_all = [x for system in results["systems"] for x in system["scores"].values()]
    neural = [name for name in NEURAL if any(name in x["metrics"] for x in reached_all)]
    heads = ["system", "direction", "n", "sentences", "exact", "BLEU", "chrF2"]
    heads += [f"{name} (errors)" if name == "MetricX-24" else name for name in neural]
    heads += ["wrong language", "empty"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for system in results["systems"]:
        head = system["header"]
        name = f"{head['title']}, {head['parameters']}"
        if head["missing"]:
            name += f" ({head['missing']})"
        for direction in DIRECTIONS:
            row = f"| {name} | {direction_title(direction)} |"
            reached = system["scores"].get(direction.value)
            if reached is None:
                lines.append(row + " N/A |" + " |" * (len(heads) - 3))
                continue
            ps = results["compared"].get(direction.value, {}).get(head["system"], {})
            cells = [str(reached["n"]), _sentences(reached), f"{100 * reached['exact']:.1f} %"]
            for metric in (BLEU[direction], "chrF2", *neural):
                score = reached["metrics"].get(metric, {"score": None, "interval": None})
                cells.append(number(score["score"], score["interval"], ps.get(metric)))
            cells += [f"{100 * reached[rate]:.1f} %" for rate in ("off_target", "empty")]
            lines.append(f"{row} {' | '.join(cells)} |")
    lines.append("")
    for system in results["systems"]:
        head = system["header"]
        lines.append(f"- {head['title']}: {made_with(head)}.")
    lines += [f"- Scored {results['date']}.", ""]
    return "\n".join(lines)


def speed_table(speeds: Sequence[dict[str, Any]]) -> str:
    """What evaluation.system_speed measured, with what it was measured on."""
    lines = [
        f"- {x['header']['title']}: {made_with(x['header'])}, {x['date']}: `{x['command']}`."
        for x in speeds
    ]
    spread = "- In brackets the fastest and the slowest of three repetitions; Qwen's tokens."
    return "\n".join([table(speeds), *lines, spread, ""])


def noise_table(results: dict[str, Any]) -> str:
    """The scores of `make noise` as Markdown: one system without noise, then with each kind."""
    heads = ["noise", "louder is the speech by"]
    heads += [f"{direction_title(x)} {metric}" for x in DIRECTIONS for metric in ("exact", "chrF2")]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for system in results["systems"]:
        head = system["header"]
        kind = head.get("noise")
        cells = [NOISES[kind], f"{head['ratio']:g} dB"] if kind else ["none", ""]
        for direction in DIRECTIONS:
            reached = system["scores"][direction.value]
            chrf = reached["metrics"]["chrF2"]
            cells += [f"{100 * reached['exact']:.1f} %", number(chrf["score"], chrf["interval"])]
        lines.append(f"| {' | '.join(cells)} |")
    clean, *_ = results["systems"]
    counts = [
        f"{direction_title(x)} {clean['scores'][x.value]['n']} clips, sentences "
        + _sentences(clean["scores"][x.value])
        for x in DIRECTIONS
    ]
    head = clean["header"]
    lines += ["", f"- {head['title']}: {made_with(head)}.", f"- {'; '.join(counts)}."]
    return "\n".join([*lines, f"- Scored {results['date']}.", ""])


def made_with(head: dict[str, Any]) -> str:
    """Engine, machine and code of a header, for the foot of a table."""
    torch = f", torch {head['torch']}" if "torch" in head else ""
    return (
        f"{head['engine']}{torch}, attention {head['attention']}, "
        f"{head['gpu'] or head['machine']}, commit {head['commit']}"
    )


def _sentences(reached: dict[str, Any]) -> str:
    """How many sentences were scored; too few of them are no measurement."""
    count = reached["sentences"]
    return f"{count}: an example, not a measurement" if count < MEASURED else str(count)


def comparison(
    scores: dict[str, Any],
    judged: dict[str, Any] | None = None,
    speeds: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Results of one's own in the form of the published ones, for table and chart.

    `speeds` are what evaluation.system_speed wrote, whose `table` stands beside this one.
    """
    fastest = {speed["header"]["system"]: _speed(speed) for speed in speeds}
    systems = []
    for system in scores["systems"]:
        head = system["header"]
        lacks = f" ({head['missing']})" if head["missing"] else ""
        entry = {"title": head["title"] + lacks, "parameters": head["parameters"]}
        entry |= fastest.get(head["system"], {"speed": None})
        for direction in DIRECTIONS:
            name = direction.value
            if judged:
                entry |= _judged(judged, head["system"], name)
            elif reached := system["scores"].get(name):
                chrf = reached["metrics"]["chrF2"]
                entry[name] = chrf["score"]
                entry[f"{name}_interval"] = chrf["interval"]
                ps = scores["compared"].get(name, {}).get(head["system"], {})
                entry[f"{name}_p"] = ps.get("chrF2")
            else:
                entry[name] = None
        if judged:
            rows = [row for row in judged["scores"] if row["system"] == head["system"]]
            missing = [row["missing"] for row in rows]
            entry["missing"] = sum(missing) / max(1, len(missing))
        systems.append(entry)
    data = ", ".join(sorted({system["header"]["data"] for system in scores["systems"]}))
    by = f"judged by {judged['judge']}" if judged else "chrF2"
    first = systems[0]["title"]
    return {
        "quality": "quality, 1 to 5" if judged else "chrF2",
        "speed": SPEED,
        "highest": 5 if judged else 100,
        "caption": (
            f"{data}, {by}, 95 % intervals by bootstrap over sentences, "
            f"p of the difference from {first}; {scores['date']}."
        ),
        "systems": systems,
    }


def _speed(measured: dict[str, Any]) -> dict[str, Any]:
    """How many seconds of Japanese a system translates in a second, one clip at a time.

    The slowest and the fastest repetition are its interval.
    """
    for row in measured["rows"]:
        if row["direction"] == Direction.JA_EN.value and row["batch"] == 1:
            mean, least, most = figures(row)["rtf"]
            return {"speed": 1 / mean, "speed_interval": (1 / most, 1 / least)}
    return {"speed": None}


def _judged(judged: dict[str, Any], system: str, direction: str) -> dict[str, Any]:
    """The quality of a system in a direction; None where it was not judged."""
    for row in judged["scores"]:
        if (row["system"], row["direction"]) == (system, direction) and row["n"]:
            return {
                direction: row["quality"],
                f"{direction}_interval": row["interval"],
                f"{direction}_p": row["p"],
            }
    return {direction: None}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="evaluation.report", description=__doc__)
    parser.add_argument("--scores", type=Path, help="what evaluation.run score wrote")
    parser.add_argument("--judged", type=Path, help="what evaluation.judge wrote")
    parser.add_argument("--speed", type=Path, nargs="*", default=[], help="of system_speed")
    parser.add_argument("--chart", type=Path, help="where to draw the comparison (SVG)")
    options = parser.parse_args(argv)
    if options.scores is None and (options.judged or options.speed or options.chart):
        parser.error("--judged, --speed and --chart go with --scores")
    return status(renew if options.scores is None else lambda: _compare(options))


def renew() -> None:
    """Write the tables and charts that the repository shows."""
    for name, content in sections().items():
        replace_section(DOCUMENTS[name], name, content)
        print(content)
    for path, chart in charts().items():
        replace_file(path, chart)


def _compare(options: argparse.Namespace) -> None:
    judged = load(options.judged) if options.judged else None
    speeds = [load(path) for path in options.speed]
    scores = load(options.scores)
    results = comparison(scores, judged, speeds)
    tables = [score_table(scores), quality_table(results)]
    tables += [speed_table(speeds)] if speeds else []
    print("\n".join(tables))
    if options.chart:
        replace_file(options.chart, draw(results))


if __name__ == "__main__":
    raise SystemExit(main())
