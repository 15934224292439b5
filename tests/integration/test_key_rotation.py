"""Rotating the sealing key on a real ledger: beside changes, again after a stop, and told by key."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest

from delivery.bootstrap import clock
from delivery.credentials import Bearer, read_written
from delivery.ledger import sealed
from delivery.ledger.sealed import HEADERS as IN_HEADERS
from delivery.ledger.tables import metadata
from delivery.model import Actor
from delivery.resealing import FIRST, PLACES, Resealing, Under
from delivery.secrets import SecretBox, auth_context, generate_key, headers_context, secret_context
from signing import generate_hmac
from tests.support import ledger as on
from tests.support.ledger import BOX, Wanted

if TYPE_CHECKING:
    from delivery.ledger import Ledger
    from delivery.model import EndpointId, TenantId

OLD = base64.b64encode(bytes(range(32))).decode()  # that of on.BOX
NEW = generate_key()
BOTH = SecretBox.from_keys(f"{NEW},{OLD}")
NEWEST = SecretBox.from_keys(NEW)
BY = Actor("cli:ada", "here")
HEADERS = {"X-Token": "hush"}


def resealing(ledger: Ledger, box: SecretBox = BOTH, *, at_once: int = 500) -> Resealing:
    return Resealing(ledger, box, clock=clock, at_once=at_once)


async def opened(ledger: Ledger, box: SecretBox) -> list[bytes]:
    """Every sealed value, opened under these keys alone."""
    secrets = await on.rows(ledger, "select tenant_id, endpoint_id, sealed from endpoint_secrets")
    headers = await on.rows(
        ledger, "select tenant_id, id, sealed_headers from endpoints where sealed_headers is not null"
    )
    values = [box.open(one.sealed, context=secret_context(one[0], one[1])) for one in secrets]
    values += [box.open(one.sealed_headers, context=headers_context(one[0], one[1])) for one in headers]
    return sorted(values)


async def some(ledger: Ledger, tenant: TenantId, count: int) -> list[EndpointId]:
    """Endpoints with a secret and headers each, under the old key."""
    return [await on.new_endpoint(ledger, tenant, Wanted(headers=HEADERS)) for _ in range(count)]


def test_every_column_that_is_sealed_is_known() -> None:
    columns = {
        column for table in metadata.sorted_tables for column in table.c if column.name.startswith("sealed")
    }
    assert {place.sealed for place, _ in PLACES} == columns


async def test_everything_comes_under_the_newest_key_and_is_what_it_was(
    ledger: Ledger, tenant: TenantId
) -> None:
    made = await some(ledger, tenant, 3)
    await on.new_endpoint(ledger, tenant)
    await on.rotate(ledger, tenant, made[0], generate_hmac(b"t" * 32))
    await on.delete_endpoint(ledger, tenant, made[1])
    before = await opened(ledger, BOX)
    assert len(before) == 8
    report = await resealing(ledger).run(actor=BY)
    assert (report.resealed, report.changed, report.unreadable, report.left) == (8, 0, 0, 0)
    assert await opened(ledger, NEWEST) == before
    newest, older = BOTH.key_ids
    assert report.under == (Under(newest, True, 8), Under(older, True, 0))  # noqa: FBT003  a record


async def test_a_dry_run_counts_and_changes_nothing(ledger: Ledger, tenant: TenantId) -> None:
    await some(ledger, tenant, 2)
    before = await on.rows(ledger, "select sealed from endpoint_secrets order by id")
    report = await resealing(ledger).look()
    assert (report.resealed, report.left) == (0, 4)
    assert await on.rows(ledger, "select sealed from endpoint_secrets order by id") == before


async def test_a_second_run_finds_nothing_and_says_nothing_to_the_audit(
    ledger: Ledger, tenant: TenantId
) -> None:
    await some(ledger, tenant, 2)
    await resealing(ledger).run(actor=BY)
    assert (await resealing(ledger).run(actor=BY)).resealed == 0
    told = await on.row(ledger, "select actor, details from journal where what = 'secrets.resealed'")
    assert (told.actor, told.details) == ("cli:ada", {"values": 4, "key_id": BOTH.key_ids[0]})


class Stopped(Exception):
    """The run was stopped."""


async def test_a_run_that_was_stopped_is_gone_on_with(ledger: Ledger, tenant: TenantId) -> None:
    await some(ledger, tenant, 5)

    def stop(resealed: int) -> None:
        if resealed >= 4:
            raise Stopped

    with pytest.raises(Stopped):
        await resealing(ledger, at_once=2).run(actor=BY, tell=stop)
    assert (await resealing(ledger).look()).left == 6
    assert (await resealing(ledger).run(actor=BY)).resealed == 6
    assert len(await opened(ledger, NEWEST)) == 10


async def test_what_somebody_changed_meanwhile_is_left_as_they_made_it(
    ledger: Ledger, tenant: TenantId
) -> None:
    (endpoint,) = await some(ledger, tenant, 1)
    context = headers_context(tenant, endpoint)
    async with ledger.transaction() as tx:
        (read,) = await sealed.after(tx, IN_HEADERS, FIRST, most=10)
    theirs = BOX.seal(b'{"X-Token": "theirs"}', context=context)
    await on.change(
        ledger, "update endpoints set sealed_headers = :new where id = :id", new=theirs, id=endpoint
    )
    after = BOTH.resealed(read.sealed, context=context)
    assert after is not None
    async with ledger.transaction() as tx:
        assert await sealed.change(tx, IN_HEADERS, [sealed.Change(read.id, read.sealed, after)]) == 0
    kept = await on.row(ledger, "select sealed_headers from endpoints")
    assert kept.sealed_headers == theirs


async def test_beside_runs_of_others_and_changes_nothing_is_lost(ledger: Ledger, tenant: TenantId) -> None:
    made = await some(ledger, tenant, 30)

    async def change() -> None:
        for endpoint_id in made:
            await on.rotate(ledger, tenant, endpoint_id, generate_hmac(b"u" * 32))

    runs = [resealing(ledger).run(actor=BY) for _ in range(3)]
    await asyncio.gather(change(), *runs)
    await resealing(ledger).run(actor=BY)
    assert len(await opened(ledger, NEWEST)) == 90


async def test_what_no_key_at_hand_opens_stays_and_is_told(ledger: Ledger, tenant: TenantId) -> None:
    lost = SecretBox.from_keys(generate_key())
    await on.new_endpoint(ledger, tenant, Wanted(box=lost))
    await some(ledger, tenant, 1)
    await on.change(
        ledger,
        "update endpoints set sealed_headers = :spoilt where sealed_headers is not null",
        spoilt=BOX.seal(b"{}", context=b"of another row"),
    )
    report = await resealing(ledger).run(actor=BY)
    assert (report.resealed, report.unreadable, report.left) == (1, 2, 2)
    assert Under(lost.key_ids[0], at_hand=False, values=1) in report.under


async def test_workers_need_not_read_again_what_is_under_another_key(
    ledger: Ledger, tenant: TenantId
) -> None:
    await some(ledger, tenant, 1)
    before = await on.row(ledger, "select version from endpoints")
    await resealing(ledger).run(actor=BY)
    assert await on.row(ledger, "select version from endpoints") == before


async def test_an_endpoints_authentication_comes_under_the_newest_key(
    ledger: Ledger, tenant: TenantId
) -> None:
    bearer = {"kind": "bearer", "token": "hush"}
    endpoint = await on.new_endpoint(ledger, tenant, Wanted(auth=bearer))
    assert (await resealing(ledger).run(actor=BY)).resealed == 2
    kept = await on.row(ledger, "select sealed_auth from endpoints")
    assert read_written(NEWEST.open(kept[0], context=auth_context(tenant, endpoint))) == Bearer("hush")
