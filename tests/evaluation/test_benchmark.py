"""Hypotheses in files: each sample once, whatever stops or breaks a run."""

import json
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import ROOT

from evaluation import provenance, report, run
from evaluation.hypotheses import generate, read, renew
from evaluation.samples import DataError, read_samples
from speech_translation.engine import Request
from speech_translation.errors import EngineError
from speech_translation.manifest import Sample
from speech_translation.types import SAMPLE_RATE, Direction, Flag, Flags, Hypothesis

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
    header, *rows, last = map(json.loads, whole.splitlines())
    assert header == HEADER
    assert [row["id"] for row in rows] == [str(i) for i in range(10)]
    assert all(row["text"] == row["reference"] for row in rows)
    assert last == {"samples": 10}


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
    assert len(engine.heard) == 2  # only the last batch, and the line that says so, were left


def test_a_finished_run_asks_nothing_again(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "lengths.jsonl"
    path.write_bytes(whole)
    engine = Lengths()
    generate(tones(10), engine, HEADER, path, 4)
    assert not engine.heard
    assert path.read_bytes() == whole
    for count in (8, 11):
        with pytest.raises(DataError, match="other data"):
            generate(tones(count), engine, HEADER, path, 4)


def test_a_file_that_is_not_whole_is_scored_only_when_asked_and_is_named(
    tmp_path: Path, whole: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped, limited, output = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "s.json"
    stopped.write_bytes(b"".join(whole.splitlines(keepends=True)[:6]))
    generate(tones(10), Lengths(), HEADER | {"system": "b", "limit": 4}, limited, 4)
    for path, complaint in ((stopped, "stopped after 5"), (limited, "only the first 4 of each")):
        assert run.main(["score", str(path), "--output", str(output)]) == 1
        error = capsys.readouterr().err
        assert complaint in error
        assert "--partial" in error
    assert not output.exists()
    assert (
        run.main(["score", str(stopped), str(limited), "--partial", "--output", str(output)]) == 0
    )
    assert "NOT WHOLE: stopped after 5 samples" in capsys.readouterr().out
    results = json.loads(output.read_text("utf-8"))
    missing = [system["header"]["missing"] for system in results["systems"]]
    assert missing == ["stopped after 5 samples", "only the first 4 of each direction"]
    assert "(stopped after 5 samples)" in report.quality_table(report.comparison(results))
    assert set(results["compared"]) == {"en2ja", "ja2en"}  # on the samples that both have


def test_a_limit_takes_as_many_of_both_directions() -> None:
    samples = list(run.load_data(str(TEST_SET), run.BOTH, 3))
    directions = [sample.direction for sample in samples]
    assert [directions.count(direction) for direction in run.BOTH] == [3, 3]
    one = list(run.load_data(str(TEST_SET), [Direction.JA_EN], 3))
    assert [x.id for x in one] == [x.id for x in samples if x.direction is Direction.JA_EN]


def test_a_run_is_not_resumed_on_another_machine_or_by_other_code(
    tmp_path: Path, whole: bytes
) -> None:
    path = tmp_path / "lengths.jsonl"
    made = {"gpu": "NVIDIA A100", "machine": "x86_64", "commit": "abc"}
    part = b"".join(whole.splitlines(keepends=True)[1:6])
    path.write_bytes(json.dumps(HEADER | made).encode() + b"\n" + part)
    for key, value in (("gpu", "NVIDIA H100"), ("machine", "arm64"), ("commit", "abc+changes")):
        with pytest.raises(DataError, match=rf"{key} .* now '{re.escape(value)}'"):
            generate(tones(10), Lengths(), HEADER | made | {key: value}, path, 4)
    generate(tones(10), Lengths(), HEADER | made, path, 4)


def test_a_file_made_again_stays_where_it_says_the_same(tmp_path: Path) -> None:
    path, made = tmp_path / "lengths.jsonl", tmp_path / "lengths.new.jsonl"

    def make(**header: str) -> None:
        generate(tones(4), Lengths(), HEADER | header, made, 4)
        renew(made, path)
        assert not made.exists()

    make(commit="first", machine="here")
    first = path.read_bytes()
    make(commit="second", machine="there")
    assert path.read_bytes() == first
    path.write_bytes(first.replace(b'"flags": []', b'"flags": ["low_confidence"]'))
    doubted = path.read_bytes()
    assert doubted != first
    make()
    assert path.read_bytes() == doubted
    make(commit="second", revision="other weights")
    assert path.read_bytes() != first


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["--name", "other"], "system 'mine', now 'other'"),
        (["--limit", "2"], "limit 1, now 2"),
        (["--noise", "music"], "data "),
        (["--auto"], "direction 'forced', now 'auto'"),
    ],
)
def test_only_a_file_of_the_same_run_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], complaint: str
) -> None:
    path = tmp_path / "mine.jsonl"
    made = ["generate", "--system", "phrasebook", "--name", "mine", "--data", str(TEST_SET)]
    made += ["--device", "cpu", "--limit", "1", "--output", str(path), "--renew"]
    assert run.main(made) == 0
    first = path.read_bytes()
    assert run.main([*made, *change]) == 1
    assert f"was made by another run ({complaint}" in capsys.readouterr().err
    assert run.main(made) == 0
    assert path.read_bytes() == first
    path.write_text("My notes.", "utf-8")
    assert run.main(made) == 1
    assert "holds no hypotheses, so it is not replaced" in capsys.readouterr().err
    assert path.read_text("utf-8") == "My notes."


