"""The way out: names are found, the proxy takes connections, and one URL if somebody asks for it."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from delivery.bootstrap import transport
from delivery.doctor.findings import SOON, ok, warning, wrong
from delivery.moments import length
from delivery.transport import BadDestination, Limits, reach
from delivery.transport.names import is_address, system_lookup
from retries.outcome import Delivered, Refused, describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from delivery.config import Settings
    from delivery.doctor.findings import Finding
    from delivery.transport import Lookup, Proxy, Sources

# So many endpoints, the ones that were made last, stand for all when names are looked up.
ENDPOINTS: Final = 20
PATIENCE: Final = timedelta(seconds=5)
_NAMED: Final = 5


def hosts_of(urls: Iterable[str]) -> list[str]:
    """The hosts of URLs that have to be looked up, each once."""
    return named_by(_parted(url)[0] or "" for url in urls)


def named_by(hosts: Iterable[str]) -> list[str]:
    """Those of some hosts that have to be looked up, each once."""
    return list(dict.fromkeys(host for host in hosts if host and not is_address(host)))


def _parted(url: str) -> tuple[str | None, int | None, str]:
    """Host, port and scheme of a URL; of one that cannot be read, nothing: that is said elsewhere."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None, None, ""
    return host, port, parts.scheme


async def look_at_names(
    ours: Sequence[str], theirs: Sequence[str], *, lookup: Lookup = system_lookup
) -> Finding:
    """Judge whether names are found: those that the settings name, and those of some endpoints."""
    wanted = list(dict.fromkeys([*ours, *theirs]))
    lost = [name for name, found in zip(wanted, await _found(wanted, lookup), strict=True) if not found]
    if not wanted:
        return ok("DNS", "Settings and endpoints name no host that would have to be looked up.")
    says = (
        f"Not found: {', '.join(lost[:_NAMED])}{f' and {len(lost) - _NAMED} more' if lost[_NAMED:] else ''}."
    )
    if lost == wanted or any(name in ours for name in lost):
        return wrong(
            "DNS",
            says,
            "See that this machine's resolver works (/etc/resolv.conf), and that the name is right.",
        )
    if lost:
        return warning("DNS", says, "Ask whose these endpoints are; their deliveries wait meanwhile.")
    return ok("DNS", f"{len(wanted)} host name{'s are' if len(wanted) > 1 else ' is'} found.")


async def _found(names: Sequence[str], lookup: Lookup) -> list[bool]:
    async def one(name: str) -> bool:
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                return bool(await lookup(name))
        except (OSError, UnicodeError, TimeoutError):
            return False

    return await asyncio.gather(*map(one, names))


async def look_at_the_way_out(proxy: Proxy | None, sources: Sources) -> Finding:
    """Judge how connections leave: through the proxy, or from which address."""
    named = [str(address) for address in (sources.v4, sources.v6) if address is not None]
    leaving = named or reach.leaving_from()
    if proxy is not None:
        try:
            await reach.reach(proxy, limit=PATIENCE)
        except (OSError, UnicodeError, TimeoutError) as error:
            why = str(error) or f"no answer within {PATIENCE.seconds} s"
            return wrong(
                "egress",
                f"The proxy {proxy.host}:{proxy.port} cannot be reached: {why}.",
                "See that it runs and lets this machine in; until then every delivery waits.",
            )
        return ok(
            "egress", f"The proxy {proxy.host}:{proxy.port} takes connections; deliveries go through it."
        )
    if not leaving:
        return warning(
            "egress",
            "This machine has no route to the outside.",
            "Give it one, or set WAYBILL_EGRESS_PROXY; receivers in your own network are reached without.",
        )
    return ok("egress", f"Deliveries leave from {' and '.join(leaving)}, before any address translation.")


def tls_servers(settings: Settings, proxy: Proxy | None) -> list[tuple[str, int]]:
    """The servers of our own that show a certificate: the broker, the proxy, and what stands before `web`."""
    found = [] if proxy is None or not proxy.is_ssl else [(proxy.host, proxy.port)]
    amqp = "" if settings.amqp_url is None else settings.amqp_url.get_secret_value()
    for url, scheme, usual in ((amqp, "amqps", 5671), (settings.public_url or "", "https", 443)):
        host, port, is_of = _parted(url)
        if is_of == scheme and host:
            found.append((host, port or usual))
    return found


async def look_at_certificates(
    servers: Sequence[tuple[str, int]], *, now: datetime, tls: ssl.SSLContext | None = None
) -> list[Finding]:
    """Judge the certificates of servers of our own; one that cannot be reached is judged elsewhere."""
    findings = []
    for host, port in servers:
        check = f"certificate of {host}:{port}"
        try:
            ends = await reach.certificate_of(host, port, limit=PATIENCE, tls=tls)
        except ssl.SSLCertVerificationError as error:
            mend = "Renew it, or have this machine trust whoever signed it."
            findings.append(wrong(check, f"It is not trusted: {error.verify_message}.", mend))
        except (OSError, UnicodeError, TimeoutError) as error:
            mend = "See that it is reached from here, unless it is not meant to be."
            findings.append(warning(check, f"It cannot be asked for: {str(error) or 'no answer'}.", mend))
        else:
            says = f"It ends in {length(ends - now)}."
            soon = ends - now < SOON
            findings.append(warning(check, says, "Renew it.") if soon else ok(check, says))
    return findings


async def try_url(settings: Settings, url: str, *, now: datetime) -> Finding:
    """Ask one URL on the way that deliveries take, guard and proxy included."""
    check = f"GET {url}"
    way_out = transport(settings)
    limits = Limits(timedelta(seconds=settings.connect_timeout), timedelta(seconds=settings.attempt_timeout))
    try:
        exchange = await reach.get(way_out, url, limits, now=now)
    except BadDestination as error:
        return wrong(check, error.why, "Give a URL that an endpoint could have.")
    finally:
        await way_out.aclose()
    says = describe(exchange.outcome)
    if exchange.address:
        says += f" It was asked at {exchange.address}."
    if isinstance(exchange.outcome, (Delivered, Refused)):
        return ok(check, says)
    return wrong(check, says, "The sentence says how far the request came; look at that part of the way.")
