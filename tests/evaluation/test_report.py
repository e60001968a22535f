"""What is made of files of hypotheses: scores, comparisons, tables, chart."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from clips import ROOT

from evaluation import report, run
from evaluation.chart import draw
from evaluation.samples import DataError


def test_two_files_of_one_system_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "evaluation" / "results" / "whisper-base.jsonl"
    assert run.main(["score", str(path), str(path)]) == 1
    assert "--name" in capsys.readouterr().err


def written(path: Path, rows: Sequence[dict[str, Any]], system: str = "") -> str:
    """A file of hypotheses as another program may write it, with nothing but what is needed."""
    every = [{"system": system or path.stem}, *rows, {"samples": len(rows)}]
    path.write_text("\n".join(map(json.dumps, every)), "utf-8")
    return str(path)


def row(id: str, reference: str = "Good morning.", **more: str) -> dict[str, Any]:
    return {"id": id, "direction": "ja2en", "reference": reference, "text": "Good morning.", **more}


def test_a_file_of_another_program_needs_few_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = written(tmp_path / "mine.jsonl", [row("1"), row("2")]), tmp_path / "s.json"
    assert run.main(["score", path, "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "mine (engine not named; data not named)" in shown
    assert "exact 100.0 %" in shown
    assert "direction 100.0 %" in shown
    assert "mine, size not named" in report.score_table(json.loads(output.read_text("utf-8")))


def test_the_form_of_a_file_is_shown_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    (form,) = re.findall(r'```json\n(\{"system".*?)```', page, re.DOTALL)
    path = tmp_path / "mine.jsonl"
    path.write_text(form, "utf-8")
    assert run.main(["score", str(path)]) == 0
    assert "exact 100.0 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "has no samples"),
        ([row("1"), row("2"), row("1")], "has the sample 1 twice"),
        ([row("1", ""), row("2", " ")], "has no references for JA->EN"),
        ([{"id": "1", "direction": "ja2en"}], "missing 1 required positional argument"),
        ([{"id": "1", "reference": "a"}], "no 'direction'"),
    ],
)
def test_hypotheses_that_cannot_be_scored_are_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
    complaint: str,
) -> None:
    path, output = written(tmp_path / "mine.jsonl", rows), tmp_path / "s.json"
    assert run.main(["score", path, "--output", str(output)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} ")
    assert complaint in line
    assert not output.exists()


def test_only_the_same_samples_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = written(tmp_path / "one.jsonl", [row("1"), row("2")])
    other = written(tmp_path / "other.jsonl", [row("1"), row("2", "Good evening.")])
    apart = written(tmp_path / "apart.jsonl", [row("3")])
    assert run.main(["score", one, other]) == 1
    assert "different references for the sample 2" in capsys.readouterr().err
    assert run.main(["score", one, apart]) == 0
    assert "apart against one, chrF2: no common sample" in capsys.readouterr().out


def test_the_same_scores_keep_their_date(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    run.keep(path, {"systems": [1]})
    dated = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(dated | {"date": "2001-02-03"}), "utf-8")
    run.keep(path, {"systems": [1]})
    assert json.loads(path.read_text("utf-8"))["date"] == "2001-02-03"
    run.keep(path, {"systems": [2]})
    assert json.loads(path.read_text("utf-8"))["date"] == dated["date"]


HEAD = {
    **{"parameters": "1M", "data": "tones", "missing": "", "engine": "e", "gpu": None},
    **{"machine": "m", "commit": "c", "attention": "a"},
}


def speed(system: str, **head: str) -> dict[str, Any]:
    """What evaluation.system_speed writes: 20 s of speech in 2, 2.5 and 4 s, one clip at a time."""
    row = {"direction": "ja2en", "batch": 1, "clips": 20, "audio_seconds": 20.0, "tokens": 100}
    rows = [row | {"seconds": [2.0, 2.5, 4.0]}, row | {"batch": 8, "seconds": [1.0, 1.0, 1.0]}]
    made = {"date": "2001-02-03", "command": "python -m x", "rows": rows}
    return {"header": {"system": system, "title": system, **HEAD, **head}, **made}


def scored(system: str, chrf: float, directions: Sequence[str]) -> dict[str, Any]:
    score = {"score": chrf, "interval": [chrf - 2.5, chrf + 1.5], "signature": ""}
    metrics = dict.fromkeys(("BLEU 13a", "BLEU ja-mecab", "chrF2"), score)
    counts = {"n": 60, "sentences": 30, "exact": 0.5, "off_target": 0.0, "empty": 0.0}
    return {
        "header": {"system": system, "title": system, **HEAD},
        "scores": {x: {**counts, "metrics": metrics} for x in directions},
    }


def bare(system: dict[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in system.items() if "interval" not in name}


def test_a_table_says_which_scores_are_an_example() -> None:
    few = {"n": 12, "sentences": 4, "exact": 0.5, "off_target": 0.0, "empty": 0.0}
    metrics = {x: {"score": 40.0, "interval": None} for x in ("BLEU 13a", "chrF2")}
    head = {"system": "a", "title": "A", **HEAD}
    systems = [{"header": head, "scores": {"ja2en": few | {"metrics": metrics}}}]
    table = report.score_table({"systems": systems, "compared": {}, "date": "2001-02-03"})
    row = "| A, 1M | JA->EN | 12 | 4: an example, not a measurement | 50.0 % | 40.0 | 40.0 |"
    assert row in table


def test_a_comparison_of_ones_own_is_drawn_from_chrf_or_from_a_judge() -> None:
    systems = [scored("a", 50.0, ["en2ja", "ja2en"]), scored("b", 40.0, ["ja2en"])]
    compared = {"en2ja": {}, "ja2en": {"b": {"chrF2": 0.012}}}
    scores = {"systems": systems, "compared": compared, "date": "2001-02-03"}
    plain = report.comparison(scores, None, [speed("b")])
    row = "| b | 1M | N/A | 40.0 [37.5, 41.5] (p 0.012) | 7.1 [5.0, 10.0] |"
    assert row in report.quality_table(plain)
    assert "by bootstrap over sentences" in plain["caption"]
    given = {"n": 30, "missing": 0.05, "quality": 4.5, "interval": [4.2, 4.6], "p": None}
    rows = [
        {"system": "a", "direction": "en2ja", **given},
        {"system": "b", "direction": "en2ja", **given}
        | {"quality": 3.5, "interval": [3.2, 3.6], "p": 0.002},
        {"system": "b", "direction": "ja2en", **given, "n": 0, "quality": None},
    ]
    judged = report.comparison(scores, {"judge": "J", "scores": rows})
    table = report.quality_table(judged)
    assert "| a | 1M | 4.5 [4.2, 4.6] | N/A | N/A | 5.0 % |" in table
    assert "| b | 1M | 3.5 [3.2, 3.6] (p 0.002) | N/A | N/A | 5.0 % |" in table
    assert "judged by J" in judged["caption"]
    bars = [draw({**x, "systems": [bare(y) for y in x["systems"]]}) for x in (plain, judged)]
    for results, without in zip((plain, judged), bars, strict=True):
        assert draw(results).count("LineCollection") > without.count("LineCollection")
        assert draw(results).count("N/A") == sum(
            system[x] is None for system in results["systems"] for x in ("en2ja", "ja2en", "speed")
        )


def test_speeds_are_compared_like_with_like() -> None:
    table = report.speed_table([speed("a"), speed("b")])
    assert "| a | JA->EN | 1 | 20 | 0.142 (0.100 to 0.200) | 38.3 (25.0 to 50.0) |" in table
    assert "| a | JA->EN | 8 | 20 | 0.050 (0.050 to 0.050) | 100.0 (100.0 to 100.0) |" in table
    assert "- a: e, attention a, m, commit c, 2001-02-03: `python -m x`." in table
    for key in ("gpu", "machine", "data"):
        with pytest.raises(DataError, match="cannot be compared"):
            report.speed_table([speed("a"), speed("b", **{key: "other"})])


def test_the_chart_says_what_is_published_and_keeps_text_as_text() -> None:
    published = report.load(report.PUBLISHED)
    chart = draw(published)
    for system in published["systems"]:
        assert f">{system['title']}<" in chart
    assert published["caption"] in chart
    assert ">N/A<" in chart
    assert "<path" in chart
    assert "base64" not in chart
    assert draw(published) == chart


def test_the_report_of_ones_own_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = tmp_path / "results.json"
    systems = [scored("a", 50.0, ["en2ja", "ja2en"])]
    scores.write_text(
        json.dumps({"systems": systems, "compared": {}, "date": "2001-02-03"}), "utf-8"
    )
    chart = tmp_path / "chart.svg"
    times = tmp_path / "speed.json"
    times.write_text(json.dumps(speed("a")), "utf-8")
    command = ["--scores", str(scores), "--chart", str(chart), "--speed", str(times)]
    assert report.main(command) == 0
    printed = capsys.readouterr().out
    assert "50.0 [47.5, 51.5]" in printed
    assert "0.142 (0.100 to 0.200)" in printed
    assert chart.read_text("utf-8").startswith("<?xml")
    assert report.main(["--scores", str(tmp_path / "none.json")]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"chart.svg", "results.json", "speed.json"}
