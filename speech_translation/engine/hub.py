"""Models on the Hugging Face Hub: how one is named, how it gets here, and why it does not."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speech_translation.errors import HubUnreachable, ModelError, first_words

NEEDED = ("*.json", "*.txt", "*.jinja", "model*.safetensors")
"""The files of a checkpoint; a repository may hold gigabytes of others."""

_NAME = re.compile(r"([\w-][\w.-]*/[\w.-]+)(?:@([\w./-]+))?")
_PASSING = {408, 425, 429}  # statuses of the client's side that another try may mend


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model by its id, such as `Qwen/Qwen3-ASR-1.7B`."""

    id: str
    revision: str | None = None
    """A branch, a tag or a commit; None is the newest state of the main branch."""

    @classmethod
    def parse(cls, name: str) -> HubModel | None:
        """The model that `ID` or `ID@REVISION` names; None where `name` has neither form."""
        match = _NAME.fullmatch(name)
        return cls(match[1], match[2]) if match else None


def split_revision(name: str) -> tuple[str, str | None]:
    """`ID@REVISION` as id and revision; a folder, and whatever else, as it is and None."""
    model = None if os.path.isdir(name) else HubModel.parse(name)
    return (model.id, model.revision) if model else (name, None)


def fetch(model: HubModel) -> Path:
    """The folder with the local copy of a model's files (`NEEDED`), which are fetched if need be.

    Without a connection to the Hub it is the copy that was fetched before.

    Raises:
        HubUnreachable: the Hub does not answer, and there is no copy.
        ModelError: the Hub refuses, or there is no room.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    reached = not constants.HF_HUB_OFFLINE
    if reached:
        try:
            # Asked once here: the download itself would try again for a minute.
            get_session().head(constants.ENDPOINT, timeout=10)
        except OSError:
            reached = False
    try:
        return Path(
            snapshot_download(
                model.id,
                revision=model.revision,
                allow_patterns=list(NEEDED),
                ignore_patterns=["*/*"],  # whatever lies in folders below
                local_files_only=not reached,
            )
        )
    except Exception as error:  # the Hub's client has no common error
        raise _refusal(model, error, reached) from error


def _refusal(model: HubModel, error: Exception, reached: bool) -> ModelError:
    """What `error` of the Hub's client means for the user, in a sentence."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page, known = f"{constants.ENDPOINT}/{model.id}", get_token() is not None
    causes = list(_causes(error))
    if any(_no_room(cause) for cause in causes):
        return ModelError(
            f"There is no room for the model {model.id} in {constants.HF_HUB_CACHE}: make room "
            "there, or name a folder on another disk with HF_HOME."
        )
    if any(isinstance(cause, PermissionError) for cause in causes):
        return ModelError(
            f"The model {model.id} cannot be kept in {constants.HF_HUB_CACHE} "
            f"({first_words(error)}): name a folder of yours with HF_HOME."
        )
    # The client wraps some of the Hub's answers into "cannot find an appropriate snapshot".
    answer: Exception = error
    status = 0
    for cause in causes:
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            answer, status = cause, cause.response.status_code
    if isinstance(answer, RevisionNotFoundError):
        return ModelError(
            f"The model {model.id} has no revision {model.revision or 'main'} on the Hugging Face "
            f"Hub: name a branch, a tag or a commit of {page}/commits/main."
        )
    if isinstance(answer, GatedRepoError):
        return ModelError(
            f"The model {model.id} is gated, and your Hugging Face token may not read it: accept "
            f"its terms at {page}, or put the token of an account that may into HF_TOKEN."
            if known
            else f"The model {model.id} is gated: accept its terms at {page}, and put a token of "
            "your account into HF_TOKEN."
        )
    if isinstance(answer, RepositoryNotFoundError):
        return ModelError(
            f"There is no model {model.id} on the Hugging Face Hub that your token may read: check "
            "the name, and the rights of the token (HF_TOKEN)."
            if known
            else f"There is no public model {model.id} on the Hugging Face Hub: check the name; "
            "for a private one, put a token that may read it into HF_TOKEN."
        )
    if status in (401, 403):
        return ModelError(
            f"The Hugging Face Hub refuses your token for the model {model.id} "
            f"({first_words(answer)}): put a valid one that may read it into HF_TOKEN."
            if known
            else f"The Hugging Face Hub wants a token for the model {model.id}: put one that may "
            "read it into HF_TOKEN."
        )
    if constants.HF_HUB_OFFLINE:
        return ModelError(
            f"The model {model.id} has not been fetched yet, and HF_HUB_OFFLINE forbids it: unset "
            "that, or use the embedded one: --model phrasebook"
        )
    lasting = isinstance(error, HFValidationError) or (
        400 <= status < 500 and status not in _PASSING
    )
    reason = first_words(answer) if reached else "it cannot be reached"
    return (ModelError if lasting else HubUnreachable)(
        f"The model {model.id} cannot be fetched from the Hugging Face Hub ({reason}), and it "
        "is no folder here. Without a network, use the embedded one: --model phrasebook"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _no_room(error: BaseException) -> bool:
    """Whether a disk is full, or its owner's share of it. hf-xet tells it in words only."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in str(error)
