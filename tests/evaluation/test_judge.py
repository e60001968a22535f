import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evaluation import judge
from evaluation.hypotheses import Line
from evaluation.judge import RUBRIC
from evaluation.verdicts import parse
from speech_translation.types import Direction

EN_JA, JA_EN = Direction.EN_JA, Direction.JA_EN
Answer = Callable[[dict[str, Any]], str | tuple[int, str]]


class Endpoint(ThreadingHTTPServer):
    """A judge that speaks the chat completions form. `answer` gives a message, or status and body.

    `asked` are the bodies and `keys` the Authorization headers that came.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer, self.asked, self.keys = answer, list[dict[str, Any]](), list[str | None]()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.keys.append(self.headers["Authorization"])
        reply = self.server.answer(body)
        status, content = reply if isinstance(reply, tuple) else (200, completion(reply))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Endpoint]]:
    started = list[Endpoint]()

    def start(answer: Answer) -> Endpoint:
        started.append(Endpoint(answer))
        threading.Thread(target=started[-1].serve_forever, args=(0.01,), daemon=True).start()
        return started[-1]

    yield start
    for endpoint in started:
        endpoint.shutdown()
        endpoint.server_close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "PAUSES", (0.0, 0.0))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def completion(content: str) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


def scored(accuracy: int, fluency: int) -> str:
    return json.dumps({"accuracy": accuracy, "fluency": fluency})


def in_turn(*answers: str | tuple[int, str]) -> Answer:
    left = iter(answers)
    return lambda body: next(left)


def translation(body: dict[str, Any]) -> str:
    """The hypothesis that a request asks about."""
    return str(body["messages"][-1]["content"]).rpartition("Translation: ")[2]


def write(path: Path, system: str, lines: Sequence[tuple[str, Direction]]) -> Path:
    rows = [
        asdict(Line(str(i), direction, "The reference.", "話", text))
        for i, (text, direction) in enumerate(lines)
    ]
    path = path / f"{system}.jsonl"
    path.write_text("\n".join(map(json.dumps, [{"system": system}, *rows])), "utf-8")
    return path


def judged(tmp_path: Path, files: Sequence[Path], *options: str) -> dict[str, Any]:
    output = tmp_path / "judged.json"
    assert judge.main([*map(str, files), "--output", str(output), *options]) == 0
    assert not output.with_suffix(".part.jsonl").exists()
    return json.loads(output.read_text("utf-8"))  # type: ignore[no-any-return]


def by_model(url: str, *options: str) -> list[str]:
    return ["--url", url, "--model", "the-judge", *options]


@pytest.fixture
def one(tmp_path: Path) -> list[Path]:
    return [write(tmp_path, "ours", [("It is here.", JA_EN)])]


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    lines = [(f"{i}", JA_EN) for i in range(6)] + [("はい。", EN_JA)]
    return [
        write(tmp_path, "ours", lines),
        write(tmp_path, "whisper", [(f"w{text}", direction) for text, direction in lines]),
    ]


# What the judge says


def test_means_are_of_a_system_in_a_direction(
    tmp_path: Path, two: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    def answer(body: dict[str, Any]) -> str:
        text = translation(body)
        if "はい" in text:
            return scored(3, 2 if text.startswith("w") else 5)
        return scored(1, 5) if text in ("0", "1", "w0") else scored(4, 5)

    record = judged(tmp_path, two, *by_model(serve(answer).url, "--passes", "1"))
    none = {"missing": 0, "agreement": None}
    assert record["scores"] == [
        {"system": "ours", "direction": "en2ja", "n": 1, "accuracy": 3, "fluency": 5, **none},
        {"system": "ours", "direction": "ja2en", "n": 6, "accuracy": 3, "fluency": 5, **none},
        {"system": "whisper", "direction": "en2ja", "n": 1, "accuracy": 3, "fluency": 2, **none},
        {"system": "whisper", "direction": "ja2en", "n": 6, "accuracy": 3.5, "fluency": 5, **none},
    ]


def test_the_record_says_how_it_was_made(
    tmp_path: Path, one: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    url = serve(lambda body: scored(4, 5)).url
    record = judged(tmp_path, one, *by_model(url, "--passes", "2", "--seed", "7"))
    assert (record["judge"], record["rubric"]) == ("the-judge", RUBRIC)
    assert (record["passes"], record["seed"]) == (2, 7)
    assert record["verdicts"] == [
        {"system": "ours", "id": "0", "judge": f"the-judge #{i}", "accuracy": 4, "fluency": 5}
        for i in (1, 2)
    ]


def test_passes_that_differ_by_more_than_1_disagree(
    tmp_path: Path, one: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    url = serve(in_turn(scored(5, 4), scored(4, 4), scored(2, 4))).url
    (row,) = judged(tmp_path, one, *by_model(url))["scores"]
    assert row["agreement"] == pytest.approx(4 / 6)
    assert row["accuracy"] == pytest.approx(11 / 3)
    assert row["n"] == 1


# What the judge is shown


def test_the_judge_is_not_told_the_system(
    tmp_path: Path, two: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    endpoint = serve(lambda body: scored(4, 5))
    judged(tmp_path, two, *by_model(endpoint.url))
    assert len(endpoint.asked) == 3 * 14
    assert not any(name in str(endpoint.asked) for name in ("ours", "whisper"))
    system, user = endpoint.asked[0]["messages"]
    assert system == {"role": "system", "content": RUBRIC}
    assert user["content"].startswith("Speech: 話\nReference translation: The reference.\n")


def test_the_seed_shuffles_systems_and_passes(
    tmp_path: Path, two: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    def order(seed: int) -> list[str]:
        endpoint = serve(lambda body: scored(4, 5))
        judged(tmp_path, two, *by_model(endpoint.url, "--passes", "2", "--seed", str(seed)))
        return [translation(body) for body in endpoint.asked]

    first = order(0)
    assert order(0) == first != order(1)
    assert sorted(first[:14]) == sorted(first[14:])
    assert first[:14] != first[14:]
    assert len({text.startswith("w") for text in first[:7]}) == 2


def test_the_key_comes_from_the_environment(
    tmp_path: Path,
    one: list[Path],
    serve: Callable[[Answer], Endpoint],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoint = serve(lambda body: scored(4, 5))
    for key in ("sk-1234", "sk-1234\n", ""):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        judged(tmp_path, one, *by_model(endpoint.url, "--passes", "1"))
    assert endpoint.keys == ["Bearer sk-1234", "Bearer sk-1234", None]


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
    assert judge.main([str(one[0]), "--output", str(output), *by_model(endpoint.url)]) == 1
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
    assert_one_sentence(capsys, url, "--url")


def assert_one_sentence(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    assert all(word in printed.err for word in words)


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
    for _ in range(2):
        left = iter(range(1, 15))
        dying = serve(lambda body, left=left: answer(body) if next(left, None) else (401, ""))
        assert judge.main([*map(str, two), "--output", str(output), *by_model(dying.url)]) == 1
        part.write_bytes(part.read_bytes() + b'{"system": "ou')  # killed while it wrote
    rest = serve(answer)
    assert judged(tmp_path, two, *by_model(rest.url)) == expected
    assert 0 < len(rest.asked) < len(whole.asked) - 20
    assert rest.asked == whole.asked[-len(rest.asked) :]


def test_a_verdict_is_kept_before_the_next_is_asked_for(
    tmp_path: Path, one: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    part, kept = tmp_path / "judged.part.jsonl", list[int]()

    def answer(body: dict[str, Any]) -> str:
        kept.append(part.read_bytes().count(b"accuracy"))
        return scored(4, 5)

    judged(tmp_path, one, *by_model(serve(answer).url))
    assert kept == [0, 1, 2]


@pytest.mark.parametrize("change", ["seed", "text"])
def test_verdicts_of_another_run_are_not_taken_over(
    tmp_path: Path,
    one: list[Path],
    serve: Callable[[Answer], Endpoint],
    change: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "judged.json"
    url = serve(in_turn(scored(4, 5), *[(401, "")] * 9)).url
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
    assert record["scores"] == [
        {
            "system": "ours",
            "direction": "ja2en",
            "n": 1,
            "missing": 0,
            "accuracy": 3,
            "fluency": 5,
            "agreement": 0.5,
        }
    ]


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
