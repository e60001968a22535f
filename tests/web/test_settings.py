"""The options of the Space, from the command line and from a Space's variables."""

import re
import socket

import gradio as gr
import httpx
import pytest
from own_space import running_space

from app import build_page
from speech_translation.engine import PHRASEBOOK
from speech_translation.engine.batching import SharedEngine
from speech_translation.types import Direction
from web import server
from web.loading import Loading
from web.server import _load, main
from web.service import Service
from web.settings import Settings, parser


def read(*argv: str) -> Settings:
    return Settings(**vars(parser().parse_args(argv)))


def test_a_variable_gives_the_default_and_an_empty_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPEECH_PORT", "8123")
    monkeypatch.setenv("SPEECH_QUEUE_SIZE", "")
    assert (read().port, read().queue_size) == (8123, Settings.queue_size)
    assert read("--port", "9000").port == 9000


def test_what_is_on_or_off_may_be_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (read().share, read("--share").share, read("--open").open) == (False, True, True)
    monkeypatch.setenv("SPEECH_SHARE", "1")
    monkeypatch.setenv("SPEECH_OPEN", "no")
    assert (read().share, read().open) == (True, False)
    assert read("--share=no").share is False
    monkeypatch.setenv("SPEECH_NO_CACHE", "yes")
    assert (read().no_cache, read("--no-cache", "no").no_cache) == (True, False)


@pytest.mark.slow
def test_a_space_without_limits_starts_and_says_so() -> None:
    many = "9" * 20
    counts = [f"--{name}={many}" for name in ("max-megabytes", "queue-size", "live-talks")]
    with running_space("--max-seconds=inf", *counts) as space:
        about = httpx.get(f"{space.url}about").json()
        assert (about["megabytes"], about["seconds"]) == (int(many), None)
        assert httpx.post(f"{space.url}live").status_code == 200


def test_a_space_without_a_cache_keeps_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[object]()
    monkeypatch.setattr(server, "load_engine", lambda *_, cache, **__: asked.append(cache))
    for argv in ([], ["--no-cache"]):
        _load(read("--engine-url", "http://127.0.0.1:9/v1", *argv))
    assert asked == [True, False]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SPEECH_PORT", "abc", "'abc' is not a whole number (the option, or SPEECH_PORT)"),
        ("SPEECH_MAX_SECONDS", "1h", "'1h' is not a number (the option, or SPEECH_MAX_SECONDS)"),
        ("SPEECH_MAX_SECONDS", "nan", "'nan' is not above 0 (the option, or SPEECH_MAX_SECONDS)"),
        ("SPEECH_QUEUE_SIZE", "-1", "'-1' is not above 0 (the option, or SPEECH_QUEUE_SIZE)"),
        ("SPEECH_LIVE_TALKS", "0", "'0' is not above 0 (the option, or SPEECH_LIVE_TALKS)"),
        ("SPEECH_MAX_MEGABYTES", "0", "'0' is not above 0"),
        ("SPEECH_SHARE", "maybe", "'maybe' is neither yes nor no (the option, or SPEECH_SHARE)"),
        ("SPEECH_DIRECTION", "fr2de", "'fr2de' is none of en2ja, ja2en, auto"),
        ("SPEECH_PRECISION", "int7", "'int7' is none of auto, "),
        ("SPEECH_DEVICE", "gpu", "'gpu' is none of auto, cpu, mps, cuda, cuda:N (the option, or "),
        ("SPEECH_ENGINE_URL", "gpu:8000/v1", "'gpu:8000/v1' is none of http://HOST:PORT/v1, "),
        ("SPEECH_ENGINE_URL", "http://a/v1 http://b/v1", "(the option, or SPEECH_ENGINE_URL)"),
    ],
)
def test_a_variable_that_cannot_be_is_named(
    variable: str,
    value: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit, match="2"):
        read()
    last = capsys.readouterr().err.splitlines()[-1]
    assert said in last
    assert variable in last


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://me:se%20@cret@host:8000/v1", "http://host:8000/v1"),
        ("http://one/v1, http://me:cret@two/v1", "http://one/v1, http://two/v1"),
        ("http://me:se,cret@host/v1", "http://host/v1"),
        ("http://one/v1,http://me:se,cret@two/v1", "http://one/v1,http://two/v1"),
        ("http://one/v1?to=@two", "http://one/v1?to=@two"),
        ("ftp://me:cret@host/v1", "ftp://host/v1"),
        ("me:cret@host:8000/v1", "host:8000/v1"),  # without its http://
        ("10:30@noon", "10:30@noon"),
    ],
)
def test_a_password_in_a_variable_is_not_shown(
    value: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ENGINE_URL", "TRANSCRIPT"):
        monkeypatch.setenv(f"SPEECH_{name}", value)
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["--help"])
    said = capsys.readouterr().out
    assert f"(default: {shown}; SPEECH_ENGINE_URL)" in said
    with pytest.raises(SystemExit, match="2"):
        read("--no-such-option", value, f"--direction={value}")
    said += capsys.readouterr().err
    assert "cret" not in said


def test_devices_and_servers_are_taken_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("cuda:1", "mps", ""):
        monkeypatch.setenv("SPEECH_DEVICE", device)
        assert read().device == (device or "auto")
    servers = "http://one:8000/v1, https://me:pass,word@two.example/v1"
    monkeypatch.setenv("SPEECH_ENGINE_URL", servers)
    assert read().engine_url == servers


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        (Settings(), Direction.EN_JA),  # nobody knows whether it names the target
        (Settings(model=PHRASEBOOK), Direction.AUTO),
        (Settings(model=PHRASEBOOK, engine_url="http://127.0.0.1:1/v1"), Direction.EN_JA),
        (Settings(direction="auto"), Direction.AUTO),
        (Settings(model=PHRASEBOOK, direction="ja2en"), Direction.JA_EN),
    ],
)
def test_the_page_begins_with_what_is_known_to_work(settings: Settings, first: Direction) -> None:
    page = build_page(Service(settings, Loading(pytest.fail, settings.model)))
    shown = "".join(str(b.value) for b in page.blocks.values() if isinstance(b, gr.HTML))
    chosen = re.findall(r'name="([\w-]+)" value="(\w+)" checked', shown)
    chosen = [(name, value) for name, value in chosen if name.endswith("direction")]
    assert chosen == [("direction", first.value), ("live-direction", first.value)]


def test_a_space_computes_in_the_precision_of_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECH_PRECISION", "int8")
    engine = _load(read("--model", PHRASEBOOK, "--device", "cpu"))
    assert isinstance(engine, SharedEngine)
    engine.close()
    assert engine.description == "phrasebook on cpu in int8"


def test_a_port_in_use_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(pytest.fail, "", ["--port", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"error: Port {port} on 127.0.0.1 is in use: choose another with --port or SPEECH_PORT.\n"
    )
    assert main(pytest.fail, "", ["--host", "no.such.host.invalid"]) == 1
    assert "no.such.host.invalid cannot be listened on" in capsys.readouterr().err
    assert main(pytest.fail, "", ["--port", "70000"]) == 1
    assert "There is no port 70000" in capsys.readouterr().err
