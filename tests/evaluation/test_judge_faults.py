"""A judge that answers otherwise than asked, or not at all; people as judges; wrong usage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judging import (
    Answer,
    Endpoint,
    assert_one_sentence,
    by_model,
    in_turn,
    judged,
    scored,
    translation,
    write,
)

from evaluation import judge
from evaluation.verdicts import parse
from speech_translation.types import Direction

JA_EN = Direction.JA_EN

pytestmark = pytest.mark.usefixtures("no_pauses")

# Answers that are not what was asked for


@pytest.mark.parametrize(
    "answer",
    [
        '{"accuracy": 4, "fluency": 5}',
        ' {"fluency":5,"accuracy":4}\n',
        '```json\n{"accuracy": 4, "fluency": 5}\n```',
        'The meaning is kept.\n{"accuracy": 4, "fluency": 5, "why": "a detail"}\nThat is all.',
    ],
)
def test_json_is_found_in_prose_and_fences(answer: str) -> None:
    assert parse(answer) == (4, 5)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Accuracy 4, fluency 5.",
        '{"accuracy": 4}',
        '{"accuracy": 6, "fluency": 5}',
        '{"accuracy": 0, "fluency": 5}',
        '{"accuracy": 4.5, "fluency": 5}',
        '{"accuracy": 4.0, "fluency": 5}',
        '{"accuracy": "4", "fluency": 5}',
        '{"accuracy": true, "fluency": 5}',
        '{"accuracy": null, "fluency": 5}',
        '{"accuracy": 4, "fluency": 5',
        '{"accuracy": 4, "fluency": 5} or {"accuracy": 3, "fluency": 5}',
        "[4, 5]",
        (200, ""),
        (200, "<html>4 and 5</html>"),
        (200, '{"accuracy": 4, "fluency": 5}'),
        (200, '{"choices": []}'),
        (200, '{"choices": [{"message": {"content": null}}]}'),
        '<think>So {"accuracy": 4, "fluency": 5}? But',
        (200, '["choices"]'),
    ],
)
def test_a_malformed_answer_is_asked_again_and_never_guessed(
    tmp_path: Path,
    one: list[Path],
    serve: Callable[[Answer], Endpoint],
    reply: str | tuple[int, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    endpoint = serve(lambda body: reply)
    record = judged(tmp_path, one, *by_model(endpoint.url, "--passes", "1"))
    (row,) = record["scores"]
    assert (row["n"], row["missing"], row["accuracy"], row["fluency"]) == (0, 1, None, None)
    assert record["verdicts"] == []
    assert len(endpoint.asked) == 3
    assert "accuracy unknown" in capsys.readouterr().out


def test_the_second_answer_counts_when_the_first_is_malformed(
    tmp_path: Path, one: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    endpoint = serve(in_turn("Well,", scored(2, 3)))
    (row,) = judged(tmp_path, one, *by_model(endpoint.url, "--passes", "1"))["scores"]
    assert (row["n"], row["missing"], row["accuracy"], row["fluency"]) == (1, 0, 2, 3)
    first, second = endpoint.asked
    assert first["seed"] != second["seed"]
    assert first["messages"] == second["messages"]


# A server that fails


@pytest.mark.parametrize(("status", "times"), [(500, 3), (503, 3), (429, 3), (401, 1), (404, 1)])
def test_a_server_that_refuses_is_one_sentence(
    tmp_path: Path,
    one: list[Path],
    serve: Callable[[Answer], Endpoint],
    status: int,
    times: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    endpoint = serve(lambda body: (status, "no"))
    output = tmp_path / "judged.json"
    model = by_model(endpoint.url, "--passes", "1")
    assert judge.main([str(one[0]), "--output", str(output), *model]) == 1
    assert_one_sentence(capsys, endpoint.url, str(status), "OPENAI_API_KEY")
    assert len(endpoint.asked) == times
    assert not output.exists()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/v1", "localhost/v1", "http://localhost:port/v1"]
)
def test_no_server_is_one_sentence(
    tmp_path: Path, one: list[Path], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "judged.json"
    assert judge.main([str(one[0]), "--output", str(output), *by_model(url)]) == 1
    assert_one_sentence(capsys, url, "address")


@pytest.mark.parametrize("status", [429, 502])
def test_a_busy_server_is_asked_again(
    tmp_path: Path, one: list[Path], serve: Callable[[Answer], Endpoint], status: int
) -> None:
    endpoint = serve(in_turn((status, ""), (status, ""), scored(4, 5)))
    (row,) = judged(tmp_path, one, *by_model(endpoint.url, "--passes", "1"))["scores"]
    assert (row["n"], row["missing"], row["accuracy"]) == (1, 0, 4)
    assert [body["seed"] for body in endpoint.asked] == [0, 0, 0]


def test_a_run_that_died_twice_goes_on(
    tmp_path: Path, two: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    def answer(body: dict[str, Any]) -> str:
        text = translation(body)
        return "?" if text == "3" else scored(1 + len(text), 1 + body["seed"] % 5)

    whole = serve(answer)
    expected = judged(tmp_path, two, *by_model(whole.url))
    output, part = tmp_path / "judged.json", tmp_path / "judged.part.jsonl"
    output.unlink()
    kept = 0
    for _ in range(2):
        left = iter(range(1, 10))
        dying = serve(lambda body, left=left: answer(body) if next(left, None) else (401, ""))
        assert judge.main([*map(str, two), "--output", str(output), *by_model(dying.url)]) == 1
        kept, before = part.read_bytes().count(b"accuracy"), kept
        assert kept > before
        part.write_bytes(part.read_bytes() + b'[3, {"system": "ou')  # killed while it wrote
    rest = serve(answer)
    assert judged(tmp_path, two, *by_model(rest.url)) == expected
    assert 0 < len(rest.asked) <= len(whole.asked) - kept


@pytest.mark.parametrize("change", ["seed", "text"])
def test_verdicts_of_another_run_are_not_taken_over(
    tmp_path: Path,
    one: list[Path],
    serve: Callable[[Answer], Endpoint],
    change: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "judged.json"
    url = serve(lambda body: (401, "") if body["seed"] > 2 else scored(4, 5)).url
    command = [str(one[0]), "--output", str(output), *by_model(url)]
    assert judge.main(command) == 1
    kept = (tmp_path / "judged.part.jsonl").read_bytes()
    capsys.readouterr()
    if change == "text":
        write(tmp_path, "ours", [("It is there.", JA_EN)])
    assert judge.main([*command, *(["--seed", "1"] if change == "seed" else [])]) == 1
    assert_one_sentence(capsys, "judged.part.jsonl is of another run", "--output")
    assert (tmp_path / "judged.part.jsonl").read_bytes() == kept


# People


def test_people_are_recorded_in_the_same_form(
    tmp_path: Path, one: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    scores = tmp_path / "people.csv"
    rows = "system,id,judge,accuracy,fluency\nours,0,花子,4,5\nours,0,Ken,2,5\n"
    scores.write_text(rows, "utf-8-sig")  # as Excel writes it
    record = judged(tmp_path, one, "--human", str(scores))
    model = judged(tmp_path, one, *by_model(serve(lambda body: scored(4, 5)).url))
    assert record.keys() == model.keys()
    assert record["scores"][0].keys() == model["scores"][0].keys()
    assert record["verdicts"][0].keys() == model["verdicts"][0].keys()
    assert (record["judge"], record["rubric"], record["passes"]) == (str(scores), None, None)
    (row,) = record["scores"]
    assert (row["n"], row["accuracy"], row["fluency"], row["missing"]) == (1, 3, 5, 0)
    assert [x["between"] for x in record["agreement"]] == ["people", "people"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("system,id,accuracy,fluency\nours,0,4,5\n", "columns system, id, judge"),
        ("system,id,judge,accuracy,fluency\nours,0,Ken,4\n", "whole numbers from 1 to 5"),
        ("system,id,judge,accuracy,fluency\nours,0,Ken,4,good\n", "whole numbers from 1 to 5"),
        ("system,id,judge,accuracy,fluency\nours,0,Ken,4.5,5\n", "whole numbers from 1 to 5"),
        ("system,id,judge,accuracy,fluency\nours,0,Ken,0,5\n", "not from 1 to 5"),
        ("system,id,judge,accuracy,fluency\nours,0,Ken,4,6\n", "not from 1 to 5"),
        ("system,id,judge,accuracy,fluency\ntheirs,0,Ken,4,5\n", "which no file holds"),
        ("system,id,judge,accuracy,fluency\nours,9,Ken,4,5\n", "which no file holds"),
        (None, "columns system, id, judge"),
    ],
)
def test_a_wrong_csv_is_one_sentence(
    tmp_path: Path,
    one: list[Path],
    content: str | None,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores, output = tmp_path / "people.csv", tmp_path / "judged.json"
    if content is not None:
        scores.write_text(content, "utf-8")
    assert judge.main([str(one[0]), "--human", str(scores), "--output", str(output)]) == 1
    assert_one_sentence(capsys, "people.csv", words)
    assert not output.exists()


# The command line


def test_two_files_of_one_system_are_refused(
    tmp_path: Path, one: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "judged.json")
    twice = [str(one[0]), str(one[0])]
    assert judge.main([*twice, "--output", output, *by_model("http://127.0.0.1:9/v1")]) == 1
    assert_one_sentence(capsys, "ours.jsonl is of ours again")


@pytest.mark.parametrize("options", [[], ["--url", "u"], by_model("u", "--passes", "0")])
def test_a_judge_and_a_pass_are_needed(one: list[Path], options: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        judge.main([str(one[0]), "--output", "judged.json", *options])
