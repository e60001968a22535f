"""A local server that speaks vLLM's form and fails on demand."""

import base64
import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import soundfile

TAG = ["language", " Japanese", "<asr_text>"]
PATIENCE = 60.0  # seconds for what would otherwise wait for ever
SOON = PATIENCE / 3  # for what does not wait at all, on a busy machine
Fault = Callable[["Handler"], bool]
"""Answers a request in place of the server, or leaves it to it (False)."""


class Server(ThreadingHTTPServer):
    """Says how many samples it heard. `renders`: its template takes the beginning of an answer."""

    daemon_threads = True

    def __init__(
        self, renders: bool = True, fault: Fault | None = None, model: str = "phrasebook"
    ) -> None:
        self.renders, self.fault, self.model = renders, fault, model
        self.start: Fault | None = None  # answers for it when the model is asked for
        self.asked = list[tuple[str, Any]]()
        self.keys = list[str | None]()
        self.counting = threading.Lock()
        self.at_once = self.most = 0
        self.gate: threading.Barrier | None = None  # answers come when so many have asked
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        if self.server.start is not None and self.server.start(self):
            return
        self.answer({"data": [{"id": self.server.model}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        chat = self.path == "/v1/chat/completions"
        with self.server.counting:
            self.server.asked.append((self.path, json.loads(body) if chat else body))
            self.server.at_once += 1
            self.server.most = max(self.server.most, self.server.at_once)
        if self.server.gate is not None:
            self.server.gate.wait(PATIENCE)
        with self.server.counting:
            self.server.at_once -= 1
        if self.server.fault is not None and self.server.fault(self):
            return
        if chat:
            self.chat(json.loads(body))
        else:
            self.answer({"text": "訳"})

    def chat(self, body: dict[str, Any]) -> None:
        forced = body["messages"][-1]["role"] == "assistant"
        if forced and not self.server.renders:
            self.answer({"error": {"message": "no such final message"}}, 400)
            return
        heard = f"{len(samples(body))}個"
        self.stream([*([] if forced else TAG), heard[:2], heard[2:]], "stop")

    def answer(self, content: Any, status: int = 200) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def stream(
        self, pieces: list[str], end: str, pause: float = 0.0, score: float | None = -0.5
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in pieces:
            scored = {"content": [{"token": piece, "logprob": -9.0 if piece in TAG else score}]}
            self.event({"choices": [{"delta": {"content": piece}, "logprobs": scored}]})
            time.sleep(pause)
        self.event({"choices": [{"delta": {"content": ""}, "finish_reason": end}]})
        self.event({"choices": [], "usage": {"completion_tokens": len(pieces) + 1}})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def event(self, content: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(content)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None: ...


def samples(body: dict[str, Any]) -> np.ndarray:
    """The sound in the body of a chat completion."""
    (part,) = next(x for x in body["messages"] if x["role"] == "user")["content"]
    wav = base64.b64decode(part["input_audio"]["data"])
    return soundfile.read(io.BytesIO(wav), dtype="float32")[0]


def clips(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, 8000 + i).astype(np.float32) for i in range(count)]


def endless(handler: Handler) -> bool:
    """Goes on and on until its caller has gone."""
    with contextlib.suppress(OSError):
        handler.stream([*TAG, *"長い話です" * 100_000], "stop", pause=0.01)
    handler.close_connection = True
    return True


def refusal(status: int) -> Fault:
    def fault(handler: Handler) -> bool:
        handler.answer({"error": "no"}, status)
        return True

    return fault


def closed(handler: Handler) -> bool:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
    return True


def hanging(handler: Handler) -> bool:
    handler.connection.settimeout(PATIENCE)
    handler.rfile.read(1)  # until the caller has gone
    return True
