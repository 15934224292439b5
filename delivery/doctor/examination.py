"""Run all checks, each after the ones that it depends on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.bootstrap import build_secret_box, check_egress_address, open_ledger
from delivery.doctor.configuration import check_settings
from delivery.doctor.database import check_database
from delivery.doctor.findings import fail
from delivery.doctor.network import (
    MAX_SAMPLED_ENDPOINTS,
    check_certificates,
    check_dns,
    check_egress,
    extract_hosts,
    filter_hostnames,
    list_tls_servers,
    try_url,
)
from delivery.doctor.secrets import check_secrets
from delivery.domain.errors import Misconfigured, Unavailable
from delivery.ledger.db.session import parse_host
from delivery.ledger.records import endpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import datetime

    from delivery.config import Settings
    from delivery.doctor.findings import Finding
    from delivery.domain.egress import Proxy
    from delivery.ledger.db.session import Ledger


@dataclass(frozen=True, slots=True)
class DoctorDeps:
    """What the doctor gets from its caller: names of variables, the clock, and the check of the broker."""

    environment: Collection[str]
    clock: Callable[[], datetime]
    check_broker: Callable[[Settings], list[Finding]]


async def run_checks(settings: Settings, deps: DoctorDeps, *, url: str | None = None) -> list[Finding]:
    """Check every part, also when others do not answer. `url` is requested in the way of a delivery."""
    findings = check_settings(settings, deps.environment)
    ledger_findings, urls = await _check_ledger(settings, deps)
    findings += ledger_findings
    findings += await asyncio.to_thread(deps.check_broker, settings)
    return findings + await _check_network(settings, urls, url=url, now=deps.clock())


async def _check_ledger(settings: Settings, deps: DoctorDeps) -> tuple[list[Finding], list[str]]:
    """Findings about the database and its secrets, and the URLs of some endpoints."""
    try:
        ledger = open_ledger(settings, "doctor")
    except Misconfigured as error:
        return [fail("database", str(error), "Set it, or start `waybill dev` in this folder.")], []
    findings: list[Finding] = []
    try:
        findings, ready = await check_database(ledger, clock=deps.clock)
        if not ready:
            return findings, []
        async with ledger.transaction() as tx:
            urls = await endpoints.read_latest_urls(tx, limit=MAX_SAMPLED_ENDPOINTS)
        return findings + await _check_secrets(settings, ledger, deps), urls
    except Unavailable as error:
        return [
            *findings,
            fail("database", str(error), "Fix the findings above, and run the doctor again."),
        ], []
    finally:
        await ledger.close()


def _list_configured_hosts(settings: Settings, proxy: Proxy | None) -> Iterator[str]:
    """The hosts of the database, as the driver reads its URL, and of the proxy."""
    if settings.database_url is not None:
        yield parse_host(settings.database_url.text) or ""
    if proxy is not None:
        yield proxy.host


async def _check_secrets(settings: Settings, ledger: Ledger, deps: DoctorDeps) -> list[Finding]:
    try:
        box = build_secret_box(settings)
    except Misconfigured:  # a finding of the settings
        return []
    return await check_secrets(ledger, box, now=deps.clock())


async def _check_network(
    settings: Settings, urls: list[str], *, url: str | None, now: datetime
) -> list[Finding]:
    try:
        check_egress_address(settings)
    except Misconfigured:  # a finding of the settings
        return []
    proxy = settings.egress_proxy
    amqp = "" if settings.amqp_url is None else settings.amqp_url.text
    settings_hosts = [
        *extract_hosts([amqp, settings.public_url or ""]),
        *filter_hostnames(_list_configured_hosts(settings, proxy)),
    ]
    # A proxy that takes names resolves them itself, where we cannot see it.
    endpoint_hosts = [] if proxy is not None and proxy.resolves_names else extract_hosts(urls)
    findings = [
        await check_dns(settings_hosts, endpoint_hosts),
        await check_egress(proxy, settings.egress_address),
    ]
    findings += await check_certificates(list_tls_servers(settings, proxy), now=now)
    return findings if url is None else [*findings, await try_url(settings, url, now=now)]
