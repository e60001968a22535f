"""Models on the Hub: names, revisions, what is fetched, and a sentence for each refusal."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors
from huggingface_hub.utils import filter_repo_objects

from speech_translation.engine import load_engine
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER, locate
from speech_translation.engine.hub import HubModel, split_revision
from speech_translation.errors import HubUnreachable, ModelError

ID = "voiceping-ai/some-model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Stands in for the Hub's client: a download that was asked for, and how it ends."""

    def __init__(self) -> None:
        self.asked = dict[str, Any]()
        self.error: Exception | None = None
        self.folder = PHRASEBOOK_FOLDER
        self.reached = True

    def head(self, *_: object, **__: object) -> None:
        if not self.reached:
            raise ConnectionError("Name or service not known")

    def download(self, model: str, **options: Any) -> str:
        self.asked = {"model": model, **options}
        if self.error is not None:
            raise self.error
        return str(self.folder)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: stand_in)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stand_in.download)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    return stand_in


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")


def answer(kind: type[Exception], status: int, said: str = "said") -> Exception:
    """An error of the Hub's client for an answer with `status`."""
    response: Any = SimpleNamespace(headers={}, status_code=status, request=None)
    error: Exception = kind(f"{status} Client Error. {said}", response=response)  # type: ignore[call-arg]
    return error


def wrapped(cause: Exception) -> Exception:
    """What the client makes of an answer where it finds no copy on the disk."""
    error = errors.LocalEntryNotFoundError("we cannot find the appropriate snapshot folder")
    error.__cause__ = cause
    return error


def refusal(model: str = ID) -> ModelError:
    with pytest.raises(ModelError) as caught:
        locate(model)
    return caught.value


@pytest.mark.parametrize(
    ("name", "model"),
    [
        (ID, HubModel(ID)),
        (f"{ID}@{COMMIT}", HubModel(ID, COMMIT)),
        (f"{ID}@v1.0-rc.2", HubModel(ID, "v1.0-rc.2")),
        (f"{ID}@refs/pr/3", HubModel(ID, "refs/pr/3")),
        (f"{ID}@", None),
        (f"{ID}@a@b", None),
        ("phrasebook@main", None),
        ("./some/model", None),
        ("../model", None),
        ("some/model/folder", None),
        ("@main", None),
    ],
)
def test_a_name_is_an_id_with_or_without_a_revision(name: str, model: HubModel | None) -> None:
    assert HubModel.parse(name) == model
    assert split_revision(name) == ((model.id, model.revision) if model else (name, None))


@pytest.mark.parametrize("revision", [None, COMMIT, "v1.0"])
def test_the_revision_reaches_the_hub(hub: Hub, revision: str | None) -> None:
    assert locate(f"{ID}@{revision}" if revision else ID) == PHRASEBOOK_FOLDER
    assert hub.asked["model"] == ID
    assert hub.asked["revision"] == revision
    assert hub.asked["local_files_only"] is False


def test_the_engine_names_the_revision(hub: Hub) -> None:
    engine = load_engine(f"{ID}@v1.0", "cpu")
    assert engine.description == f"{ID}@v1.0 on cpu in float32"
    assert hub.asked["revision"] == "v1.0"


def test_only_what_is_needed_is_fetched(hub: Hub) -> None:
    locate(ID)
    needed = [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "preprocessor_config.json",
        "tokenizer_config.json",
        "vocab.json",
    ]
    others = [
        ".gitattributes",
        "README.md",
        "checkpoint-500/config.json",
        "checkpoint-500/model.safetensors",
        "adapter_model.safetensors",
        "onnx/model.onnx",
        "optimizer.pt",
        "pytorch_model.bin",
        "samples/talk.wav",
    ]
    chosen = filter_repo_objects(
        [*needed, *others],
        allow_patterns=hub.asked["allow_patterns"],
        ignore_patterns=hub.asked["ignore_patterns"],
    )
    assert list(chosen) == needed
    assert {path.name for path in PHRASEBOOK_FOLDER.iterdir()} == set(
        filter_repo_objects(
            [path.name for path in PHRASEBOOK_FOLDER.iterdir()],
            allow_patterns=hub.asked["allow_patterns"],
        )
    )


@pytest.mark.parametrize("name", ["model@v2", "org/model@v2", f"{ID}@{COMMIT}"])
def test_a_folder_whose_name_has_an_at_sign_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PHRASEBOOK_FOLDER, name)
    for given in (name, str(tmp_path / name)):
        assert locate(given).samefile(tmp_path / name)
        assert split_revision(given) == (given, None)
    assert not hub.asked


