"""The whole examination, in the order in which parts stand on each other."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.bootstrap import egress_proxy, egress_sources, open_ledger, secret_box
from delivery.doctor.configuration import look_at_settings
from delivery.doctor.database import look_at_database
from delivery.doctor.findings import wrong
from delivery.doctor.network import (
    ENDPOINTS,
    hosts_of,
    look_at_certificates,
    look_at_names,
    look_at_the_way_out,
    named_by,
    tls_servers,
    try_url,
)
from delivery.doctor.secrets import look_at_secrets
from delivery.errors import Misconfigured, Unavailable
from delivery.ledger import endpoints
from delivery.ledger.session import host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import datetime

    from delivery.config import Settings
    from delivery.doctor.findings import Finding
    from delivery.ledger import Ledger
    from delivery.transport import Proxy


@dataclass(frozen=True, slots=True)
class Edge:
    """What comes from outside: the variables' names, the clock, and who looks at the broker."""

    environment: Collection[str]
    clock: Callable[[], datetime]
    look_at_broker: Callable[[Settings], list[Finding]]


async def examine(settings: Settings, edge: Edge, *, url: str | None = None) -> list[Finding]:
    """Look at every part; one that cannot be asked does not keep the others from being looked at.

    `url` is asked on the way that deliveries take.
    """
    findings = look_at_settings(settings, edge.environment)
    of_ledger, urls = await _look_at_ledger(settings, edge)
    findings += of_ledger
    findings += await asyncio.to_thread(edge.look_at_broker, settings)
    return findings + await _look_at_network(settings, urls, url=url, now=edge.clock())


async def _look_at_ledger(settings: Settings, edge: Edge) -> tuple[list[Finding], list[str]]:
    """What the database says of itself and of secrets, and where some endpoints lead."""
    try:
        ledger = open_ledger(settings, "doctor")
    except Misconfigured as error:
        return [wrong("database", str(error), "Set it, or start `waybill dev` in this folder.")], []
    findings: list[Finding] = []
    try:
        findings, ready = await look_at_database(ledger, clock=edge.clock)
        if not ready:
            return findings, []
        async with ledger.transaction() as tx:
            urls = await endpoints.latest_urls(tx, most=ENDPOINTS)
        return findings + await _look_at_secrets(settings, ledger, edge), urls
    except Unavailable as error:
        return [*findings, wrong("database", str(error), "Mend what is said above, and look again.")], []
    finally:
        await ledger.close()


def _hosts_named(settings: Settings, proxy: Proxy | None) -> Iterator[str]:
    """The hosts of the database and of the proxy. The driver's way to read the URL counts, not ours."""
    if settings.database_url is not None:
        with suppress(Misconfigured):  # said of the database
            yield host_of(settings.database_url.get_secret_value()) or ""
    if proxy is not None:
        yield proxy.host


async def _look_at_secrets(settings: Settings, ledger: Ledger, edge: Edge) -> list[Finding]:
    try:
        box = secret_box(settings)
    except Misconfigured:  # said of the settings
        return []
    return await look_at_secrets(ledger, box, now=edge.clock())


async def _look_at_network(
    settings: Settings, urls: list[str], *, url: str | None, now: datetime
) -> list[Finding]:
    try:
        proxy, sources = egress_proxy(settings), egress_sources(settings)
    except Misconfigured:  # said of the settings
        return []
    amqp = "" if settings.amqp_url is None else settings.amqp_url.get_secret_value()
    ours = [*hosts_of([amqp, settings.public_url or ""]), *named_by(_hosts_named(settings, proxy))]
    # A proxy that is told names looks them up itself, where we cannot see it.
    theirs = [] if proxy is not None and proxy.resolves else hosts_of(urls)
    findings = [await look_at_names(ours, theirs), await look_at_the_way_out(proxy, sources)]
    findings += await look_at_certificates(tls_servers(settings, proxy), now=now)
    return findings if url is None else [*findings, await try_url(settings, url, now=now)]
