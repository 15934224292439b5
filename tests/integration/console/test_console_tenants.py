"""Tenant pages: search, creation, changes and API keys."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.domain.ids import Prefix, TenantId, format_id, new_id
from delivery.domain.pagination import PageRequest
from tests.integration.console.conftest import ADMIN
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.bootstrap import Services
    from delivery.domain.ids import EndpointId
    from delivery.ledger.db.session import Ledger
    from tests.integration.console.conftest import FormBrowser

HOSTILE = "<script>alert(1)</script>"
KEY = re.compile(r"wbk_[A-Za-z0-9_-]{43}")


def at(tenant: TenantId, rest: str = "") -> str:
    return f"/tenants/{format_id(Prefix.TENANT, tenant)}{rest}"


async def named(staff: FormBrowser, name: str) -> str:
    """A new tenant's page."""
    made = await staff.post("/tenants", name=name)
    return str(made.headers["location"]).removeprefix("/console")


async def test_new_tenant_is_found_by_part_of_its_name(staff: FormBrowser) -> None:
    await named(staff, "Acme Books")
    await named(staff, "Umbrella 100%")
    page = await staff.get_text("/tenants", name="acme")
    assert "Acme Books" in page
    assert "Umbrella" not in page
    assert "Umbrella" in await staff.get_text("/tenants", name="0%")
    assert "No tenants match this name" in await staff.get_text("/tenants", name="%c%")


async def test_tenants_are_paginated(staff: FormBrowser, ledger: Ledger) -> None:
    for _ in range(51):
        await build.create_tenant(ledger)
    first = await staff.get_text("/tenants", name="tenant")
    more = re.search(r'href="([^"]+)" rel="next"', first)
    assert more is not None
    second = await staff.client.get(more[1].replace("&amp;", "&"))
    assert len(re.findall("Show only this tenant", second.text)) == 1


async def test_invalid_name_shows_an_error_at_the_field(staff: FormBrowser) -> None:
    for name in ("", "x" * 201):
        page = await staff.post("/tenants", name=name)
        assert page.status_code == 422
        assert 'id="fault-name"' in page.text


async def test_tenant_page_lists_its_endpoints(
    staff: FormBrowser, tenant: TenantId, endpoint: EndpointId
) -> None:
    page = await staff.get_text(at(tenant))
    assert f"/console/endpoints/{format_id(Prefix.ENDPOINT, endpoint)}" in page
    assert f"/console/deliveries?tenant={format_id(Prefix.TENANT, tenant)}" in page


async def test_new_key_is_shown_once(staff: FormBrowser, services: Services, tenant: TenantId) -> None:
    made = await staff.post(at(tenant, "/keys"), name="order service", scope="publish")
    assert made.headers["cache-control"] == "no-store"
    (key,) = set(KEY.findall(made.text))
    known = await services.api_keys.authenticate(key)
    assert known is not None
    assert known.tenant_id == tenant
    page = await staff.get_text(at(tenant))
    assert key not in page
    assert "order service" in page


async def test_key_revocation_is_confirmed_first(
    staff: FormBrowser, services: Services, tenant: TenantId
) -> None:
    await staff.post(at(tenant, "/keys"), name="order service", scope="publish")
    (key,) = (await services.api_keys.list_keys(tenant, PageRequest())).items
    path = at(tenant, f"/keys/{format_id(Prefix.KEY, key.id)}/revoke")
    assert "stops working within five seconds" in await staff.get_text(path)
    assert (await staff.post(path, reason="leaked")).status_code == 303
    assert "is already revoked" in await staff.get_text(path)
    assert "leaked" in await staff.get_text("/audit", what="key.*")


async def test_key_is_created_with_scopes_and_expiry(
    staff: FormBrowser, services: Services, tenant: TenantId
) -> None:
    wanted: dict[str, Any] = {"name": "shop", "scope": ["read", "replay"], "expires_in_days": "30"}
    page = await staff.post(at(tenant, "/keys"), **wanted)
    assert "with the scopes read, replay" in page.text
    (key,) = (await services.api_keys.list_keys(tenant, PageRequest())).items
    assert key.scopes == {"read", "replay"}
    assert key.expires_at == key.created_at + timedelta(days=30)
    assert "read, replay" in await staff.get_text(at(tenant))


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({}, "scopes"),
        ({"scope": "operate"}, "scopes"),
        ({"scope": "nonsense"}, "scopes"),
        ({"scope": "read", "expires_in_days": "soon"}, "expires_in_seconds"),
        ({"scope": "read", "expires_in_days": "0"}, "expires_in_seconds"),
        ({"scope": "read", "expires_in_days": "99999"}, "expires_in_seconds"),
    ],
)
async def test_invalid_key_shows_an_error_at_the_field(
    staff: FormBrowser, tenant: TenantId, wrong: dict[str, str], fault: str
) -> None:
    page = await staff.post(at(tenant, "/keys"), name="shop", **wrong)
    assert page.status_code == 422
    assert f'id="fault-{fault}"' in page.text


