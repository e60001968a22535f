"""What a server, or what stands before it, may answer: too much, too little, nothing, a page."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from vllm_stand_in import PATIENCE, TAG, Fault, Handler, Server, clips, closed, refusal

from speech_translation.engine import Request
from speech_translation.engine.remote import RemoteEngine
from speech_translation.errors import EngineError, ServerUnreachable
from speech_translation.types import Direction

AUTO, EN_JA = Direction.AUTO, Direction.EN_JA

pytestmark = pytest.mark.usefixtures("short_pauses")


def raw(status: str, body: bytes | str, **headers: str) -> Fault:
    def fault(handler: Handler) -> bool:
        content = body if isinstance(body, bytes) else body.encode()
        named = {"Content-Length": str(len(content)), "Connection": "close"} | headers
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in named.items()]
        head = "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""])
        handler.wfile.write(head.encode() + content)
        return closed(handler)

    return fault


def once(fault: Fault) -> Fault:
    times = iter([True])
    return lambda handler: next(times, False) and fault(handler)


def dripping(begun: bytes, drop: bytes) -> Fault:
    """Goes on by a few bytes at a time, so that no read takes long, until its caller has gone."""

    def fault(handler: Handler) -> bool:
        end = time.monotonic() + PATIENCE
        try:
            handler.wfile.write(begun)
            while time.monotonic() < end:
                handler.wfile.write(drop)
                time.sleep(0.05)
        except OSError:
            pass
        return closed(handler)

    return fault


OPEN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
DRIPS = {
    "a header": dripping(b"HTTP/1.1 200 OK\r\nX-Header: ", b"a"),
    "a line": dripping(OPEN + b"data: ", b"a"),
    "signs of life": dripping(OPEN, b": ping\n\n"),
    "interim answers": dripping(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "an error": dripping(b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n", b"a"),
}


@pytest.mark.parametrize("fault", DRIPS.values(), ids=DRIPS)
def test_a_server_that_drips_is_not_waited_for_any_longer(
    serve: Callable[..., Server], fault: Fault
) -> None:
    server = serve(fault=fault)
    engine = RemoteEngine([server.url], timeout=1)
    with pytest.raises(ServerUnreachable, match="within 1 s"):
        engine.generate(Request(clips(1), AUTO))
    server.start = fault
    with pytest.raises(ServerUnreachable, match="within 1 s"):
        RemoteEngine([server.url], timeout=1)


def test_a_name_that_is_looked_up_for_long_is_not_waited_for(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, found = serve().url, threading.Event()
    engine = RemoteEngine([url], timeout=0.5, in_flight=2)
    begun = time.monotonic()
    with monkeypatch.context() as network:
        network.setattr(socket, "getaddrinfo", lambda *_, **__: found.wait(10) and [])
        with pytest.raises(ServerUnreachable, match=r"within 0\.5 s"):
            engine.generate(Request(clips(5), AUTO))
        with pytest.raises(ServerUnreachable, match=r"within 0\.5 s"):
            RemoteEngine([url], timeout=0.5)
    assert len(engine.generate(Request(clips(3), AUTO))) == 3  # beside those that look up
    assert time.monotonic() - begun < 8
    found.set()


BOMB = gzip.compress(bytes(64 << 20))


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", "br"])
def test_an_answer_that_unfolds_is_not_kept(
    serve: Callable[..., Server], status: str, coding: str
) -> None:
    packed = gzip.compress(BOMB) if "," in coding else BOMB
    server = serve(fault=raw(status, packed, Content_Encoding=coding))
    engine = RemoteEngine([server.url])
    server.start = server.fault
    words = "over 16 MB|its coding is" if status.startswith("200") else "refuses .* says 400"
    with pytest.raises(EngineError, match=words):
        engine.generate(Request(clips(1), AUTO))
    if status.startswith("200"):
        with pytest.raises(EngineError, match=words):
            RemoteEngine([server.url])


def test_an_answer_may_be_compressed(serve: Callable[..., Server]) -> None:
    reply = gzip.compress(events("訳").encode())
    server = serve(fault=raw("200 OK", reply, Content_Encoding="gzip"))
    assert RemoteEngine([server.url]).generate(Request(clips(1), AUTO))[0].text == "訳"


def events(*texts: str, end: str = "stop", line: str = "\n\n", **more: Any) -> str:
    deltas = [{"content": text} for text in [*TAG, *texts]]
    choices = [{"choices": [{"delta": delta}]} | more for delta in deltas]
    said = [*choices, {"choices": [{"delta": None, "finish_reason": end}]}]
    lines = [json.dumps(event, ensure_ascii=False) for event in said]
    return "".join(f"data: {text}{line}" for text in [*lines, "[DONE]"])


TOLD = {
    "separators of Unicode": events("一\u2028二\u0085三\u000c四"),
    "CRLF": events("一二三四", line="\r\n\r\n"),
    "no error": events("一二三四", error=None),
    "no usage": events("一二三四", usage={"completion_tokens": None}),
    "another character set": events("一二三四"),
    "half of a character": events("一二").replace("一二", "一二\\ud83d三四"),
}


@pytest.mark.parametrize("kind", TOLD)
def test_every_form_of_a_stream_is_read(serve: Callable[..., Server], kind: str) -> None:
    server = serve(fault=raw("200 OK", TOLD[kind], Content_Type="text/plain; charset=latin-1"))
    (answer,) = RemoteEngine([server.url]).generate(Request(clips(1), AUTO))
    assert "".join(filter(str.isalpha, answer.text)) == "一二三四"
    assert answer.tokens == 0
    answer.text.encode()


PAGE = "<html>\r\n<head><title>{0}</title></head>\r\n<body><h1>{0}</h1><hr>nginx</body>\r\n</html>"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (raw("502 x", PAGE.format("502 Bad Gateway")), r"\(502 502 Bad Gateway\)"),
        (raw("413 x", PAGE.format("413 Too Large")), "413 Too Large. .* client_max_body_size"),
        (raw("418 x", "<p>a\x1b[31m</p>\r\nb"), r"418 a\[31m b$"),
        (raw("301 x", "", Location="https://me:pw@b.example/v1"), "elsewhere: https://b.example"),
        (raw("403 x", "no such user"), "403 no such user.* SPEECH_ENGINE_KEY, or correct it"),
        (raw("200 OK", '{"object": "error"}'), 'broke off {"object": "error"}'),
        (raw("200 OK", events("a", end="abort")), "it ended the generation: abort"),
    ],
)
def test_what_stands_in_an_error_is_said_in_words(
    serve: Callable[..., Server], fault: Fault, words: str
) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        RemoteEngine([serve(fault=fault).url]).generate(Request(clips(1), AUTO))
    assert str(caught.value).isprintable()


def test_a_text_that_is_none_is_no_translation(serve: Callable[..., Server]) -> None:
    def null(handler: Handler) -> bool:
        handler.answer({"text": None}, 200 if handler.path.endswith("translations") else 400)
        return True

    with pytest.raises(EngineError, match="not a vLLM server's"):
        RemoteEngine([serve(fault=null).url]).generate(Request(clips(1), EN_JA))


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ({"data": []}, "it serves no model"),
        ({"data": [{"id": None}]}, "its model has no name"),
        ({"data": [{"id": "a\x1b[31m"}]}, "its model has no name"),
    ],
)
def test_a_list_without_a_model_is_said(
    serve: Callable[..., Server], models: dict[str, Any], words: str
) -> None:
    server = serve()
    server.start = raw("200 OK", json.dumps(models))
    with pytest.raises(ServerUnreachable, match=words):
        RemoteEngine([server.url])


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry_After": "1"},
        {"Date": formatdate(0, usegmt=True), "Retry_After": formatdate(1, usegmt=True)},
    ],
    ids=["seconds", "date"],
)
def test_a_busy_server_is_left_alone_as_long_as_it_asks(
    serve: Callable[..., Server], headers: dict[str, str]
) -> None:
    asked = list[float]()

    def busy(handler: Handler) -> bool:
        asked.append(time.monotonic())
        return len(asked) == 1 and raw("429 x", "", **headers)(handler)

    engine = RemoteEngine([serve(fault=busy).url])
    assert engine.generate(Request(clips(1), AUTO))[0].text == "8000個"
    assert asked[1] - asked[0] > 0.9


def test_a_server_that_asks_for_longer_than_there_is_time_is_not_waited_for(
    serve: Callable[..., Server],
) -> None:
    server = serve(fault=raw("503 x", "full", Retry_After="3600"))
    with pytest.raises(ServerUnreachable, match="503 full"):
        RemoteEngine([server.url]).generate(Request(clips(1), AUTO))
    assert len(server.asked) == 1


# Several servers


def test_of_many_servers_the_one_that_works_is_found(serve: Callable[..., Server]) -> None:
    broken = [serve(fault=refusal(503)) for _ in range(9)]
    for server in broken:
        server.start = refusal(503)
    engine = RemoteEngine([server.url for server in [*broken, serve()]])
    assert engine.generate(Request(clips(1), AUTO))[0].text == "8000個"


def test_a_server_that_has_the_model_no_more_is_replaced(serve: Callable[..., Server]) -> None:
    """One that starts, or was started with another model, says 404."""
    servers = [serve(fault=refusal(404)), serve()]
    engine = RemoteEngine([server.url for server in servers], in_flight=2)
    answers = engine.generate(Request(clips(6), AUTO))
    assert [x.text for x in answers] == [f"{8000 + i}個" for i in range(6)]


# The caller's own function


def test_an_error_of_the_callers_own_function_is_not_the_servers(
    serve: Callable[..., Server],
) -> None:
    def print_it(index: int, text: str) -> None:
        text.encode("ascii")

    server = serve()
    with pytest.raises(UnicodeEncodeError):
        RemoteEngine([server.url]).generate(Request(clips(1), EN_JA, on_text=print_it))
    assert len(server.asked) == 1
