from __future__ import annotations

import errno
import socket
import ssl

import httpx
import pytest
from aiohttp import ClientOSError, ClientPayloadError, ServerDisconnectedError
from aiohttp.http_exceptions import BadHttpMessage

from delivery.destinations.http.errors import DestinationBlocked, classify_error, translate_error
from delivery.destinations.http.exchange import ExchangeTrace
from delivery.destinations.http.pool import BlockedAddress
from retries.outcome import Blocked, CutShort, Fault, Interrupted, Outcome, Phase, TimedOut, Unreachable


def classify(
    error: Exception, phase: Phase | None, status: int | None = None
) -> tuple[type[Exception], Outcome]:
    trail = ExchangeTrace(phase=phase, status=status)
    translated = translate_error(error, trail)
    translated.__cause__ = error
    return type(translated), classify_error(translated, trail)


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (Phase.DNS, httpx.ConnectTimeout),
        (Phase.CONNECT, httpx.ConnectTimeout),
        (Phase.TLS, httpx.ConnectTimeout),
        (Phase.SEND, httpx.WriteTimeout),
        (Phase.FIRST_BYTE, httpx.ReadTimeout),
        (Phase.BODY, httpx.ReadTimeout),
    ],
)
def test_a_timeout_is_of_the_phase_it_happened_in(phase: Phase, kind: type[Exception]):
    assert classify(TimeoutError(), phase) == (kind, TimedOut(phase))


def test_a_timeout_in_the_body_is_a_timeout():
    assert classify(TimeoutError(), Phase.BODY, 200)[1] == TimedOut(Phase.BODY)


def test_a_kernel_connect_timeout_is_a_timeout():
    error = OSError(errno.ETIMEDOUT, "Connection timed out")
    assert classify(error, Phase.CONNECT) == (httpx.ConnectTimeout, TimedOut(Phase.CONNECT))


def test_waiting_for_the_pool_is_not_the_receivers_fault():
    assert classify(TimeoutError(), None) == (httpx.PoolTimeout, Interrupted())


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL]
)
def test_lack_of_local_resources_is_not_the_receivers_fault(number: int):
    assert classify(OSError(number, "none left"), Phase.CONNECT)[1] == Interrupted()


@pytest.mark.parametrize(
    ("error", "phase", "kind", "fault"),
    [
        (socket.gaierror(-2, "Name or service not known"), Phase.DNS, httpx.ConnectError, Fault.DNS),
        (UnicodeError("label too long"), Phase.DNS, httpx.ConnectError, Fault.DNS),
        (ConnectionRefusedError(111, "Connection refused"), Phase.CONNECT, httpx.ConnectError, Fault.REFUSED),
        (
            OSError(errno.ENETUNREACH, "Network is unreachable"),
            Phase.CONNECT,
            httpx.ConnectError,
            Fault.NETWORK,
        ),
        (OSError("Multiple exceptions"), Phase.CONNECT, httpx.ConnectError, Fault.NETWORK),
        (ssl.SSLError(1, "wrong version number"), Phase.TLS, httpx.ConnectError, Fault.TLS),
        (ValueError("server_hostname"), Phase.TLS, httpx.ConnectError, Fault.TLS),
        (ConnectionResetError(104, "reset"), Phase.TLS, httpx.ConnectError, Fault.RESET),
        (ClientOSError(errno.ECONNRESET, "reset"), Phase.FIRST_BYTE, httpx.ReadError, Fault.RESET),
        (ClientOSError(errno.EPIPE, "broken pipe"), Phase.SEND, httpx.WriteError, Fault.RESET),
        (ServerDisconnectedError(), Phase.FIRST_BYTE, httpx.RemoteProtocolError, Fault.RESET),
        (BadHttpMessage("nonsense"), Phase.FIRST_BYTE, httpx.RemoteProtocolError, Fault.PROTOCOL),
        (OSError(errno.EHOSTUNREACH, "No route to host"), Phase.FIRST_BYTE, httpx.ReadError, Fault.NETWORK),
    ],
)
def test_each_fault_has_its_error_and_its_outcome(
    error: Exception, phase: Phase, kind: type[Exception], fault: Fault
):
    translated, outcome = classify(error, phase)
    assert translated is kind
    assert isinstance(outcome, Unreachable)
    assert outcome.kind is fault
    assert outcome.detail


@pytest.mark.parametrize("error", [ClientPayloadError("short"), ClientOSError(errno.ECONNRESET, "reset")])
def test_a_response_that_breaks_off_is_cut_short(error: Exception):
    assert classify(error, Phase.BODY, 503)[1] == CutShort(503)


def test_a_blocked_outcome_has_host_address_and_reason():
    trail = ExchangeTrace(phase=Phase.DNS)
    error = translate_error(BlockedAddress("a.example", "10.0.0.1", "private"), trail)
    assert isinstance(error, DestinationBlocked)
    assert (error.host, error.address, error.reason) == ("a.example", "10.0.0.1", "private")
    assert classify_error(error, trail) == Blocked("a.example", "10.0.0.1", "private")
