"""A server by its address: how it is reached, with which key, and what people may read of it.

The environment's proxies and certificates count. Nobody is shown a password of an address.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase

import httpx

from speech_translation.errors import EngineError, first_words, shown_address, without_password
from speech_translation.types import Seconds

# Ends of names that no proxy knows: RFC 6762 (appendix G), RFC 8375, Kubernetes.
_NEAR = re.compile(r".*\.(local|localhost|internal|intranet|private|corp|home|lan|home\.arpa|svc)")
_PORTS = {"http": 80, "https": 443}
_ENCODINGS = "gzip, deflate"  # a piece of these grows a thousandfold at most


@dataclass(eq=False)
class Server:
    """One of the servers of an engine, and how busy it is with its requests."""

    url: str
    """Without a slash at the end."""
    client: httpx.Client
    shown: str
    """The address without a password, for people."""
    proxy: str
    """The proxy in front of it, for people: address without a password, and which variable names
    it; empty for none."""
    in_flight: int = 0
    shunned_until: float = 0.0
    """By the monotonic clock: it failed, and is asked before only if all did."""


def server_at(url: str, headers: dict[str, str], kept: int = 0) -> Server:
    """The server at an address, with a client for it. EngineError where there can be none.

    The client keeps up to `kept` connections for further requests.
    """
    url = url.strip().rstrip("/")
    named = shown_address(url)
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise EngineError(f"{named} is no address{_reason(error, url)}.") from None
    if not _can_be(address):
        raise EngineError(
            f"{named or 'An empty entry'} is no address of a vLLM server: write it like "
            "http://127.0.0.1:8000/v1, and several with one comma between them."
        )
    asked, password = url, None
    if address.userinfo:  # httpx logs the addresses that it asks
        asked = str(address.copy_with(username=None, password=None))
        password = (address.username, address.password)
    proxy, named_by = _proxy(address)
    shown = f"{without_password(proxy)} of {named_by}" if proxy else ""
    certificates: ssl.SSLContext | None = None  # an unreadable file breaks no http
    proxy_over_tls = proxy.lower().startswith("https:")
    try:
        if address.scheme == "https" or proxy_over_tls:
            certificates = httpx.create_ssl_context()
    except OSError as error:
        variable = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise EngineError(
            f"The certificates in {os.environ.get(variable)} cannot be read "
            f"({first_words(error)}): correct {variable}."
        ) from error
    try:
        client = httpx.Client(
            headers={"Accept-Encoding": _ENCODINGS} | headers,
            auth=password,
            limits=httpx.Limits(max_keepalive_connections=kept),
            verify=certificates or False,
            proxy=httpx.Proxy(proxy, ssl_context=certificates if proxy_over_tls else None)
            if proxy
            else None,
            trust_env=False,
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise EngineError(
            f"The proxy {shown} cannot be used for {named}{_reason(error, proxy)}: correct "
            f"{named_by}, or put the server's name into NO_PROXY."
        ) from None
    return Server(asked, client, named, shown)


def _can_be(address: httpx.URL) -> bool:
    """Whether there can be a server: by a name, at a port, with a path alone behind it.

    The system would take another port for one that is too large.
    """
    try:
        address.host.encode("idna")
    except UnicodeError:  # a part of the name is empty, or has over 63 bytes
        return False
    port = 1 if address.port is None else address.port
    rest = address.query or address.fragment
    return address.scheme in _PORTS and bool(address.host) and 0 < port < 1 << 16 and not rest


def key_headers(variable: str) -> dict[str, str]:
    """What a server is told of the key in an environment variable.

    Raises EngineError for one that no header can hold: httpx would quote it.
    """
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable():
        raise EngineError(f"The key in {variable} has characters that keys do not: copy it again.")
    return {"Authorization": f"Bearer {key}"} if key else {}


def retry_after(reply: httpx.Response) -> Seconds:
    """How long a busy server asks to be left alone: by its Retry-After, seconds or a date.

    A date counts from the answer's own: the clock of this machine may be another one.
    """
    said = reply.headers.get("retry-after", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        answered = parsedate_to_datetime(reply.headers.get("date", ""))
        return max((parsedate_to_datetime(said) - answered).total_seconds(), 0.0)
    except (ValueError, OverflowError, TypeError):
        return 0.0


def _reason(error: Exception, address: str) -> str:
    """What a library says of an address, unless it may quote a part of a password."""
    return "" if "@" in address else f" ({first_words(error)})"


def _proxy(address: httpx.URL) -> tuple[str, str]:
    """The environment's proxy for an address and what names it; empty where the server is near."""
    known = urllib.request.getproxies()
    exempt = re.split(r"[\s,]+", known.get("no", "").lower())
    if (
        _near(address.host)
        or any(_is_named(address, entry) for entry in exempt if entry)
        or urllib.request.proxy_bypass(address.host)  # by the settings of macOS or Windows
    ):
        return "", ""
    for scheme in (address.scheme, "all"):
        if proxy := known.get(scheme, "").strip():
            variables = f"{scheme}_proxy", f"{scheme}_proxy".upper()
            named_by = next((x for x in variables if os.environ.get(x)), "the system's settings")
            return proxy if "://" in proxy else f"http://{proxy}", named_by
    return "", ""


def _near(host: str) -> bool:
    """Whether a host is this machine or in its network: a private address, or a name inside."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        host = host.removesuffix(".")
        return "." not in host or _NEAR.fullmatch(host) is not None


def _is_named(address: httpx.URL, entry: str) -> bool:
    """Whether an entry of NO_PROXY, in lower case, names an address.

    It is a name, which stands for all below it, too, one with *, an IP address or a network, each
    with a port or without. Programs agree on the first alone; requests, Go and curl know the rest.
    """
    entry = entry.partition("://")[2] or entry
    name, _, port = entry.rpartition(":")
    if not port.isdecimal() or (":" in name and not name.endswith("]")):
        name, port = entry, ""  # an IPv6 address may end in digits, too
    name = name.strip("[]")
    if port and int(port) != (address.port or _PORTS[address.scheme]):
        return False
    try:
        return ipaddress.ip_address(address.host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        host = address.raw_host.decode().removesuffix(".")
    try:
        name = name.strip(".").encode("idna").decode()
    except UnicodeError:  # it is no name
        return False
    return host == name or host.endswith(f".{name}") or fnmatchcase(host, name)
