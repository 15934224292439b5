"""Connections come from the configured source address, and from no other."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from delivery.bootstrap import check_egress_address
from delivery.config import read_settings
from delivery.destinations.http.transport import Transport
from delivery.destinations.source_address import check_bindable, open_socket
from delivery.domain.egress import BadSourceAddress, Proxy, SourceAddresses
from delivery.domain.errors import Misconfigured
from retries.outcome import Delivered, Unreachable
from tests.integration.test_transport_dialling import LOOPBACK, send
from tests.support.fake_proxies import FakeProxy, run_proxy
from tests.support.receivers import Conversation, make_response, run_receiver

if TYPE_CHECKING:
    import asyncio

FROM = SourceAddresses.parse("127.0.0.9")


def target(address: str) -> tuple[int, int, int, str, tuple[str, int]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443)


async def answer_with_peer(conversation: Conversation) -> None:
    await conversation.read_request()
    peer = conversation.writer.get_extra_info("peername")[0]
    await conversation.write_bytes(make_response(body=peer.encode()))


async def test_delivery_uses_the_configured_source_address() -> None:
    async with run_receiver(answer_with_peer) as receiver:
        transport = Transport(guard=LOOPBACK, source_addresses=FROM)
        exchange = await send(transport, receiver.url())
        await transport.aclose()
    assert (exchange.outcome, exchange.body) == (Delivered(200), b"127.0.0.9")


async def test_proxy_connection_uses_the_configured_source_address() -> None:
    whence: list[str] = []

    class RecordingProxy(FakeProxy):
        async def handle_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            whence.append(writer.get_extra_info("peername")[0])
            await super().handle_connection(reader, writer)

    async with run_receiver(answer_with_peer) as receiver, run_proxy(RecordingProxy("http")) as proxy:
        transport = Transport(guard=LOOPBACK, source_addresses=FROM, proxy=Proxy.parse(proxy.url()))
        exchange = await send(transport, receiver.url())
        await transport.aclose()
    assert (exchange.outcome, whence) == (Delivered(200), ["127.0.0.9"])


async def test_another_address_family_is_not_dialled() -> None:
    transport = Transport(guard=LOOPBACK, source_addresses=SourceAddresses.parse("::1"))
    async with run_receiver(answer_with_peer) as receiver:
        exchange = await send(transport, receiver.url())
        assert receiver.connections == 0
    await transport.aclose()
    assert isinstance(exchange.outcome, Unreachable)


def test_a_foreign_address_is_refused():
    with pytest.raises(BadSourceAddress, match=r"192\.0\.2\.1 cannot be used"):
        check_bindable(SourceAddresses.parse("192.0.2.1"))


def test_a_socket_is_bound_to_the_address_of_its_family():
    with open_socket(SourceAddresses.parse("127.0.0.2"), target("127.0.0.1")) as sock:
        assert sock.getsockname()[0] == "127.0.0.2"


def test_a_family_without_an_address_is_not_dialled():
    with pytest.raises(OSError, match="not supported"):
        open_socket(SourceAddresses.parse("127.0.0.2"), target("::1"))


def test_without_a_setting_the_system_chooses():
    with open_socket(SourceAddresses(), target("127.0.0.1")) as sock:
        assert sock.getsockname() == ("0.0.0.0", 0)  # noqa: S104  not bound yet


@pytest.mark.parametrize("text", ["192.0.2.1", "eth0", ","])
def test_an_invalid_setting_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_EGRESS_ADDRESS", text)
    with pytest.raises(Misconfigured, match=r"^WAYBILL_EGRESS_ADDRESS: "):
        check_egress_address(read_settings())
