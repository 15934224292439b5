"""Deliveries through the operator's proxy: its requests, the guard, and whose fault an error is."""

from __future__ import annotations

import base64
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from delivery.config import read_settings
from delivery.destinations.http.exchange import AttemptLimits, Exchange
from delivery.destinations.http.tls import create_tls_context
from delivery.destinations.http.transport import Transport
from delivery.destinations.ssrf_guard import Guard
from delivery.domain.egress import BadProxy, Proxy
from delivery.domain.errors import Misconfigured
from delivery.domain.networks import AllowList
from retries.outcome import Blocked, Delivered, Fault, Phase, ProxyFailed, TimedOut, Unreachable
from tests.support.fake_proxies import FakeProxy, run_proxy
from tests.support.receivers import (
    CertificateAuthority,
    answer_always,
    make_response,
    open_trap,
    run_receiver,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIMITS = AttemptLimits(total_timeout=timedelta(seconds=10))
HURRIED = AttemptLimits(connect_timeout=timedelta(seconds=0.3), total_timeout=timedelta(seconds=10))
GUARD = Guard(AllowList.parse("127.0.0.2/31"))
WHO = "waybill:pa%3Ass%20w%C3%B6rd@"
SCHEMES = ("http", "https", "socks5", "socks5h")


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


async def lookup(host: str) -> Sequence[str]:
    # The guard allows the receiver's address; `inside.example` resolves to a forbidden one.
    return ["127.0.0.1"] if host in {"inside.example", "127.0.0.1"} else ["127.0.0.2"]


@asynccontextmanager
async def make_transport(
    url: str, authority: CertificateAuthority, *, guard: Guard = GUARD
) -> AsyncIterator[Transport]:
    transport = Transport(
        guard=guard,
        create_tls=lambda: authority.add_trust(create_tls_context()),
        lookup=lookup,
        proxy=Proxy.parse(url),
    )
    try:
        yield transport
    finally:
        await transport.aclose()


def make_proxy(scheme: str, *, instead: bytes | None = None, signs_in: bool = False) -> FakeProxy:
    return FakeProxy(scheme.removesuffix("h"), instead, signs_in, target_host="127.0.0.2")


async def send(transport: Transport, url: str, limits: AttemptLimits = LIMITS) -> Exchange:
    return await transport.send(httpx.Request("POST", url, content=b"{}"), limits, now=NOW)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("encrypted", [True, False])
async def test_deliveries_use_the_proxy_and_reuse_its_connection(
    authority: CertificateAuthority, scheme: str, *, encrypted: bool
) -> None:
    names: list[str | None] = []
    server = authority.make_server_context("a.example")
    server.sni_callback = lambda _connection, name, _context: names.append(name)
    own = authority.make_server_context("127.0.0.1") if scheme == "https" else None
    async with (
        run_receiver(
            answer_always(make_response()), tls=server if encrypted else None, host="127.0.0.2"
        ) as receiver,
        run_proxy(make_proxy(scheme), tls=own) as proxy,
        make_transport(proxy.url(scheme=scheme), authority) as transport,
    ):
        url = receiver.url(host="a.example")
        first, second = await send(transport, url), await send(transport, url)
    assert (first.outcome, second.outcome, second.reused) == (Delivered(200), Delivered(200), True)
    by_name = scheme == "socks5h"
    assert proxy.requested_targets == [f"{'a.example' if by_name else '127.0.0.2'}:{receiver.port}"]
    assert first.address == (None if by_name else "127.0.0.2")
    assert receiver.requests[0].headers["host"] == f"a.example:{receiver.port}"
    assert names == (["a.example"] if encrypted else [])


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_the_proxy_gets_our_credentials(authority: CertificateAuthority, scheme: str) -> None:
    async with (
        run_receiver(answer_always(make_response()), host="127.0.0.2") as receiver,
        run_proxy(make_proxy(scheme, signs_in=True)) as proxy,
        make_transport(proxy.url(userinfo=WHO), authority) as transport,
    ):
        exchange = await send(transport, receiver.url(host="a.example"))
    assert exchange.outcome == Delivered(200)
    if scheme == "http":
        who = base64.b64encode("waybill:pa:ss wörd".encode())
        assert b"Proxy-Authorization: Basic " + who + b"\r\n" in proxy.request_heads[0]
    assert "proxy-authorization" not in receiver.requests[0].headers


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"])
async def test_a_forbidden_address_is_not_requested(
    authority: CertificateAuthority, scheme: str, host: str
) -> None:
    async with (
        run_proxy(make_proxy(scheme)) as proxy,
        make_transport(proxy.url(scheme=scheme), authority) as transport,
    ):
        exchange = await send(transport, f"http://{host}/")
    assert isinstance(exchange.outcome, Blocked)
    assert (proxy.requested_targets, proxy.request_heads) == ([], [])


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_a_name_with_a_forbidden_address_is_not_requested(
    authority: CertificateAuthority, scheme: str
) -> None:
    async with (
        run_proxy(make_proxy(scheme)) as proxy,
        make_transport(proxy.url(scheme=scheme), authority) as transport,
    ):
        exchange = await send(transport, "http://inside.example/")
    assert isinstance(exchange.outcome, Blocked)
    assert (exchange.outcome.host, exchange.outcome.address) == ("inside.example", "127.0.0.1")
    assert (proxy.requested_targets, proxy.request_heads) == ([], [])


async def test_a_forbidden_port_is_not_requested_by_name(
    authority: CertificateAuthority,
) -> None:
    guard = Guard(ports=frozenset({443}))
    async with (
        run_proxy(make_proxy("socks5h")) as proxy,
        make_transport(proxy.url(scheme="socks5h"), authority, guard=guard) as transport,
    ):
        exchange = await send(transport, "http://a.example:8080/")
    assert (isinstance(exchange.outcome, Blocked), proxy.requested_targets) == (True, [])


@pytest.mark.parametrize(
    ("scheme", "message", "why"),
    [
        ("http", b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "it answered 407"),
        ("http", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "it answered 502"),
        ("http", b"HTTP/1.0 403 No\r\n\r\n", "it answered 403"),
        ("http", b"SSH-2.0-OpenSSH\r\n\r\n", "its answer was not valid HTTP"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "it said more than an answer"),
        ("http", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "it said more than an answer"),
        ("http", b"HTTP/1.1 200", "it broke off the connection"),
        ("http", b"", "it broke off the connection"),
        ("socks5", b"\x05\x01\x00\x01" + bytes(6), "it failed"),
        ("socks5", b"\x05\x02\x00\x01" + bytes(6), "it does not allow this destination"),
        ("socks5", b"\x05\x63\x00\x01" + bytes(6), "it answered 99"),
        ("socks5", b"HTTP/1.1 400", "its answer was not SOCKS5"),
        ("socks5", b"\x05\x00", "it broke off the connection"),
    ],
)
async def test_errors_of_the_proxy_are_proxy_failures(
    authority: CertificateAuthority, scheme: str, message: bytes, why: str
) -> None:
    async with (
        run_proxy(make_proxy(scheme, instead=message)) as proxy,
        make_transport(proxy.url(), authority) as transport,
    ):
        exchange = await send(transport, "http://a.example/")
    assert exchange.outcome == ProxyFailed(why)


@pytest.mark.parametrize(("reply", "kind"), [(3, Fault.NETWORK), (4, Fault.NETWORK), (5, Fault.REFUSED)])
async def test_socks_destination_error_is_attributed_to_the_destination(
    authority: CertificateAuthority, reply: int, kind: Fault
) -> None:
    message = bytes((5, reply, 0, 1)) + bytes(6)
    async with (
        run_proxy(make_proxy("socks5", instead=message)) as proxy,
        make_transport(proxy.url(), authority) as transport,
    ):
        exchange = await send(transport, "http://a.example/")
    assert isinstance(exchange.outcome, Unreachable)
    assert exchange.outcome.kind is kind


async def test_a_wrong_password_is_a_proxy_failure(authority: CertificateAuthority) -> None:
    async with (
        run_proxy(make_proxy("socks5", signs_in=True)) as proxy,
        make_transport(proxy.url(userinfo="waybill:wrong@"), authority) as transport,
    ):
        exchange = await send(transport, "http://a.example/")
    assert exchange.outcome == ProxyFailed("it does not know our user and password")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_an_absent_proxy_is_a_proxy_failure(authority: CertificateAuthority, scheme: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        async with make_transport(f"{scheme}://127.0.0.1:{port}", authority) as transport:
            exchange = await send(transport, "https://a.example/")
    assert exchange.outcome == ProxyFailed("Connection refused")


async def test_an_untrusted_proxy_is_a_proxy_failure(
    authority: CertificateAuthority,
) -> None:
    own = CertificateAuthority().make_server_context("127.0.0.1")
    async with (
        run_proxy(make_proxy("https"), tls=own) as proxy,
        make_transport(proxy.url(), authority) as transport,
    ):
        exchange = await send(transport, "https://a.example/")
    assert isinstance(exchange.outcome, ProxyFailed)


async def test_proxy_handshake_timeout_is_reported_as_proxy_error(
    authority: CertificateAuthority,
) -> None:
    with open_trap() as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        async with make_transport(url, authority) as transport:
            exchange = await send(transport, "https://a.example/", HURRIED)
    assert exchange.outcome == ProxyFailed("the time was up")


async def test_a_destination_timeout_behind_a_proxy_is_the_destinations(
    authority: CertificateAuthority,
) -> None:
    with open_trap() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with make_transport(url, authority) as transport:
            exchange = await send(transport, "https://a.example/", HURRIED)
    assert exchange.outcome == TimedOut(Phase.CONNECT)


@pytest.mark.parametrize(
    "text",
    [
        "", "proxy:3128", "ftp://proxy:21", "http://", "http://proxy:0", "http://proxy:99999", "http://proxy:x",
        "http://proxy/path", "http://proxy?x", "http://a%3Ab:c@proxy", "socks5://a@proxy", "socks4://proxy",
        f"socks5://{'a' * 256}:b@proxy", "http://pröxy:1", "http://[::1",
    ],
)  # fmt: skip
def test_an_invalid_proxy_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be of the form") as refused:
        Proxy.parse(text)
    assert str(refused.value) == str(BadProxy())


def test_a_proxys_password_is_not_in_its_repr() -> None:
    assert "s3cret" not in repr(Proxy.parse("http://ada:s3cret@proxy"))


def test_an_invalid_proxy_setting_is_misconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_EGRESS_PROXY", "http://ada:s3cret@proxy/path")
    with pytest.raises(Misconfigured, match=r"^WAYBILL_EGRESS_PROXY: must be") as refused:
        read_settings()
    assert "s3cret" not in str(refused.value)
