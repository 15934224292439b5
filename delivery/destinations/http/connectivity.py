"""Outbound connectivity checks for `waybill doctor`."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

import httpx

from delivery.destinations.http.tls import create_tls_context
from delivery.destinations.http.url_policy import check_url

if TYPE_CHECKING:
    from datetime import timedelta

    from delivery.destinations.http.exchange import AttemptLimits, Exchange
    from delivery.destinations.http.transport import Transport
    from delivery.domain.egress import Proxy

# Documentation addresses (RFC 5737, RFC 3849): this reads the routing table, and no packet leaves.
_REMOTE_ADDRESSES: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_ANY_PORT: Final = 443


def list_source_addresses() -> list[str]:
    """List the addresses from which this machine reaches the internet; empty if it has no route."""
    addresses = []
    for family, address in _REMOTE_ADDRESSES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((address, _ANY_PORT))
                addresses.append(str(sock.getsockname()[0]))
        except OSError:
            continue
    return addresses


async def check_proxy_connection(proxy: Proxy, *, limit: timedelta) -> None:
    """Connect to the proxy and close; raises OSError, UnicodeError and TimeoutError."""
    tls = create_tls_context() if proxy.is_ssl else None
    async with asyncio.timeout(limit.total_seconds()):
        _, writer = await asyncio.open_connection(proxy.host, proxy.port, ssl=tls)
        writer.close()


async def get_certificate_expiry(
    host: str, port: int, *, limit: timedelta, tls: ssl.SSLContext | None = None
) -> datetime:
    """Return when the certificate that a server presents expires.

    Raises OSError, TimeoutError, and ssl.SSLCertVerificationError for one that is untrusted or has expired.
    """
    async with asyncio.timeout(limit.total_seconds()):
        _, writer = await asyncio.open_connection(host, port, ssl=tls or create_tls_context())
        certificate = cast("ssl.SSLObject", writer.get_extra_info("ssl_object")).getpeercert() or {}
        writer.close()
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), tz=UTC)


async def get(transport: Transport, url: str, limits: AttemptLimits, *, now: datetime) -> Exchange:
    """GET a URL the way deliveries are sent. Raises BadDestination for a URL that no endpoint may have."""
    url = check_url(url, allow_http=True)
    request = httpx.Request("GET", url, headers={"user-agent": "Waybill/0.1"}, stream=httpx.ByteStream(b""))
    return await transport.send(request, limits, now=now)
