"""The engine on a server, against a local one that speaks vLLM's form and fails on demand."""

import base64
import contextlib
import io
import json
import logging
import math
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speech_translation import cli, load_audio, translate
from speech_translation.engine import Request, load_engine, remote, servers
from speech_translation.engine.remote import RemoteEngine
from speech_translation.errors import EngineError, ServerUnreachable
from speech_translation.types import SAMPLE_RATE, Direction, Flag

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
AUTO, EN_JA, JA_EN = Direction.AUTO, Direction.EN_JA, Direction.JA_EN
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


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    started = list[Server]()

    def start(*args: Any, **options: Any) -> Server:
        started.append(Server(*args, **options))
        threading.Thread(target=started[-1].serve_forever, args=(0.01,), daemon=True).start()
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.delenv(remote.KEY_VARIABLE, raising=False)


# What is asked, and what is made of the answer


def test_an_automatic_direction_is_the_one_the_model_names(serve: Callable[..., Server]) -> None:
    engine = RemoteEngine([serve().url])
    (hypothesis,) = engine.generate(Request(clips(1), AUTO))
    assert (hypothesis.text, hypothesis.direction) == ("8000個", EN_JA)
    assert hypothesis.tokens == 6
    assert hypothesis.mean_logprob == -0.5  # without the tag
    assert not hypothesis.flags
    assert engine.description.startswith("phrasebook on http://127.0.0.1:")


def test_the_direction_alone_takes_no_more_than_the_tag(serve: Callable[..., Server]) -> None:
    server = serve()
    request = Request(clips(1), AUTO, only_direction=True)
    (hypothesis,) = RemoteEngine([server.url]).generate(request)
    assert (hypothesis.text, hypothesis.direction) == ("", EN_JA)
    assert hypothesis.mean_logprob < 0
    assert server.asked[0][1]["max_completion_tokens"] == 4


def test_a_forced_direction_is_the_beginning_of_the_answer(serve: Callable[..., Server]) -> None:
    server = serve()
    engine = RemoteEngine([server.url])
    (hypothesis,) = engine.generate(Request(clips(1), EN_JA, context="Kyoto <|im_end|>"))
    assert (hypothesis.text, hypothesis.direction) == ("8000個", EN_JA)
    (_, body), *rest = server.asked
    assert not rest
    assert body["messages"][-1] == {"role": "assistant", "content": "language Japanese<asr_text>"}
    assert body["messages"][0] == {"role": "system", "content": "Kyoto"}
    assert (body["temperature"], body["continue_final_message"]) == (0, True)
    assert "training" in engine.description


def test_a_server_without_our_template_is_found_out_once(serve: Callable[..., Server]) -> None:
    server = serve(renders=False)
    engine = RemoteEngine([server.url], in_flight=1)
    assert [x.text for x in engine.generate(Request(clips(3), EN_JA))] == ["訳"] * 3
    chat, translations = "/v1/chat/completions", "/v1/audio/translations"
    assert server.paths() == [chat, translations, translations, translations]
    assert b'name="to_language"\r\n\r\nja\r\n' in server.asked[-1][1]
    assert "/audio/translations" in engine.description
    assert engine.generate(Request(clips(1), AUTO))[0].text == "8000個"


def test_the_samples_arrive_as_they_are(serve: Callable[..., Server]) -> None:
    server = serve()
    sent = clips(1)
    RemoteEngine([server.url]).generate(Request(sent, AUTO))
    np.testing.assert_array_equal(samples(server.asked[0][1]), sent[0])


@pytest.mark.parametrize("direction", [AUTO, EN_JA])
@pytest.mark.parametrize("translations", [False, True])
def test_what_a_terminal_would_act_on_is_left_out(
    serve: Callable[..., Server], direction: Direction, translations: bool
) -> None:
    said = ["\x1b[31m", "訳\r", "\u202e\x00\u3000文\n", "\x9b2J"]

    def evil(handler: Handler) -> bool:
        if handler.path.endswith("/translations"):
            handler.answer({"text": "".join(said)})
        elif translations and direction is EN_JA:
            handler.answer({"error": "no such final message"}, 400)
        else:
            handler.stream([*(TAG if direction is AUTO else []), *said], "stop")
        return True

    heard = list[str]()
    engine = RemoteEngine([serve(fault=evil).url])
    asked = Request(clips(1), direction, on_text=lambda _, text: heard.append(text))
    (hypothesis,) = engine.generate(asked)
    assert hypothesis.text == "[31m訳\u3000文\n2J"
    assert heard[-1] == hypothesis.text
    assert "\x1b" not in "".join(heard)


