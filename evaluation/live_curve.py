"""The table and the chart of what evaluation.live measured."""

from __future__ import annotations

import io
from typing import Any

from evaluation.bootstrap import MEASURED, in_brackets
from evaluation.chart import EN_JA, JA_EN, error_bars, style
from evaluation.metrics import direction_title
from speech_translation.types import Direction

COLOURS = {Direction.EN_JA: EN_JA, Direction.JA_EN: JA_EN}
MARKERS = {"all": "o", "settled": "s", "captions": "^"}
SAID = {"all": "the whole line", "settled": "settled words", "captions": "captions only"}


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| direction | shown | line renewed | LongYAAL | by the clock | erased, a unit | chrF2 |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in results["directions"]:
        for point in entry["points"]:
            ends = {name: point[f"{name}_interval"] for name in ("longyaal", "longyaal_clock")}
            cells = [
                direction_title(Direction(entry["direction"])),
                SAID[point["shown"]],
                f"every {point['every']:g} s" if point["every"] else "never",
                *(f"{point[name]:.2f}{in_brackets(some, 2)} s" for name, some in ends.items()),
                f"{point['erased']:.2f}",
                f"{point['chrf']:.1f}{in_brackets(point['chrf_interval'])}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for entry in results["directions"]:
        few = ": an example, not a measurement" if entry["sentences"] < MEASURED else ""
        lines.append(
            f"- {direction_title(Direction(entry['direction']))}: {entry['sentences']} sentences "
            f"in {entry['recordings']} recordings, {entry['seconds'] / 60:.1f} minutes{few}. "
            f"{entry['data']}; {entry['engine']}, {entry['revision']}; chunks of "
            f"{entry['chunk']:g} s; {entry['gpu'] or entry['machine']}, commit "
            f"{entry['commit']}, {entry['date']}: `{entry['command']}`."
        )
    lines.append("")
    return "\n".join(lines)


def draw(results: dict[str, Any]) -> str:
    """Quality and erasure over latency, for each setting, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    with pyplot.rc_context(style("live")):
        figure, (quality, erasure) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        for entry in results["directions"]:
            direction = Direction(entry["direction"])
            for shown, marker in MARKERS.items():
                points = [point for point in entry["points"] if point["shown"] == shown]
                lag = [point["longyaal"] for point in points]
                chrf = [point["chrf"] for point in points]
                label = f"{direction_title(direction).replace('->', '→')}, {SAID[shown]}"
                kind = {"color": COLOURS[direction], "marker": marker, "label": label}
                quality.errorbar(
                    lag,
                    chrf,
                    xerr=error_bars(points, "longyaal"),
                    yerr=error_bars(points, "chrf"),
                    elinewidth=0.7,
                    **kind,
                )
                erasure.plot(lag, [point["erased"] for point in points], **kind)
        quality.set_ylabel("chrF2")
        erasure.set_ylabel("units erased, for each that stays")
        for axes in (quality, erasure):
            axes.set_xlabel("LongYAAL, seconds")
            axes.spines[["top", "right"]].set_visible(False)
            axes.patch.set_alpha(0)
        handles, labels = quality.get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=8
        )
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    return file.getvalue()
