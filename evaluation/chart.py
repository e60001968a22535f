"""The chart, quality_scores.svg: quality in both directions and speed, for each system.

The same data always give the same file. Colours are readable on light and dark pages, and text
stays text.
"""

from __future__ import annotations

import io
from typing import Any

# Colours with at least 3:1 on white and on near black, told apart by the colour-blind.
EN_JA, JA_EN, SPEED, TEXT = "#1f8a70", "#c2611a", "#5b74b8", "#7a7a7a"


def draw(results: dict[str, Any]) -> str:
    """The chart as SVG.

    `results` has `systems`, each with `title`, `parameters`, and `en2ja`, `ja2en` and
    `tokens_per_second`, None where there is none, with `en2ja_interval` and `ja2en_interval` beside
    them where they are known; `quality`, what the scores are, `highest`, the best one, `caption`.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    systems = results["systems"][::-1]  # the first one on top
    rows = range(len(systems))
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "quality_scores",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "text.color": TEXT,
        "axes.labelcolor": TEXT,
        "axes.edgecolor": TEXT,
        "xtick.color": TEXT,
        "ytick.color": TEXT,
    }
    with pyplot.rc_context(style):
        figure, (quality, speed) = pyplot.subplots(
            1, 2, figsize=(9, 3.6), sharey=True, width_ratios=(3, 2), layout="constrained"
        )
        for offset, key, colour, label in (
            (0.2, "en2ja", EN_JA, "EN→JA"),
            (-0.2, "ja2en", JA_EN, "JA→EN"),
        ):
            places = [row + offset for row in rows]
            scores = [system[key] or 0 for system in systems]
            intervals = [system.get(f"{key}_interval") or 0 for system in systems]
            quality.barh(
                places,
                scores,
                0.36,
                color=colour,
                label=label,
                xerr=intervals if any(intervals) else None,
                ecolor=TEXT,
            )
            for place, system, score in zip(places, systems, scores, strict=True):
                words = "N/A" if system[key] is None else f"{score:.1f}"
                x = score + (system.get(f"{key}_interval") or 0) + 0.012 * results["highest"]
                quality.text(x, place, words, va="center", fontsize=9)
        quality.set_yticks(rows, [f"{s['title']}\n{s['parameters']}" for s in systems], fontsize=9)
        quality.set_xlim(0, 1.1 * results["highest"])
        quality.set_xlabel(results["quality"])
        quality.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2, frameon=False)
        speeds = [system["tokens_per_second"] or 0 for system in systems]
        fastest = max(speeds) or 1
        speed.barh(rows, speeds, 0.5, color=SPEED)
        for row, value in zip(rows, speeds, strict=True):
            words = f"{value:.1f}" if value else "N/A"
            speed.text(value + 0.015 * fastest, row, words, va="center", fontsize=9)
        speed.set_xlim(0, fastest * 1.2)
        speed.set_xlabel("tokens per second")
        for axes in (quality, speed):
            axes.spines[["top", "right"]].set_visible(False)
            axes.patch.set_alpha(0)
        figure.supxlabel(results["caption"], fontsize=8)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    return file.getvalue()
