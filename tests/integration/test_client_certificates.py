"""Mutual TLS: an endpoint gets the client certificate that is configured for it."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from delivery.clock import clock
from delivery.destinations.http.client_certificate import parse_identity
from delivery.destinations.http.tls import create_tls_context
from delivery.destinations.http.transport import Transport
from delivery.domain.egress import Proxy
from delivery.ledger.records import endpoints
from delivery.services.endpoints import store
from delivery.services.endpoints.identity import with_identity
from retries.outcome import Delivered, Fault, Unreachable
from tests.integration.test_dispatch import deliver, load_attempts
from tests.integration.test_transport_tls import GUARD, NOW, PATIENT, loopback, make_transport
from tests.support import ledger_builders as build
from tests.support.fake_proxies import FakeProxy, run_proxy
from tests.support.in_process_worker import WorkerSpec, run_worker
from tests.support.ledger_builders import EndpointSpec
from tests.support.receivers import (
    CertificateAuthority,
    Conversation,
    Receiver,
    make_response,
    open_trap,
    run_receiver,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from delivery.destinations.http.client_certificate import ClientIdentity
    from delivery.destinations.http.exchange import Exchange
    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger

SERVERS, CLIENTS = CertificateAuthority(), CertificateAuthority()
WANTS_ONE = SERVERS.make_mutual_tls_context("a.example", client_authority=CLIENTS)


def identity(name: str, *, of: CertificateAuthority = CLIENTS) -> ClientIdentity:
    now = datetime.now(UTC)
    return parse_identity(*of.make_client_certificate(name, until=now + timedelta(days=9)), now=now)


def record_clients(seen: list[str]) -> Callable[[Conversation], Awaitable[None]]:
    """Answer 200, and record the client name of each request."""

    async def talk(conversation: Conversation) -> None:
        shown = conversation.writer.get_extra_info("peercert") or {}
        (name,) = [value for part in shown.get("subject", ()) for key, value in part if key == "commonName"]
        while True:
            await conversation.read_request()
            seen.append(name)
            await conversation.write_bytes(make_response())

    return talk


async def send(transport: Transport, receiver: Receiver, client_name: ClientIdentity | None) -> Exchange:
    request = httpx.Request("POST", receiver.url(host="a.example"), content=b"{}")
    return await transport.send(request, PATIENT, now=NOW, identity=client_name)


async def test_each_identity_has_its_own_connections() -> None:
    seen: list[str] = []
    ada, bob = identity("ada"), identity("bob")
    async with (
        make_transport(SERVERS) as transport,
        run_receiver(record_clients(seen), tls=WANTS_ONE) as receiver,
    ):
        came = [await send(transport, receiver, who) for who in (ada, bob, ada, bob)]
    assert [one.outcome for one in came] == [Delivered(200)] * 4
    assert [one.reused for one in came] == [False, False, True, True]
    assert seen == ["ada", "bob", "ada", "bob"]


@contextmanager
def refuse_clients() -> Iterator[Receiver]:
    """A receiver that refuses clients with a TLS alert. (asyncio's servers close without one.)"""

    def run(listener: socket.socket) -> None:
        with suppress(OSError):  # its listener is closed at the end
            while True:
                came, _ = listener.accept()
                with WANTS_ONE.wrap_socket(came, server_side=True, do_handshake_on_connect=False) as one:
                    try:
                        one.do_handshake()
                    except ssl.SSLError:
                        # Read before closing: otherwise a reset may overtake the alert.
                        one.shutdown(socket.SHUT_WR)
                        while socket.socket.recv(one, 65_536):
                            pass

    with open_trap() as listener, ThreadPoolExecutor(1) as thread:
        listener.settimeout(None)
        thread.submit(run, listener)
        try:
            yield Receiver(listener.getsockname()[1], "https")
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("client_name", "why"),
    [(None, "certificate required"), (identity("eve", of=CertificateAuthority()), "unknown ca")],
)
async def test_missing_or_unknown_client_certificate_reports_the_tls_error(
    client_name: ClientIdentity | None, why: str
) -> None:
    async with make_transport(SERVERS) as transport:
        with refuse_clients() as receiver:
            exchange = await send(transport, receiver, client_name)
    assert isinstance(exchange.outcome, Unreachable)
    assert exchange.outcome.kind is Fault.TLS
    assert why in exchange.outcome.detail.lower().replace("_", " ")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_it_is_presented_through_a_proxy(scheme: str) -> None:
    seen: list[str] = []
    async with (
        run_receiver(record_clients(seen), tls=WANTS_ONE) as receiver,
        run_proxy(FakeProxy(scheme)) as proxy,
    ):
        transport = Transport(
            guard=GUARD,
            create_tls=lambda: SERVERS.add_trust(create_tls_context()),
            lookup=loopback,
            proxy=Proxy.parse(proxy.url()),
        )
        exchange = await send(transport, receiver, identity("ada"))
        await transport.aclose()
    assert (exchange.outcome, seen) == (Delivered(200), ["ada"])


async def test_a_delivery_presents_the_current_certificate(ledger: Ledger, tenant: TenantId) -> None:
    seen: list[str] = []
    manner = WorkerSpec(tls=lambda: SERVERS.add_trust(create_tls_context()), lookup=loopback)
    async with (
        run_receiver(record_clients(seen), tls=WANTS_ONE) as receiver,
        run_worker(ledger, manner) as dispatcher,
    ):
        wanted = EndpointSpec(receiver.url(host="a.example"), identity=identity("ada"))
        endpoint = await build.create_endpoint(ledger, tenant, wanted)
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
        async with ledger.transaction() as tx:
            before = await endpoints.read(tx, tenant, endpoint, lock=True)
            assert before is not None
            await store.write(tx, with_identity(build.BOX, before, identity("bob")), now=clock())
        await build.accept_event(ledger, tenant)
        await deliver(ledger, dispatcher, endpoint)
    assert seen == ["ada", "bob"]


async def test_a_missing_certificate_is_explained_in_the_ledger(ledger: Ledger, tenant: TenantId) -> None:
    manner = WorkerSpec(tls=lambda: SERVERS.add_trust(create_tls_context()), lookup=loopback)
    async with run_worker(ledger, manner) as dispatcher:
        with refuse_clients() as receiver:
            endpoint = await build.create_endpoint(
                ledger, tenant, EndpointSpec(receiver.url(host="a.example"))
            )
            await build.accept_event(ledger, tenant)
            await deliver(ledger, dispatcher, endpoint)
    _, (attempt,) = await load_attempts(ledger, tenant, endpoint)
    assert (attempt.outcome, attempt.decision) == ("unreachable", "retry")
    assert "certificate required" in attempt.detail.lower().replace("_", " ")
