"""Hypotheses in files, and what is made of them: scores, tables, chart."""

import json
import re
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

from evaluation import provenance, report, run
from evaluation.chart import draw
from evaluation.hypotheses import generate, read, renew
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


def test_two_files_of_one_system_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "evaluation" / "results" / "whisper-base.jsonl"
    assert run.main(["score", str(path), str(path)]) == 1
    assert "--name" in capsys.readouterr().err


def written(path: Path, rows: Sequence[dict[str, Any]], system: str = "") -> str:
    """A file of hypotheses as another program may write it, with nothing but what is needed."""
    every = [{"system": system or path.stem}, *rows, {"samples": len(rows)}]
    path.write_text("\n".join(map(json.dumps, every)), "utf-8")
    return str(path)


def row(id: str, reference: str = "Good morning.", **more: str) -> dict[str, Any]:
    return {"id": id, "direction": "ja2en", "reference": reference, "text": "Good morning.", **more}


def test_a_file_of_another_program_needs_few_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = written(tmp_path / "mine.jsonl", [row("1"), row("2")]), tmp_path / "s.json"
    assert run.main(["score", path, "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "mine (engine not named; data not named)" in shown
    assert "exact 100.0 %" in shown
    assert "direction 100.0 %" in shown
    assert "mine, size not named" in report.score_table(json.loads(output.read_text("utf-8")))


def test_the_form_of_a_file_is_shown_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    (form,) = re.findall(r'```json\n(\{"system".*?)```', page, re.DOTALL)
    path = tmp_path / "mine.jsonl"
    path.write_text(form, "utf-8")
    assert run.main(["score", str(path)]) == 0
    assert "exact 100.0 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "has no samples"),
        ([row("1"), row("2"), row("1")], "has the sample 1 twice"),
        ([row("1", ""), row("2", " ")], "has no references for JA->EN"),
        ([{"id": "1", "direction": "ja2en"}], "missing 1 required positional argument"),
        ([{"id": "1", "reference": "a"}], "no 'direction'"),
    ],
)
def test_hypotheses_that_cannot_be_scored_are_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
    complaint: str,
) -> None:
    path, output = written(tmp_path / "mine.jsonl", rows), tmp_path / "s.json"
    assert run.main(["score", path, "--output", str(output)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} ")
    assert complaint in line
    assert not output.exists()


def test_only_the_same_samples_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = written(tmp_path / "one.jsonl", [row("1"), row("2")])
    other = written(tmp_path / "other.jsonl", [row("1"), row("2", "Good evening.")])
    apart = written(tmp_path / "apart.jsonl", [row("3")])
    assert run.main(["score", one, other]) == 1
    assert "different references for the sample 2" in capsys.readouterr().err
    assert run.main(["score", one, apart]) == 0
    assert "apart against one, chrF2: no common sample" in capsys.readouterr().out


def test_the_same_scores_keep_their_date(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    run.keep(path, {"systems": [1]})
    dated = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(dated | {"date": "2001-02-03"}), "utf-8")
    run.keep(path, {"systems": [1]})
    assert json.loads(path.read_text("utf-8"))["date"] == "2001-02-03"
    run.keep(path, {"systems": [2]})
    assert json.loads(path.read_text("utf-8"))["date"] == dated["date"]


HEAD = {
    **{"parameters": "1M", "data": "tones", "missing": "", "engine": "e", "gpu": None},
    **{"machine": "m", "commit": "c", "attention": "a"},
}


def speed(system: str, **head: str) -> dict[str, Any]:
    """What evaluation.system_speed writes: 20 s of speech in 2, 2.5 and 4 s, one clip at a time."""
    row = {"direction": "ja2en", "batch": 1, "clips": 20, "audio_seconds": 20.0, "tokens": 100}
    rows = [row | {"seconds": [2.0, 2.5, 4.0]}, row | {"batch": 8, "seconds": [1.0, 1.0, 1.0]}]
    made = {"date": "2001-02-03", "command": "python -m x", "rows": rows}
    return {"header": {"system": system, "title": system, **HEAD, **head}, **made}


def scored(system: str, chrf: float, directions: Sequence[str]) -> dict[str, Any]:
    score = {"score": chrf, "interval": [chrf - 2.5, chrf + 1.5], "signature": ""}
    metrics = dict.fromkeys(("BLEU 13a", "BLEU ja-mecab", "chrF2"), score)
    counts = {"n": 60, "sentences": 30, "exact": 0.5, "off_target": 0.0, "empty": 0.0}
    return {
        "header": {"system": system, "title": system, **HEAD},
        "scores": {x: {**counts, "metrics": metrics} for x in directions},
    }


def bare(system: dict[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in system.items() if "interval" not in name}


def test_a_table_says_which_scores_are_an_example() -> None:
    few = {"n": 12, "sentences": 4, "exact": 0.5, "off_target": 0.0, "empty": 0.0}
    metrics = {x: {"score": 40.0, "interval": None} for x in ("BLEU 13a", "chrF2")}
    head = {"system": "a", "title": "A", **HEAD}
    systems = [{"header": head, "scores": {"ja2en": few | {"metrics": metrics}}}]
    table = report.score_table({"systems": systems, "compared": {}, "date": "2001-02-03"})
    row = "| A, 1M | JA->EN | 12 | 4: an example, not a measurement | 50.0 % | 40.0 | 40.0 |"
    assert row in table


def test_a_comparison_of_ones_own_is_drawn_from_chrf_or_from_a_judge() -> None:
    systems = [scored("a", 50.0, ["en2ja", "ja2en"]), scored("b", 40.0, ["ja2en"])]
    compared = {"en2ja": {}, "ja2en": {"b": {"chrF2": 0.012}}}
    scores = {"systems": systems, "compared": compared, "date": "2001-02-03"}
    plain = report.comparison(scores, None, [speed("b")])
    row = "| b | 1M | N/A | 40.0 [37.5, 41.5] (p 0.012) | 7.1 [5.0, 10.0] |"
    assert row in report.quality_table(plain)
    assert "by bootstrap over sentences" in plain["caption"]
    given = {"n": 30, "missing": 0.05, "quality": 4.5, "interval": [4.2, 4.6], "p": None}
    rows = [
        {"system": "a", "direction": "en2ja", **given},
        {"system": "b", "direction": "en2ja", **given}
        | {"quality": 3.5, "interval": [3.2, 3.6], "p": 0.002},
        {"system": "b", "direction": "ja2en", **given, "n": 0, "quality": None},
    ]
    judged = report.comparison(scores, {"judge": "J", "scores": rows})
    table = report.quality_table(judged)
    assert "| a | 1M | 4.5 [4.2, 4.6] | N/A | N/A | 5.0 % |" in table
    assert "| b | 1M | 3.5 [3.2, 3.6] (p 0.002) | N/A | N/A | 5.0 % |" in table
    assert "judged by J" in judged["caption"]
    bars = [draw({**x, "systems": [bare(y) for y in x["systems"]]}) for x in (plain, judged)]
    for results, without in zip((plain, judged), bars, strict=True):
        assert draw(results).count("LineCollection") > without.count("LineCollection")
        assert draw(results).count("N/A") == sum(
            system[x] is None for system in results["systems"] for x in ("en2ja", "ja2en", "speed")
        )


def test_speeds_are_compared_like_with_like() -> None:
    table = report.speed_table([speed("a"), speed("b")])
    assert "| a | JA->EN | 1 | 20 | 0.142 (0.100 to 0.200) | 38.3 (25.0 to 50.0) |" in table
    assert "| a | JA->EN | 8 | 20 | 0.050 (0.050 to 0.050) | 100.0 (100.0 to 100.0) |" in table
    assert "- a: e, attention a, m, commit c, 2001-02-03: `python -m x`." in table
    for key in ("gpu", "machine", "data"):
        with pytest.raises(DataError, match="cannot be compared"):
            report.speed_table([speed("a"), speed("b", **{key: "other"})])


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
    scores.write_text(
        json.dumps({"systems": systems, "compared": {}, "date": "2001-02-03"}), "utf-8"
    )
    chart = tmp_path / "chart.svg"
    times = tmp_path / "speed.json"
    times.write_text(json.dumps(speed("a")), "utf-8")
    command = ["--scores", str(scores), "--chart", str(chart), "--speed", str(times)]
    assert report.main(command) == 0
    printed = capsys.readouterr().out
    assert "50.0 [47.5, 51.5]" in printed
    assert "0.142 (0.100 to 0.200)" in printed
    assert chart.read_text("utf-8").startswith("<?xml")
    assert report.main(["--scores", str(tmp_path / "none.json")]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"chart.svg", "results.json", "speed.json"}
