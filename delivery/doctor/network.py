"""Check DNS, egress, our own servers' certificates and, on request, one URL."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from delivery.bootstrap import build_transport
from delivery.destinations.dns import is_ip_address, resolve_with_system
from delivery.destinations.http import connectivity
from delivery.destinations.http.exchange import AttemptLimits
from delivery.destinations.http.url_policy import BadDestination
from delivery.doctor.findings import EXPIRY_WARNING_PERIOD, fail, ok, warn
from delivery.domain.durations import format_duration
from retries.outcome import Delivered, Refused, describe_outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from delivery.config import Settings
    from delivery.destinations.dns import Lookup
    from delivery.doctor.findings import Finding
    from delivery.domain.egress import Proxy, SourceAddresses

# The newest endpoints stand for all when names are resolved.
MAX_SAMPLED_ENDPOINTS: Final = 20
CHECK_TIMEOUT: Final = timedelta(seconds=5)
_MAX_NAMED: Final = 5


def extract_hosts(urls: Iterable[str]) -> list[str]:
    """The host names in these URLs, each once."""
    return filter_hostnames(_split_url(url)[0] or "" for url in urls)


def filter_hostnames(hosts: Iterable[str]) -> list[str]:
    """The hosts that are names and not addresses, each once."""
    return list(dict.fromkeys(host for host in hosts if host and not is_ip_address(host)))


def _split_url(url: str) -> tuple[str | None, int | None, str]:
    """Host, port and scheme of a URL; empty for one that cannot be read, which another check reports."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None, None, ""
    return host, port, parts.scheme


async def check_dns(
    settings_hosts: Sequence[str], endpoint_hosts: Sequence[str], *, lookup: Lookup = resolve_with_system
) -> Finding:
    """Check that the host names of the settings, and of some endpoints, resolve."""
    wanted = list(dict.fromkeys([*settings_hosts, *endpoint_hosts]))
    missing = [
        name for name, found in zip(wanted, await _resolve_names(wanted, lookup), strict=True) if not found
    ]
    if not wanted:
        return ok("DNS", "Settings and endpoints contain no host name.")
    more = f" and {len(missing) - _MAX_NAMED} more" if missing[_MAX_NAMED:] else ""
    message = f"Not found: {', '.join(missing[:_MAX_NAMED])}{more}."
    if missing == wanted or any(name in settings_hosts for name in missing):
        return fail(
            "DNS",
            message,
            "Check this machine's resolver (/etc/resolv.conf) and the spelling of the name.",
        )
    if missing:
        return warn("DNS", message, "Ask the owners of these endpoints; their deliveries wait.")
    return ok("DNS", f"{len(wanted)} host name{'s resolve' if len(wanted) > 1 else ' resolves'}.")


async def _resolve_names(names: Sequence[str], lookup: Lookup) -> list[bool]:
    async def can_resolve(name: str) -> bool:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT.total_seconds()):
                return bool(await lookup(name))
        except (OSError, UnicodeError, TimeoutError):
            return False

    return await asyncio.gather(*map(can_resolve, names))


async def check_egress(proxy: Proxy | None, sources: SourceAddresses) -> Finding:
    """Check how connections leave: through the proxy, or from which address."""
    configured = [str(address) for address in (sources.v4, sources.v6) if address is not None]
    leaving = configured or connectivity.list_source_addresses()
    if proxy is not None:
        try:
            await connectivity.check_proxy_connection(proxy, limit=CHECK_TIMEOUT)
        except (OSError, UnicodeError, TimeoutError) as error:
            why = str(error) or f"no answer within {CHECK_TIMEOUT.seconds} s"
            return fail(
                "egress",
                f"The proxy {proxy.host}:{proxy.port} cannot be reached: {why}.",
                "Check that it runs and lets this machine in; until then every delivery waits.",
            )
        return ok(
            "egress", f"The proxy {proxy.host}:{proxy.port} accepts connections; deliveries go through it."
        )
    if not leaving:
        return warn(
            "egress",
            "This machine has no route to the outside.",
            "Add one, or set WAYBILL_EGRESS_PROXY; receivers in your own network need neither.",
        )
    return ok("egress", f"Deliveries leave from {' and '.join(leaving)}, before any address translation.")


def list_tls_servers(settings: Settings, proxy: Proxy | None) -> list[tuple[str, int]]:
    """Our own servers that have a certificate: the broker, the proxy, and the one in front of `web`."""
    servers = [] if proxy is None or not proxy.is_ssl else [(proxy.host, proxy.port)]
    amqp = "" if settings.amqp_url is None else settings.amqp_url.text
    for url, tls_scheme, default_port in ((amqp, "amqps", 5671), (settings.public_url or "", "https", 443)):
        host, port, scheme = _split_url(url)
        if scheme == tls_scheme and host:
            servers.append((host, port or default_port))
    return servers


async def check_certificates(
    servers: Sequence[tuple[str, int]], *, now: datetime, tls: ssl.SSLContext | None = None
) -> list[Finding]:
    """Check the certificates of our own servers."""
    findings = []
    for host, port in servers:
        check = f"certificate of {host}:{port}"
        try:
            ends = await connectivity.get_certificate_expiry(host, port, limit=CHECK_TIMEOUT, tls=tls)
        except ssl.SSLCertVerificationError as error:
            remedy = "Renew it, or let this machine trust its issuer."
            findings.append(fail(check, f"It is not trusted: {error.verify_message}.", remedy))
        except (OSError, UnicodeError, TimeoutError) as error:
            remedy = "Check that it can be reached from here, if it should be."
            findings.append(warn(check, f"It cannot be fetched: {str(error) or 'no answer'}.", remedy))
        else:
            message = f"It ends in {format_duration(ends - now)}."
            soon = ends - now < EXPIRY_WARNING_PERIOD
            findings.append(warn(check, message, "Renew it.") if soon else ok(check, message))
    return findings


async def try_url(settings: Settings, url: str, *, now: datetime) -> Finding:
    """Request one URL in the way of a delivery, through guard and proxy."""
    check = f"GET {url}"
    transport = build_transport(settings)
    limits = AttemptLimits(settings.connect_timeout, settings.attempt_timeout)
    try:
        exchange = await connectivity.get(transport, url, limits, now=now)
    except BadDestination as error:
        return fail(check, error.why, "Pass a URL that an endpoint could have.")
    finally:
        await transport.aclose()
    message = describe_outcome(exchange.outcome)
    if exchange.address:
        message += f" Its address is {exchange.address}."
    if isinstance(exchange.outcome, (Delivered, Refused)):
        return ok(check, message)
    return fail(check, message, "The sentence says how far the request came; look at that step.")
