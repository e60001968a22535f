"""Servers by their addresses: passwords, proxies, certificates, and what is no address."""

import base64
import logging
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from clips import EXAMPLES
from vllm_stand_in import SOON, Server, clips, hanging, refusal

from speech_translation import cli
from speech_translation.engine import Request, load_engine, servers
from speech_translation.engine.remote import KEY_VARIABLE, RemoteEngine
from speech_translation.errors import EngineError, ServerUnreachable
from speech_translation.types import Direction

AUTO, JA_EN = Direction.AUTO, Direction.JA_EN
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")

pytestmark = pytest.mark.usefixtures("short_pauses")


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
    assert (
        cli.main([clip, "--engine-url", f"{url.replace('se@', 'se,')},http://me@127.0.0.1:9/v1"])
        == 1
    )
    said += capsys.readouterr().err
    assert server.keys[-1] == f"Basic {base64.b64encode(b'me:se,cret').decode()}"
    assert cli.main([clip, "--engine-url", "http://me:se@cret@127.0.0.1:port/v1"]) == 1
    said += capsys.readouterr().err
    for lacking in ("me:se@cret@127.0.0.1:9/v1", "me:se@cret@127.0.0.1", "secret@127.0.0.1"):
        assert cli.main([clip, "--engine-url", lacking]) == 1
        said += capsys.readouterr().err
    assert said.count("127.0.0.1") >= 6
    assert "cret" not in said
    assert f"{server.url}/models" in caplog.text  # httpx logs what it asks
    assert "cret" not in caplog.text


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
        ("LOCALHOST.", False),
        ("gpu.fritz.box", True),
        ("gpu.lan", False),
        ("gpu.home.arpa", False),
        ("100.64.3.4", False),  # Tailscale's
        ("[fd7a:115c::1]", False),
        ("internal.example.org", True),
    ],
)
def test_which_servers_have_a_proxy(no_proxy: pytest.MonkeyPatch, host: str, through: bool) -> None:
    no_proxy.setenv("all_proxy", "proxy.example:3128")
    no_proxy.setenv("no_proxy", "company.example")
    server = servers.server_at(f"http://{host}:8000/v1", {})
    assert server.proxy == ("http://proxy.example:3128 of all_proxy" if through else "")


