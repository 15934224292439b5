"""Connections are reused, replaced when stale, cancelled, closed, and never left behind."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from delivery.destinations.http.exchange import AttemptLimits, Exchange
from delivery.destinations.http.transport import Transport
from delivery.destinations.ssrf_guard import Guard
from delivery.domain.networks import AllowList
from retries.outcome import Delivered, Fault, Interrupted, Phase, Refused, TimedOut, Unreachable
from tests.support.receivers import (
    Conversation,
    Receiver,
    answer_always,
    answer_endlessly,
    answer_never,
    answer_once,
    make_response,
    open_trap,
    reset_connection,
    run_receiver,
    wait_until,
    was_dialled,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Talk = Callable[[Conversation], Awaitable[None]]

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GUARD = Guard(AllowList.parse("127.0.0.0/8"))
PATIENT = AttemptLimits(total_timeout=timedelta(seconds=10))
HASTY = AttemptLimits(total_timeout=timedelta(seconds=0.2))


@asynccontextmanager
async def ready(talk: Talk, **settings: Any) -> AsyncIterator[tuple[Transport, Receiver]]:
    transport = Transport(guard=GUARD, **settings)
    try:
        async with run_receiver(talk) as receiver:
            yield transport, receiver
    finally:
        await transport.aclose()
    assert transport.open_connection_count == 0


async def send(transport: Transport, receiver: Receiver, limits: AttemptLimits = PATIENT) -> Exchange:
    return await transport.send(httpx.Request("POST", receiver.url(), content=b"{}"), limits, now=NOW)


def open_sockets() -> int:
    return len(psutil.Process().net_connections("tcp"))


def close_on_second_request(close: Callable[[Conversation], None]) -> Talk:
    """Answer the first request of the first connection, and close it when the second arrives."""

    async def talk(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.write_bytes(make_response())
        if conversation.number == 1:
            await conversation.reader.read(1)
            close(conversation)
        else:
            await answer_always(make_response())(conversation)

    return talk


async def test_an_idle_connection_is_reused():
    async with ready(answer_always(make_response())) as (transport, receiver):
        first, second = await send(transport, receiver), await send(transport, receiver)
        assert receiver.connections == 1
    assert (first.reused, second.reused) == (False, True)
    assert second.address == "127.0.0.1"
    assert (second.timings.dns, second.timings.connect, second.timings.tls) == (None, None, None)


@pytest.mark.parametrize(
    "raw",
    [
        make_response("200 OK", b"ok", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        make_response() + make_response("200 OK", b"one too many"),
        make_response() + b"HTTP/1.1 2",
    ],
    ids=["close", "http-1.0", "two", "two-halves"],
)
async def test_an_unusable_connection_is_not_reused(raw: bytes):
    async with ready(answer_always(raw)) as (transport, receiver):
        exchanges = [await send(transport, receiver) for _ in range(3)]
        assert [(exchange.outcome, exchange.body) for exchange in exchanges] == [(Delivered(200), b"ok")] * 3


@pytest.mark.parametrize("close", [Conversation.reset, lambda conversation: conversation.writer.close()])
async def test_a_stale_connection_is_replaced_once(close: Callable[[Conversation], None]):
    async with ready(close_on_second_request(close)) as (transport, receiver):
        first, second = await send(transport, receiver), await send(transport, receiver)
        assert (first.outcome, second.outcome) == (Delivered(200), Delivered(200))
        assert second.reused is False
        assert second.timings.connect is not None
        assert (receiver.connections, len(receiver.requests)) == (2, 2)


async def test_a_receiver_that_closes_after_each_response_gets_each_request_once():
    async with ready(answer_once(make_response())) as (transport, receiver):

        async def send_some() -> list[Exchange]:
            return [await send(transport, receiver) for _ in range(20)]

        rounds = await asyncio.gather(*(send_some() for _ in range(10)))
        assert {exchange.outcome for exchanges in rounds for exchange in exchanges} == {Delivered(200)}
        assert len(receiver.requests) == 200


async def test_a_replacement_is_not_replaced():
    async def talk(conversation: Conversation) -> None:
        await conversation.read_request()
        if conversation.number == 1:
            await conversation.write_bytes(make_response())
            await conversation.reader.read(1)

    async with ready(talk) as (transport, receiver):
        await send(transport, receiver)
        outcome = (await send(transport, receiver)).outcome
        assert isinstance(outcome, Unreachable)
        assert outcome.kind is Fault.RESET
        assert receiver.connections == 2


async def test_a_new_connection_that_breaks_is_not_replaced():
    async with ready(reset_connection) as (transport, receiver):
        assert isinstance((await send(transport, receiver)).outcome, Unreachable)
        assert (receiver.connections, len(receiver.requests)) == (1, 1)


async def test_a_reused_connection_that_breaks_after_the_first_byte_is_not_replaced():
    async def talk(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.write_bytes(make_response())
        await conversation.read_request()
        await conversation.write_bytes(b"H")

    async with ready(talk) as (transport, receiver):
        await send(transport, receiver)
        assert isinstance((await send(transport, receiver)).outcome, Unreachable)
        assert receiver.connections == 1


async def test_a_silent_reused_connection_is_not_replaced():
    async def talk(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.write_bytes(make_response())
        await answer_never(conversation)

    async with ready(talk) as (transport, receiver):
        await send(transport, receiver)
        assert (await send(transport, receiver, HASTY)).outcome == TimedOut(Phase.FIRST_BYTE)
        assert receiver.connections == 1


async def test_an_unsolicited_response_is_not_used_for_the_next_request():
    async def talk(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.write_bytes(make_response())
        if conversation.number == 1:
            await asyncio.sleep(0.05)
            await conversation.write_bytes(make_response("200 OK", b"not yours"))
            await conversation.wait_for_close()
        else:
            await answer_always(make_response())(conversation)

    async with ready(talk) as (transport, receiver):
        await send(transport, receiver)
        assert transport.open_connection_count == 1
        await wait_until(lambda: transport.open_connection_count == 0)
        assert (await send(transport, receiver)).body == b"ok"


async def test_cookies_are_not_carried():
    async with ready(answer_always(make_response("200 OK", b"", "Set-Cookie: tenant=1; Path=/"))) as (
        transport,
        receiver,
    ):
        await send(transport, receiver)
        await send(transport, receiver)
        assert not any("cookie" in received.headers for received in receiver.requests)


async def test_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch):
    with open_trap() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        async with ready(answer_always(make_response())) as (transport, receiver):
            assert (await send(transport, receiver)).outcome == Delivered(200)
        assert not was_dialled(proxy)


async def test_busy_connections_are_bounded():
    most = 0

    async def talk(conversation: Conversation) -> None:
        nonlocal most
        while True:
            await conversation.read_request()
            most = max(most, receiver.open_connections)
            await asyncio.sleep(0.01)
            await conversation.write_bytes(make_response())

    async with ready(talk, max_connections=3) as (transport, receiver):
        exchanges = await asyncio.gather(*(send(transport, receiver) for _ in range(20)))
    assert {exchange.outcome for exchange in exchanges} == {Delivered(200)}
    assert most <= 3


async def test_waiting_for_a_free_connection_is_not_the_receivers_fault():
    async with ready(answer_never, max_connections=1) as (transport, receiver):
        holding = asyncio.create_task(send(transport, receiver))
        await wait_until(lambda: receiver.open_connections == 1)
        assert (await send(transport, receiver, HASTY)).outcome == Interrupted()
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)


async def test_idle_connections_beyond_the_limit_are_closed():
    async with ready(answer_always(make_response()), max_idle=2) as (transport, receiver):
        await asyncio.gather(*(send(transport, receiver) for _ in range(10)))
        assert transport.open_connection_count == 2


async def test_the_idle_limit_ignores_busy_connections():
    async with (
        ready(answer_never, max_idle=1) as (transport, slow),
        run_receiver(answer_always(make_response())) as receiver,
    ):
        holding = [asyncio.create_task(send(transport, slow)) for _ in range(5)]
        await wait_until(lambda: slow.open_connections == 5)
        await send(transport, receiver)
        assert (await send(transport, receiver)).reused
        await transport.aclose()
        await asyncio.gather(*holding)


async def test_an_idle_connection_is_closed_after_a_while():
    async with ready(answer_always(make_response()), keep_alive=timedelta(seconds=0.05)) as (
        transport,
        receiver,
    ):
        await send(transport, receiver)
        await wait_until(lambda: transport.open_connection_count == 0)


async def test_three_hundred_cancelled_requests_leave_nothing_behind():
    before = open_sockets()
    async with ready(
        answer_endlessly(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", every=0.01), max_connections=20
    ) as (
        transport,
        slow,
    ):
        for round_ in range(3):
            requested = [asyncio.create_task(send(transport, slow)) for _ in range(100)]
            await asyncio.sleep(0.02 * round_)  # cancelled while waiting, dialling, and reading
            for request in requested:
                request.cancel()
            results = await asyncio.gather(*requested, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert transport.open_connection_count == 0
        async with run_receiver(answer_always(make_response())) as good:
            exchanges = await asyncio.gather(*(send(transport, good) for _ in range(100)))
            assert {exchange.outcome for exchange in exchanges} == {Delivered(200)}
    await wait_until(lambda: open_sockets() <= before)


async def test_a_request_cancelled_at_any_moment_leaves_nothing_behind():
    before = open_sockets()
    async with ready(answer_always(make_response("200 OK", b"", "Connection: close"))) as (
        transport,
        receiver,
    ):
        for moment in range(30):
            requested = [asyncio.create_task(send(transport, receiver)) for _ in range(10)]
            for _ in range(moment):
                await asyncio.sleep(0)
            for request in requested:
                request.cancel()
            await asyncio.gather(*requested, return_exceptions=True)
        exchanges = await asyncio.gather(*(send(transport, receiver) for _ in range(50)))
        assert {exchange.outcome for exchange in exchanges} == {Delivered(200)}
        await wait_until(lambda: receiver.open_connections == 0)
        assert transport.open_connection_count == 0
    await wait_until(lambda: open_sockets() <= before)


async def test_three_hundred_timeouts_leave_nothing_behind():
    async with ready(answer_never) as (transport, receiver):
        exchanges = await asyncio.gather(*(send(transport, receiver, HASTY) for _ in range(300)))
        assert {type(exchange.outcome) for exchange in exchanges} == {TimedOut}
        assert transport.open_connection_count == 0
        async with run_receiver(answer_always(make_response("503 Busy", b""))) as good:
            assert (await send(transport, good)).outcome == Refused(503)
        await wait_until(lambda: receiver.open_connections == 0)


async def test_cancelled_connection_wait_frees_its_slot():
    async with ready(answer_never, max_connections=1) as (transport, receiver):
        holding = asyncio.create_task(send(transport, receiver))
        await wait_until(lambda: receiver.open_connections == 1)
        waiting = [asyncio.create_task(send(transport, receiver)) for _ in range(5)]
        await asyncio.sleep(0)
        async with run_receiver(answer_always(make_response())) as good:
            last = asyncio.create_task(send(transport, good))
            for request in (*waiting, holding):
                request.cancel()
            assert (await last).outcome == Delivered(200)
        await asyncio.gather(*waiting, holding, return_exceptions=True)


async def test_closing_interrupts_running_exchanges():
    async def no_answer(host: str) -> list[str]:
        del host
        await asyncio.Event().wait()
        return []

    async with run_receiver(answer_never) as receiver:
        transport = Transport(guard=GUARD, max_connections=2, lookup=no_answer)
        requested = [asyncio.create_task(send(transport, receiver))]
        await wait_until(lambda: receiver.open_connections == 1)
        by_name = httpx.Request("POST", "http://a.example/")
        requested.append(asyncio.create_task(transport.send(by_name, PATIENT, now=NOW)))
        await asyncio.sleep(0.01)
        requested.append(asyncio.create_task(send(transport, receiver)))
        await asyncio.sleep(0.01)
        await transport.aclose()
        exchanges = await asyncio.gather(*requested)
        assert [exchange.outcome for exchange in exchanges] == [Interrupted()] * 3
        assert (await send(transport, receiver)).outcome == Interrupted()
        await transport.aclose()
