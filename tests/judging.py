"""A judge that says what it is told, hypotheses for it, and what it made of them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evaluation import judge
from evaluation.hypotheses import Line
from speech_translation.types import Direction

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


def assert_one_sentence(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    assert all(word in printed.err for word in words)
