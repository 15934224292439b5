"""The guard in the transport: nothing is dialled unchecked, whatever a name resolves to."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from delivery.destinations.dns import DnsCache, resolve_with_system
from delivery.destinations.http.errors import DestinationBlocked
from delivery.destinations.http.exchange import AttemptLimits, Exchange
from delivery.destinations.http.transport import Transport
from delivery.destinations.ssrf_guard import Guard
from delivery.domain.networks import AllowList
from retries.outcome import Blocked, Delivered, Fault, Phase, TimedOut, Unreachable
from tests.support.receivers import answer_always, make_response, open_trap, run_receiver, was_dialled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PATIENT = AttemptLimits(total_timeout=timedelta(seconds=10))
HASTY = AttemptLimits(connect_timeout=timedelta(seconds=0.2), total_timeout=timedelta(seconds=5))
LOOPBACK = Guard(AllowList.parse("127.0.0.0/8"))


class NameServer:
    """A name server that gives its answers in turn, and the last one for ever."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(found, Exception):
            raise found
        return found


@asynccontextmanager
async def transport_with(**settings: Any) -> AsyncIterator[Transport]:
    transport = Transport(**settings)
    try:
        yield transport
    finally:
        await transport.aclose()


async def send(transport: Transport, url: str, limits: AttemptLimits = PATIENT) -> Exchange:
    return await transport.send(httpx.Request("POST", url, content=b"{}"), limits, now=NOW)


LOOPBACK_SPELLINGS = (
    "127.0.0.1 127.1 2130706433 0x7f000001 0 localhost 127。0。0。1 [::] [::ffff:127.0.0.1] [::ffff:7f00:1]"
)


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS.split())
async def test_loopback_is_not_dialled_in_any_notation(host: str):
    with open_trap() as inside:
        async with transport_with() as transport:
            exchange = await send(transport, f"http://{host}:{inside.getsockname()[1]}/")
        assert isinstance(exchange.outcome, Blocked)
        assert exchange.address is None
        assert not was_dialled(inside)


async def test_a_blocked_outcome_has_the_address_and_reason():
    async with transport_with(lookup=NameServer(["10.0.0.7"])) as transport:
        assert (await send(transport, "http://a.example/")).outcome == Blocked(
            "a.example", "10.0.0.7", "private"
        )
        with pytest.raises(DestinationBlocked, match="private") as caught:
            await transport.handle_async_request(httpx.Request("POST", "http://a.example/", content=b""))
    assert (caught.value.host, caught.value.address) == ("a.example", "10.0.0.7")


async def test_one_forbidden_address_blocks_the_name():
    guard = Guard(AllowList.parse("127.0.0.1"))
    with open_trap() as outside:
        port = outside.getsockname()[1]
        async with transport_with(
            guard=guard, lookup=NameServer(["127.0.0.1", "169.254.169.254"])
        ) as transport:
            exchange = await send(transport, f"http://a.example:{port}/")
        assert exchange.outcome == Blocked("a.example", "169.254.169.254", "metadata")
        assert not was_dialled(outside)


async def test_a_port_that_is_not_allowed_is_not_dialled():
    with open_trap() as inside:
        guard = Guard(AllowList.parse("127.0.0.1"), frozenset({443}))
        async with transport_with(guard=guard) as transport:
            exchange = await send(transport, f"http://127.0.0.1:{inside.getsockname()[1]}/")
        assert exchange.outcome == Blocked("127.0.0.1", "127.0.0.1", f"port {inside.getsockname()[1]}")
        assert not was_dialled(inside)


async def test_the_checked_address_is_dialled():
    book = NameServer(["127.0.0.2"], ["127.0.0.1"])  # changes after the first lookup
    async with run_receiver(answer_always(make_response()), host="127.0.0.2") as receiver:
        with open_trap(port=receiver.port) as flipped:
            guard = Guard(AllowList.parse("127.0.0.2"))
            async with transport_with(guard=guard, lookup=book) as transport:
                exchange = await send(transport, receiver.url(host="a.example"))
            assert (exchange.outcome, exchange.address) == (Delivered(200), "127.0.0.2")
            assert book.asked == ["a.example"]
            assert not was_dialled(flipped)


async def test_a_name_is_resolved_again_after_the_ttl():
    names = DnsCache(NameServer(["127.0.0.2"], ["127.0.0.1"]), ttl=timedelta(0))
    assert await names.resolve_host("a.example") == ("127.0.0.2",)
    assert await names.resolve_host("a.example") == ("127.0.0.1",)


async def test_the_receiver_gets_the_name():
    transporting = transport_with(guard=LOOPBACK, lookup=NameServer(["127.0.0.1"]))
    async with run_receiver(answer_always(make_response())) as receiver, transporting as transport:
        await send(transport, receiver.url(host="a.example"))
    assert receiver.requests[0].headers["host"] == f"a.example:{receiver.port}"


