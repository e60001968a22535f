"""Hypotheses in files, and what is made of them: scores, tables, chart."""

import json
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation import report, run
from evaluation.chart import draw
from evaluation.hypotheses import generate, read, read_times, times_path
from evaluation.samples import DataError, read_samples
from speech_translation.engine import Request
from speech_translation.errors import EngineError
from speech_translation.manifest import Sample
from speech_translation.types import SAMPLE_RATE, Direction, Flag, Flags, Hypothesis

ROOT = Path(__file__).resolve().parents[2]
TEST_SET = ROOT / "evaluation" / "data" / "phrasebook.jsonl"
HEADER = {
    "system": "lengths",
    "title": "Lengths",
    "parameters": "0",
    "engine": "lengths",
    "data": "tones",
    "machine": "none",
}


class Lengths:
    """Says how many samples it heard. Fails, or is interrupted, in the call number `fails_at`."""

    description, batch_size = "lengths", 1

    def __init__(self, fails_at: int = 0, error: BaseException | None = None) -> None:
        self.calls, self.fails_at = 0, fails_at
        self.error = error or EngineError("the engine broke")
        self.heard = list[int]()

    def generate(self, request: Request) -> list[Hypothesis]:
        batch, direction = request.batch, request.direction
        self.calls += 1
        if self.calls == self.fails_at:
            raise self.error
        self.heard += map(len, batch)
        if direction is Direction.AUTO:
            direction = Direction.EN_JA
        return [Hypothesis(str(len(x)), direction, tokens=2) for x in batch]


def sample(id: str, audio: Path | np.ndarray, direction: Direction, reference: str) -> Sample:
    return Sample(audio, reference, direction.target, direction.source, id=id)


def tones(count: int) -> Iterator[Sample]:
    """Samples of different lengths, in both directions."""
    for i in range(count):
        direction = Direction.EN_JA if i % 3 else Direction.JA_EN
        yield sample(str(i), np.zeros(8000 + i, np.float32), direction, str(8000 + i))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "lengths.jsonl"
    generate(tones(10), Lengths(), HEADER, path, 4)
    return path.read_bytes()


def test_every_sample_has_its_line_in_order(whole: bytes) -> None:
    header, *rows = map(json.loads, whole.splitlines())
    assert header == HEADER
    assert [row["id"] for row in rows] == [str(i) for i in range(10)]
    assert all(row["text"] == row["reference"] for row in rows)


@pytest.mark.parametrize("call", range(1, 7))
@pytest.mark.parametrize("error", [EngineError("broken"), KeyboardInterrupt()], ids=repr)
def test_a_run_that_was_stopped_ends_in_the_same_file(
    tmp_path: Path, whole: bytes, call: int, error: BaseException
) -> None:
    path = tmp_path / "lengths.jsonl"
    with pytest.raises(type(error)):
        generate(tones(10), Lengths(call, error), HEADER, path, 4)
    generate(tones(10), Lengths(), HEADER, path, 4)
    assert path.read_bytes() == whole


