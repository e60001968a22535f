"""The figures of `evaluation.performance.speed` as Markdown, a column for each processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evaluation.performance.runner import VARIANTS
from speech_translation.files import replace_section

FILE = 600  # seconds of the long file
FIGURES = (
    "load_seconds",
    "peak_rss_gb",
    "file_peak_rss_gb",
    "encoder_seconds",
    "prefill_seconds",
    "per_token_ms",
    "request_seconds",
    "request_30s_seconds",
    "minute_seconds",
    "file_seconds",
)
KINDS, LONG, SHORT = "speed by processor", "speed", "speed in short"
"""The sections of the documents: all figures, the long recordings, and the README's."""

_SAID = {"baseline": "qwen-asr, float32", "exact": "exact (default)", "int8": "`--precision int8`"}

Entry = dict[str, Any]


def kinds(entries: Sequence[Entry]) -> str:
    """The figures of 10 s of speech, a column for each processor and set of instructions."""

    def row(said: str, cell: Callable[[Entry], str]) -> str:
        return f"| {said} | " + " | ".join(_or_nothing(cell, x) for x in entries) + " |\n"

    def of(name: str, key: str, unit: str, digits: int) -> Callable[[Entry], str]:
        return lambda x: _cell(x["variants"][name], key, unit, digits)

    lines = [_head(entries)]
    lines.append(row("measured", lambda x: x["date"]))
    lines.append(row("memory reads", lambda x: f"{x['memory_gb_s']:.0f} GB/s"))
    lines.append(row("float32 products", lambda x: f"{x['gemm_gflop_s']:.0f} GFLOP/s"))
    for said, key, unit, digits in (
        ("10 s of speech, 40 tokens", "request_seconds", "s", 1),
        ("encoder", "encoder_seconds", "s", 2),
        ("prefill", "prefill_seconds", "s", 2),
        ("decode step", "per_token_ms", "ms", 0),
    ):
        for name in VARIANTS:
            lines.append(row(f"{said}: {_SAID[name]}", of(name, key, unit, digits)))
    for said, key in (
        ("encoder and prefill, of the products' speed", "gemm_share"),
        ("decode step, of the memory's speed", "limit_share"),
    ):
        for name in VARIANTS:
            lines.append(row(f"{said}: {_SAID[name]}", _share(name, key)))
    for name in ("exact", "int8"):
        for rows in (2, 4, 8):
            said = f"{rows} segments at once, each token: {_SAID[name]}"
            lines.append(row(said, _together(name, rows)))
    lines.append(row("other processes took", _others))
    return "".join(lines)


def short(entries: Sequence[Entry]) -> str:
    """The README's: what 10 s of speech take on each processor, if other processes let it."""
    entries = [x for x in entries if not x.get("spoilt") and x.get("level", "native") == "native"]
    lines = [_head(entries, dated=True)]
    for name in VARIANTS:
        cells = (_cell(x["variants"][name], "request_seconds", "s", 1) for x in entries)
        lines.append(f"| {_SAID[name]} | " + " | ".join(cells) + " |\n")
    return "".join(lines)


def renew(document: Path, entries: Sequence[Entry]) -> None:
    """Put the tables into those sections that `document` has."""
    text = document.read_text("utf-8")
    whole = [x for x in entries if "around_the_model_seconds" in x]
    made = {KINDS: kinds(entries), SHORT: short(entries)}
    if whole:
        made[LONG] = table(whole[-1])
    for section, content in made.items():
        if f"<!-- {section} -->" in text:
            replace_section(document, section, content)


def _head(entries: Sequence[Entry], *, dated: bool = False) -> str:
    names = [
        f"{x['processor']}, {'' if x.get('level', 'native') == 'native' else 'kept to '}"
        f"{x['instructions']}, {x['threads']} threads" + (f", {x['date']}" if dated else "")
        for x in entries
    ]
    return f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}\n"


def _or_nothing(cell: Callable[[Entry], str], entry: Entry) -> str:
    try:
        return cell(entry)
    except KeyError:  # that part was not measured
        return ""


def _cell(figures: dict[str, Any], key: str, unit: str, digits: int) -> str:
    gain = figures.get(f"{key}_ratio", 1.0)
    said = "" if gain == 1.0 else f" ({gain:.1f} x)"
    return f"{figures[key]:.{digits}f} {unit}{said}"


def _share(name: str, key: str) -> Callable[[Entry], str]:
    return lambda entry: f"{100 * entry['variants'][name][key]:.0f} %"


def _together(name: str, rows: int) -> Callable[[Entry], str]:
    def cell(entry: Entry) -> str:
        figures = entry["variants"][name]["rows"][str(rows)]
        return f"{figures['per_token_ms']:.0f} ms ({100 * figures['limit_share']:.0f} %)"

    return cell


def _others(entry: Entry) -> str:
    share = f"{100 * entry['others']:.0f} %"
    return f"{share}, too much" if entry["spoilt"] else share


def table(report: Entry) -> str:
    """The figures of an entry with all parts."""
    variants = report["variants"]

    def cells(key: str, unit: str, digits: int) -> str:
        shown = [f"{variants['baseline'][key]:.{digits}f} {unit}"]
        for name in ("exact", "int8"):
            figures = variants[name]
            shown.append(f"{figures[key]:.{digits}f} {unit} ({figures[f'{key}_ratio']:.1f} x)")
        return " | ".join(shown)

    def bare(key: str) -> str:
        return "".join(f"| {variants[name][key]:.1f} s " for name in ("exact", "int8"))

    exact, int8 = (variants[name]["file_seconds"] / (FILE / 60) for name in ("exact", "int8"))
    around = report["around_the_model_seconds"]
    share = " | ".join(
        f"{100 * variants[name]['limit_share']:.0f} % of {variants[name]['read_gb_s']:.0f} GB/s"
        for name in VARIANTS
    )
    head = f"1.7B on a CPU, {report['threads']} threads"
    return f"""\
| {head} | qwen-asr, float32 | exact (default) | `--precision int8` |
|---|---|---|---|
| load to ready, file in the page cache | {cells("load_seconds", "s", 1)} |
| memory, peak, 10 s of speech | {cells("peak_rss_gb", "GB", 1)} |
| memory, peak, a long file | {cells("file_peak_rss_gb", "GB", 1)} |
| 10 s of speech, 40 tokens | {cells("request_seconds", "s", 1)} |
| of that the encoder | {cells("encoder_seconds", "s", 2)} |
| of that the prefill | {cells("prefill_seconds", "s", 2)} |
| each decode step | {cells("per_token_ms", "ms", 0)} |
| share of the memory's speed, each decode step | {share} |
| 30 s of speech, 120 tokens | {cells("request_30s_seconds", "s", 1)} |
| the same, encoded while it was spoken: time after its end | {bare("ahead_seconds")}|
| 1 minute in spans of 30 s, 240 tokens | {cells("minute_seconds", "s", 0)} |
| 10 minutes, 2400 tokens | {cells("file_seconds", "s", 0)} |

Made by `make speed` on {report["processor"]}
({report["instructions"]}, {report["cores"]} cores), {report["date"]}, with random weights of the
full size. Figures are medians of {report["repeats"]}. Brackets give the gain over qwen-asr 0.0.6
as the published Space runs it. The ten minutes are measured on {report["spans"]} of their 20
spans; one minute takes {exact:.1f} s, in int8 {int8:.1f} s. Decoding, speech detection, cutting and
captions take {around:.1f} s in total. The speed of the memory changes from moment to moment; it was
measured before and after each request. Matrix products ran at {report["gemm_gflop_s"]:.0f} GFLOP/s.
"""
