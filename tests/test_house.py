"""Who may import whom, by folder, and what must stay light. The plan stands in CONTRIBUTING.md."""

import ast
import graphlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A room may import itself and the rooms that it names here.
ROOMS = {
    "speech_translation": set[str](),
    "web": {"speech_translation"},
    "app": {"web", "speech_translation"},
    "inference": {"speech_translation"},
    "examples": {"speech_translation"},
    "training": {"speech_translation"},
    "phrasebook": {"speech_translation", "training"},
    "evaluation": {"speech_translation"},
}

# Storeys of the library, from the ground up: a module imports from its own storey or from below.
STOREYS = [
    {"types", "errors", "languages", "text", "growing_text", "files", "process", "bounds"},
    {
        *("audio", "timeline", "decoding", "clock", "skipped", "parts", "endings", "tracks"),
        "transport",
        *("levels", "microphone", "detector", "segments", "speech_stream"),
        *("atoms", "layout", "bilingual", "readings", "words"),
    },
    {"engine", "captions", "cues", "manifest", "hub_sets", "transcripts", "video", "enclosed"},
    {"session", "translate", "other_direction"},
    {"live", "bulk", "journal", "results"},
    {"console", "arguments"},
    {"cli", "__init__"},
]

# Where a package may be imported: folders, or files.
HEAVY = {"torch", "transformers", "qwen_asr", "huggingface_hub"}
PLACES = {
    **{
        package: {"speech_translation/engine", "training", "phrasebook", "evaluation"}
        for package in HEAVY
    },
    "numba": {"speech_translation/engine/cpu", "evaluation/performance"},
    "llvmlite": {"speech_translation/engine/cpu"},
    "httpx": {
        "speech_translation/engine/answer.py",
        "speech_translation/engine/chat.py",
        "speech_translation/engine/remote.py",
        "speech_translation/engine/servers.py",
    },
    **{package: set[str]() for package in ("requests", "aiohttp", "urllib3")},
    "gradio": {
        "app.py",
        "web/api.py",
        "web/cards.py",
        "web/gradio_patches.py",
        "web/refusals.py",
        "web/server.py",
        "web/service.py",
        "web/theme.py",
        "web/zerogpu.py",
    },
    "starlette": {"web"},
    "spaces": {"web/zerogpu.py"},
}

# What `import speech_translation` and the choice of an engine reach: heavy packages come when used.
LIGHT = [
    "speech_translation/*.py",
    "speech_translation/engine/__init__.py",
    "speech_translation/engine/aligner.py",
    "speech_translation/engine/answer.py",
    "speech_translation/engine/base.py",
    "speech_translation/engine/batching.py",
    "speech_translation/engine/chat.py",
    "speech_translation/engine/checkpoint.py",
    "speech_translation/engine/devices.py",
    "speech_translation/engine/hub.py",
    "speech_translation/engine/load.py",
    "speech_translation/engine/local.py",
    "speech_translation/engine/memory.py",
    "speech_translation/engine/prompt.py",
    "speech_translation/engine/question.py",
    "speech_translation/engine/remote.py",
    "speech_translation/engine/servers.py",
    "speech_translation/engine/tokenizer.py",
    "web/*.py",
]

DYNAMIC = {"importlib.import_module", "import_module", "__import__"}


@cache
def sources() -> dict[Path, str]:
    """The modules of all rooms, relative to the root, and their dotted names."""
    found = dict[Path, str]()
    for room in ROOMS:
        single = ROOT / f"{room}.py"
        for path in [single] if single.exists() else sorted((ROOT / room).rglob("*.py")):
            relative = path.relative_to(ROOT)
            parts = relative.with_suffix("").parts
            found[relative] = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return found


@cache
def imports(path: Path, *, deferred: bool = True) -> frozenset[str]:
    """Dotted names of what `path` imports, outside `if TYPE_CHECKING`."""
    names = set[str]()

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.orelse:
                visit(child, inside)
            return
        if inside and not deferred:
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(str(node.module))
            own = {f"{node.module}.{alias.name}" for alias in node.names}
            names.update(own & set(sources().values()))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in DYNAMIC and node.args:
            assert not isinstance(node.args[0], ast.Constant), f"{path} hides an import"
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse((ROOT / path).read_text("utf-8")), False)
    return frozenset(names)


def roots(names: frozenset[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def storey(module: str) -> int:
    """On which storey of the library a module is; its package itself is on the top one."""
    name = module.split(".")[1] if "." in module else "__init__"
    return next(i for i, names in enumerate(STOREYS) if name in names)


def test_every_room_is_known() -> None:
    top = {path.stem for path in ROOT.glob("*.py")}
    top |= {path.parent.name for path in ROOT.glob("*/*.py") if path.parent.name[0] != "."}
    assert top == {*ROOMS, "tests"}


@pytest.mark.parametrize("path", sources(), ids=str)
def test_a_room_imports_the_rooms_that_it_may(path: Path) -> None:
    room = sources()[path].split(".")[0]
    assert roots(imports(path)) & set(ROOMS) <= ROOMS[room] | {room}


def test_the_library_imports_downward_only() -> None:
    for path, module in sources().items():
        if path.parts[0] == "speech_translation":
            for name in imports(path):
                if name.split(".")[0] == "speech_translation":
                    assert storey(name) <= storey(module), f"{path} imports {name}"


def test_nothing_goes_in_circles() -> None:
    modules = set(sources().values())
    graph = {
        module: {name for name in imports(path) if name in modules} - {module}
        for path, module in sources().items()
    }
    list(graphlib.TopologicalSorter(graph).static_order())  # a CycleError names the circle


@pytest.mark.parametrize("package", sorted(PLACES))
def test_a_package_is_imported_in_its_places_only(package: str) -> None:
    def inside(path: Path) -> bool:
        return any(path.is_relative_to(place) for place in PLACES[package])

    users = [path for path in sources() if package in roots(imports(path))]
    assert bool(users) == bool(PLACES[package])
    assert [path for path in users if not inside(path)] == []


def light() -> list[Path]:
    return [path.relative_to(ROOT) for pattern in LIGHT for path in ROOT.glob(pattern)]


@pytest.mark.parametrize("path", light(), ids=str)
def test_heavy_packages_are_imported_when_they_are_used(path: Path) -> None:
    assert not roots(imports(path, deferred=False)) & (HEAVY | {"numba"})


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys; from speech_translation import arguments, cli; arguments.parser(); "
        "print(*sys.modules)"
    )
    modules = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "speech_translation.types" in modules
    assert not (HEAVY | {"numba", "librosa", "scipy", "av", "onnxruntime", "gradio"}) & set(modules)


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them by their names alone: `make test` would end before its first test."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
