"""The tenant that owns an object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from delivery.clock import clock
from delivery.domain.accounts import Actor
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.errors import NotFound
from delivery.domain.event_patterns import MATCH_ALL
from delivery.domain.ids import Prefix, new_id
from delivery.services.lookups import LookupService
from delivery.services.replays.service import ReplayService
from delivery.services.replays.validation import NewReplay
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from uuid import UUID

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger

KEPT_IN = {
    Prefix.ENDPOINT: "endpoints",
    Prefix.EVENT: "events",
    Prefix.DELIVERY: "deliveries",
    Prefix.ATTEMPT: "attempts",
    Prefix.REPLAY: "replays",
}


async def with_one_of_each(ledger: Ledger) -> tuple[TenantId, dict[Prefix, UUID]]:
    """A tenant with one object of every kind."""
    tenant = await build.create_tenant(ledger)
    endpoint = await build.create_endpoint(ledger, tenant)
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_success(work, claim_id))
    requested = NewReplay(DeliveryFilter(types=(MATCH_ALL,)), "so")
    await ReplayService(ledger, clock=clock, default_max_in_flight=9).create(
        tenant, requested, operator=True, actor=Actor("ada")
    )
    ids: dict[Prefix, UUID] = {Prefix.TENANT: tenant}
    for prefix, table in KEPT_IN.items():
        query = f"select id from {table} where tenant_id = :tenant"  # noqa: S608  our own names
        ids[prefix] = (await build.fetch_row(ledger, query, tenant=tenant)).id
    return tenant, ids


async def test_every_object_has_its_tenant_as_owner(ledger: Ledger) -> None:
    await with_one_of_each(ledger)
    tenant, ids = await with_one_of_each(ledger)
    for prefix, id_ in ids.items():
        assert await LookupService(ledger).find_tenant(prefix, id_) == tenant


async def test_a_deleted_endpoint_still_has_its_owner(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.delete_endpoint(ledger, tenant, endpoint)
    assert await LookupService(ledger).find_tenant(Prefix.ENDPOINT, endpoint) == tenant


@pytest.mark.parametrize("prefix", Prefix)
async def test_unknown_object_has_no_owner(ledger: Ledger, prefix: Prefix) -> None:
    with pytest.raises(NotFound):
        await LookupService(ledger).find_tenant(prefix, new_id())
