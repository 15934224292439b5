"""Whether the way out is open: what the doctor tries. Nothing is sent to a receiver but what it asked for."""

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

# Documentation addresses (RFC 5737, RFC 3849): the routing table is asked, and no packet leaves.
_REMOTE_ADDRESSES: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_ANY_PORT: Final = 443


def list_source_addresses() -> list[str]:
    """The addresses of this machine from which connections to the outside leave; none: there is no route."""
    found = []
    for family, address in _REMOTE_ADDRESSES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.connect((address, _ANY_PORT))
                found.append(str(asking.getsockname()[0]))
        except OSError:
            continue
    return found


async def check_proxy_connection(proxy: Proxy, *, limit: timedelta) -> None:
    """Connect to the proxy, and hang up; raises OSError, UnicodeError and TimeoutError."""
    tls = create_tls_context() if proxy.is_ssl else None
    async with asyncio.timeout(limit.total_seconds()):
        _, writer = await asyncio.open_connection(proxy.host, proxy.port, ssl=tls)
        writer.close()


async def get_certificate_expiry(
    host: str, port: int, *, limit: timedelta, tls: ssl.SSLContext | None = None
) -> datetime:
    """When the certificate of a server of ours ends, as it shows it itself.

    Raises OSError, TimeoutError, and ssl.SSLCertVerificationError for one that is not trusted or has ended.
    """
    async with asyncio.timeout(limit.total_seconds()):
        _, writer = await asyncio.open_connection(host, port, ssl=tls or create_tls_context())
        shown = cast("ssl.SSLObject", writer.get_extra_info("ssl_object")).getpeercert() or {}
        writer.close()
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), tz=UTC)


async def get(transport: Transport, url: str, limits: AttemptLimits, *, now: datetime) -> Exchange:
    """GET a URL on the way that deliveries take. Raises BadDestination for what no endpoint may be."""
    url = check_url(url, allow_http=True)
    request = httpx.Request("GET", url, headers={"user-agent": "Waybill/0.1"}, stream=httpx.ByteStream(b""))
    return await transport.send(request, limits, now=now)
