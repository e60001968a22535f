"""The harness for speed at full size: its checkpoint, its arithmetic, and one short real run."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from evaluation.performance.full_size import VOCABULARY, _config, _tokenizer
from evaluation.performance.machine import memory_speed, product_speed
from evaluation.performance.precision import edits, layer_errors
from evaluation.performance.speed import (
    FIGURES,
    VARIANTS,
    Runner,
    around_the_model,
    compare,
    decoder_parameters,
    limit_share,
    load_alone,
    table,
)
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phrasebook, made unable to end a reply, as random weights are."""
    folder = tmp_path_factory.mktemp("models") / "endless"
    shutil.copytree(PHRASEBOOK_FOLDER, folder)
    weights = load_file(folder / "model.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(folder, fix_mistral_regex=False)
    for token in ("<|im_end|>", "<|endoftext|>"):
        weights["thinker.model.embed_tokens.weight"][tokenizer.convert_tokens_to_ids(token)] = 0
    save_file({k: v.bfloat16() for k, v in weights.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_a_request_has_its_tokens_and_its_parts(endless: Path, name: str) -> None:
    runner = Runner(name, endless)
    taken = runner.run(4, runner.batch_size)
    assert taken["request"] > taken["encoder"] + taken["prefill"] + 14 * 0.5 * taken["token"] > 0
    assert runner.run(4)["request"] > 0  # the counters begin anew
    if name != "baseline":
        assert runner.run(9, heard=8.5)["request"] > 0


def test_loading_is_timed_in_a_process_of_its_own(endless: Path) -> None:
    figures = load_alone("exact", endless)
    assert 1 < figures["load_seconds"] < 120
    assert 0.2 < figures["peak_rss_gb"] <= figures["file_peak_rss_gb"] < 3


def test_the_full_size_is_the_published_one(tmp_path: Path) -> None:
    _config().save_pretrained(tmp_path)
    assert decoder_parameters(tmp_path) == 1_720_451_072  # 1.41 billion and the output layer


def test_the_tokenizer_is_qwens() -> None:
    tokenizer = _tokenizer()
    assert len(tokenizer) <= VOCABULARY
    assert tokenizer("Hello, world!").input_ids == [9707, 11, 1879, 0]
    text = "language Japanese<asr_text>駅はどこですか？"
    ids = tokenizer(text).input_ids
    assert ids[2] == 151704
    assert tokenizer.decode(ids) == text


def test_the_machine_reads_and_multiplies() -> None:
    assert 1 < memory_speed() < 1000
    assert 1 < product_speed() < 100_000


def test_the_share_is_of_what_the_machine_reads_just_then(tmp_path: Path) -> None:
    _config().save_pretrained(tmp_path)
    read = 2 * decoder_parameters(tmp_path) / 1e9  # 100 ms of the first and last turn's memory
    turns = [
        {"token": token, "memory": memory}
        for token, memory in ((0.2, 34.40902144), (0.2, 68.81804288), (0.1, 34.40902144))
    ]
    assert limit_share(read, turns) == pytest.approx(0.5)
    assert limit_share(read, turns[1:2]) == pytest.approx(0.25)
    assert limit_share(read, turns[2:]) == pytest.approx(1.0)


def test_ratios_are_of_the_same_run() -> None:
    results = {
        name: dict.fromkeys(FIGURES, seconds)
        for name, seconds in (("baseline", 4.0), ("exact", 2.0), ("int8", 1.0))
    }
    for figures in results.values():
        figures |= {"per_token_ms": 100 * figures["per_token_ms"], "limit_share": 0.62}
        figures["read_gb_s"] = 34.4
    compare(results)
    assert results["exact"]["request_seconds_ratio"] == 2.0
    assert results["int8"]["per_token_ms_ratio"] == 4.0
    for name in ("exact", "int8"):
        results[name]["ahead_seconds"] = 1.25
    text = table(
        {
            "variants": results,
            "threads": 2,
            "machine": "a machine",
            "date": "2026-11-25",
            "repeats": 3,
            "spans": 4,
            "around_the_model_seconds": 0.5,
            "gemm_gflop_s": 100.0,
        }
    )
    assert "| each decode step | 400 ms | 200 ms (2.0 x) | 100 ms (4.0 x) |" in text
    assert "spoken: time after its end | | 1.2 s | 1.2 s |" in text
    assert "62 % of 34 GB/s" in text
    assert "100 GFLOP/s" in text


def test_what_is_around_the_model_is_little() -> None:
    assert 0 < around_the_model() < 60  # for ten minutes of audio


def test_edits_are_counted() -> None:
    assert edits([], [1, 2]) == 2
    assert edits([1, 2, 3, 4], [1, 3, 4, 5]) == 2
    assert edits([1, 2, 3], [1, 9, 3]) == 1


def test_int8_moves_no_layer_by_more_than_a_hundredth() -> None:
    errors = dict(layer_errors(PHRASEBOOK_FOLDER))
    assert len(errors) > 60
    assert 0.001 < max(errors.values()) < 0.02