def test_an_answer_cut_at_the_limit_is_flagged(serve: Callable[..., Server]) -> None:
    def fault(handler: Handler) -> bool:
        handler.stream([*TAG, "あ"], "length")
        return True

    (hypothesis,) = RemoteEngine([serve(fault=fault).url]).generate(Request(clips(1), AUTO))
    assert hypothesis.flags == {Flag.TRUNCATED}


@pytest.mark.parametrize("only_direction", [False, True])
def test_scores_that_are_no_numbers_end_the_translation(
    serve: Callable[..., Server], only_direction: bool
) -> None:
    def no_numbers(handler: Handler) -> bool:
        handler.stream(["!"] * 5, "length", score=None)  # what vLLM sends for NaN
        return True

    engine = RemoteEngine([serve(fault=no_numbers).url])
    with pytest.raises(EngineError, match="no numbers on the server: start vLLM with --dtype"):
        engine.generate(Request(clips(1), AUTO, only_direction=only_direction))


def test_text_grows_as_the_server_sends_it(serve: Callable[..., Server]) -> None:
    heard = list[tuple[int, str]]()
    engine = RemoteEngine([serve().url])
    engine.generate(
        Request(clips(2), AUTO, on_text=lambda index, text: heard.append((index, text)))
    )
    assert [text for index, text in heard if index == 0] == ["80", "8000個"]
    assert [text for index, text in heard if index == 1] == ["80", "8001個"]


def test_a_stop_ends_the_generation(serve: Callable[..., Server]) -> None:
    engine = RemoteEngine([serve(fault=endless).url])
    seen = list[str]()
    engine.generate(
        Request(
            clips(1),
            AUTO,
            on_text=lambda _, text: seen.append(text),
            cancelled=lambda: len(seen) >= 3,
        )
    )
    assert len(seen) == 3


