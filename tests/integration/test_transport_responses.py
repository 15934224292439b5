"""The transport handles every kind of response, good and bad."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from delivery.destinations.http.exchange import AttemptLimits, Exchange
from delivery.destinations.http.transport import Transport
from delivery.destinations.ssrf_guard import Guard
from delivery.domain.networks import AllowList
from retries.outcome import Blocked, CutShort, Delivered, Fault, Phase, Refused, TimedOut, Unreachable
from tests.support.receivers import (
    CHUNK,
    Conversation,
    Receiver,
    answer_always,
    answer_endlessly,
    answer_never,
    answer_once,
    make_response,
    never_read,
    reset_after,
    reset_connection,
    run_receiver,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Talk = Callable[[Conversation], Awaitable[None]]

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GUARD = Guard(AllowList.parse("127.0.0.0/8"))
PATIENT = AttemptLimits(total_timeout=timedelta(seconds=10))
HASTY = AttemptLimits(total_timeout=timedelta(seconds=0.25))
OK_HEAD = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def ready(talk: Talk) -> AsyncIterator[tuple[Transport, Receiver]]:
    transport = Transport(guard=GUARD)
    try:
        async with run_receiver(talk) as receiver:
            yield transport, receiver
    finally:
        await transport.aclose()
    assert transport.open_connection_count == 0


async def exchange_with(talk: Talk, limits: AttemptLimits = PATIENT, **request: Any) -> Exchange:
    async with ready(talk) as (transport, receiver):
        return await send(transport, receiver, limits, **request)


async def send(
    transport: Transport, receiver: Receiver, limits: AttemptLimits = PATIENT, **request: Any
) -> Exchange:
    requested = httpx.Request("POST", receiver.url(), **{"content": b'{"a":1}', **request})
    return await transport.send(requested, limits, now=NOW)


async def test_a_200_is_delivered_and_recorded():
    exchange = await exchange_with(answer_always(make_response("200 OK", b"thanks", "X-Trace: 7")))
    assert exchange.outcome == Delivered(200)
    assert (exchange.status, exchange.body, exchange.body_truncated) == (200, b"thanks", False)
    assert ("X-Trace", "7") in exchange.headers
    assert (exchange.address, exchange.reused) == ("127.0.0.1", False)
    timings = exchange.timings
    assert timings.dns is not None
    assert timings.connect is not None
    assert timings.tls is None
    assert timings.first_byte is not None
    assert timings.total is not None
    assert timings.total >= timings.dns + timings.connect + timings.first_byte


async def test_a_204_with_a_body_is_delivered():
    exchange = await exchange_with(answer_always(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"))
    assert exchange.outcome == Delivered(204)


async def test_a_body_after_a_204_is_not_the_next_response():
    async with ready(
        answer_always(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    ) as (
        transport,
        receiver,
    ):
        outcomes = [(await send(transport, receiver)).outcome for _ in range(3)]
    assert outcomes == [Delivered(204)] * 3


async def test_a_204_is_delivered():
    exchange = await exchange_with(answer_always(b"HTTP/1.1 204 No Content\r\n\r\n"))
    assert (exchange.outcome, exchange.body) == (Delivered(204), b"")


async def test_the_request_arrives_byte_for_byte():
    body = bytes(range(256)) * 400
    async with ready(answer_always(make_response())) as (transport, receiver):
        await send(transport, receiver, content=body, headers={"webhook-id": "evt_1", "X-A": "b"})
        (received,) = receiver.requests
    assert received.body == body
    assert received.request_line == "POST /hook HTTP/1.1"
    assert received.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "accept-encoding": "identity",
        "content-length": str(len(body)),
        "webhook-id": "evt_1",
        "x-a": "b",
    }


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("Retry-After: 120", timedelta(minutes=2)),
        ("retry-after: Sun, 22 Nov 2026 12:05:00 GMT", timedelta(minutes=5)),
        ("Retry-After: soon", None),
        ("X-Other: 1", None),
    ],
)
async def test_a_500_is_refused_with_its_retry_after(header: str, wait: timedelta | None):
    exchange = await exchange_with(answer_always(make_response("500 Internal Server Error", b"oh", header)))
    assert exchange.outcome == Refused(500, wait)


async def test_a_redirect_is_not_followed():
    async with run_receiver(answer_always(make_response())) as other:
        exchange = await exchange_with(
            answer_always(make_response("302 Found", b"", f"Location: {other.url()}"))
        )
    assert exchange.outcome == Refused(302)
    assert other.connections == 0


async def test_interim_responses_are_skipped():
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + make_response()
    assert (await exchange_with(answer_always(raw))).outcome == Delivered(200)


async def test_a_response_before_the_end_of_the_request_counts():
    async def refuse_early(conversation: Conversation) -> None:
        await conversation.reader.readuntil(b"\r\n\r\n")
        await conversation.write_bytes(make_response("413 Content Too Large", b""))
        await conversation.wait_for_close()

    async with ready(refuse_early) as (transport, receiver):
        exchange = await send(transport, receiver, content=CHUNK * 1024)
        assert exchange.outcome == Refused(413)
        assert transport.open_connection_count == 0


@pytest.mark.parametrize(
    ("talk", "phase"),
    [
        (answer_never, Phase.FIRST_BYTE),
        (answer_endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n", every=0.05), Phase.FIRST_BYTE),
        (answer_endlessly(OK_HEAD, b"X-A: b\r\n", every=0.01), Phase.FIRST_BYTE),
        (answer_endlessly(OK_HEAD + b"Content-Length: 999\r\n\r\n", b"x", every=0.01), Phase.BODY),
        (
            answer_endlessly(OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", every=0.01),
            Phase.BODY,
        ),
        (answer_endlessly(OK_HEAD + b"\r\n", b"x", every=0.01), Phase.BODY),
    ],
    ids=["never", "100s", "headers", "length", "chunks", "until-close"],
)
async def test_a_slow_receiver_hits_the_total_limit(talk: Talk, phase: Phase):
    async with ready(talk) as (transport, receiver):
        exchange = await send(transport, receiver, HASTY)
        assert exchange.outcome == TimedOut(phase)
        assert transport.open_connection_count == 0
    assert exchange.timings.total is not None


async def test_bytes_before_a_timeout_are_recorded():
    exchange = await exchange_with(
        answer_endlessly(OK_HEAD + b"Content-Length: 99\r\n\r\nhello", b"", every=0.05), HASTY
    )
    assert (exchange.status, exchange.body) == (200, b"hello")
    assert ("Content-Length", "99") in exchange.headers


async def test_a_receiver_that_never_reads_hits_the_total_limit():
    async with ready(never_read) as (transport, receiver):
        exchange = await send(transport, receiver, HASTY, content=CHUNK * 1024)
        assert exchange.outcome == TimedOut(Phase.SEND)
        assert transport.open_connection_count == 0


@pytest.mark.parametrize(
    "talk",
    [
        answer_endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        answer_endlessly(OK_HEAD, b"X-A: b\r\n" * 1000),
        answer_endlessly(OK_HEAD + b"X-A: ", CHUNK),
        answer_endlessly(b"HTTP/1.1 200 ", CHUNK),
        answer_endlessly(OK_HEAD + b"".join(b"X-%d: b\r\n" % n for n in range(500)), b"\r\n"),
        answer_once(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        answer_once(b"\x15\x03\x01\x00\x02\x02\x46"),
        answer_once(b"HTTP/1.1 banana\r\n\r\n"),
        answer_once(OK_HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        answer_once(OK_HEAD + b"Content-Length: -1\r\n\r\nhello"),
        answer_once(OK_HEAD + b"no colon\r\n\r\n"),
        answer_once(OK_HEAD + b"X: a\0b\r\nContent-Length: 0\r\n\r\n"),
    ],
    ids=[
        "100s",
        "headers",
        "header",
        "line",
        "count",
        "ssh",
        "tls",
        "status",
        "two",
        "minus",
        "colon",
        "nul",
    ],
)
async def test_invalid_http_is_a_protocol_fault(talk: Talk):
    async with ready(talk) as (transport, receiver):
        exchange = await send(transport, receiver)
        assert isinstance(exchange.outcome, Unreachable)
        assert exchange.outcome.kind is Fault.PROTOCOL
        assert exchange.status is None
        assert transport.open_connection_count == 0


async def test_a_reset_before_the_response_is_a_reset():
    outcome = (await exchange_with(reset_connection)).outcome
    assert isinstance(outcome, Unreachable)
    assert outcome.kind is Fault.RESET


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 20", OK_HEAD + b"X: "])
async def test_a_close_before_the_response_is_a_reset(raw: bytes):
    outcome = (await exchange_with(answer_once(raw))).outcome
    assert isinstance(outcome, Unreachable)
    assert outcome.kind is Fault.RESET


async def test_a_refused_connection_is_refused():
    async with run_receiver(answer_never) as gone:
        pass
    transport = Transport(guard=GUARD)
    exchange = await send(transport, gone)
    await transport.aclose()
    assert exchange.outcome == Unreachable(Fault.REFUSED, "Connection refused")
    assert exchange.address == "127.0.0.1"


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 99\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"],
    ids=["length", "chunks"],
)
@pytest.mark.parametrize("ending", [answer_once, reset_after])
async def test_a_truncated_response_is_cut_short(head: bytes, ending: Callable[[bytes], Talk]):
    exchange = await exchange_with(ending(b"HTTP/1.1 503 Unavailable\r\n" + head))
    assert exchange.outcome == CutShort(503)
    assert (exchange.status, exchange.body, exchange.body_truncated) == (503, b"half", False)


async def test_a_reset_in_a_body_without_a_length_is_cut_short():
    assert (await exchange_with(reset_after(OK_HEAD + b"\r\nhalf"))).outcome == CutShort(200)


async def test_a_body_that_ends_with_the_connection_is_complete():
    exchange = await exchange_with(answer_once(OK_HEAD + b"\r\nall of it"))
    assert (exchange.outcome, exchange.body) == (Delivered(200), b"all of it")


async def test_a_broken_chunk_is_not_the_end():
    head = OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
    assert (await exchange_with(answer_endlessly(head, b"banana\r\n", every=0.05))).outcome == CutShort(200)
    assert (await exchange_with(answer_once(head + b"banana\r\n"))).outcome == CutShort(200)


async def test_many_small_chunks_are_read_to_their_end():
    pieces = b"1\r\nx\r\n" * 20_000
    raw = OK_HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + pieces + b"0\r\n\r\n"
    exchange = await exchange_with(answer_once(raw))
    assert (exchange.outcome, len(exchange.body)) == (Delivered(200), 20_000)


async def test_chunks_that_are_mostly_framing_are_cut_off():
    raw = OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    talk = answer_endlessly(raw, (b"1;" + b"y" * 8000 + b"\r\nx\r\n") * 10)
    assert (await exchange_with(talk)).outcome == CutShort(200)


async def test_a_large_body_is_read_to_the_limit_and_the_connection_closed():
    closed = asyncio.Event()

    async def talk(conversation: Conversation) -> None:
        await conversation.read_request()
        try:
            await conversation.write_bytes(make_response("200 OK", b"x" * 1024 * 1024))
            await conversation.wait_for_close()
        finally:
            closed.set()

    async with ready(talk) as (transport, receiver):
        exchange = await send(transport, receiver)
        assert exchange.outcome == Delivered(200)
        assert (exchange.body, exchange.body_truncated) == (b"x" * 65_536, True)
        assert transport.open_connection_count == 0
        await closed.wait()


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
async def test_an_endless_body_counts_with_its_status(status: str):
    head = f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    exchange = await exchange_with(answer_endlessly(head, b"4000\r\n" + CHUNK + b"\r\n"))
    assert exchange.outcome == (Delivered(200) if status.startswith("200") else Refused(500))
    assert (len(exchange.body), exchange.body_truncated) == (65_536, True)


async def test_a_body_that_breaks_off_beyond_the_limit_counts_with_its_status():
    exchange = await exchange_with(answer_once(OK_HEAD + b"Content-Length: 999999\r\n\r\n" + CHUNK * 5))
    assert (exchange.outcome, len(exchange.body)) == (Delivered(200), 65_536)


async def test_a_body_as_long_as_the_limit_is_complete():
    exchange = await exchange_with(
        answer_always(make_response("200 OK", b"x" * 10)), AttemptLimits(max_body_bytes=10)
    )
    assert (exchange.body, exchange.body_truncated) == (b"x" * 10, False)


async def test_a_limit_of_no_bytes_reads_none():
    exchange = await exchange_with(
        answer_always(make_response("200 OK", b"x")), AttemptLimits(max_body_bytes=0)
    )
    assert (exchange.outcome, exchange.body, exchange.body_truncated) == (Delivered(200), b"", True)


async def test_a_compressed_body_is_recorded_as_it_came():
    bomb = gzip.compress(b"\0" * 50_000_000)
    exchange = await exchange_with(answer_always(make_response("200 OK", bomb, "Content-Encoding: gzip")))
    assert exchange.body == bomb[:65_536]


async def test_the_first_headers_are_recorded():
    names = [f"X-{number}" for number in range(100)]
    exchange = await exchange_with(
        answer_always(make_response("200 OK", b"", *(f"{name}: v" for name in names)))
    )
    assert len(exchange.headers) == 64
    large = [f"X-{number}: {'v' * 4000}" for number in range(10)]
    exchange = await exchange_with(answer_always(make_response("200 OK", b"", *large)))
    assert exchange.outcome == Delivered(200)
    assert sum(len(name) + len(value) for name, value in exchange.headers) <= 16_384


async def test_headers_beyond_ascii_are_latin_1():
    exchange = await exchange_with(answer_always(OK_HEAD + b"X-A: \xe4\xff\r\nContent-Length: 0\r\n\r\n"))
    assert ("X-A", "äÿ") in exchange.headers


async def test_a_switch_of_protocols_is_a_refusal():
    async with ready(answer_once(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello")) as (
        transport,
        receiver,
    ):
        assert (await send(transport, receiver)).outcome == Refused(101)
        assert transport.open_connection_count == 0


async def test_an_invalid_request_is_blocked():
    transport = Transport(guard=GUARD)
    for request in (
        httpx.Request("POST", "ftp://127.0.0.1/"),
        httpx.Request("POST", "http://user:secret@127.0.0.1/"),
        httpx.Request("POST", "http://127.0.0.1/", headers={"X": "a\r\nY: b"}),
    ):
        outcome = (await transport.send(request, PATIENT, now=NOW)).outcome
        assert isinstance(outcome, Blocked)
        assert outcome.address is None
        assert "secret" not in outcome.reason
    await transport.aclose()


async def test_it_returns_responses_as_an_httpx_transport():
    async with ready(answer_always(make_response("200 OK", b"thanks", "X-Trace: 7"))) as (
        transport,
        receiver,
    ):
        response = await transport.handle_async_request(httpx.Request("POST", receiver.url(), content=b""))
        assert (response.status_code, response.headers["x-trace"]) == (200, "7")
        assert await response.aread() == b"thanks"
        assert response.extensions["truncated"] is False


@pytest.mark.parametrize(
    ("talk", "error"),
    [
        (answer_never, httpx.ReadTimeout),
        (reset_connection, httpx.ReadError),
        (answer_once(b""), httpx.RemoteProtocolError),
        (answer_once(b"banana\r\n\r\n"), httpx.RemoteProtocolError),
        (answer_once(OK_HEAD + b"Content-Length: 9\r\n\r\n"), httpx.RemoteProtocolError),
    ],
)
async def test_it_raises_errors_as_an_httpx_transport(talk: Talk, error: type[httpx.TransportError]):
    async with ready(talk) as (transport, receiver):
        request = httpx.Request("POST", receiver.url(), content=b"", extensions={"limits": HASTY})
        with pytest.raises(error):
            await transport.handle_async_request(request)
