"""Event type pages: volume, subscribers and the catalogue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from delivery.domain.accounts import Actor
from delivery.domain.ids import Prefix, format_id
from delivery.services.event_types.validation import Declaration, Deprecation, EventTypeChanges
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.bootstrap import Services
    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger
    from tests.integration.console.conftest import FormBrowser


async def test_types_are_counted_and_lead_to_their_deliveries(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    await build.accept_event(ledger, tenant, "user.left")
    page = await staff.get_text("/types")
    assert "Among the newest 4 events." in page
    assert "75 %" in page
    assert "/console/deliveries?type=user.left" in page
    assert "/console/deliveries?type=user.left&amp;status=failed" in page


async def test_types_of_a_tenant_list_their_subscribers(
    partner: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    asker = await build.create_endpoint(ledger, tenant, build.EndpointSpec(filter=("order.*",)))
    await build.accept_event(ledger, tenant, "order.created")
    page = await partner.get_text("/types")
    assert f"/console/endpoints/{format_id(Prefix.ENDPOINT, asker)}" in page
    assert ">none</span>" not in page
    await build.accept_event(ledger, tenant, "user.left")
    assert ">none</span>" in await partner.get_text("/types")


async def test_partner_sees_only_its_own_types(
    sign_in_as: Callable[..., FormBrowser], ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_event(ledger, tenant, "order.created")
    stranger = sign_in_as(tenant=await build.create_tenant(ledger))
    assert "No events yet" in await stranger.get_text("/types")


async def test_types_of_all_tenants_list_no_subscribers(
    viewer: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_event(ledger, tenant)
    assert "Asked for by" not in await viewer.get_text("/types")


async def test_system_event_types_match_operational_endpoints(
    partner: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    await build.create_endpoint(ledger, tenant)
    await build.accept_event(ledger, tenant, "endpoint.disabled")
    assert "system event" in await partner.get_text("/types")
    operational = await build.create_endpoint(ledger, tenant, build.EndpointSpec(operational=True))
    page = await partner.get_text("/types")
    assert f"/console/endpoints/{format_id(Prefix.ENDPOINT, operational)}" in page
    assert ">none</span>" not in page


# ---- the catalogue
SCHEMA = '{"type":"object","properties":{"order":{"type":"integer","description":"<script>"}}}'


async def declare(services: Services, name: str, **said: Any) -> None:
    declared = Declaration(**{"schema": json.loads(SCHEMA), "examples": [{"order": 10**20}], **said})
    await services.event_types.declare(name, declared, actor=Actor("operator"))


async def test_partner_can_read_the_catalogue(
    partner: FormBrowser, viewer: FormBrowser, services: Services
) -> None:
    assert "Catalogue" not in await partner.get_text("/types")
    assert "waybill event-type put" in await viewer.get_text("/types")
    await declare(services, "order.created", description="Ordered & paid.", validation="reject")
    await declare(services, "order.created", examples=[])
    page = await partner.get_text("/types")
    assert "/console/types/order.created" in page
    assert "validated" in page
    shown = await partner.get_text("/types/order.created")
    assert "&#34;type&#34;: &#34;object&#34;" in shown
    assert "&lt;script&gt;" in shown
    assert "Events that do not match the schema are rejected." in shown
    assert "No examples." in shown
    assert " by operator" not in shown
    assert " by operator" in await viewer.get_text("/types/order.created")
    first = await partner.get_text("/types/order.created", version=1)
    assert "&#34;order&#34;: 100000000000000000000" in first
    assert "show the newest" in first


async def test_deprecated_type_names_its_replacement(viewer: FormBrowser, services: Services) -> None:
    await declare(services, "order.created")
    changes = EventTypeChanges(deprecated=Deprecation(replaced_by="order.placed"))
    await services.event_types.change("order.created", changes, actor=Actor("operator"))
    assert "deprecated" in await viewer.get_text("/types")
    assert "/console/types/order.placed" in await viewer.get_text("/types/order.created")


async def test_received_types_link_to_their_schema(
    viewer: FormBrowser, services: Services, ledger: Ledger, tenant: TenantId
) -> None:
    await declare(services, "order.created")
    await build.accept_event(ledger, tenant, "order.created")
    await build.accept_event(ledger, tenant, "user.left")
    page = await viewer.get_text("/types")
    assert "schema of order.created" in page
    assert "schema of user.left" not in page


@pytest.mark.parametrize(("form", "version"), [("openapi", "3.1.0"), ("asyncapi", "3.0.0")])
async def test_catalogue_can_be_exported(
    partner: FormBrowser, services: Services, form: str, version: str
) -> None:
    await declare(services, "order.created")
    answer = await partner.get(f"/types/export/{form}")
    assert f"events.{form}.json" in answer.headers["content-disposition"]
    assert answer.json()[form] == version
    assert "order.created" in answer.text
    assert (await partner.get("/types/export/wsdl")).status_code == 404


@pytest.mark.parametrize(
    ("name", "version", "status"), [("none.such", "", 404), ("order.created", "9", 404), ("x", "y", 422)]
)
async def test_unknown_catalogue_type_is_not_found(
    viewer: FormBrowser, services: Services, name: str, version: str, status: int
) -> None:
    await declare(services, "order.created")
    assert (await viewer.get(f"/types/{name}", version=version)).status_code == status
