"""The chart, quality_scores.svg: quality in both directions and speed, for each system.

The same data always give the same file. Colours are readable on light and dark pages, and text
stays text.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

# Colours with at least 3:1 on white and on near black, told apart by the colour-blind.
EN_JA, JA_EN, SPEED, TEXT = "#1f8a70", "#c2611a", "#5b74b8", "#7a7a7a"


def style(salt: str) -> dict[str, Any]:
    """matplotlib's settings for a chart; with its own `salt` it has the same ids each time."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "text.color": TEXT,
        "axes.labelcolor": TEXT,
        "axes.edgecolor": TEXT,
        "xtick.color": TEXT,
        "ytick.color": TEXT,
    }


def draw(results: dict[str, Any], *, narrow: bool = False) -> str:
    """The chart as SVG, or a narrow one for phones: speed below quality, without the caption.

    `results` has `systems`, each with `title`, `parameters`, and `en2ja`, `ja2en` and `speed`, None
    where there is none, with `en2ja_interval`, `ja2en_interval` and `speed_interval`, two numbers
    each, beside them where they are known; `quality` and `speed`, what is shown, `highest`, the
    best quality, and `caption`.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    systems = results["systems"][::-1]  # the first one on top
    rows = range(len(systems))
    with pyplot.rc_context(style("quality_scores")):
        figure, (quality, speed) = (
            pyplot.subplots(2, 1, figsize=(4, 5.5), height_ratios=(3, 2), layout="constrained")
            if narrow
            else pyplot.subplots(
                1, 2, figsize=(9, 3.6), sharey=True, width_ratios=(3, 2), layout="constrained"
            )
        )
        for offset, key, colour, label in (
            (0.2, "en2ja", EN_JA, "EN→JA"),
            (-0.2, "ja2en", JA_EN, "JA→EN"),
        ):
            places = [row + offset for row in rows]
            scores = [system[key] or 0 for system in systems]
            quality.barh(
                places,
                scores,
                0.36,
                color=colour,
                label=label,
                xerr=error_bars(systems, key),
                ecolor=TEXT,
            )
            for place, system, score in zip(places, systems, scores, strict=True):
                words = "N/A" if system[key] is None else f"{score:.1f}"
                x = _end(system, key) + 0.012 * results["highest"]
                quality.text(x, place, words, va="center", fontsize=9)
        for axes in (quality, speed) if narrow else (quality,):
            names = [s["title"].replace(" ", "\n", 1) if narrow else s["title"] for s in systems]
            if axes is quality:
                sizes = [system["parameters"] for system in systems]
                names = [f"{name}\n{size}" for name, size in zip(names, sizes, strict=True)]
            axes.set_yticks(rows, names, fontsize=9)
        quality.set_xlim(0, 1.1 * results["highest"])
        quality.set_xlabel(results["quality"])
        quality.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2, frameon=False)
        speeds = [system["speed"] or 0 for system in systems]
        fastest = max(_end(system, "speed") for system in systems) or 1
        speed.barh(rows, speeds, 0.5, color=SPEED, xerr=error_bars(systems, "speed"), ecolor=TEXT)
        for row, system, value in zip(rows, systems, speeds, strict=True):
            words = f"{value:.1f}" if value else "N/A"
            x = _end(system, "speed") + 0.015 * fastest
            speed.text(x, row, words, va="center", fontsize=9)
        speed.set_xlim(0, fastest * 1.2)
        speed.set_xlabel(results["speed"])
        for axes in (quality, speed):
            axes.spines[["top", "right"]].set_visible(False)
            axes.patch.set_alpha(0)
        if not narrow:
            figure.supxlabel(results["caption"], fontsize=8)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    return file.getvalue()


def error_bars(systems: Sequence[dict[str, Any]], key: str) -> list[tuple[float, ...]] | None:
    """How far intervals reach below and above their values; None where there are none."""
    reach = list[tuple[float, float]]()
    for system in systems:
        value = system[key] or 0.0
        low, high = system.get(f"{key}_interval") or (value, value)
        reach.append((max(0.0, value - low), max(0.0, high - value)))
    return list(zip(*reach, strict=True)) if any(map(any, reach)) else None


def _end(system: dict[str, Any], key: str) -> float:
    """Where a bar and its interval end."""
    return max(system[key] or 0.0, *(system.get(f"{key}_interval") or (0.0,)))