async def test_the_next_address_is_tried_when_one_fails():
    transporting = transport_with(guard=LOOPBACK, lookup=NameServer(["127.0.0.9", "127.0.0.2"]))
    async with (
        run_receiver(answer_always(make_response()), host="127.0.0.2") as receiver,
        transporting as transport,
    ):
        exchange = await send(transport, receiver.url(host="a.example"))
    assert (exchange.outcome, exchange.address) == (Delivered(200), "127.0.0.2")


async def test_only_the_first_addresses_are_tried():
    addresses = [f"127.0.{number // 250 + 1}.{number % 250 + 1}" for number in range(999)]
    transporting = transport_with(guard=LOOPBACK, lookup=NameServer([*addresses, "127.0.0.1"]))
    async with run_receiver(answer_always(make_response())) as receiver, transporting as transport:
        outcome = (await send(transport, receiver.url(host="a.example"))).outcome
    assert isinstance(outcome, Unreachable)
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "wrong",
    [socket.gaierror(socket.EAI_NONAME, "Name or service not known"), UnicodeError("label too long"), []],
)
async def test_an_unresolvable_name_is_a_dns_fault(wrong: Exception | list[str]):
    async with transport_with(lookup=NameServer(wrong)) as transport:
        outcome = (await send(transport, "http://a.example/")).outcome
    assert isinstance(outcome, Unreachable)
    assert outcome.kind is Fault.DNS


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example", "." * 300, "-"])
async def test_no_name_breaks_the_system_lookup(host: str):
    with pytest.raises((OSError, UnicodeError)):
        await resolve_with_system(host)


async def test_the_system_knows_localhost():
    assert set(await resolve_with_system("localhost")) <= {"127.0.0.1", "::1"}


async def test_a_silent_name_server_hits_the_connect_limit():
    async def silent(host: str) -> list[str]:
        del host
        await asyncio.Event().wait()
        return []

    async with transport_with(lookup=silent) as transport:
        assert (await send(transport, "http://a.example/", HASTY)).outcome == TimedOut(Phase.DNS)


async def test_an_unaccepted_connection_hits_the_connect_limit():
    with open_trap(backlog=0) as full:
        here = full.getsockname()
        with socket.create_connection(here), socket.socket() as knocking:
            knocking.setblocking(False)  # noqa: FBT003  the socket module's own signature
            knocking.connect_ex(here)
            async with transport_with(guard=LOOPBACK) as transport:
                exchange = await send(transport, f"http://127.0.0.1:{here[1]}/", HASTY)
    assert (exchange.outcome, exchange.address) == (TimedOut(Phase.CONNECT), "127.0.0.1")


async def test_concurrent_requests_share_a_lookup():
    book = NameServer(["127.0.0.1"])
    transporting = transport_with(guard=LOOPBACK, lookup=book)
    async with run_receiver(answer_always(make_response())) as receiver, transporting as transport:
        await asyncio.gather(*(send(transport, receiver.url(host="a.example")) for _ in range(50)))
        await send(transport, receiver.url(host="a.example"))
    assert book.asked == ["a.example"]


async def test_a_cancelled_caller_does_not_cancel_a_shared_lookup():
    go_on = asyncio.Event()

    async def slow(host: str) -> list[str]:
        del host
        await go_on.wait()
        return ["127.0.0.1"]

    names = DnsCache(slow)
    first, second = (asyncio.create_task(names.resolve_host("a.example")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert await second == ("127.0.0.1",)
    assert first.cancelled()


async def test_a_failed_lookup_is_not_cached():
    names = DnsCache(NameServer(socket.gaierror(-3, "Temporary failure"), ["127.0.0.1"]))
    with pytest.raises(socket.gaierror):
        await names.resolve_host("a.example")
    assert await names.resolve_host("a.example") == ("127.0.0.1",)


async def test_slow_names_do_not_delay_the_others():
    stuck: asyncio.Event | None = None

    async def lookup(host: str) -> list[str]:
        if stuck is not None and host.startswith("slow"):
            await stuck.wait()
        return ["127.0.0.1"]

    names = DnsCache(lookup, ttl=timedelta(0), slow_after=timedelta(0))
    slow = [f"slow-{number}.example" for number in range(100)]
    await asyncio.gather(*(names.resolve_host(host) for host in slow))
    stuck = asyncio.Event()
    requested = [asyncio.create_task(names.resolve_host(host)) for host in slow]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await names.resolve_host("quick.example") == ("127.0.0.1",)
    await names.aclose()
    await asyncio.gather(*requested, return_exceptions=True)
