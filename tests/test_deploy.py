"""The containers and manifests: linted, and true to the program they start."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from web.settings import parser

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "Dockerfile"],
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
        ["kubernetes-validate", "--strict", "kubernetes.yaml"],
    ],
    ids=lambda command: command[0],
)
def test_linters_are_content(command: list[str]) -> None:
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=DEPLOY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_holds_what_the_space_imports_and_shows() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for name in line.split()}
    assert all((ROOT / name).exists() for name in copied)
    allowed = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.M))
    assert copied == allowed
    code = [ROOT / "app.py", *(ROOT / "web").glob("*.py")]
    shown = {name for path in code for name in re.findall(r'ROOT / "([^"]+)"', path.read_text())}
    assert shown >= {"quality_scores.svg", "examples"}
    for name in shown:
        assert any(name == own or name.startswith(f"{own}/") for own in copied), name


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "kubernetes.yaml"])
def test_settings_are_those_of_the_space(name: str) -> None:
    named = set(re.findall(r"SPEECH_\w+", (DEPLOY / name).read_text("utf-8")))
    options = {text for action in parser()._actions for text in action.option_strings}
    assert named
    for variable in named:
        assert "--" + variable.removeprefix("SPEECH_").lower().replace("_", "-") in options
