"""Rotating the encryption key on a real database: during changes, after a stop, with a report by key."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest

from delivery.clock import clock
from delivery.destinations.http.auth import Bearer, decode_credentials
from delivery.domain.accounts import Actor
from delivery.domain.secret_box import (
    SecretBox,
    SecretKeys,
    build_auth_context,
    build_headers_context,
    build_secret_context,
    generate_key,
)
from delivery.ledger.db.tables import metadata
from delivery.ledger.records import encrypted_values
from delivery.ledger.records.encrypted_values import HEADERS as IN_HEADERS
from delivery.services.key_rotation import NIL_ID, SEALED_COLUMNS, KeyRotationService, KeyUsage
from signing import generate_hmac
from tests.support import ledger_builders as build
from tests.support.ledger_builders import BOX, EndpointSpec

if TYPE_CHECKING:
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger

OLD = base64.b64encode(bytes(range(32))).decode()  # that of on.BOX
NEW = generate_key()
BOTH = SecretBox.from_keys(SecretKeys.parse(f"{NEW},{OLD}"))
NEWEST = SecretBox.from_keys(SecretKeys.parse(NEW))
BY = Actor("cli:ada", "here")
HEADERS = {"X-Token": "hush"}


def resealing(ledger: Ledger, box: SecretBox = BOTH, *, at_once: int = 500) -> KeyRotationService:
    return KeyRotationService(ledger, box, clock=clock, batch_size=at_once)


async def opened(ledger: Ledger, box: SecretBox) -> list[bytes]:
    """All sealed values, opened with these keys only."""
    secrets = await build.fetch_rows(ledger, "select tenant_id, endpoint_id, sealed from endpoint_secrets")
    headers = await build.fetch_rows(
        ledger, "select tenant_id, id, sealed_headers from endpoints where sealed_headers is not null"
    )
    values = [
        box.open(secret.sealed, context=build_secret_context(secret[0], secret[1])) for secret in secrets
    ]
    values += [
        box.open(secret.sealed_headers, context=build_headers_context(secret[0], secret[1]))
        for secret in headers
    ]
    return sorted(values)


async def some(ledger: Ledger, tenant: TenantId, count: int) -> list[EndpointId]:
    """Endpoints with a secret and headers each, under the old key."""
    return [await build.create_endpoint(ledger, tenant, EndpointSpec(headers=HEADERS)) for _ in range(count)]


def test_every_sealed_column_is_listed() -> None:
    columns = {
        column for table in metadata.sorted_tables for column in table.c if column.name.startswith("sealed")
    }
    assert {place.sealed for place, _ in SEALED_COLUMNS} == columns


async def test_all_values_are_encrypted_with_the_newest_key(ledger: Ledger, tenant: TenantId) -> None:
    created = await some(ledger, tenant, 3)
    await build.create_endpoint(ledger, tenant)
    await build.rotate_secret(ledger, tenant, created[0], generate_hmac(b"t" * 32))
    await build.delete_endpoint(ledger, tenant, created[1])
    before = await opened(ledger, BOX)
    assert len(before) == 8
    report = await resealing(ledger).run(actor=BY)
    assert (report.rotated, report.changed, report.unreadable, report.remaining) == (8, 0, 0, 0)
    assert await opened(ledger, NEWEST) == before
    newest, older = BOTH.key_ids
    assert report.key_usage == (KeyUsage(newest, True, 8), KeyUsage(older, True, 0))  # noqa: FBT003  a record


async def test_a_dry_run_counts_and_changes_nothing(ledger: Ledger, tenant: TenantId) -> None:
    await some(ledger, tenant, 2)
    before = await build.fetch_rows(ledger, "select sealed from endpoint_secrets order by id")
    report = await resealing(ledger).read_report()
    assert (report.rotated, report.remaining) == (0, 4)
    assert await build.fetch_rows(ledger, "select sealed from endpoint_secrets order by id") == before


async def test_a_second_run_changes_and_audits_nothing(ledger: Ledger, tenant: TenantId) -> None:
    await some(ledger, tenant, 2)
    await resealing(ledger).run(actor=BY)
    assert (await resealing(ledger).run(actor=BY)).rotated == 0
    result = await build.fetch_row(
        ledger, "select actor, details from journal where what = 'secrets.resealed'"
    )
    assert (result.actor, result.details) == ("cli:ada", {"values": 4, "key_id": BOTH.key_ids[0]})


class Stopped(Exception):
    """Stops the run."""


async def test_a_stopped_run_can_be_continued(ledger: Ledger, tenant: TenantId) -> None:
    await some(ledger, tenant, 5)

    def stop(resealed: int) -> None:
        if resealed >= 4:
            raise Stopped

    with pytest.raises(Stopped):
        await resealing(ledger, at_once=2).run(actor=BY, on_progress=stop)
    assert (await resealing(ledger).read_report()).remaining == 6
    assert (await resealing(ledger).run(actor=BY)).rotated == 6
    assert len(await opened(ledger, NEWEST)) == 10


async def test_concurrent_changes_are_not_overwritten(ledger: Ledger, tenant: TenantId) -> None:
    (endpoint,) = await some(ledger, tenant, 1)
    context = build_headers_context(tenant, endpoint)
    async with ledger.transaction() as tx:
        (read,) = await encrypted_values.read_after(tx, IN_HEADERS, NIL_ID, limit=10)
    theirs = BOX.seal(b'{"X-Token": "theirs"}', context=context)
    await build.execute(
        ledger, "update endpoints set sealed_headers = :new where id = :id", new=theirs, id=endpoint
    )
    after = BOTH.rewrap(read.sealed, context=context)
    assert after is not None
    async with ledger.transaction() as tx:
        assert (
            await encrypted_values.replace_values(
                tx, IN_HEADERS, [encrypted_values.SealedValueChange(read.id, read.sealed, after)]
            )
            == 0
        )
    stored = await build.fetch_row(ledger, "select sealed_headers from endpoints")
    assert stored.sealed_headers == theirs


async def test_key_rotation_is_safe_with_concurrent_runs_and_changes(
    ledger: Ledger, tenant: TenantId
) -> None:
    created = await some(ledger, tenant, 30)

    async def change() -> None:
        for endpoint_id in created:
            await build.rotate_secret(ledger, tenant, endpoint_id, generate_hmac(b"u" * 32))

    runs = [resealing(ledger).run(actor=BY) for _ in range(3)]
    await asyncio.gather(change(), *runs)
    await resealing(ledger).run(actor=BY)
    assert len(await opened(ledger, NEWEST)) == 90


async def test_unreadable_values_stay_and_are_reported(ledger: Ledger, tenant: TenantId) -> None:
    lost = SecretBox.from_keys(SecretKeys.parse(generate_key()))
    await build.create_endpoint(ledger, tenant, EndpointSpec(box=lost))
    await some(ledger, tenant, 1)
    await build.execute(
        ledger,
        "update endpoints set sealed_headers = :spoilt where sealed_headers is not null",
        spoilt=BOX.seal(b"{}", context=b"of another row"),
    )
    report = await resealing(ledger).run(actor=BY)
    assert (report.rotated, report.unreadable, report.remaining) == (1, 2, 2)
    assert KeyUsage(lost.key_ids[0], is_available=False, value_count=1) in report.key_usage


async def test_workers_need_not_reload_rotated_values(ledger: Ledger, tenant: TenantId) -> None:
    await some(ledger, tenant, 1)
    before = await build.fetch_row(ledger, "select version from endpoints")
    await resealing(ledger).run(actor=BY)
    assert await build.fetch_row(ledger, "select version from endpoints") == before


async def test_an_endpoints_authentication_is_rotated(ledger: Ledger, tenant: TenantId) -> None:
    bearer = {"kind": "bearer", "token": "hush"}
    endpoint = await build.create_endpoint(ledger, tenant, EndpointSpec(auth=bearer))
    assert (await resealing(ledger).run(actor=BY)).rotated == 2
    stored = await build.fetch_row(ledger, "select sealed_auth from endpoints")
    assert decode_credentials(NEWEST.open(stored[0], context=build_auth_context(tenant, endpoint))) == Bearer(
        "hush"
    )
