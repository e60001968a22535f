"""Devices that are there, that are not, and that only seem to be."""

import logging
from typing import Any

import pytest
import torch

from speech_translation.engine import devices
from speech_translation.engine.devices import (
    choose_device,
    choose_precision,
    computes_bfloat16,
    empty_cache,
    of_the_device,
    out_of_memory,
)
from speech_translation.errors import ModelError

OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 12020). Please update it"


@pytest.fixture
def unusable_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver lists a card that this torch cannot use."""

    def init() -> None:
        raise RuntimeError(OLD_DRIVER)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("unusable_card")
def test_a_card_that_cannot_be_used_is_said_once_and_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose_device("auto") == "cpu"
    (record,) = caplog.records
    words = record.getMessage()
    assert "driver does not work with this torch, which is built for CUDA 13.0" in words
    assert OLD_DRIVER in words
    assert words.endswith("The model runs on cpu instead.")
    caplog.clear()
    assert choose_device("cpu") == "cpu"
    assert not caplog.records


@pytest.mark.usefixtures("unusable_card")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_card_that_was_asked_for_and_cannot_be_used_names_the_driver(device: str) -> None:
    with pytest.raises(ModelError, match="update the NVIDIA driver") as caught:
        choose_device(device)
    assert OLD_DRIVER in str(caught.value)
    assert "use one of cpu, or auto" in str(caught.value)


@pytest.mark.usefixtures("two_cards")
def test_cards_that_work_are_used(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_device("auto") == choose_device("cuda") == "cuda:0"
    assert choose_device("cuda:1") == "cuda:1"
    with pytest.raises(ModelError, match="no device cuda:2 here: use one of cuda:0, cuda:1"):
        choose_device("cuda:2")
    assert not caplog.records


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA")
def test_a_torch_without_cuda_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ModelError, match=r"this torch \(.+\) is built without CUDA"):
        choose_device("cuda")
    choose_device("auto")
    assert not caplog.records


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_mps_never_computes_in_float16_unasked(
    monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool
) -> None:
    monkeypatch.setattr(devices, "computes_bfloat16", lambda _: has_bfloat16)
    assert choose_precision("auto", "mps") == ("bfloat16" if has_bfloat16 else "float32")
    assert choose_precision("float16", "mps") == "float16"


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_cuda_computes_in_what_it_has(monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: has_bfloat16)
    assert choose_precision("auto", "cuda:0") == ("bfloat16" if has_bfloat16 else "float16")


def test_bfloat16_is_tried() -> None:
    assert computes_bfloat16("cpu")
    assert computes_bfloat16("mps") == torch.backends.mps.is_available()
    assert not computes_bfloat16("meta")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB, max allowed: 18.1 GB)."),
        RuntimeError("Invalid buffer size: 24.00 GiB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
    ids=str,
)
def test_every_allocator_is_understood(error: Exception) -> None:
    assert out_of_memory(error)


def test_what_the_cpu_s_allocator_really_says() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        KeyError("out of memory"),
    ],
    ids=str,
)
def test_other_failures_are_no_lack_of_memory(error: Exception) -> None:
    assert not out_of_memory(error)


def test_faults_of_a_device_are_told_from_those_of_a_file() -> None:
    assert of_the_device(RuntimeError(OLD_DRIVER))
    assert of_the_device(RuntimeError("CUDA error: no kernel image is available for execution"))
    assert of_the_device(AssertionError("Torch not compiled with CUDA enabled"))
    assert not of_the_device(RuntimeError("size mismatch for thinker.model.norm.weight"))
    assert not of_the_device(OSError("config.json in /home/me/CUDA/model cannot be read"))


@pytest.mark.parametrize(
    ("device", "emptied"), [("cpu", []), ("cuda:1", ["cuda"]), ("mps", ["mps"])]
)
def test_the_cache_of_the_device_is_emptied(
    monkeypatch: pytest.MonkeyPatch, device: str, emptied: list[str]
) -> None:
    done = list[Any]()
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: done.append("mps"))
    empty_cache(torch.device(device))
    assert done == emptied
