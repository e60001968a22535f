"""The package installs anywhere, and the Makefile says what it needs before it begins."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WHEEL_BYTES = 12_000_000


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # A make that runs the tests hands its variables down.
    ours = {"PYTHONPATH", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL", "VENV", "PYTHON"}
    alone = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=alone | environment, capture_output=True, text=True
    )


def lock() -> str:
    """The tested versions as constraints, which know no extras and need no Space."""
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if "[" not in line)


@pytest.mark.slow
def test_the_wheel_translates_in_a_bare_environment_and_an_empty_folder(tmp_path: Path) -> None:
    built = run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ".", cwd=ROOT
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("speech_translation-*.whl")
    assert wheel.stat().st_size <= WHEEL_BYTES

    bare, empty = tmp_path / "bare", tmp_path / "an empty folder"
    venv.create(bare, with_pip=True)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(lock(), "utf-8")
    if index := os.environ.get("TORCH_INDEX"):
        torch = next(line for line in lock().splitlines() if line.startswith("torch=="))
        pip = [bare / "bin/python", "-m", "pip", "install", "-q", "--index-url", index, torch]
        assert run(*pip, cwd=tmp_path).returncode == 0
    installed = run(
        bare / "bin/python", "-m", "pip", "install", "-q", "-c", constraints, wheel, cwd=tmp_path
    )
    assert installed.returncode == 0, installed.stderr
    empty.mkdir()
    for name in ("en_1", "ja_1"):
        shutil.copy(ROOT / "examples" / f"{name}.flac", empty)
        done = run(
            bare / "bin/speech-translation", f"{name}.flac", "--model", "phrasebook", cwd=empty
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == (ROOT / "examples" / f"{name}.txt").read_text("utf-8")
    listed = run(
        bare / "bin/python",
        "-c",
        "import importlib.metadata as m; print(m.packages_distributions()['speech_translation'],"
        "sorted({f.parts[0] for f in m.files('speech-translation') if f.suffix == '.py'}))",
        cwd=empty,
    )
    assert listed.stdout.strip() == "['speech-translation'] ['speech_translation']"
    shutil.rmtree(bare)  # with CUDA's libraries it is 6 GB, and pytest keeps three runs


@pytest.mark.slow
def test_the_example_in_python_runs_in_any_folder_after_what_the_readme_installs(
    tmp_path: Path,
) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    found = re.search(r"From Python.*`\.venv/bin/python -m pip install \.`", readme)
    assert found
    code = readme[found.end() :].split("```python\n")[1].split("```")[0]
    installed, folder = tmp_path / "installed", tmp_path / "elsewhere"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", installed, "."]
    done = run(*pip, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (folder / "examples").mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "en_1.flac", folder / "examples")
    done = run(sys.executable, "-c", code, cwd=folder, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith((ROOT / "examples" / "en_1.txt").read_text("utf-8"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make demo` needs before it installs anything."""
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def interpreter(folder: Path, fault: str) -> Path:
    """A Python that answers the Makefile's question as one with `fault` would."""
    path = folder / "python"
    path.write_text(
        f"""#!/bin/sh
[ "$1" = -c ] || exit 9
exec "{sys.executable}" -c "import sys; {fault}; exec(sys.argv[1])" "$2"
""",
        "utf-8",
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("sys.version_info = (3, 10, 2, 'final', 0)", "needs Python 3.11 to 3.14, and .* is 3.10"),
        ("sys.version_info = (3, 15, 0, 'final', 0)", "needs Python 3.11 to 3.14, and .* is 3.15"),
        (
            "sys.version_info = (3, 12, 1, 'final', 0); sys.modules['ensurepip'] = None",
            r"apt-get install python3\.12-venv",
        ),
    ],
)
def test_an_unsuitable_python_is_one_sentence(checkout: Path, fault: str, said: str) -> None:
    done = run("make", "demo", f"PYTHON={interpreter(checkout, fault)}", cwd=checkout)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert re.search(said, lines[0])
    assert not (checkout / ".venv").exists()


def test_no_python_at_all_is_one_sentence(checkout: Path) -> None:
    done = run("make", "demo", "PYTHON=python-of-nowhere", cwd=checkout)
    assert "There is no python-of-nowhere: install Python 3.11 to 3.14" in done.stderr
    assert not (checkout / ".venv").exists()


def test_an_environment_that_was_not_finished_is_removed(checkout: Path) -> None:
    broken = checkout / "python"
    broken.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\nmkdir .venv\nexit 1\n', "utf-8")
    broken.chmod(0o755)
    assert run("make", "demo", f"PYTHON={broken}", cwd=checkout).returncode != 0
    assert not (checkout / ".venv").exists()


def test_ranges_and_lock_agree() -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    locked = dict[str, str]()
    # The voices and the vLLM server are no part of an installation.
    for name in ("", "-train", "-benchmark", "-dev"):
        path = ROOT / f"requirements{name}.txt"
        for line in path.read_text("utf-8").splitlines():
            if "==" in line and not line.startswith("#"):
                name, version = line.split("==")
                locked[name.split("[")[0].lower()] = version
    wanted = {
        requirement.name.lower(): requirement
        for requirement in map(Requirement, sum(extras.values(), project["dependencies"]))
        if requirement.name != project["name"]
    }
    for name, requirement in wanted.items():
        assert requirement.specifier.contains(locked[name]), requirement
    assert locked.keys() == wanted.keys()
