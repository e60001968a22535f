"""Who may import whom, and what must not be heavy: the rules that keep the rooms apart."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "speech_translation").glob("*.py"))
RECIPE = sorted((ROOT / "training").glob("*.py"))
BENCHMARK = sorted((ROOT / "evaluation").glob("*.py"))
WEB = sorted((ROOT / "web").glob("*.py"))

# Lower layers first: a module imports only from the layers before its own.
LAYERS = [
    {"types", "errors", "files"},
    {"text", "audio", "segments", "attention", "decoding", "ahead", "kernels", "memory"},
    {"replies", "narrow"},
    {"remote", "step"},
    {"engine", "captions"},
    {"translate", "sharing"},
    {"live", "bulk"},
    {"__init__"},
]
HEAVY = {"torch", "transformers", "qwen_asr", "huggingface_hub"}
LOCAL_ENGINE = {"engine", "attention", "decoding", "ahead", "narrow", "step"}


def imports(path: Path, *, deferred: bool = True) -> set[str]:
    """Dotted names of the modules that `path` imports, outside `if TYPE_CHECKING`."""
    names = set[str]()

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if inside and not deferred:
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names.add(str(node.module))
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text("utf-8")), False)
    return names


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.name)
def test_the_library_imports_downward_only(path: Path) -> None:
    level = next(i for i, layer in enumerate(LAYERS) if path.stem in layer)
    allowed = set[str]().union(*LAYERS[: level + 1])
    own = {n.split(".")[1] for n in imports(path) if n.startswith("speech_translation.")}
    assert own <= allowed
    assert not roots(imports(path)) & {
        "training",
        "evaluation",
        "gradio",
        "app",
        "inference",
        "web",
    }


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.name)
def test_torch_lives_behind_the_local_engine(path: Path) -> None:
    if path.stem not in LOCAL_ENGINE:
        assert not roots(imports(path)) & HEAVY
    # The rest of the local engine is imported when the engine loads a model.
    if path.stem not in LOCAL_ENGINE - {"engine", "attention"}:
        assert not roots(imports(path, deferred=False)) & HEAVY


def test_http_is_spoken_in_one_place_of_the_library() -> None:
    for path in LIBRARY:
        assert path.stem == "remote" or "httpx" not in roots(imports(path))
    engine = ROOT / "speech_translation" / "engine.py"
    assert "speech_translation.remote" not in imports(engine, deferred=False)


@pytest.mark.parametrize("path", RECIPE, ids=lambda p: p.name)
def test_the_recipe_imports_the_library_and_itself(path: Path) -> None:
    assert not roots(imports(path)) & {"evaluation", "gradio", "app", "inference", "web"}


@pytest.mark.parametrize("path", BENCHMARK, ids=lambda p: p.name)
def test_the_benchmark_imports_the_library_and_itself(path: Path) -> None:
    assert not roots(imports(path)) & {"training", "gradio", "app", "inference", "web"}


@pytest.mark.parametrize("path", WEB, ids=lambda p: p.name)
def test_what_the_space_shows_knows_neither_gradio_nor_torch(path: Path) -> None:
    assert not roots(imports(path)) & {"training", "evaluation", "gradio", "app", *HEAVY}


def test_help_answers_at_once() -> None:
    start = time.monotonic()
    command = [sys.executable, "inference.py", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - start
    assert "--direction" in result.stdout
    loaded = "import sys, inference; inference.parser(); print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not HEAVY & set(modules)
    assert seconds < 3, f"{seconds:.1f} s; about 0.5 s on an idle machine"
