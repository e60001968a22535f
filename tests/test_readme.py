"""The documents are true: their links, paths, tables, examples and commands."""

import json
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from evaluation import report
from evaluation.performance import startup, tables
from phrasebook import evaluate
from speech_translation.engine import PUBLISHED_MODEL

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "examples" / "README.md",
    ROOT / "evaluation" / "data" / "README.md",
]
ROOMS = r"(?:\.ci|deploy|docs|evaluation|examples|phrasebook|speech_translation|tests|training|web)"

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of a document in `language`."""
    return re.findall(rf"```{language}\n(.*?)```", document.read_text("utf-8"), re.DOTALL)


def prose(document: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)


def links(document: Path) -> list[tuple[Path, str]]:
    """The file and the heading of each link that stays in the repository."""
    found = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose(document))
    return [((document.parent / path) if path else document, anchor) for path, anchor in found]


def anchors(document: Path) -> set[str]:
    """The headings of a document as GitHub writes them in addresses."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(document: Path, name: str) -> str:
    """A generated section of a document."""
    text = document.read_text("utf-8")
    return text.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]


def commands() -> Iterator[list[str]]:
    """The words of each shell command in the documents, without the environment's folder."""
    for document in DOCUMENTS:
        for block in blocks(document, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                words = words[words.index("|") + 1 :] if "|" in words else words
                if words and words[0] == ".venv/bin/python":
                    words = words[1:]
                if words:
                    yield words


def programs() -> list[list[str]]:
    """The commands that start a module of ours: its name, then its arguments."""
    names = {"inference.py": "inference", "speech-translation": "inference", "app.py": "app"}
    found = [words[1:] for words in commands() if words[0] == "-m"]
    found += [[names[words[0]], *words[1:]] for words in commands() if words[0] in names]
    return [words for words in found if words[0] != "pip"]


def test_the_front_matter_is_true_and_fits_zerogpu() -> None:
    import yaml

    front = yaml.safe_load(README.read_text("utf-8").split("---\n")[1])
    locked = (ROOT / "requirements.txt").read_text("utf-8")
    assert f"gradio[mcp]=={front['sdk_version']}\n" in locked
    # Those of ZeroGPU (https://huggingface.co/docs/hub/spaces-zerogpu, September 2026).
    assert front["python_version"] in ("3.12.12", "3.10.13")
    assert re.search(r"^torch==2\.(8\.0|9\.1|10\.0|11\.0|12\.1|13\.0)$", locked, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert SpecifierSet(project["requires-python"]).contains(front["python_version"])
    assert (ROOT / front["app_file"]).exists()
    served = "mcp_server=True" in (ROOT / "web" / "server.py").read_text("utf-8")
    assert ("mcp-server" in front["tags"]) == served
    assert front["preload_from_hub"][0].split()[0] == PUBLISHED_MODEL


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 200


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in links(document):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


def test_every_document_is_found_from_the_readme() -> None:
    reached, waiting = set[Path](), [README]
    while waiting:
        document = waiting.pop().resolve()
        if document not in reached and document.suffix == ".md":
            reached.add(document)
            waiting += [target for target, _ in links(document)]
    assert set(DOCUMENTS) <= reached


@every_document
def test_paths_and_modules_in_the_text_exist(document: Path) -> None:
    text = prose(document)
    for path in re.findall(rf"`({ROOMS}/[\w./*-]+)", text):
        assert list(ROOT.glob(path.rstrip("/"))), path
    for module in re.findall(rf"python -m ({ROOMS}[\w.]*)", text):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module
    for command in re.findall(r"`make ([^`]+)`", text):
        check_make(command.split())


def test_every_path_of_the_tree_exists() -> None:
    tree = README.read_text("utf-8").split("\n```\napp.py")[1].split("\n```")[0]
    for line in f"app.py{tree}".splitlines():
        assert (ROOT / line.split()[0]).exists(), line


@pytest.mark.parametrize("name", report.sections())
def test_the_benchmark_tables_are_what_the_results_give(name: str) -> None:
    assert section(report.DOCUMENTS[name], name) == report.sections()[name], "run: make benchmark"


def test_the_phrasebook_table_is_the_measured_one() -> None:
    measured = json.loads((ROOT / "phrasebook" / "figures.json").read_text("utf-8"))
    assert section(ROOT / "docs" / "results.md", evaluate.SECTION) == evaluate.table(measured)


def test_the_speed_tables_are_the_measured_ones(tmp_path: Path) -> None:
    measured = report.load(report.RESULTS / "speed.json")["entries"]
    for document in (README, ROOT / "docs" / "speed.md"):
        renewed = tmp_path / document.name
        renewed.write_text(document.read_text("utf-8"), "utf-8")
        tables.renew(renewed, measured)
        assert renewed.read_text("utf-8") == document.read_text("utf-8"), "run: make speed"


def test_the_startup_table_is_the_measured_one() -> None:
    measured = report.load(report.RESULTS / "startup.json")
    assert section(ROOT / "docs" / "speed.md", startup.SECTION) == startup.table(measured)


@pytest.mark.parametrize("chart", report.charts(), ids=lambda path: path.name)
def test_a_chart_is_what_the_figures_give(chart: Path) -> None:
    assert chart.read_text("utf-8") == report.charts()[chart], "run: make benchmark"


def test_the_sources_of_truth_hold_what_they_are_said_to() -> None:
    named = re.findall(
        r"\| `(\w+)` in `([\w/]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    )
    assert len(named) >= 4
    for name, path in named:
        text = (ROOT / path).read_text("utf-8")
        assert re.search(rf"^(class |def |){name}\b", text, re.MULTILINE), f"{name} in {path}"


def test_the_front_matter_names_the_pinned_gradio() -> None:
    requirements = (ROOT / "requirements.txt").read_text("utf-8")
    pinned = re.search(r"^gradio\[mcp\]==(.+)$", requirements, re.MULTILINE)
    assert pinned is not None
    assert f'sdk_version: "{pinned[1]}"' in README.read_text("utf-8")


def test_the_translations_on_top_are_those_of_the_clips() -> None:
    rows = re.findall(r"\((examples/\w+)\.flac\)\) \| (.+) \|", README.read_text("utf-8"))
    assert len(rows) == 2
    for clip, text in rows:
        assert (ROOT / clip).with_suffix(".txt").read_text("utf-8").strip() == text


def test_the_python_example_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = blocks(README, "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 6
    exec(compile(code, "README.md", "exec"), {})
    reference = (ROOT / "examples" / "en_1.txt").read_text("utf-8").strip()
    assert capsys.readouterr().out.startswith(reference + "\n1\n00:00:00,")


def test_the_example_of_segments_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = blocks(ROOT / "docs" / "usage.md", "python")
    exec(compile(code, "usage.md", "exec"), {})
    texts = [line.split(" ", 2)[2] for line in capsys.readouterr().out.splitlines()]
    reference = (ROOT / "examples" / "ja_two_sentences.txt").read_text("utf-8").strip()
    assert " ".join(texts) == reference


def start(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a program to its end, as `python -m` does; it must end well."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        runpy.run_module(words[0], run_name="__main__")
    assert not end.value.code


@pytest.mark.parametrize("words", programs(), ids=" ".join)
def test_commands_name_real_modules_and_options(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start([words[0], "--help"], monkeypatch)
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert {word for word in words if word.startswith("--")} <= known


def test_the_settings_of_a_space_are_all_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(["app", "--help"], monkeypatch)
    documented = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    listed = set(re.findall(r"`(SPEECH_\w+)`", documented)) - {"SPEECH_ENGINE_KEY"}
    assert listed == set(re.findall(r"SPEECH_[A-Z_]+", capsys.readouterr().out))


def test_what_the_commands_write_is_not_committed() -> None:
    """Weights, and private recordings: git sees none of it."""
    named = ("--output", "--output-dir", "--folder")
    written = {
        path
        for words in commands()
        for option, path in pairwise(words)
        if option in named and not path.startswith(("-", "/"))
    }
    assert {"report.md", "subtitles", "recordings", "data/own", "checkpoints/own"} <= written
    seen = [
        path
        for path in sorted(written)
        if subprocess.run(["git", "check-ignore", "-q", f"{path}/x"], cwd=ROOT).returncode == 1
    ]
    assert not seen, "see .gitignore"


OFFLINE = [
    words
    for words in programs()
    if words[0] == "inference" and (ROOT / words[1]).is_file() and "phrasebook" in words
]


@pytest.mark.parametrize("words", OFFLINE, ids=" ".join)
def test_the_offline_commands_run(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(words, monkeypatch)
    reference = (ROOT / words[1]).with_suffix(".txt").read_text("utf-8").strip()
    assert reference in capsys.readouterr().out


def test_the_make_commands_name_real_targets_and_variables() -> None:
    calls = [words[1:] for words in commands() if words[0] == "make"]
    assert len(calls) >= 6
    for call in calls:
        check_make(call)


def check_make(words: list[str]) -> None:
    """`words` are a target of the Makefile and variables that it reads."""
    target, *variables = words
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
    for variable in variables:
        assert f"$({variable.split('=')[0]})" in MAKEFILE, variable


def test_every_target_can_be_made() -> None:
    """With the rules for all that it needs, which `make -n` looks for without running them."""
    targets = " ".join(re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)).split()
    assert len(targets) >= 20
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_makefile_starts_real_modules() -> None:
    text = re.sub(r"\$\(BENCH\)", "-m evaluation", MAKEFILE)
    modules = set(re.findall(rf"-m ({ROOMS}[\w.]*)", text)) - {"evaluation"}
    assert len(modules) >= 8
    for module in modules:
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module
