"""Event types in the console: what comes in, and who asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.model import Prefix, show_id
from tests.support import ledger as on

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.ledger import Ledger
    from delivery.model import TenantId
    from tests.integration.console.conftest import Browser


async def test_types_are_counted_and_lead_to_their_deliveries(
    staff: Browser, ledger: Ledger, tenant: TenantId
) -> None:
    await on.accept_many(ledger, tenant, 3)
    await on.accept(ledger, tenant, "user.left")
    page = await staff.text("/types")
    assert "Among the newest 4 events." in page
    assert "75 %" in page
    assert "/console/deliveries?type=user.left" in page
    assert "/console/deliveries?type=user.left&amp;status=failed" in page


async def test_a_tenants_types_name_who_asks_for_them(
    partner: Browser, ledger: Ledger, tenant: TenantId
) -> None:
    asker = await on.new_endpoint(ledger, tenant, on.Wanted(filter=("order.*",)))
    await on.accept(ledger, tenant, "order.created")
    page = await partner.text("/types")
    assert f"/console/endpoints/{show_id(Prefix.ENDPOINT, asker)}" in page
    assert "nobody" not in page
    await on.accept(ledger, tenant, "user.left")
    assert "nobody" in await partner.text("/types")


async def test_a_partner_sees_its_own_types_alone(
    enter: Callable[..., Browser], ledger: Ledger, tenant: TenantId
) -> None:
    await on.accept(ledger, tenant, "order.created")
    stranger = enter(tenant=await on.new_tenant(ledger))
    assert "No event has come yet" in await stranger.text("/types")


async def test_all_types_of_all_tenants_name_nobody_who_asks(
    viewer: Browser, ledger: Ledger, tenant: TenantId
) -> None:
    await on.accept(ledger, tenant)
    assert "Asked for by" not in await viewer.text("/types")


async def test_the_engines_own_types_are_for_operational_endpoints(
    partner: Browser, ledger: Ledger, tenant: TenantId
) -> None:
    await on.new_endpoint(ledger, tenant)
    await on.accept(ledger, tenant, "endpoint.disabled")
    assert "the engine's own" in await partner.text("/types")
    operational = await on.new_endpoint(ledger, tenant, on.Wanted(operational=True))
    page = await partner.text("/types")
    assert f"/console/endpoints/{show_id(Prefix.ENDPOINT, operational)}" in page
    assert "nobody" not in page
