"""Translates errors of aiohttp and the system into httpx's errors, and those into outcomes."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final, TypeVar

import httpx
from aiohttp import ClientConnectionError, ClientError, ClientPayloadError, ServerDisconnectedError
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from delivery.destinations.http.pool import BlockedAddress
from delivery.destinations.http.proxy_errors import ProxyFault
from retries.outcome import (
    Blocked,
    CutShort,
    Fault,
    Interrupted,
    Outcome,
    Phase,
    ProxyFailed,
    TimedOut,
    Unreachable,
)

if TYPE_CHECKING:
    from delivery.destinations.http.exchange import ExchangeTrace

E = TypeVar("E", bound=BaseException | None)

_DIALLING: Final = frozenset({Phase.DNS, Phase.CONNECT, Phase.TLS})
# Our own machine has run out of a resource: that says nothing about the receiver.
_LOCAL_RESOURCE_ERRNOS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
_PLAIN_MESSAGES: Final = {
    ServerDisconnectedError: "The connection was closed before an answer came",
    LineTooLong: "A line of the answer is too long",
}


class DestinationBlocked(httpx.ConnectError):
    """The guard refused to dial this address of this host, or the port."""

    def __init__(self, host: str, address: str, reason: str) -> None:
        super().__init__(f"{address} of {host} may not be dialled: {reason}")
        self.host = host
        self.address = address
        self.reason = reason


def is_external_error(error: Exception) -> bool:
    """Whether the network, TLS or a receiver can cause this error; otherwise it is a bug of ours."""
    return isinstance(error, (OSError, ValueError, ClientError, HttpProcessingError))


def is_broken_connection(error: Exception) -> bool:
    """Whether the connection was lost, as opposed to a wrong or late response."""
    return isinstance(error, (ClientConnectionError, ConnectionError))


def translate_error(error: Exception, trace: ExchangeTrace) -> httpx.TransportError:
    """Return the httpx error for a failure, given how far the exchange had come."""
    error = _unwrap_tls_error(error)
    if isinstance(error, BlockedAddress):
        return DestinationBlocked(error.host, error.address, error.reason)
    if isinstance(error, ProxyFault):
        return httpx.ProxyError(error.why)
    if trace.at_proxy:
        return httpx.ProxyError(
            "the time was up" if isinstance(error, TimeoutError) else _describe_error(error)
        )
    if isinstance(error, TimeoutError):
        return _build_timeout_error(trace.phase)
    kind: type[httpx.TransportError]
    if trace.phase is None or trace.phase in _DIALLING:
        kind = httpx.ConnectError
    elif isinstance(error, (HttpProcessingError, ClientPayloadError, ServerDisconnectedError)):
        kind = httpx.RemoteProtocolError
    else:
        kind = httpx.WriteError if trace.phase is Phase.SEND else httpx.ReadError
    return kind(_describe_error(error))


def _build_timeout_error(phase: Phase | None) -> httpx.TimeoutException:
    if phase is None:
        return httpx.PoolTimeout("No connection became free in time.")
    if phase in _DIALLING:
        return httpx.ConnectTimeout(f"The time was up: {phase}.")
    if phase is Phase.SEND:
        return httpx.WriteTimeout(f"The time was up: {phase}.")
    return httpx.ReadTimeout(f"The time was up: {phase}.")


def classify_error(error: httpx.TransportError, trace: ExchangeTrace) -> Outcome:  # noqa: PLR0911  one line for each outcome
    """Return the outcome of an attempt that ended with this error."""
    cause = error.__cause__
    if isinstance(error, DestinationBlocked):
        return Blocked(error.host, error.address, error.reason)
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        # The request itself is invalid: nothing was looked up or dialled.
        return Blocked(error.request.url.host, None, str(error))
    if isinstance(error, httpx.TimeoutException):
        # It was still waiting for a connection of our own pool: nothing was sent.
        return Interrupted() if trace.phase is None else TimedOut(trace.phase)
    if isinstance(cause, OSError) and cause.errno in _LOCAL_RESOURCE_ERRNOS:
        return Interrupted()
    if isinstance(error, httpx.ProxyError):
        return ProxyFailed(str(error))
    if trace.status is not None:
        return CutShort(trace.status)
    return Unreachable(_classify_fault(error, trace.phase), str(error))


def _classify_fault(error: httpx.TransportError, phase: Phase | None) -> Fault:
    cause = _unwrap_tls_error(error.__cause__)
    if phase is Phase.DNS:
        return Fault.DNS
    if isinstance(cause, ssl.SSLError) or (phase is Phase.TLS and isinstance(cause, ValueError)):
        return Fault.TLS
    if isinstance(cause, ConnectionRefusedError):
        return Fault.REFUSED
    if isinstance(cause, (ConnectionError, ServerDisconnectedError)) or (
        isinstance(cause, OSError) and cause.errno in {errno.ECONNRESET, errno.EPIPE}
    ):
        return Fault.RESET
    return Fault.PROTOCOL if isinstance(error, httpx.RemoteProtocolError) else Fault.NETWORK


def _unwrap_tls_error(error: E) -> E | ssl.SSLError:
    """Return the TLS alert (RFC 8446, section 6) that aiohttp has wrapped in a network error, if any."""
    cause = None if error is None else error.__cause__
    return cause if isinstance(cause, ssl.SSLError) else error


def _describe_error(error: Exception) -> str:
    """Describe an error in a few words, without addresses or bytes that the receiver sent."""
    match error:
        case ssl.SSLCertVerificationError():
            return error.verify_message
        case ssl.SSLError() | socket.gaierror():
            return error.strerror or type(error).__name__
        case ServerDisconnectedError() | LineTooLong():
            return _PLAIN_MESSAGES[type(error)]
        case HttpProcessingError():
            return error.message.strip().partition("\n")[0].rstrip(":")
        case OSError(errno=int(number)):
            return os.strerror(number)
        case _:
            return str(error) or type(error).__name__
