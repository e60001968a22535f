"""Scores by a language model: what it is shown and asked, and what is made of its answers."""

import base64
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
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
)

from evaluation import judge
from evaluation.hypotheses import Line
from evaluation.judge import RUBRIC
from speech_translation.engine import chat
from speech_translation.types import Direction

EN_JA, JA_EN = Direction.EN_JA, Direction.JA_EN

pytestmark = pytest.mark.usefixtures("no_pauses")


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
    for url, wrong in (
        (server.url, "/chat/completions does not answer"),
        ("http://127.0.0.1:port/v1", " is no address"),
    ):
        secret = url.replace("//", "//me:se@cret@")
        assert judge.main([*map(str, two), *by_model(secret), *output]) == 1
        assert url + wrong in (said := capsys.readouterr().err)
        assert "cret" not in said
    assert server.keys[0] == f"Basic {base64.b64encode(b'me:se@cret').decode()}"
    assert "127.0.0.1" in caplog.text
    assert "cret" not in caplog.text


def test_a_proxy_does_not_stand_before_a_judge_of_this_machine(
    tmp_path: Path,
    one: list[Path],
    serve: Callable[[Answer], Endpoint],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    (row,) = judged(tmp_path, one, *by_model(serve(lambda body: scored(4, 5)).url))["scores"]
    assert row["accuracy"] == 4


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