def test_many_are_in_flight_up_to_the_bound_and_come_back_in_order(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    server.gate = threading.Barrier(4)
    hypotheses = RemoteEngine([server.url], in_flight=4).generate(Request(clips(20), AUTO))
    assert [x.text for x in hypotheses] == [f"{8000 + i}個" for i in range(20)]
    assert server.most == 4


def test_jobs_are_as_many_requests_at_a_time(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve()
    server.gate = threading.Barrier(24)
    (tmp_path / "in").mkdir()
    for i in range(48):
        (tmp_path / "in" / f"{i}.flac").symlink_to(EXAMPLES / "en_1.flac")
    command = [str(tmp_path / "in"), "--output-dir", str(tmp_path / "out"), "--jobs", "24"]
    assert cli.main([*command, "--engine-url", server.url]) == 0
    assert server.most == 24
    assert capsys.readouterr().err.splitlines()[-1].startswith("48 files done")
    texts = {path.read_text("utf-8") for path in (tmp_path / "out").glob("*.txt")}
    assert len(texts) == 1
    assert len(list((tmp_path / "out").glob("*.txt"))) == 48


def test_a_folder_of_results_knows_the_model_of_the_servers(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = str(EXAMPLES / "en_1.flac"), str(tmp_path)

    def run(*where: str) -> tuple[int, str]:
        return cli.main([clip, "--output-dir", out, *where]), capsys.readouterr().err

    server, elsewhere, other = serve(), serve(), serve(model="another")
    assert run("--engine-url", server.url)[0] == 0
    status, said = run("--engine-url", elsewhere.url)  # servers may be moved
    assert (status, "all was done before" in said) == (0, True)
    for where in (["--engine-url", other.url], ["--model", "another"]):
        status, said = run(*where)
        assert status == 1
        words = "with model 'phrasebook', and this run has model 'another': name another folder"
        assert words in said
        assert (tmp_path / "en_1.txt").exists()
    assert run("--model", "phrasebook")[0] == 0  # the same, by its name


def test_the_key_comes_from_the_environment(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(remote.KEY_VARIABLE, "sk-1")
    server = serve()
    RemoteEngine([server.url])
    assert server.keys == ["Bearer sk-1"]


# Several servers


def test_servers_share_the_work(serve: Callable[..., Server]) -> None:
    servers = [serve(), serve()]
    servers[0].gate = servers[1].gate = threading.Barrier(4)
    RemoteEngine([server.url for server in servers], in_flight=4).generate(Request(clips(20), AUTO))
    assert all(len(server.asked) >= 5 for server in servers)
    assert sum(len(server.asked) for server in servers) == 20


def test_a_server_that_dies_is_replaced(serve: Callable[..., Server]) -> None:
    dying, other = serve(), serve()
    engine = RemoteEngine([dying.url, other.url], in_flight=2)
    dying.shutdown()
    dying.server_close()
    hypotheses = engine.generate(Request(clips(6), AUTO))
    assert [x.text for x in hypotheses] == [f"{8000 + i}個" for i in range(6)]
    assert len(other.asked) >= 5  # a connection that was open may have been answered


# Faults


def refusal(status: int) -> Fault:
    def fault(handler: Handler) -> bool:
        handler.answer({"error": "no"}, status)
        return True

    return fault


def closed(handler: Handler) -> bool:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
    return True


def broken_off(handler: Handler) -> bool:
    handler.send_response(200)
    handler.end_headers()
    handler.event({"choices": [{"delta": {"content": "language Jap"}}]})
    return closed(handler)


def unfinished(handler: Handler) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", "9999")
    handler.end_headers()
    handler.wfile.write(b'data: {"choices": [')
    return closed(handler)


def garbage(handler: Handler) -> bool:
    handler.answer(b"data: \xff\x00<html>\n\ndata: [DONE]\n\n")
    return True


def other_json(handler: Handler) -> bool:
    handler.answer(b'data: ["choices"]\n\ndata: [DONE]\n\n')
    return True


def failure_inside(handler: Handler) -> bool:
    handler.answer(b'data: {"error": {"message": "engine died"}}\n\n')
    return True


FAULTS = {
    "500": refusal(500),
    "503": refusal(503),
    "429": refusal(429),
    "closed": closed,
    "broken off": broken_off,
    "unfinished": unfinished,
    "garbage": garbage,
    "other json": other_json,
    "failure inside": failure_inside,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("direction", [AUTO, EN_JA])
def test_what_passes_is_tried_again(
    serve: Callable[..., Server], fault: Fault, direction: Direction
) -> None:
    times = iter(range(2))
    server = serve(fault=lambda handler: next(times, None) is not None and fault(handler))
    (hypothesis,) = RemoteEngine([server.url]).generate(Request(clips(1), direction))
    assert hypothesis.text == "8000個"
    assert len(server.asked) == 3


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_does_not_pass_is_one_sentence(serve: Callable[..., Server], fault: Fault) -> None:
    server = serve(fault=fault)
    with pytest.raises(EngineError) as caught:
        RemoteEngine([server.url]).generate(Request(clips(1), AUTO))
    assert server.url in str(caught.value)
    assert "vLLM" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.asked) == remote.TRIES


@pytest.mark.parametrize(("status", "words"), [(401, "SPEECH_ENGINE_KEY"), (404, "404")])
def test_a_refusal_is_not_tried_again(
    serve: Callable[..., Server], status: int, words: str
) -> None:
    server = serve(fault=refusal(status))
    with pytest.raises(EngineError, match=words):
        RemoteEngine([server.url]).generate(Request(clips(1), AUTO))
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [302, 404, 502])
def test_a_server_that_is_not_there_yet_is_one_sentence(
    serve: Callable[..., Server], status: int
) -> None:
    """An ingress says so while vLLM starts; the Space tries again after this kind of error."""
    server = serve()
    server.start = refusal(status)
    with pytest.raises(ServerUnreachable) as caught:
        RemoteEngine([server.url])
    assert f"{server.url}/models gives no answer ({status}" in str(caught.value)
    assert "with /v1" in str(caught.value)
    assert len(server.keys) == remote.TRIES
    there = serve()
    assert RemoteEngine([server.url, there.url]).model == "phrasebook"


def test_a_password_in_an_address_is_sent_and_not_shown(
    serve: Callable[..., Server],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve()
    url = server.url.replace("//", "//me:se@cret@")
    clip = str(EXAMPLES / "en_1.flac")
    assert cli.main([clip, "--direction", "en2ja", "--engine-url", url]) == 0
    said = capsys.readouterr().err
    assert server.keys == [f"Basic {base64.b64encode(b'me:se@cret').decode()}"]
    server.start = server.fault = refusal(404)
    assert cli.main([clip, "--engine-url", f"{url},http://me:se@cret@127.0.0.1:9/v1"]) == 1
    said += capsys.readouterr().err
    assert cli.main([clip, "--engine-url", "http://me:se@cret@127.0.0.1:port/v1"]) == 1
    said += capsys.readouterr().err
    assert cli.main([clip, "--engine-url", "me:se@cret@127.0.0.1:9/v1"]) == 1
    said += capsys.readouterr().err
    assert said.count("127.0.0.1") >= 6
    assert "cret" not in said
    assert f"{server.url}/models" in caplog.text  # httpx logs what it asks
    assert "cret" not in caplog.text


def hanging(handler: Handler) -> bool:
    handler.connection.settimeout(PATIENCE)
    handler.rfile.read(1)  # until the caller has gone
    return True


@pytest.mark.parametrize("fault", [hanging, endless])
def test_nothing_waits_longer_than_the_timeout(serve: Callable[..., Server], fault: Fault) -> None:
    engine = RemoteEngine([serve(fault=fault).url], timeout=2)
    with pytest.raises(EngineError, match="within 2 s"):
        engine.generate(Request(clips(3), AUTO))


def test_who_gives_up_waits_for_no_server(serve: Callable[..., Server]) -> None:
    silent = threading.Event()

    def sits(handler: Handler) -> bool:
        silent.set()
        return hanging(handler)

    engine = RemoteEngine([serve(fault=sits).url], in_flight=2)
    began = time.monotonic()
    answers = engine.generate(Request(clips(4), EN_JA, cancelled=silent.is_set))
    assert time.monotonic() - began < SOON
    assert [(x.text, x.flags) for x in answers] == [("", {Flag.TRUNCATED})] * 4
    engine._pool.shutdown(wait=True)  # no thread still sits there
    assert time.monotonic() - began < SOON


@pytest.mark.slow
def test_ctrl_c_ends_a_run_on_a_server_that_sits(serve: Callable[..., Server]) -> None:
    server = serve(fault=hanging)
    command = [sys.executable, "inference.py", str(EXAMPLES / "en_1.flac")]
    process = subprocess.Popen(
        [*command, "--engine-url", server.url],
        cwd=EXAMPLES.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE
    while not server.asked:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    said = process.communicate(timeout=PATIENCE)[1]
    assert time.monotonic() - began < SOON
    assert (process.returncode, said.splitlines()[-1]) == (130, "interrupted")


def test_one_error_does_not_change_the_prompt(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    once = iter([404])
    server = serve(fault=lambda handler: refusal(404)(handler) if next(once, None) else False)
    engine = RemoteEngine([server.url], in_flight=1)
    with pytest.raises(EngineError, match="404"):
        engine.generate(Request(clips(1), EN_JA))
    assert engine.generate(Request(clips(1), EN_JA))[0].text == "8000個"
    assert set(server.paths()) == {"/v1/chat/completions"}
    assert caplog.text == ""


def test_a_template_that_comes_later_is_found(
    serve: Callable[..., Server],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(renders=False)
    engine = RemoteEngine([server.url], in_flight=1)
    (answer,) = engine.generate(Request(clips(1), EN_JA))
    assert math.isnan(answer.mean_logprob)  # this route tells none
    assert answer.flags == frozenset()
    assert "confidence unknown" in engine.description
    assert caplog.text.count("--chat-template deploy/chat_template.jinja") == 1
    server.renders = True
    assert engine.generate(Request(clips(1), EN_JA))[0].text == "訳"
    monkeypatch.setattr(engine, "_ask_again", 0.0)  # ten minutes later
    assert engine.generate(Request(clips(1), EN_JA))[0].text == "8000個"
    assert "prompt of the training" in engine.description


# Proxies and certificates

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense://x"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_does_not_stand_before_this_machine(
    serve: Callable[..., Server], no_proxy: pytest.MonkeyPatch, name: str, proxy: str
) -> None:
    no_proxy.setenv(name.lower(), proxy)
    engine = RemoteEngine([serve().url])
    assert engine.generate(Request(clips(1), AUTO))[0].text == "8000個"


@pytest.mark.parametrize(
    ("host", "through"),
    [
        ("10.1.2.3", False),
        ("192.168.7.1", False),
        ("[::1]", False),
        ("vllm", False),
        ("vllm.speech.svc.cluster.local", False),
        ("gpu.company.example", False),  # in NO_PROXY
        ("vllm.example.org", True),
        ("8.8.8.8", True),
    ],
)
def test_which_servers_have_a_proxy(no_proxy: pytest.MonkeyPatch, host: str, through: bool) -> None:
    no_proxy.setenv("all_proxy", "proxy.example:3128")
    no_proxy.setenv("no_proxy", "company.example")
    server = servers.server_at(f"http://{host}:8000/v1", {})
    assert server.proxy == ("http://proxy.example:3128 of all_proxy" if through else "")


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("http://me:secret@127.0.0.1:9", "through the proxy http://127.0.0.1:9 of {} "),
        ("http://me:my@secret@127.0.0.1:9", "proxy http://127.0.0.1:9 of {} "),
        ("socks5://127.0.0.1:9", "proxy socks5://127.0.0.1:9 of {} cannot be used"),
        ("nonsense://x", "proxy nonsense://x of {} cannot be used"),
    ],
)
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_an_error_of_a_proxy_names_it_and_its_variable(
    no_proxy: pytest.MonkeyPatch, variable: str, proxy: str, words: str
) -> None:
    no_proxy.setenv(variable, proxy)
    with pytest.raises(EngineError) as caught:
        RemoteEngine(["http://vllm.example.org/v1"])
    assert words.format(variable) in str(caught.value)
    assert "http://vllm.example.org/v1" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [403, 407, 502])
def test_an_answer_of_a_proxy_names_it(
    serve: Callable[..., Server], no_proxy: pytest.MonkeyPatch, status: int
) -> None:
    server = serve(fault=refusal(status))
    address = server.url.removesuffix("/v1")
    no_proxy.setenv("http_proxy", address)
    engine = RemoteEngine(["http://vllm.example.org/v1"], model="m")
    with pytest.raises(EngineError, match=f"(?i)the proxy {address} of http_proxy"):
        engine.generate(Request(clips(1), AUTO))


def test_a_certificate_of_ones_own_is_named_in_the_environment(
    serve: Callable[..., Server], no_proxy: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run(
        [*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    server = serve()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    no_proxy.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(EngineError, match=r"signed by nobody .* in SSL_CERT_FILE"):
        RemoteEngine([url])
    no_proxy.setenv("SSL_CERT_FILE", str(certificate))
    stop = threading.Event()
    engine = RemoteEngine([url])
    assert engine.generate(Request(clips(1), AUTO))[0].text == "8000個"
    server.fault = lambda handler: stop.set() or hanging(handler)  # type: ignore[func-returns-value]
    began = time.monotonic()
    engine.generate(Request(clips(1), AUTO, cancelled=stop.is_set))
    assert time.monotonic() - began < SOON
    no_proxy.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(EngineError, match=r"missing\.pem cannot be read .* SSL_CERT_FILE\.$"):
        RemoteEngine([url])


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/v1", "localhost:9/v1", "http://localhost:port/v1", "ftp://x/v1", "http:"],
)
def test_no_server_is_one_sentence(url: str) -> None:
    with pytest.raises(EngineError) as caught:
        load_engine(url=url)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_entry_among_servers_is_said_at_once(serve: Callable[..., Server]) -> None:
    server = serve()
    with pytest.raises(EngineError, match="An empty entry is no address"):
        load_engine(url=f"{server.url},,{server.url}")
    assert not server.keys


def test_an_address_of_something_else_is_said(serve: Callable[..., Server]) -> None:
    server = serve()
    with pytest.raises(EngineError, match="vLLM"):
        RemoteEngine([server.url.removesuffix("/v1") + "/v2"], model="m").generate(
            Request(clips(1), JA_EN)
        )


def test_a_second_of_sound_is_bounded_in_tokens(serve: Callable[..., Server]) -> None:
    server = serve()
    RemoteEngine([server.url]).generate(Request([np.zeros(SAMPLE_RATE, np.float32)], AUTO))
    assert server.asked[0][1]["max_completion_tokens"] == 36


@pytest.mark.parametrize("renders", [True, False])
def test_what_was_said_is_a_second_request(serve: Callable[..., Server], renders: bool) -> None:
    server = serve(renders)
    engine = RemoteEngine([server.url])
    sound = load_audio(EXAMPLES / "en_1.flac")
    translation = translate(sound, engine, EN_JA, transcriber=engine)
    assert translation.source_text == translation.text != ""
    if renders:
        tags = [body["messages"][-1]["content"] for _, body in server.asked]
        assert tags == ["language Japanese<asr_text>", "language English<asr_text>"]
    else:
        forms = [body for path, body in server.asked if path.endswith("translations")]
        written = [re.search(rb'name="to_language"\r\n\r\n(\w+)', form) for form in forms]
        assert [found and found[1] for found in written] == [b"ja", b"en"]