async def test_key_rotation_is_confirmed_first(
    staff: FormBrowser, services: Services, tenant: TenantId
) -> None:
    await staff.post(at(tenant, "/keys"), name="order service", scope="publish")
    (key,) = (await services.api_keys.list_keys(tenant, PageRequest())).items
    path = at(tenant, f"/keys/{format_id(Prefix.KEY, key.id)}/rotate")
    assert "The old key keeps working for a while" in await staff.get_text(path)
    for wrong in ("soon", "9999"):
        page = await staff.post(path, overlap_hours=wrong)
        assert (page.status_code, 'id="fault-overlap_hours"' in page.text) == (422, True)
    made = await staff.post(path, overlap_hours="3", reason="as every year")
    assert made.headers["cache-control"] == "no-store"
    assert len(set(KEY.findall(made.text))) == 1
    newest, oldest = (await services.api_keys.list_keys(tenant, PageRequest())).items
    assert oldest.replaced_by == newest.id
    again = await staff.post(path)
    assert (again.status_code, "was rotated already" in again.text) == (422, True)
    assert "as every year" in await staff.get_text("/audit", what="key.*")


async def test_key_of_another_tenant_cannot_be_revoked(
    staff: FormBrowser, services: Services, ledger: Ledger, tenant: TenantId
) -> None:
    await staff.post(at(tenant, "/keys"), name="order service", scope="publish")
    (key,) = (await services.api_keys.list_keys(tenant, PageRequest())).items
    path = at(await build.create_tenant(ledger), f"/keys/{format_id(Prefix.KEY, key.id)}/revoke")
    assert (await staff.get(path)).status_code == 404
    assert (await staff.post(path)).status_code == 404


async def test_retention_can_be_changed_and_reset(
    staff: FormBrowser, services: Services, tenant: TenantId
) -> None:
    await staff.post(at(tenant, "/change"), name="Acme", payload="3", attempts="", reason="asked for")
    changed = await services.tenants.read(tenant)
    assert (changed.name, dict(changed.retention)) == ("Acme", {"payload": 3})
    assert "3 days" in await staff.get_text(at(tenant))
    await staff.post(at(tenant, "/change"), name="Acme")
    assert not (await services.tenants.read(tenant)).retention


@pytest.mark.parametrize("days", ["many", "0", "99999", "1.5", "-1", "²"])
async def test_invalid_days_show_an_error_at_the_field(
    staff: FormBrowser, tenant: TenantId, days: str
) -> None:
    page = await staff.post(at(tenant, "/change"), name="Acme", events=days)
    assert page.status_code == 422
    assert 'id="fault-retention.events"' in page.text
    assert f'value="{days}"' in page.text


async def test_tenant_name_is_escaped(staff: FormBrowser) -> None:
    path = await named(staff, HOSTILE)
    await staff.post(f"{path}/keys", name=HOSTILE)
    for page in (path, "/tenants", "/audit"):
        shown = await staff.get_text(page)
        assert HOSTILE not in shown
        assert "&lt;script&gt;" in shown


async def test_partner_sees_its_tenant_but_cannot_change_it(partner: FormBrowser, tenant: TenantId) -> None:
    page = await partner.get_text(at(tenant))
    assert "Make a key" not in page
    assert "Change name and retention" not in page
    assert (await partner.get("/tenants")).headers["location"].endswith(at(tenant))


async def test_partner_gets_404_for_another_tenant(partner: FormBrowser, ledger: Ledger) -> None:
    assert (await partner.get(at(await build.create_tenant(ledger)))).status_code == 404


async def test_tenant_bound_users_cannot_administer(
    sign_in_as: Callable[..., FormBrowser], tenant: TenantId
) -> None:
    bound = sign_in_as(ADMIN, tenant)
    assert (await bound.get("/tenants/new")).status_code == 403
    for path in ("/tenants", at(tenant, "/change"), at(tenant, "/keys")):
        assert (await bound.post(path, name="mine")).status_code == 403


async def test_non_admin_cannot_change_tenants(viewer: FormBrowser, tenant: TenantId) -> None:
    key = format_id(Prefix.KEY, new_id())
    for path in ("/tenants/new", at(tenant, f"/keys/{key}/revoke")):
        assert (await viewer.get(path)).status_code == 403
    for path in ("/tenants", at(tenant, "/change"), at(tenant, "/keys"), at(tenant, f"/keys/{key}/revoke")):
        assert (await viewer.post(path, name="mine")).status_code == 403


async def test_tenant_form_without_csrf_token_is_rejected(staff: FormBrowser, tenant: TenantId) -> None:
    key = format_id(Prefix.KEY, new_id())
    for path in ("/tenants", at(tenant, "/change"), at(tenant, "/keys"), at(tenant, f"/keys/{key}/revoke")):
        assert (await staff.post(path, name="mine", csrf="")).status_code == 403


async def test_unknown_tenant_is_not_found(staff: FormBrowser) -> None:
    nobody = TenantId(new_id())
    assert (await staff.get(at(nobody))).status_code == 404
    assert (await staff.get("/tenants/ten_nonsense")).status_code == 404
    assert (await staff.post(at(nobody, "/keys"), name="a key")).status_code == 404