def test_making_one_direction_anew_does_not_lose_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.jsonl"
    made = ["generate", "--system", "phrasebook", "--data", str(TEST_SET), "--device", "cpu"]
    made += ["--limit", "1", "--output", str(path), "--renew"]
    assert run.main(made) == 0
    first = path.read_bytes()
    for direction, other in (("en2ja", "ja2en"), ("ja2en", "en2ja")):
        assert run.main([*made, "--direction", direction]) == 1
        assert f"also has {other}, which would be lost" in capsys.readouterr().err
    assert path.read_bytes() == first
    path.unlink()
    for _ in range(2):
        assert run.main([*made, "--direction", "en2ja"]) == 0
    assert [line.direction for line in read(path)[1]] == [Direction.EN_JA]
    assert run.main(made) == 0  # more than there was is no loss


def test_the_header_says_what_a_run_was_made_with() -> None:
    head = json.loads((ROOT / "evaluation" / "results" / "phrasebook.jsonl").open().readline())
    assert re.fullmatch(r"[0-9a-f]{12}(\+changes)?", head["commit"])
    assert re.match(r"\w+, .+, \d+ cores", head["machine"])
    assert head["gpu"] is None
    assert "sdpa_windowed" in head["attention"]
    assert head["limit"] is None


def test_the_commit_says_whether_the_code_was_changed(tmp_path: Path) -> None:
    def git(*command: str) -> None:
        who = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", *who, "-C", str(tmp_path), *command], check=True)

    assert provenance.commit(tmp_path / "none") == "unknown"
    git("init", "-q")
    made = tmp_path / "evaluation" / "results" / "live.json"
    made.parent.mkdir(parents=True)
    made.write_text("{}")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = provenance.commit(tmp_path)
    (tmp_path / "result.json").write_text("{}")  # what git does not follow is no code
    made.write_text("[]")  # nor is what a measurement before this one has written
    provenance.commit.cache_clear()
    assert provenance.commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("2")
    provenance.commit.cache_clear()
    assert provenance.commit(tmp_path) == f"{clean}+changes"
    provenance.commit.cache_clear()


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
    assert killed.read_bytes().count(b"\n") < 50
    for output in ("killed.jsonl", "whole.jsonl"):
        assert run.main(command(output)[3:]) == 0
    assert killed.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("change", [{"system": "other"}, HEADER | {"precision": "float16"}])
def test_a_file_of_another_run_is_not_touched(
    tmp_path: Path, whole: bytes, change: dict[str, str]
) -> None:
    path = tmp_path / "lengths.jsonl"
    path.write_bytes(whole)
    with pytest.raises(DataError, match="another run"):
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


def test_other_weights_are_another_revision(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = provenance.revision(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert first.startswith("sha256 ")
    assert provenance.revision(str(tmp_path)) != first
    assert provenance.revision("nobody/no-model") == "unknown"
    assert provenance.revision("nobody/no-model@v1") == "unknown"
    assert provenance.revision("http://127.0.0.1:8000/v1") == "unknown"


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
    assert provenance.revision("some/model") == "a" * 40
    assert provenance.revision("some/model@v1") == "b" * 40


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
