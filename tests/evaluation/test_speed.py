"""The harness for speed at full size: its checkpoint, its arithmetic, and one short real run."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from qwen_asr.core.transformers_backend import Qwen3ASRForConditionalGeneration

from evaluation.performance import exactness, kernels, machine, rounds, speed
from evaluation.performance.full_size import (
    VOCABULARY,
    build_small,
    full_config,
    full_tokenizer,
)
from evaluation.performance.gpu_variants import agreement
from evaluation.performance.instructions import environment
from evaluation.performance.machine import best, memory_speed, processor, product_speed
from evaluation.performance.precision import edits, layer_errors
from evaluation.performance.rounds import in_turns, watched
from evaluation.performance.runner import TOKENS_A_SECOND, VARIANTS, Runner, load_alone
from evaluation.performance.speed import (
    around_the_model,
    compare,
    decoder_parameters,
    gemm_share,
    keep,
    limit_share,
)
from evaluation.performance.tables import FIGURES, kinds, short, table
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
    held = np.ones(3_000_000_000, np.uint8)  # by this process, not by the one that loads
    figures = load_alone("exact", endless)
    assert 1 < figures["load_seconds"] < 120
    assert 0.2 < figures["peak_rss_gb"] <= figures["file_peak_rss_gb"] < 0.9 * held.nbytes / 1e9


def test_exact_mode_says_what_qwen_asr_says(capfd: pytest.CaptureFixture[str]) -> None:
    assert exactness.main(["--limit", "2", "--without-full-size"]) == 0
    assert "| embedded | 2 of 2 |" in capfd.readouterr().out


def test_a_reply_is_compared_up_to_its_first_difference() -> None:
    assert agreement([([1, 2, 3], [1, 2, 4]), ([5], [5]), ([6, 7], [6])]) == {
        "replies": 3,
        "same_replies": 1,
        "tokens": 6,
        "same_tokens": 4,
    }


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


def test_the_processor_is_named_by_what_linux_tells(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n" * 2, "utf-8")
    assert processor(told).name == "AMD EPYC (family 26, model 2)"
    assert processor(tmp_path / "missing").name


def test_a_lower_set_of_instructions_is_kept_to() -> None:
    code = (
        "from evaluation.performance.instructions import require\n"
        "from evaluation.performance.machine import processor\n"
        "print(*processor().instructions, require('avx2')['torch'])"
    )

    def run(forced: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=os.environ | forced, capture_output=True, text=True)

    forced = environment("avx2")
    assert run(forced).stdout.strip() == "AVX2 AVX2"
    if processor().instructions != ("AVX2",):
        del forced["NUMBA_CPU_FEATURES"]  # a switch that does not take is told
        assert "numba does not keep to avx2" in run(forced).stderr


def test_what_others_take_is_what_a_machine_was_busy_with_beside_this(tmp_path: Path) -> None:
    stat = tmp_path / "proc" / "stat"
    stat.parent.mkdir()
    stat.write_text("cpu  100 0 100 900 0 0 0 0 0 0\n", "ascii")
    with watched(tmp_path) as busy:
        assert busy.others is None
        stat.write_text("cpu  300 0 400 900 0 0 0 100 0 0\n", "ascii")  # 6 s, one of them stolen
    assert busy.others is not None
    assert busy.others > 5
    with watched(tmp_path / "nowhere") as unknown:
        pass
    assert unknown.others is None


def test_a_spoilt_round_is_repeated_and_the_least_spoilt_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = iter([0.0, 0.5, 0.04, 0.9, 0.2, 0.3])
    entered = list[rounds.Busy]()

    class Told:
        def __enter__(self) -> rounds.Busy:
            entered.append(rounds.Busy())
            return entered[-1]

        def __exit__(self, *_: object) -> None:
            entered[-1].others = next(others)

    monkeypatch.setattr(rounds, "watched", Told)
    number = itertools.count()
    work = {name: lambda name=name: {"run": f"{name}{next(number)}"} for name in "ab"}
    kept = in_turns(work, 1, lambda _: None, attempts=4)
    assert kept == {"a": [{"run": "a0", "others": 0.0}], "b": [{"run": "b2", "others": 0.04}]}
    again = in_turns({"c": work["a"]}, 1, lambda _: None, attempts=3)
    assert again["c"][0]["others"] == 0.2
    assert rounds.is_spoilt(again["c"])
    assert not rounds.is_spoilt(kept["b"])


def test_the_products_of_a_prompt_are_counted(endless: Path) -> None:
    runner = Runner("baseline", endless)
    two, four = runner.products(2), runner.products(4)
    assert 1.8 < four["encoder"] / two["encoder"] < 2.2
    layers = sum(
        weight.numel()
        for name, weight in runner.asr.model.thinker.model.named_parameters()
        if name.startswith("layers.") and "norm" not in name
    )
    sound = 13 * (4 - 2)  # tokens more
    assert four["prefill"] - two["prefill"] == pytest.approx(2 * layers * sound / 1e9, rel=0.2)


def test_the_share_of_the_products_is_that_of_both_parts() -> None:
    turns = [{"encoder": 1.0, "prefill": 3.0, "gemm": 100.0}]
    assert gemm_share({"encoder": 50.0, "prefill": 150.0}, turns) == pytest.approx(0.5)


def test_a_kind_of_processor_has_one_entry() -> None:
    def entry(processor: str, level: str, date: str) -> dict[str, object]:
        return {"processor": processor, "level": level, "threads": 2, "date": date}

    old, other = entry("a", "native", "2026-01-01"), entry("a", "avx2", "2026-01-03")
    new = entry("a", "native", "2026-01-02")
    assert keep([old, other], new) == [new, other]


def test_a_short_run_is_a_column(endless: Path, tmp_path: Path) -> None:
    output, document = tmp_path / "speed.json", tmp_path / "speed.md"
    document.write_text("<!-- speed in short -->\n<!-- /speed in short -->\n", "utf-8")
    asked = [
        "--folder",
        str(endless),
        "--parts",
        "short",
        "rows",
        "--repeats",
        "1",
        "--attempts",
        "1",
    ]
    assert speed.main([*asked, "--output", str(output), "--documents", str(document)]) == 0
    (entry,) = json.loads(output.read_text("utf-8"))["entries"]
    assert entry["processor"] == processor().name
    assert set(entry["variants"]["int8"]["rows"]) == {"1", "2", "4", "8"}
    assert entry["variants"]["exact"]["request_seconds_ratio"] > 0
    text = kinds([entry])
    assert "8 segments at once, each token: `--precision int8` |  |" not in text
    shown = processor().name in document.read_text("utf-8")
    assert shown != entry["spoilt"]  # by other processes: the README leaves it out


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
            "processor": "a machine",
            "instructions": "AVX2",
            "cores": 2,
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


def test_what_was_not_measured_is_an_empty_cell() -> None:
    figures = {"request_seconds": 4.0, "request_seconds_ratio": 2.0}
    entry = {
        "processor": "a machine",
        "instructions": "AVX2",
        "threads": 2,
        "date": "2026-11-25",
        "variants": dict.fromkeys(VARIANTS, figures),
    }
    text = kinds([entry, entry | {"memory_gb_s": 20.0}])
    assert "| | a machine, AVX2, 2 threads | a machine, AVX2, 2 threads |" in text
    assert "| memory reads |  | 20 GB/s |" in text
    assert "| exact (default) | 4.0 s (2.0 x) |" in short([entry])
    assert short([entry, entry | {"spoilt": True}]) == short([entry])


@pytest.mark.parametrize("rows", [1, 30])
def test_kernels_are_compared_by_time_and_error(rows: int) -> None:
    compared = kernels.compare(rows, 0, outputs=64, inputs=128, copies=2)
    errors = {name: error for name, (_, error) in compared.items()}
    assert errors["this project, bfloat16"] < 1e-6
    assert 1e-4 < errors["this project, int8"] < 1e-2
    assert all(seconds > 0 for seconds, _ in compared.values())


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
