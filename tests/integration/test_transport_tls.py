"""TLS certificates are verified against the name, though an address is dialled."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from delivery.destinations.http.exchange import AttemptLimits, Exchange
from delivery.destinations.http.tls import create_tls_context
from delivery.destinations.http.transport import Transport
from delivery.destinations.ssrf_guard import Guard
from delivery.domain.networks import AllowList
from retries.outcome import Delivered, Fault, Phase, TimedOut, Unreachable
from tests.support.receivers import (
    CertificateAuthority,
    Conversation,
    Receiver,
    answer_always,
    make_response,
    run_receiver,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PATIENT = AttemptLimits(total_timeout=timedelta(seconds=10))
GUARD = Guard(AllowList.parse("127.0.0.0/8"))


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


async def loopback(host: str) -> Sequence[str]:
    del host
    return ["127.0.0.1"]


@asynccontextmanager
async def make_transport(authority: CertificateAuthority) -> AsyncIterator[Transport]:
    transport = Transport(
        guard=GUARD, create_tls=lambda: authority.add_trust(create_tls_context()), lookup=loopback
    )
    try:
        yield transport
    finally:
        await transport.aclose()


async def send(
    transport: Transport, receiver: Receiver, host: str = "a.example", limits: AttemptLimits = PATIENT
) -> Exchange:
    url = receiver.url(host=host).replace("http:", "https:")
    return await transport.send(httpx.Request("POST", url, content=b"{}"), limits, now=NOW)


def get_fault(exchange: Exchange) -> Fault:
    assert isinstance(exchange.outcome, Unreachable)
    return exchange.outcome.kind


async def test_a_trusted_receiver_gets_the_server_name(authority: CertificateAuthority):
    result: list[str | None] = []
    server = authority.make_server_context("a.example")
    server.sni_callback = lambda _connection, name, _context: result.append(name)
    async with (
        make_transport(authority) as transport,
        run_receiver(answer_always(make_response()), tls=server) as receiver,
    ):
        first, second = await send(transport, receiver), await send(transport, receiver)
        assert (first.outcome, first.address) == (Delivered(200), "127.0.0.1")
        assert first.timings.tls is not None
        assert (second.outcome, second.reused, second.timings.tls) == (Delivered(200), True, None)
    assert result == ["a.example"]


async def test_a_receiver_may_have_a_certificate_for_its_address(authority: CertificateAuthority):
    server = authority.make_server_context("127.0.0.1")
    async with (
        make_transport(authority) as transport,
        run_receiver(answer_always(make_response()), tls=server) as receiver,
    ):
        assert (await send(transport, receiver, "127.0.0.1")).outcome == Delivered(200)


async def test_a_trailing_dot_does_not_change_the_certificates_name(authority: CertificateAuthority):
    server = authority.make_server_context("a.example")
    async with (
        make_transport(authority) as transport,
        run_receiver(answer_always(make_response()), tls=server) as receiver,
    ):
        assert (await send(transport, receiver, "a.example.")).outcome == Delivered(200)


async def test_an_unknown_authority_is_not_trusted(authority: CertificateAuthority):
    server = authority.make_server_context("a.example")
    async with (
        make_transport(CertificateAuthority()) as transport,
        run_receiver(answer_always(make_response()), tls=server) as receiver,
    ):
        exchange = await send(transport, receiver)
        assert get_fault(exchange) is Fault.TLS
        assert exchange.address == "127.0.0.1"
        assert receiver.requests == []


async def test_a_certificate_for_another_name_is_not_trusted(authority: CertificateAuthority):
    server = authority.make_server_context("b.example")
    async with (
        make_transport(authority) as transport,
        run_receiver(answer_always(make_response()), tls=server) as receiver,
    ):
        exchange = await send(transport, receiver)
        assert get_fault(exchange) is Fault.TLS
        assert isinstance(exchange.outcome, Unreachable)
        assert "a.example" in exchange.outcome.detail
        assert receiver.requests == []


async def test_a_receiver_without_tls_is_a_tls_fault(authority: CertificateAuthority):
    async def plain(conversation: Conversation) -> None:
        await conversation.write_bytes(make_response("400 Bad Request"))
        await conversation.wait_for_close()

    async with make_transport(authority) as transport, run_receiver(plain) as receiver:
        assert get_fault(await send(transport, receiver)) is Fault.TLS


async def test_an_endless_handshake_hits_the_connect_limit(authority: CertificateAuthority):
    async def silent(conversation: Conversation) -> None:
        await conversation.wait_for_close()

    hasty = AttemptLimits(connect_timeout=timedelta(seconds=0.2))
    async with make_transport(authority) as transport, run_receiver(silent) as receiver:
        assert (await send(transport, receiver, limits=hasty)).outcome == TimedOut(Phase.TLS)
        assert transport.open_connection_count == 0


async def test_old_tls_versions_are_refused():
    context = create_tls_context()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


async def test_a_handshake_cancelled_at_any_moment_leaves_nothing_behind(authority: CertificateAuthority):
    server = authority.make_server_context("a.example")
    async with (
        make_transport(authority) as transport,
        run_receiver(answer_always(make_response()), tls=server) as receiver,
    ):
        for moment in range(30):
            requested = [asyncio.create_task(send(transport, receiver)) for _ in range(5)]
            await asyncio.sleep(moment * 0.0003)
            for request in requested:
                request.cancel()
            await asyncio.gather(*requested, return_exceptions=True)
        exchanges = await asyncio.gather(*(send(transport, receiver) for _ in range(20)))
        assert {exchange.outcome for exchange in exchanges} == {Delivered(200)}
        await transport.aclose()
        await wait_until(lambda: receiver.open_connections == 0)
        assert transport.open_connection_count == 0
