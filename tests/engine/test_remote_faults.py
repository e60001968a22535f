"""An engine on servers that fail, refuse, sit there or come late."""

import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from clips import EXAMPLES
from vllm_stand_in import (
    PATIENCE,
    SOON,
    Fault,
    Handler,
    Server,
    clips,
    closed,
    endless,
    hanging,
    refusal,
)

from speech_translation.engine import Request, remote
from speech_translation.engine.remote import RemoteEngine
from speech_translation.errors import EngineError, ServerUnreachable
from speech_translation.types import Direction, Flag

AUTO, EN_JA = Direction.AUTO, Direction.EN_JA

pytestmark = pytest.mark.usefixtures("short_pauses")


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


def no_gzip(handler: Handler) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", "3")
    handler.end_headers()
    handler.wfile.write(b"no!")
    return True


def deep(handler: Handler) -> bool:
    handler.answer(b"data: " + b"[" * 100_000 + b"\n\n")
    return True


FAULTS = {
    "408": refusal(408),
    "524": refusal(524),
    "no gzip": no_gzip,
    "deep": deep,
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
    while any(thread.name == "remote" for thread in threading.enumerate()):
        assert time.monotonic() - began < SOON  # no thread still sits there
        time.sleep(0.01)


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


NO_NAMES = """
import socket, sys, time
from speech_translation import cli
socket.getaddrinfo = lambda *_, **__: print("asked", flush=True) or time.sleep(3600)
sys.exit(cli.main(["examples/en_1.flac", "--engine-url", "http://vllm.example.org/v1"]))
"""


def test_ctrl_c_ends_a_run_that_looks_up_a_name() -> None:
    """A thread cannot be interrupted there, and no process waits for it at its end."""
    process = subprocess.Popen(
        [sys.executable, "-c", NO_NAMES],
        cwd=EXAMPLES.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=SOON)[1]
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