def test_the_copies_of_two_revisions_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub's real client, on a cache as it leaves one."""
    cache = tmp_path / "models--voiceping-ai--some-model"
    for name, commit in (("main", "a" * 40), ("v1.0", COMMIT)):
        (cache / "refs").mkdir(parents=True, exist_ok=True)
        (cache / "refs" / name).write_text(commit)
        shutil.copytree(PHRASEBOOK_FOLDER, cache / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert locate(ID).name == "a" * 40
    assert locate(f"{ID}@main").name == "a" * 40
    assert locate(f"{ID}@v1.0").name == locate(f"{ID}@{COMMIT}").name == COMMIT
    assert "has not been fetched yet" in str(refusal(f"{ID}@v2.0"))


def test_a_revision_that_does_not_exist_is_named(hub: Hub) -> None:
    hub.error = answer(errors.RevisionNotFoundError, 404)
    error = refusal(f"{ID}@v9")
    assert f"The model {ID} has no revision v9 on the Hugging Face Hub" in str(error)
    assert f"https://huggingface.co/{ID}/commits/main" in str(error)
    assert not isinstance(error, HubUnreachable)


def test_a_gated_model_wants_a_token(hub: Hub) -> None:
    hub.error = answer(errors.GatedRepoError, 401)
    words = str(refusal())
    assert "is gated: accept its terms at https://huggingface.co/" in words
    assert "HF_TOKEN" in words


@pytest.mark.usefixtures("token")
def test_a_gated_model_wants_another_token(hub: Hub) -> None:
    hub.error = answer(errors.GatedRepoError, 403)
    words = str(refusal())
    assert "your Hugging Face token may not read it" in words
    assert "hf_secret" not in words


def test_a_private_model_and_one_that_does_not_exist_look_alike(hub: Hub) -> None:
    hub.error = answer(errors.RepositoryNotFoundError, 401)
    words = str(refusal())
    assert f"There is no public model {ID} on the Hugging Face Hub: check the name" in words
    assert "for a private one, put a token that may read it into HF_TOKEN" in words


@pytest.mark.usefixtures("token")
def test_a_private_model_of_others_is_said(hub: Hub) -> None:
    hub.error = answer(errors.RepositoryNotFoundError, 404)
    assert f"no model {ID} on the Hugging Face Hub that your token may read" in str(refusal())


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    "error",
    [
        answer(errors.HfHubHTTPError, 401, "Invalid credentials in Authorization header"),
        wrapped(answer(errors.HfHubHTTPError, 403, "Forbidden: token lacks the right to read")),
    ],
    ids=["invalid", "without rights"],
)
def test_a_token_that_is_refused_is_said(hub: Hub, error: Exception) -> None:
    hub.error = error
    raised = refusal()
    assert f"refuses your token for the model {ID}" in str(raised)
    assert "put a valid one that may read it into HF_TOKEN" in str(raised)
    assert not isinstance(raised, HubUnreachable)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("Data processing error: I/O error: No space left on device (os error 28)"),
        wrapped(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    ],
    ids=["disk", "quota", "hf-xet", "wrapped"],
)
def test_a_full_disk_names_the_folder(hub: Hub, error: Exception) -> None:
    hub.error = error
    words = str(refusal())
    assert f"no room for the model {ID} in {huggingface_hub.constants.HF_HUB_CACHE}" in words
    assert "HF_HOME" in words


def test_a_cache_that_is_not_ours_names_the_folder(hub: Hub) -> None:
    hub.error = PermissionError(errno.EACCES, "Permission denied", "/models/hub")
    assert "cannot be kept in" in str(refusal())


@pytest.mark.parametrize(
    "error",
    [
        answer(errors.HfHubHTTPError, 503),
        answer(errors.HfHubHTTPError, 429),
        wrapped(answer(errors.HfHubHTTPError, 500)),
        wrapped(ConnectionError("Connection reset by peer")),
        TimeoutError("The read operation timed out"),
    ],
    ids=str,
)
def test_a_hub_that_does_not_answer_now_may_do_so_later(hub: Hub, error: Exception) -> None:
    hub.error = error
    raised = refusal()
    assert isinstance(raised, HubUnreachable)
    assert f"{ID} cannot be fetched from the Hugging Face Hub" in str(raised)


def test_an_id_that_cannot_be_one_is_no_hiccup(hub: Hub) -> None:
    hub.error = errors.HFValidationError("Cannot have -- or .. in repo_id")
    raised = refusal("some/model--name")
    assert "Cannot have -- or .." in str(raised)
    assert not isinstance(raised, HubUnreachable)


def test_without_a_connection_there_is_no_download(hub: Hub) -> None:
    hub.reached = False
    assert locate(ID) == PHRASEBOOK_FOLDER
    assert hub.asked["local_files_only"] is True
    hub.error = errors.LocalEntryNotFoundError("not in the cache")
    raised = refusal()
    assert isinstance(raised, HubUnreachable)
    assert "it cannot be reached" in str(raised)
    assert "--model phrasebook" in str(raised)


def test_forbidden_connections_are_no_hiccup(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.error = errors.LocalEntryNotFoundError("not in the cache")
    raised = refusal()
    assert "HF_HUB_OFFLINE" in str(raised)
    assert not isinstance(raised, HubUnreachable)


def test_a_copy_that_broke_off_is_said(hub: Hub, tmp_path: Path) -> None:
    hub.folder = tmp_path
    shutil.copy(PHRASEBOOK_FOLDER / "config.json", tmp_path)
    with pytest.raises(HubUnreachable, match="is not whole"):
        locate(ID)
