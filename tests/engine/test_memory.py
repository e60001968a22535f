"""What a checkpoint takes of a CPU's memory, by what its files hold, and what there is."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny_checkpoint import make_tiny_checkpoint

from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.engine.memory import free_bytes, require_memory, stored_parameters
from speech_translation.errors import ModelError

FREE = "speech_translation.engine.memory.free_bytes"


def fake_machine(root: Path, available: int, limit: str = "", used: int = 0) -> Path:
    (root / "proc").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available} kB\n")
    if limit:
        (root / "sys/fs/cgroup").mkdir(parents=True)
        (root / "sys/fs/cgroup/memory.max").write_text(limit + "\n")
        (root / "sys/fs/cgroup/memory.current").write_text(f"{used}\n")
        (root / "sys/fs/cgroup/memory.stat").write_text("anon 7\nfile 100\n")
    return root


def test_free_memory_is_the_containers(tmp_path: Path) -> None:
    assert free_bytes(fake_machine(tmp_path / "a", 5000)) == 5000 * 1024
    assert free_bytes(fake_machine(tmp_path / "b", 5000, "2000", 700)) == 1400
    assert free_bytes(fake_machine(tmp_path / "c", 5000, "max", 700)) == 5000 * 1024
    assert free_bytes(tmp_path / "nothing") is None
    assert (free_bytes() or 0) > 1 << 26


def fake_checkpoint(folder: Path, kind: str, parameters: int, *, tied: bool = False) -> Path:
    """The header of a checkpoint of any size, half of it the output layer."""
    folder.mkdir()
    config = {"thinker_config": {"text_config": {"tie_word_embeddings": tied}}}
    (folder / "config.json").write_text(json.dumps(config))
    tensor = {"dtype": kind, "shape": [2, parameters // 4], "data_offsets": [0, 0]}
    header = json.dumps({"thinker.lm_head.weight": tensor, "thinker.other": tensor}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def test_too_little_memory_is_said_before_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake_checkpoint(tmp_path / "big", "BF16", 2_000_000_000)
    monkeypatch.setattr(FREE, lambda: 5_000_000_000)
    with pytest.raises(
        ModelError, match=r"needs 5\.6 GB .* 5\.0 GB are free: use --precision int8"
    ):
        require_memory("big", folder, "float32")
    require_memory("big", folder, "int8")
    monkeypatch.setattr(FREE, lambda: 1_000_000_000)
    with pytest.raises(ModelError, match=r"1\.0 GB are free: use a smaller model"):
        require_memory("big", folder, "float32")
    monkeypatch.setattr(FREE, lambda: None)
    require_memory("big", folder, "float32")


@pytest.mark.parametrize("kind", ["F16", "F32"])
def test_what_is_not_bfloat16_takes_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = fake_checkpoint(tmp_path / kind, kind, 2_000_000_000)
    monkeypatch.setattr(FREE, lambda: 7_000_000_000)
    with pytest.raises(ModelError, match=r"needs 9\.6 GB of memory in float32"):
        require_memory("big", folder, "float32")
    require_memory("big", folder, "int8")


def test_a_tied_output_layer_does_not_count(tmp_path: Path) -> None:
    assert stored_parameters(fake_checkpoint(tmp_path / "a", "BF16", 4000)) == {"BF16": 4000}
    tied = fake_checkpoint(tmp_path / "b", "BF16", 4000, tied=True)
    assert stored_parameters(tied) == {"BF16": 2000}


def test_the_types_are_those_of_the_files(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    total = sum(x.numel() for x in weights.values())
    assert stored_parameters(folder) == {"F32": total}
    halves = {name: x.half() if x.ndim > 1 else x for name, x in weights.items()}
    save_file(halves, folder / "model.safetensors")
    in_rows = sum(x.numel() for x in weights.values() if x.ndim > 1)
    assert stored_parameters(folder) == {"F16": in_rows, "F32": total - in_rows}
    # In two files, beside one that is not of the model.
    names = sorted(halves)
    places = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: halves[name] for name in names if places[name] == file}, folder / file)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert stored_parameters(folder) == {"F16": in_rows, "F32": total - in_rows}


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\4\0\0\0\0\0\0\0{{{{", None])
def test_a_broken_file_is_left_to_whoever_loads_it(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    shutil.copy(PHRASEBOOK_FOLDER / "config.json", folder)
    if content is not None:
        (folder / "model.safetensors").write_bytes(content)
    assert stored_parameters(folder) == {}
    require_memory("broken", folder, "float32")