@pytest.mark.parametrize(
    ("entry", "url", "through"),
    [
        ("*", "http://vllm.example.org/v1", False),
        (" a.example , EXAMPLE.org", "http://vllm.example.org/v1", False),
        ("a.example example.org", "http://vllm.example.org/v1", False),
        (".example.org", "http://vllm.example.org/v1", False),
        ("*.example.org", "http://vllm.example.org/v1", False),
        ("vllm.*", "http://vllm.example.org/v1", False),
        ("ample.org", "http://vllm.example.org/v1", True),
        ("example.org:8000", "http://vllm.example.org:8000/v1", False),
        ("example.org:8000", "http://vllm.example.org:8001/v1", True),
        ("example.org:80", "http://vllm.example.org/v1", False),
        ("example.org:443", "http://vllm.example.org/v1", True),
        ("http://vllm.example.org", "http://vllm.example.org/v1", False),
        ("8.8.8.0/24", "http://8.8.8.8/v1", False),
        ("8.8.8.0/24", "http://8.8.9.8/v1", True),
        ("8.8.8.*", "http://8.8.8.8/v1", False),
        ("8.8.8.8:8000", "http://8.8.8.8:8000/v1", False),
        ("2606:4700::/32", "http://[2606:4700::1111]:8000/v1", False),
        ("2606:4700::1111", "http://[2606:4700::1111]:8000/v1", False),
        ("[2606:4700::1111]", "http://[2606:4700:0:0::1111]/v1", False),
        ("[2606:4700::1111]:8000", "http://[2606:4700::1111]:8000/v1", False),
        ("[2606:4700::1111]:8000", "http://[2606:4700::1111]:8001/v1", True),
        ("2606:4700::/32", "http://[2a00::1]/v1", True),
        ("例え.jp", "http://vllm.例え.jp/v1", False),
        ("xn--r8jz45g.jp", "http://vllm.例え.jp/v1", False),
        (",", "http://vllm.example.org/v1", True),
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_what_no_proxy_may_say(
    no_proxy: pytest.MonkeyPatch, variable: str, entry: str, url: str, through: bool
) -> None:
    no_proxy.setenv("HTTP_PROXY", "http://proxy.example:3128")
    no_proxy.setenv(variable, entry)
    assert bool(servers.server_at(url, {}).proxy) == through


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


def test_a_server_over_tls_may_have_a_proxy_without(no_proxy: pytest.MonkeyPatch) -> None:
    no_proxy.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(
        ServerUnreachable, match=r"through the proxy http://127\.0\.0\.1:9 of HTTPS_"
    ):
        RemoteEngine(["https://vllm.example.org/v1"])


def test_a_proxy_may_have_a_certificate_of_ones_own(
    secured: Callable[..., tuple[Server, str, Path]], no_proxy: pytest.MonkeyPatch
) -> None:
    _, url, certificate = secured("IP:127.0.0.1")
    no_proxy.setenv("HTTP_PROXY", proxy := url.removesuffix("/v1"))
    with pytest.raises(EngineError, match=f"or of the proxy {proxy} of HTTP_PROXY is signed by"):
        RemoteEngine(["http://vllm.example.org/v1"])
    no_proxy.setenv("SSL_CERT_FILE", str(certificate))
    assert RemoteEngine(["http://vllm.example.org/v1"]).model == "phrasebook"


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


@pytest.fixture
def secured(
    serve: Callable[..., Server], no_proxy: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[Server, str, Path]]:
    """A server with a certificate of its own for some names: the server, its URL, the file."""
    no_proxy.delenv("SSL_CERT_FILE", raising=False)

    def secured(names: str, days: int = 1) -> tuple[Server, str, Path]:
        key, asked, certificate = (tmp_path / f"{name}.pem" for name in ("key", "asked", "made"))
        subject = ["-subj", "/CN=us", "-addext", f"subjectAltName={names}"]
        ask = ["req", "-new", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", key]
        sign = ["x509", "-req", "-in", asked, "-signkey", key, "-days", str(days)]
        for command in (
            [*ask, "-out", asked],
            [*sign, "-copy_extensions", "copy", "-out", certificate],
        ):
            subprocess.run(["openssl", *command], check=True, capture_output=True)
        server = serve()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        return server, server.url.replace("http:", "https:"), certificate

    return secured


def test_a_certificate_of_ones_own_is_named_in_the_environment(
    secured: Callable[..., tuple[Server, str, Path]], no_proxy: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server, url, certificate = secured("DNS:localhost,IP:127.0.0.1")
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
    ("names", "days", "words"),
    [
        ("IP:127.0.0.1", -1, "is out of date .*expired.*: have it renewed"),
        ("DNS:other.example", 1, "is another server's .*: write the name"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said(
    secured: Callable[..., tuple[Server, str, Path]],
    no_proxy: pytest.MonkeyPatch,
    names: str,
    days: int,
    words: str,
) -> None:
    _, url, certificate = secured(names, days)
    no_proxy.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(EngineError, match=words) as caught:
        RemoteEngine([url])
    assert "SSL_CERT_FILE" not in str(caught.value)


def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(
    serve: Callable[..., Server], no_proxy: pytest.MonkeyPatch
) -> None:
    server = serve()
    no_proxy.setenv(KEY_VARIABLE, " sk-1\r\n")  # of a file that Windows wrote
    RemoteEngine([server.url])
    assert server.keys == ["Bearer sk-1"]
    for key in ("sk\n-secret", "sk-secret\u201d"):
        no_proxy.setenv(KEY_VARIABLE, key)
        with pytest.raises(EngineError, match=f"The key in {KEY_VARIABLE}") as caught:
            RemoteEngine([server.url])
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/v1", "localhost:9/v1", "http://localhost:port/v1", "ftp://x/v1", "http:"],
)
def test_no_server_is_one_sentence(url: str) -> None:
    with pytest.raises(EngineError) as caught:
        load_engine(url=url)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:65545/v1",  # which would be port 9
        "http://127.0.0.1:0/v1",
        "http://a..example.org/v1",
        f"http://{'a' * 64}.example.org/v1",
        "http://vllm.example.org/v1?key=1",
        "http://vllm.example.org/v1#key",
    ],
)
def test_an_address_that_can_be_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(EngineError, match="is no address") as caught:
        RemoteEngine([url])
    assert not isinstance(caught.value, ServerUnreachable)


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
