"""The corpus of destinations against the real transport, with a listener on every internal address."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from delivery.destinations.http.exchange import AttemptLimits, Exchange
from delivery.destinations.http.post import post
from delivery.destinations.http.transport import Transport
from delivery.destinations.ssrf_guard import Guard
from delivery.domain.networks import AllowList
from retries.outcome import Blocked, Delivered, Fault, Refused, TimedOut, Unreachable, describe_outcome
from tests.support.receivers import make_response, open_trap, run_receiver, was_dialled
from tests.support.ssrf_corpus import CORPUS, resolve_hostile_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from tests.support.receivers import Conversation

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LIMITS = AttemptLimits(total_timeout=timedelta(seconds=10))
EVERYTHING = Guard(AllowList.parse("0.0.0.0/0, ::/0"))
OUTSIDE = Guard(AllowList.parse("127.0.0.2"))  # stands for the internet; the rest of loopback is internal


@asynccontextmanager
async def transport_with(**settings: Any) -> AsyncIterator[Transport]:
    transport = Transport(**{"lookup": resolve_hostile_name, **settings})
    try:
        yield transport
    finally:
        await transport.aclose()


@contextmanager
def listen_everywhere() -> Iterator[socket.socket]:
    """Listen on all addresses of this machine, of both families: 127.0.0.1, 127.8.8.8, ::1 and its own."""
    with closing(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)) as listener:
        listener.settimeout(0)
        yield listener


async def send(transport: Transport, url: str, limits: AttemptLimits = LIMITS) -> Exchange:
    return await post(transport, url, {"content-type": "application/json"}, b"{}", limits, now=NOW)


async def test_every_destination_of_the_corpus_is_blocked_with_its_reason():
    with listen_everywhere() as inside:
        port = inside.getsockname()[1]
        async with transport_with() as transport:
            for attack in CORPUS:
                exchange = await send(transport, attack.url(port))
                assert isinstance(exchange.outcome, Blocked), attack
                assert attack.reason in describe_outcome(exchange.outcome), attack
                assert exchange.address is None
            assert transport.open_connection_count == 0
        assert not was_dialled(inside)


async def test_the_pool_dials_nothing_without_a_url_check():
    """Without the URL check, every request that can be built is stopped at the dial."""
    blocked = 0
    with listen_everywhere() as inside:
        async with transport_with() as transport:
            for attack in CORPUS:
                try:
                    url = httpx.URL(attack.url(inside.getsockname()[1]))
                except (httpx.InvalidURL, UnicodeError):
                    continue
                exchange = await transport.send(httpx.Request("POST", url, content=b"{}"), LIMITS, now=NOW)
                assert exchange.address is None
                if isinstance(exchange.outcome, Blocked):
                    blocked += 1
                else:
                    assert isinstance(exchange.outcome, Unreachable), attack
                    assert exchange.outcome.kind is Fault.DNS
        assert not was_dialled(inside)
    assert blocked > 300


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.8.8",
        "127.1",
        "2130706433",
        "0x7f.1",
        "017700000001",
        "0",
        "127。0。0。1",
        "[::1]",
        "[::]",
        "[::ffff:7f00:1]",
        "localhost.",
        "mapped.example",
    ],
)
async def test_without_the_guard_it_would_be_dialled(host: str):
    with listen_everywhere() as inside:
        async with transport_with(guard=EVERYTHING) as transport:
            request = httpx.Request("POST", f"http://{host}:{inside.getsockname()[1]}/", content=b"{}")
            hasty = AttemptLimits(total_timeout=timedelta(seconds=0.2))
            assert isinstance((await transport.send(request, hasty, now=NOW)).outcome, TimedOut)
        assert was_dialled(inside)


async def test_no_redirect_to_a_destination_of_the_corpus_is_followed():
    async def lead_inside(conversation: Conversation) -> None:
        for number in range(len(CORPUS)):
            await conversation.read_request()
            where = CORPUS[number].url(port).encode("unicode_escape", "replace").decode("ascii")
            status = (301, 302, 303, 307, 308, 300, 305)[number % 7]
            lines = (f"Location: {where}", f"Refresh: 0;url={where}", f"Content-Location: {where}")
            await conversation.write_bytes(make_response(f"{status} Over There", b"", *lines))

    with listen_everywhere() as inside:
        port = inside.getsockname()[1]
        async with (
            run_receiver(lead_inside, host="127.0.0.2") as receiver,
            transport_with(guard=OUTSIDE) as transport,
        ):
            for _ in CORPUS:
                outcome = (await send(transport, receiver.url())).outcome
                assert isinstance(outcome, Refused)
                assert 300 <= outcome.status <= 308
            assert len(receiver.requests) == len(CORPUS)
        assert not was_dialled(inside)


class FlippingNameServer:
    """A name server that gives its answers in turn, and the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)

    async def __call__(self, host: str) -> Sequence[str]:
        del host
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.mark.parametrize(
    "then",
    [
        ["127.0.0.1"],
        ["127.8.8.8"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["127.0.0.2", "127.0.0.1"],
        ["127.0.0.1%lo"],
    ],
    ids=str,
)
async def test_dns_rebinding_dials_the_checked_address(then: list[str]):
    async def greet(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.write_bytes(make_response())

    flipping = FlippingNameServer(["127.0.0.2"], then)
    async with run_receiver(greet, host="127.0.0.2") as receiver:
        url, port = receiver.url(host="rebinding.example"), receiver.port
        with (
            open_trap("127.0.0.1", port) as item,
            open_trap("127.8.8.8", port) as other,
            open_trap("::1", port) as third,
        ):
            async with transport_with(guard=OUTSIDE, lookup=flipping) as transport:
                first = await send(transport, url)
            async with transport_with(guard=OUTSIDE, lookup=flipping) as transport:
                second = await send(transport, url)
            assert (first.outcome, first.address) == (Delivered(200), "127.0.0.2")
            assert isinstance(second.outcome, Blocked)
            assert second.address is None
            assert not any(map(was_dialled, (item, other, third)))


@pytest.mark.parametrize(
    ("url", "allowed", "why"),
    [
        ("http://a.example/", {443}, "port 80"),
        ("https://a.example/", {80}, "port 443"),
        ("http://a.example:22/", {80, 443}, "port 22"),
        ("http://127.0.0.2:6379/", {80, 443}, "port 6379"),
        ("http://a.example:65535/", {80, 443}, "port 65535"),
        ("http://a.example:0/", {80, 443}, "between 1 and 65535"),
        ("http://a.example:65536/", {80, 443}, "between 1 and 65535"),
        ("http://a.example:-80/", {80, 443}, "between 1 and 65535"),
        ("http://a.example:4294967376/", {80, 443}, "between 1 and 65535"),
        ("http://a.example:8o/", {80, 443}, "cannot be read"),
    ],
)
async def test_a_forbidden_or_invalid_port_is_blocked(url: str, allowed: set[int], why: str):
    guard = Guard(AllowList.parse("127.0.0.2"), frozenset(allowed))
    async with transport_with(guard=guard, lookup=FlippingNameServer(["127.0.0.2"])) as transport:
        outcome = (await send(transport, url)).outcome
    assert isinstance(outcome, Blocked)
    assert why in describe_outcome(outcome)


@pytest.mark.parametrize("port", [0, 65536, -1, 2**64])
async def test_an_invalid_port_is_never_the_default(port: int):
    async with transport_with(guard=EVERYTHING, lookup=FlippingNameServer(["127.0.0.1"])) as transport:
        request = httpx.Request("POST", f"http://a.example:{port}/", content=b"{}")
        assert isinstance((await transport.send(request, LIMITS, now=NOW)).outcome, Blocked)


async def test_concurrent_requests_are_blocked():
    with listen_everywhere() as inside:
        async with transport_with() as transport:
            urls = [attack.url(inside.getsockname()[1]) for attack in CORPUS]
            exchanges = await asyncio.gather(*(send(transport, url) for url in urls))
        assert all(isinstance(exchange.outcome, Blocked) for exchange in exchanges)
        assert not was_dialled(inside)
