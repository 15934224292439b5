"""The way out: names are found, the proxy takes connections, and one URL if somebody asks for it."""

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

# So many endpoints, the ones that were made last, stand for all when names are looked up.
MAX_SAMPLED_ENDPOINTS: Final = 20
CHECK_TIMEOUT: Final = timedelta(seconds=5)
_MAX_NAMED: Final = 5


def extract_hosts(urls: Iterable[str]) -> list[str]:
    """The hosts of URLs that have to be looked up, each once."""
    return filter_hostnames(_split_url(url)[0] or "" for url in urls)


def filter_hostnames(hosts: Iterable[str]) -> list[str]:
    """Those of some hosts that have to be looked up, each once."""
    return list(dict.fromkeys(host for host in hosts if host and not is_ip_address(host)))


def _split_url(url: str) -> tuple[str | None, int | None, str]:
    """Host, port and scheme of a URL; of one that cannot be read, nothing: that is said elsewhere."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None, None, ""
    return host, port, parts.scheme


async def check_dns(
    settings_hosts: Sequence[str], endpoint_hosts: Sequence[str], *, lookup: Lookup = resolve_with_system
) -> Finding:
    """Judge whether names are found: those that the settings name, and those of some endpoints."""
    wanted = list(dict.fromkeys([*settings_hosts, *endpoint_hosts]))
    lost = [
        name for name, found in zip(wanted, await _resolve_names(wanted, lookup), strict=True) if not found
    ]
    if not wanted:
        return ok("DNS", "Settings and endpoints name no host that would have to be looked up.")
    says = f"Not found: {', '.join(lost[:_MAX_NAMED])}{f' and {len(lost) - _MAX_NAMED} more' if lost[_MAX_NAMED:] else ''}."
    if lost == wanted or any(name in settings_hosts for name in lost):
        return fail(
            "DNS",
            says,
            "See that this machine's resolver works (/etc/resolv.conf), and that the name is right.",
        )
    if lost:
        return warn("DNS", says, "Ask whose these endpoints are; their deliveries wait meanwhile.")
    return ok("DNS", f"{len(wanted)} host name{'s are' if len(wanted) > 1 else ' is'} found.")


async def _resolve_names(names: Sequence[str], lookup: Lookup) -> list[bool]:
    async def can_resolve(name: str) -> bool:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT.total_seconds()):
                return bool(await lookup(name))
        except (OSError, UnicodeError, TimeoutError):
            return False

    return await asyncio.gather(*map(can_resolve, names))


async def check_egress(proxy: Proxy | None, sources: SourceAddresses) -> Finding:
    """Judge how connections leave: through the proxy, or from which address."""
    named = [str(address) for address in (sources.v4, sources.v6) if address is not None]
    leaving = named or connectivity.list_source_addresses()
    if proxy is not None:
        try:
            await connectivity.check_proxy_connection(proxy, limit=CHECK_TIMEOUT)
        except (OSError, UnicodeError, TimeoutError) as error:
            why = str(error) or f"no answer within {CHECK_TIMEOUT.seconds} s"
            return fail(
                "egress",
                f"The proxy {proxy.host}:{proxy.port} cannot be reached: {why}.",
                "See that it runs and lets this machine in; until then every delivery waits.",
            )
        return ok(
            "egress", f"The proxy {proxy.host}:{proxy.port} takes connections; deliveries go through it."
        )
    if not leaving:
        return warn(
            "egress",
            "This machine has no route to the outside.",
            "Give it one, or set WAYBILL_EGRESS_PROXY; receivers in your own network are reached without.",
        )
    return ok("egress", f"Deliveries leave from {' and '.join(leaving)}, before any address translation.")


def list_tls_servers(settings: Settings, proxy: Proxy | None) -> list[tuple[str, int]]:
    """The servers of our own that show a certificate: the broker, the proxy, and what stands before `web`."""
    found = [] if proxy is None or not proxy.is_ssl else [(proxy.host, proxy.port)]
    amqp = "" if settings.amqp_url is None else settings.amqp_url.text
    for url, scheme, usual in ((amqp, "amqps", 5671), (settings.public_url or "", "https", 443)):
        host, port, is_of = _split_url(url)
        if is_of == scheme and host:
            found.append((host, port or usual))
    return found


async def check_certificates(
    servers: Sequence[tuple[str, int]], *, now: datetime, tls: ssl.SSLContext | None = None
) -> list[Finding]:
    """Judge the certificates of servers of our own; one that cannot be reached is judged elsewhere."""
    findings = []
    for host, port in servers:
        check = f"certificate of {host}:{port}"
        try:
            ends = await connectivity.get_certificate_expiry(host, port, limit=CHECK_TIMEOUT, tls=tls)
        except ssl.SSLCertVerificationError as error:
            mend = "Renew it, or have this machine trust whoever signed it."
            findings.append(fail(check, f"It is not trusted: {error.verify_message}.", mend))
        except (OSError, UnicodeError, TimeoutError) as error:
            mend = "See that it is reached from here, unless it is not meant to be."
            findings.append(warn(check, f"It cannot be asked for: {str(error) or 'no answer'}.", mend))
        else:
            says = f"It ends in {format_duration(ends - now)}."
            soon = ends - now < EXPIRY_WARNING_PERIOD
            findings.append(warn(check, says, "Renew it.") if soon else ok(check, says))
    return findings


async def try_url(settings: Settings, url: str, *, now: datetime) -> Finding:
    """Ask one URL on the way that deliveries take, guard and proxy included."""
    check = f"GET {url}"
    way_out = build_transport(settings)
    limits = AttemptLimits(settings.connect_timeout, settings.attempt_timeout)
    try:
        exchange = await connectivity.get(way_out, url, limits, now=now)
    except BadDestination as error:
        return fail(check, error.why, "Give a URL that an endpoint could have.")
    finally:
        await way_out.aclose()
    says = describe_outcome(exchange.outcome)
    if exchange.address:
        says += f" It was asked at {exchange.address}."
    if isinstance(exchange.outcome, (Delivered, Refused)):
        return ok(check, says)
    return fail(check, says, "The sentence says how far the request came; look at that part of the way.")