def test_a_file_cut_anywhere_is_completed(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "lengths.jsonl"
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        engine = Lengths()
        generate(tones(10), engine, HEADER, path, 4)
        assert path.read_bytes() == whole, end
    assert len(engine.heard) == 2  # only the last batch was left


def test_a_finished_run_asks_nothing_again(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "lengths.jsonl"
    path.write_bytes(whole)
    engine = Lengths()
    generate(tones(8), engine, HEADER, path, 4)  # of whole batches nothing is left to do
    assert not engine.heard


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_killed_process_loses_and_repeats_nothing(tmp_path: Path) -> None:
    def command(output: str) -> list[str]:
        options = ["--system", "phrasebook", "--data", str(TEST_SET), "--limit", "24"]
        return [
            *(sys.executable, "-m", "evaluation.run", "generate", *options),
            *("--output", str(tmp_path / output)),
        ]

    killed = tmp_path / "killed.jsonl"
    with subprocess.Popen(command("killed.jsonl"), cwd=ROOT) as process:
        deadline = time.monotonic() + 120
        while not killed.exists() or killed.read_bytes().count(b"\n") < 6:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert killed.read_bytes().count(b"\n") < 25
    for output in ("killed.jsonl", "whole.jsonl"):
        assert run.main(command(output)[3:]) == 0
    assert killed.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("change", [{"system": "other"}, HEADER | {"precision": "float16"}])
def test_a_file_of_another_run_is_not_touched(
    tmp_path: Path, whole: bytes, change: dict[str, str]
) -> None:
    path = tmp_path / "lengths.jsonl"
    path.write_bytes(whole)
    with pytest.raises(DataError, match="another"):
        generate(tones(10), Lengths(), change, path, 4)
    with pytest.raises(DataError, match="other data"):
        generate(list(tones(10))[1:], Lengths(), HEADER, path, 4)
    assert path.read_bytes() == whole


def peak_bytes(tmp_path: Path, count: int) -> int:
    tracemalloc.start()
    try:
        generate(tones(count), Lengths(), HEADER, tmp_path / f"{count}.jsonl", 8)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_thousand_clips_need_no_more_memory_than_a_hundred(tmp_path: Path) -> None:
    few, many = peak_bytes(tmp_path, 100), peak_bytes(tmp_path, 1000)
    assert many < few + 1_000_000  # the 900 clips more are 30 MB


def test_a_broken_clip_is_a_line_with_an_error_and_counts(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF not sound")
    broken = sample("broken", tmp_path / "broken.wav", Direction.EN_JA, "8000")
    missing = sample("missing", tmp_path / "none.wav", Direction.EN_JA, "8000")
    path = tmp_path / "out.jsonl"
    good = [x for x in tones(6) if x.direction is Direction.EN_JA]
    generate([broken, *good, missing], Lengths(), HEADER, path, 4)
    _, lines = read(path)
    assert [line.id for line in lines] == ["broken", *(x.id for x in good), "missing"]
    assert "broken.wav" in lines[0].error
    assert "none.wav" in lines[-1].error
    assert run.main(["score", str(path), "--output", str(tmp_path / "scores.json")]) == 0
    (system,) = json.loads((tmp_path / "scores.json").read_text("utf-8"))["systems"]
    reached = system["scores"]["en2ja"]
    assert (reached["n"], reached["errors"], reached["exact"]) == (6, 2, pytest.approx(4 / 6))


def test_a_long_recording_is_translated_in_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, 70 * SAMPLE_RATE).astype(np.float32)
    engine = Lengths()
    generate(
        [sample("long", sound, Direction.JA_EN, "")], engine, HEADER, tmp_path / "out.jsonl", 1
    )
    assert engine.heard
    assert max(engine.heard) <= 30 * SAMPLE_RATE


def test_an_automatic_direction_is_recorded_as_named(tmp_path: Path) -> None:
    path = tmp_path / "auto.jsonl"
    generate(tones(3), Lengths(), HEADER, path, 4, Direction.AUTO)
    _, lines = read(path)
    assert {line.named for line in lines} == {Direction.EN_JA}
    assert [line.direction for line in lines].count(Direction.JA_EN) == 1


def test_flags_are_kept(tmp_path: Path) -> None:
    class Looping(Lengths):
        def generate(self, request: Request) -> list[Hypothesis]:
            flags = Flags({Flag.REPEATED, Flag.LOW_CONFIDENCE})
            return [Hypothesis("x", request.direction, flags=flags) for _ in request.batch]

    path = tmp_path / "out.jsonl"
    generate(tones(1), Looping(), HEADER, path, 1)
    assert read(path)[1][0].flags == ["low_confidence", "repeated"]


def test_every_call_is_timed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    generate(tones(30), Lengths(), HEADER, path, 1)
    calls = read_times(path)
    assert [(call.batch, call.samples, call.tokens) for call in calls] == [
        (i, 1, 2) for i in range(30)
    ]
    assert calls[5].audio_seconds == pytest.approx(8005 / SAMPLE_RATE)


def test_the_clock_leaves_the_first_call_out(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    calls = [(50.0, 9), *((seconds, 12) for seconds in (1.0, 2.0, 3.0, 4.0, 5.0))]
    rows = [
        {"batch": i, "samples": 1, "audio_seconds": 30.0, "seconds": seconds, "tokens": tokens}
        for i, (seconds, tokens) in enumerate(calls)
    ]
    times_path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert run.speed(path) == pytest.approx(
        {
            "calls": 5,
            "tokens_per_second": 60 / 15,
            "rtfx": 150 / 15,
            "p50_seconds": 3.0,
            "p95_seconds": 4.8,
            "p99_seconds": 4.96,
        }
    )


def test_other_weights_are_another_revision(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = run.revision(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert first.startswith("sha256 ")
    assert run.revision(str(tmp_path)) != first
    assert run.revision("nobody/no-model") == "unknown"
    assert run.revision("nobody/no-model@v1") == "unknown"
    assert run.revision("http://127.0.0.1:8000/v1") == "unknown"


def test_a_pinned_model_is_of_its_own_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "models--some--model"
    for name, commit in (("main", "a" * 40), ("v1", "b" * 40)):
        (cache / "snapshots" / commit).mkdir(parents=True)
        (cache / "snapshots" / commit / "config.json").touch()
        (cache / "refs").mkdir(exist_ok=True)
        (cache / "refs" / name).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert run.revision("some/model") == "a" * 40
    assert run.revision("some/model@v1") == "b" * 40


def test_speech_that_must_not_be_translated_is_no_sample(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"audio": "a.wav", "direction": null, "text": ""}\n', "utf-8")
    with pytest.raises(DataError, match="sample 1 has nothing to translate into"):
        list(read_samples(path))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["generate", "--system", "phrasebook", "--data", "none.jsonl"], "none.jsonl"),
        (["generate", "--system", "phrasebook", "--model", "none"], "none"),
        (["score", "none.jsonl"], "none.jsonl"),
    ],
)
def test_what_is_missing_is_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    assert run.main([*arguments, "--output", str(tmp_path / "out.jsonl")]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "error" in x]
    assert line.startswith("error: ")
    assert complaint in line


def test_two_files_of_one_system_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "evaluation" / "results" / "whisper-base.jsonl"
    assert run.main(["score", str(path), str(path)]) == 1
    assert "--name" in capsys.readouterr().err


def test_the_same_scores_keep_their_date(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    run.keep(path, {"systems": [1]})
    dated = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(dated | {"date": "2001-02-03"}), "utf-8")
    run.keep(path, {"systems": [1]})
    assert json.loads(path.read_text("utf-8"))["date"] == "2001-02-03"
    run.keep(path, {"systems": [2]})
    assert json.loads(path.read_text("utf-8"))["date"] == dated["date"]


def scored(system: str, chrf: float, directions: Sequence[str]) -> dict[str, Any]:
    metrics = {"chrF2": {"score": chrf, "interval": 1.5, "signature": ""}}
    return {
        "header": {"system": system, "title": system, "parameters": "1M", "data": "tones"},
        "scores": {x: {"metrics": metrics} for x in directions},
        "speed": {"tokens_per_second": 40.0},
    }


def test_a_comparison_of_ones_own_is_drawn_from_chrf_or_from_a_judge() -> None:
    systems = [scored("a", 50.0, ["en2ja", "ja2en"]), scored("b", 40.0, ["ja2en"])]
    scores = {"systems": systems, "date": "2001-02-03"}
    plain = report.comparison(scores, None)
    assert "| b | 1M | N/A | 40.0 ± 1.5 | 40.0 |" in report.quality_table(plain)
    rows = [
        {"system": "a", "direction": "en2ja", "n": 3, "accuracy": 4.0, "fluency": 5.0},
        {"system": "b", "direction": "ja2en", "n": 0, "accuracy": 0.0, "fluency": 0.0},
    ]
    judged = report.comparison(scores, {"judge": "J", "scores": rows})
    assert "| a | 1M | 4.5 | N/A | 40.0 |" in report.quality_table(judged)
    assert "judged by J" in judged["caption"]
    for results in (plain, judged):
        assert draw(results).count("N/A") == sum(
            system[x] is None for system in results["systems"] for x in ("en2ja", "ja2en")
        )


def test_the_chart_says_what_is_published_and_keeps_text_as_text() -> None:
    published = report.load(report.PUBLISHED)
    chart = draw(published)
    for system in published["systems"]:
        assert f">{system['title']}<" in chart
    assert published["caption"] in chart
    assert ">N/A<" in chart
    assert "<path" in chart
    assert "base64" not in chart
    assert draw(published) == chart


def test_the_report_of_ones_own_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = tmp_path / "results.json"
    systems = [scored("a", 50.0, ["en2ja", "ja2en"])]
    scores.write_text(json.dumps({"systems": systems, "date": "2001-02-03"}), "utf-8")
    chart = tmp_path / "chart.svg"
    assert report.main(["--scores", str(scores), "--chart", str(chart)]) == 0
    assert "50.0 ± 1.5" in capsys.readouterr().out
    assert chart.read_text("utf-8").startswith("<?xml")
    assert report.main(["--scores", str(tmp_path / "none.json")]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"chart.svg", "results.json"}
