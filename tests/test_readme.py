"""What the README says is so: its example runs, its tables are what was measured."""

import json
import re
from pathlib import Path

import pytest

from evaluation import report
from phrasebook.evaluate import README_SECTION, table
from speech_translation import FORMATS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(text for text in blocks if containing in text)


def section(name: str) -> str:
    return README.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]


def test_the_example_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    code = block("python", "load_engine")
    statements = [line for line in code.splitlines() if line.strip()]
    assert len(statements) <= 5
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    reference = (ROOT / "examples" / "en_1.txt").read_text("utf-8").strip()
    assert printed.startswith(reference + "\n1\n00:00:00,")


def test_the_phrasebook_table_is_the_measured_one() -> None:
    measured = json.loads((ROOT / "phrasebook" / "figures.json").read_text("utf-8"))
    assert section(README_SECTION) == table(measured)


@pytest.mark.parametrize("name", report.sections())
def test_the_benchmark_tables_are_what_the_results_give(name: str) -> None:
    assert section(name) == report.sections()[name], "run: make benchmark"


def test_the_chart_is_what_the_published_figures_give() -> None:
    drawn = report.draw(report.load(report.PUBLISHED))
    assert report.CHART.read_text("utf-8") == drawn, "run: make benchmark"


def test_the_front_matter_names_the_pinned_gradio() -> None:
    requirements = (ROOT / "requirements.txt").read_text("utf-8")
    pinned = re.search(r"^gradio\[mcp\]==(.+)$", requirements, re.MULTILINE)
    assert pinned is not None
    assert f'sdk_version: "{pinned[1]}"' in README


def test_every_path_of_the_tree_exists() -> None:
    tree = README.split("\n```\napp.py")[1].split("\n```")[0]
    for line in f"app.py{tree}".splitlines():
        assert (ROOT / line.split()[0]).exists(), line


def test_the_commands_name_real_options() -> None:
    import inference

    known = {text for action in inference.parser()._actions for text in action.option_strings}
    commands = " ".join(re.findall(r"inference\.py (.+)", README))
    assert set(re.findall(r"--[a-z-]+", commands)) <= known
    assert "--format srt" in commands
    assert "srt" in FORMATS


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "examples/README.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target
