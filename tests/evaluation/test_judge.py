import base64
import json
import logging
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
from speech_translation.engine import chat
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
    monkeypatch.setattr(chat, "PAUSES", (0.0, 0.0))
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
    path.write_text(
        "\n".join(map(json.dumps, [{"system": system}, *rows, {"samples": len(rows)}])), "utf-8"
    )
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
    names = ("system", "direction", "n", "accuracy", "fluency", "quality", "missing")
    assert [tuple(row[name] for name in names) for row in record["scores"]] == [
        ("ours", "en2ja", 1, 3, 5, 4, 0),
        ("ours", "ja2en", 6, 3, 5, 4, 0),
        ("whisper", "en2ja", 1, 3, 2, 2.5, 0),
        ("whisper", "ja2en", 6, 3.5, 5, 4.25, 0),
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


def many(path: Path, system: str, texts: Sequence[str], repeat: int = 1) -> Path:
    """Hypotheses from English speech, each of a sentence of its own, read by so many people."""
    rows = [
        asdict(Line(f"{i}-{k}", JA_EN, f"Reference {i}.", f"話{i}", text))
        for k in range(repeat)
        for i, text in enumerate(texts)
    ]
    path = path / f"{system}.jsonl"
    path.write_text(
        "\n".join(map(json.dumps, [{"system": system}, *rows, {"samples": len(rows)}])), "utf-8"
    )
    return path


def by_text(body: dict[str, Any]) -> str:
    """A judge that likes what has a small number in it, more in its first pass."""
    number = int(translation(body).split()[-1])
    return scored(5 - number % 5, 5 - (number + body["seed"]) % 5)


def test_a_judges_password_is_sent_and_not_shown(
    tmp_path: Path,
    two: list[Path],
    serve: Callable[[Answer], Endpoint],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(in_turn((404, "no")))
    output = ["--output", str(tmp_path / "judged.json")]
    for url in (server.url, "http://127.0.0.1:port/v1"):
        secret = url.replace("//", "//me:se@cret@")
        assert judge.main([*map(str, two), *by_model(secret), *output]) == 1
        assert f"at {url}/chat/completions does not answer" in (said := capsys.readouterr().err)
        assert "cret" not in said
    assert server.keys[0] == f"Basic {base64.b64encode(b'me:se@cret').decode()}"
    assert "127.0.0.1" in caplog.text
    assert "cret" not in caplog.text


def test_scores_have_intervals_over_sentences_and_p(
    tmp_path: Path, serve: Callable[[Answer], Endpoint]
) -> None:
    url = serve(by_text).url

    def rows(repeat: int) -> list[dict[str, Any]]:
        files = [
            many(tmp_path, name, [f"Text {max(least, i % 5)}" for i in range(40)], repeat)
            for name, least in (("first", 0), ("same", 0), ("other", 2))
        ]
        return judged(tmp_path, files, *by_model(url))["scores"]  # type: ignore[no-any-return]

    once, twice = rows(1), rows(2)
    first, same, other = once
    low, high = first["interval"]
    assert low < first["quality"] < high
    assert 0.4 < high - low < 1.2
    assert (first["p"], same["p"]) == (None, 1.0)
    assert other["p"] < 0.1
    for a, b in zip(once, twice, strict=True):
        assert (b["n"], b["interval"], b["p"]) == (80, pytest.approx(a["interval"]), a["p"])


def test_passes_judges_and_people_are_compared(
    tmp_path: Path, serve: Callable[[Answer], Endpoint]
) -> None:
    texts = [f"Text {i}" for i in range(40)]
    files = [many(tmp_path, "ours", texts)]
    same = judged(tmp_path, files, "--url", serve(by_text).url, "--model", "one")
    (tmp_path / "judged.json").rename(tmp_path / "one.json")
    alpha = {(row["between"], row["field"]): row["alpha"] for row in same["agreement"]}
    assert alpha["passes of one", "accuracy"] == 1.0
    assert alpha["passes of one", "fluency"] < 0.6  # the seed changes it

    people = tmp_path / "people.csv"
    rows = [f"ours,{i}-0,Ken,{5 - i % 5},{5 - i % 5}" for i in range(40)]
    people.write_text("\n".join(["system,id,judge,accuracy,fluency", *rows]), "utf-8")
    opposite = serve(lambda body: scored(*[1 + int(translation(body).split()[-1]) % 5] * 2))
    record = judged(
        tmp_path,
        files,
        *("--url", opposite.url, "--model", "two"),
        *("--also", str(tmp_path / "one.json"), "--human", str(people)),
    )
    alpha = {(row["between"], row["field"]): row["alpha"] for row in record["agreement"]}
    assert alpha["passes of two", "accuracy"] == 1.0
    assert alpha["judges", "accuracy"] < -0.5
    follows = {name: x["quality"] for name, x in record["with_people"].items()}
    assert follows["one"]["kendall"] > 0.5
    assert follows["two"]["kendall"] == pytest.approx(-1)
    assert follows["one"]["n"] == 40


# What the judge is shown


def test_the_judge_is_not_told_the_system(
    tmp_path: Path, two: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    endpoint = serve(lambda body: scored(4, 5))
    judged(tmp_path, two, *by_model(endpoint.url))
    assert len(endpoint.asked) == 2 * 14
    assert not any(name in str(endpoint.asked) for name in ("ours", "whisper"))
    system, user = endpoint.asked[0]["messages"]
    assert system == {"role": "system", "content": RUBRIC}
    assert user["content"].startswith("Speech: 話\nTranslation: ")
    assert {body["temperature"] for body in endpoint.asked} == {0}
    judged(tmp_path, two, *by_model(endpoint.url, "--reference"))
    assert "Reference translation: The reference.\n" in endpoint.asked[-1]["messages"][1]["content"]


def test_a_judge_needs_the_words_spoken(
    tmp_path: Path, one: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one[0].write_text(one[0].read_text("utf-8").replace("\\u8a71", ""), "utf-8")
    output = tmp_path / "judged.json"
    command = [str(one[0]), "--output", str(output), *by_model("http://127.0.0.1:9/v1")]
    assert judge.main(command) == 1
    assert_one_sentence(capsys, "sample 0 has none", "--reference")


def test_sixteen_are_asked_at_a_time(tmp_path: Path, serve: Callable[[Answer], Endpoint]) -> None:
    together = threading.Barrier(chat.IN_FLIGHT)

    def answer(body: dict[str, Any]) -> str:
        together.wait(30)  # which fewer would break
        return scored(4, 5)

    files = [many(tmp_path, "ours", [f"Text {i}" for i in range(chat.IN_FLIGHT)])]
    record = judged(tmp_path, files, *by_model(serve(answer).url))
    assert [row["n"] for row in record["scores"]] == [chat.IN_FLIGHT]


def test_what_is_no_translation_has_the_least_and_is_not_asked_about(
    tmp_path: Path, serve: Callable[[Answer], Endpoint]
) -> None:
    texts = ["", "駅は左にあります。", "La gare est à gauche de la grande place.", "It is here."]
    endpoint = serve(lambda body: scored(5, 5))
    record = judged(tmp_path, [many(tmp_path, "ours", texts)], *by_model(endpoint.url))
    scores = [(v["accuracy"], v["fluency"]) for v in record["verdicts"]]
    assert sorted(scores) == [(1, 1)] * 6 + [(5, 5)] * 2
    assert {translation(body) for body in endpoint.asked} == {"It is here."}


def test_an_answer_is_held_to_its_form_where_the_server_can(
    tmp_path: Path, one: list[Path], serve: Callable[[Answer], Endpoint]
) -> None:
    endpoint = serve(lambda body: scored(4, 5))
    judged(tmp_path, one, *by_model(endpoint.url, "--passes", "1"))
    form = endpoint.asked[0]["response_format"]["json_schema"]
    assert form["strict"]
    assert form["schema"]["required"] == ["accuracy", "fluency"]

    def without(body: dict[str, Any]) -> str | tuple[int, str]:
        return (400, "unknown response_format") if "response_format" in body else scored(2, 3)

    old = serve(without)
    (row,) = judged(tmp_path, one, *by_model(old.url))["scores"]
    assert (row["accuracy"], row["missing"]) == (2, 0)


@pytest.mark.parametrize(
    "answer",
    [
        '<think>Perhaps {"accuracy": 2, "fluency": 2}?</think>\n{"accuracy": 4, "fluency": 5}',
        'Perhaps {"accuracy": 2, "fluency": 2}?</think>\n\n{"accuracy": 4, "fluency": 5}',
    ],
)
def test_what_a_model_thinks_aloud_is_no_answer(
    tmp_path: Path, one: list[Path], serve: Callable[[Answer], Endpoint], answer: str
) -> None:
    (row,) = judged(tmp_path, one, *by_model(serve(lambda body: answer).url))["scores"]
    assert (row["accuracy"], row["fluency"], row["missing"]) == (4, 5, 0)


def test_the_seed_shuffles_systems_and_passes(
    tmp_path: Path,
    two: list[Path],
    serve: Callable[[Answer], Endpoint],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judge, "IN_FLIGHT", 1)

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
