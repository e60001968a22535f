"""The harness for speed at full size: its checkpoint, its arithmetic, and one short real run."""

import itertools
from pathlib import Path

import pytest
import torch
from qwen_asr.core.transformers_backend import Qwen3ASRForConditionalGeneration

from evaluation.performance import machine, speed
from evaluation.performance.full_size import (
    VOCABULARY,
    build_small,
    full_config,
    full_tokenizer,
)
from evaluation.performance.machine import best, memory_speed, product_speed
from evaluation.performance.precision import edits, layer_errors
from evaluation.performance.speed import (
    FIGURES,
    TOKENS_A_SECOND,
    VARIANTS,
    Runner,
    around_the_model,
    compare,
    decoder_parameters,
    limit_share,
    load_alone,
    table,
)
from speech_translation.captions import FORMATS
from speech_translation.engine.checkpoint import PHRASEBOOK_FOLDER
from speech_translation.types import Translation

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phrasebook, made unable to end a reply, as random weights are."""
    return build_small(tmp_path_factory.mktemp("models") / "endless")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_request_has_its_tokens_and_its_parts(endless: Path, name: str) -> None:
    runner = Runner(name, endless)
    runs = [(4, runner.batch_size, 0.0), (4, 1, 0.0)]  # the counters begin anew
    if name != "baseline":
        runs.append((9, 1, 8.5))
    for seconds, clips, heard in runs:
        taken = runner.run(seconds, clips, heard)
        assert min(taken.values()) > 0
        steps = (TOKENS_A_SECOND * seconds - 2) * 0.5 * taken["token"]  # half are no longer
        assert taken["request"] > taken["encoder"] + taken["prefill"] + steps


def test_loading_is_timed_in_a_process_of_its_own(endless: Path) -> None:
    figures = load_alone("exact", endless)
    assert 1 < figures["load_seconds"] < 120
    assert 0.2 < figures["peak_rss_gb"] <= figures["file_peak_rss_gb"] < 3


def test_the_full_size_is_the_published_one(tmp_path: Path) -> None:
    """The parameters of qwen-asr's own model of this configuration, without their values."""
    config = full_config()
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = Qwen3ASRForConditionalGeneration(config).thinker
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    assert sum(sizes.values()) == pytest.approx(2.04e9, rel=0.005)
    each_token = [
        size
        for name, size in sizes.items()
        if (name.startswith("model.layers.") and "norm" not in name)
        or name == "model.embed_tokens.weight"
    ]  # the embedding is the output layer too
    assert decoder_parameters(tmp_path) == sum(each_token) == 1_720_451_072


def test_the_tokenizer_is_qwens() -> None:
    tokenizer = full_tokenizer()
    assert len(tokenizer) <= VOCABULARY
    assert tokenizer("Hello, world!").input_ids == [9707, 11, 1879, 0]
    text = "language Japanese<asr_text>駅はどこですか？"
    ids = tokenizer(text).input_ids
    assert ids[2] == 151704
    assert tokenizer.decode(ids) == text


def test_the_machines_speeds_are_what_is_read_and_multiplied_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = itertools.count(step=0.25)  # work takes a quarter of a second by this clock
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    assert memory_speed() == pytest.approx(4 * 0.536870912)  # 64 Mi integers of 8 bytes
    assert product_speed() == pytest.approx(4 * 12.884901888)


def test_the_best_of_several_times_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 3.0, 10.0, 12.0, 20.0, 25.0])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(moments))
    done = list[int]()
    assert best(lambda: done.append(1), 3) == 2.0
    assert done == [1, 1, 1]


def test_the_share_is_of_what_the_machine_reads_just_then(tmp_path: Path) -> None:
    full_config().save_pretrained(tmp_path)
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


def test_what_is_around_the_model_is_all_but_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = dict[str, Translation]()
    monkeypatch.setattr(speed, "render", lambda result, form: rendered.update({form: result}))
    assert around_the_model(60, times=1) > 0
    assert list(rendered) == list(FORMATS)
    for translation in rendered.values():
        assert translation.duration == pytest.approx(60)
        assert len(translation.segments) >= 3
        assert all(segment.text for segment in translation.segments)


def test_edits_are_counted() -> None:
    assert edits([], [1, 2]) == 2
    assert edits([1, 2, 3, 4], [1, 3, 4, 5]) == 2
    assert edits([1, 2, 3], [1, 9, 3]) == 1


def test_int8_moves_no_layer_by_more_than_a_hundredth() -> None:
    errors = dict(layer_errors(PHRASEBOOK_FOLDER))
    assert len(errors) > 60
    assert 0.001 < max(errors.values()) < 0.02
