"""Where a model computes and in which precision; what a device says when it cannot."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from speech_translation.engine.base import PRECISIONS
from speech_translation.errors import ModelError, first_words

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

# What the allocators of CUDA, cuBLAS, cuDNN, MPS and the CPU (of Linux, of Windows) say.
_NO_MEMORY = re.compile(
    r"out of memory|_ALLOC_FAILED|can't allocate memory|not enough memory|bad_alloc"
    r"|Invalid buffer size",
    re.IGNORECASE,
)
_OF_A_DEVICE = re.compile(r"\b(CUDA|NVIDIA|cuDNN|CUDNN|CUBLAS|HIP|MPS|Metal)|driver")


def choose_device(device: str) -> str:
    """The device to use; "auto" is a GPU if there is one that works.

    A card that is there and cannot be used is reported to the log. ModelError when the device that
    was asked for is not there or cannot be used.
    """
    import torch

    # device_count() alone asks the driver's list (NVML), which also names cards that this torch
    # cannot use.
    usable = torch.cuda.is_available()
    seen = usable or torch.cuda.device_count() > 0
    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    if usable:
        present[:0] = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if device == "auto":
        if seen and not usable:
            _log.warning("%s. The model runs on %s instead.", _unusable_card(), present[0])
        return present[0]
    wanted = "cuda:0" if device == "cuda" else device
    if wanted in present:
        return wanted
    instead = f"use one of {', '.join(present)}, or auto (--device, or SPEECH_DEVICE of a Space)."
    if not wanted.startswith("cuda") or usable:
        raise ModelError(f"There is no device {device} here: {instead}")
    if seen:
        raise ModelError(
            f"{_unusable_card()}: update the NVIDIA driver, install a torch that is built for an "
            f"older CUDA, or {instead}"
        )
    if torch.version.cuda is None and torch.version.hip is None:
        raise ModelError(
            f"There is no device {device} here, since this torch ({torch.__version__}) is built "
            f"without CUDA: {instead}"
        )
    raise ModelError(f"There is no device {device} here, no card and no NVIDIA driver: {instead}")


def _unusable_card() -> str:
    """That a card is there and CUDA does not work, with torch's own reason."""
    import torch

    said = ""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        said = f" ({first_words(error)})"
    return (
        "There is a GPU, but its driver does not work with this torch, which is built for CUDA "
        f"{torch.version.cuda or torch.version.hip}{said}"
    )


def choose_precision(precision: str, device: str) -> str:
    """The precision to compute in; "auto" is what suits the device. ModelError for an unknown."""
    import torch

    if precision == "int8" and device != "cpu":
        raise ModelError(
            f"The precision int8 is for a CPU, not for {device}: use bfloat16, float16, float32, "
            "or auto (--precision, or SPEECH_PRECISION of a Space)."
        )
    if precision in PRECISIONS:
        return precision
    if precision != "auto":
        raise ModelError(
            f"There is no precision {precision}: use one of {', '.join(PRECISIONS)}, or auto."
        )
    if device == "cpu":
        return "float32"
    if device == "mps":
        # Never float16: models of this kind answer nothing but "!" in it there (pytorch#196322).
        return "bfloat16" if computes_bfloat16(device) else "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(False) else "float16"


def computes_bfloat16(device: str) -> bool:
    """Whether a device multiplies in bfloat16. It is tried: macOS before 14 has no bfloat16."""
    import torch

    try:
        ones = torch.ones(2, 2, dtype=torch.bfloat16, device=device)
        return float((ones @ ones).sum()) == 8
    except (RuntimeError, TypeError):
        return False


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device, or the machine, has no memory left for what was asked."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def of_the_device(error: BaseException) -> bool:
    """Whether `error` is about a GPU or its driver."""
    told = isinstance(error, RuntimeError | AssertionError)
    return told and bool(_OF_A_DEVICE.search(str(error)))


def empty_cache(device: torch.device) -> None:
    """Give back what torch keeps of a device's memory without using it."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
