"""A vLLM server by its address: how it is reached, and what people may read of it.

The environment's proxies and certificates count. Nobody is shown a password of an address.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import urllib.request
from dataclasses import dataclass

import httpx

from speech_translation.engine.chat import credentials
from speech_translation.errors import EngineError, first_words, without_password

_NEAR = (".local", ".localhost", ".svc", ".internal")  # ends of names that no proxy knows


@dataclass(eq=False)
class Server:
    """One of the servers of an engine, and how busy it is with its requests."""

    url: str
    """Without a slash at the end."""
    client: httpx.Client
    """Each of its requests has a connection of its own."""
    shown: str
    """The address without a password, for people."""
    proxy: str
    """The proxy in front of it, for people: address without a password, and which variable names
    it; empty for none."""
    in_flight: int = 0
    shunned_until: float = 0.0
    """By the monotonic clock: it failed, and is asked before only if all did."""


def server_at(url: str, headers: dict[str, str]) -> Server:
    """The server at an address, with a client for it. EngineError where there can be none."""
    named = without_password(url)
    try:
        address = httpx.URL(url)
        asked, password = credentials(url)
    except httpx.InvalidURL as error:
        raise EngineError(f"{named} is no address{_reason(error, url)}.") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise EngineError(
            f"{named or 'An empty entry'} is no address of a vLLM server: write it like "
            "http://127.0.0.1:8000/v1, and several with one comma between them."
        )
    proxy, named_by = _proxy(address)
    shown = f"{without_password(proxy)} of {named_by}" if proxy else ""
    certificates: ssl.SSLContext | bool = False  # an unreadable file breaks no http
    try:
        if address.scheme == "https":
            certificates = httpx.create_ssl_context()
    except OSError as error:
        variable = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise EngineError(
            f"The certificates in {os.environ.get(variable)} cannot be read "
            f"({first_words(error)}): correct {variable}."
        ) from error
    try:
        client = httpx.Client(
            headers=headers,
            auth=password,
            limits=httpx.Limits(max_keepalive_connections=0),
            verify=certificates,
            proxy=proxy or None,
            trust_env=False,
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise EngineError(
            f"The proxy {shown} cannot be used for {named}{_reason(error, proxy)}: correct "
            f"{named_by}, or put the server's name into NO_PROXY."
        ) from None
    return Server(asked, client, named, shown)


def _reason(error: Exception, address: str) -> str:
    """What a library says of an address, unless it may quote a part of a password."""
    return "" if "@" in address else f" ({first_words(error)})"


def _proxy(address: httpx.URL) -> tuple[str, str]:
    """The environment's proxy for an address and what names it; empty where the server is near."""
    if _near(address.host) or urllib.request.proxy_bypass(address.host):
        return "", ""
    known = urllib.request.getproxies()
    for scheme in (address.scheme, "all"):
        if proxy := known.get(scheme):
            variables = f"{scheme}_proxy", f"{scheme}_proxy".upper()
            named_by = next((x for x in variables if os.environ.get(x)), "the system's settings")
            return proxy if "://" in proxy else f"http://{proxy}", named_by
    return "", ""


def _near(host: str) -> bool:
    """Whether a host is this machine or in its network: a private address, or a name inside."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_NEAR)
