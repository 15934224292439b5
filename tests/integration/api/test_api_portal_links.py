"""Portal links, as a producer's back end creates them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.api.app import create_app
from delivery.bootstrap import Services
from delivery.clock import clock
from delivery.domain.accounts import Actor, Role
from delivery.domain.errors import NotAuthenticated
from delivery.domain.ids import Prefix, parse_id
from tests.integration.api.conftest import make_client

if TYPE_CHECKING:
    import httpx

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/v1/portal-links"


async def made(client: httpx.AsyncClient, **wanted: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json=wanted)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def token_of(link: dict[str, Any]) -> str:
    return str(link["url"]).rpartition("/")[2]


async def test_a_link_opens_the_portal_of_its_tenant(services: Services, tenant: TenantClient) -> None:
    link = await made(tenant.client, role="support", label="Joe of Acme")
    _, visitor = await services.accounts.open_link(token_of(link), address=None)
    assert visitor.tenant_id == parse_id(Prefix.TENANT, tenant.id)
    assert (visitor.role, visitor.name) == (Role.SUPPORT, "Joe of Acme")


async def test_portal_link_defaults_to_viewer_for_one_hour(tenant: TenantClient) -> None:
    link = await made(tenant.client)
    assert link["role"] == "viewer"
    left = datetime.fromisoformat(link["expires_at"]) - clock()
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


async def test_a_link_is_valid_for_the_requested_time(tenant: TenantClient) -> None:
    link = await made(tenant.client, expires_in_seconds=86_400)
    assert datetime.fromisoformat(link["expires_at"]) - clock() > timedelta(hours=23)


async def test_a_links_url_has_the_requests_host(tenant: TenantClient) -> None:
    assert (await made(tenant.client))["url"].startswith("http://waybill/console/portal/wbl_")


async def test_a_links_url_has_the_configured_public_url(services: Services, tenant: TenantClient) -> None:
    public = replace(services.settings, public_url="https://hooks.example/waybill")
    async with make_client(create_app(Services(public, services.ledger)), tenant.key) as client:
        link = await made(client)
    assert link["url"].startswith("https://hooks.example/waybill/console/portal/wbl_")


async def test_a_link_is_returned_once_and_not_cacheable(tenant: TenantClient) -> None:
    answer = await tenant.client.post(PATH, json={})
    assert answer.headers["cache-control"] == "no-store"
    response = await tenant.client.get("/v1/audit")
    assert token_of(answer.json()) not in response.text


async def test_revoking_its_key_ends_a_portal_link(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
) -> None:
    link = await made(tenant.client)
    (key,) = (await operator.get(f"/v1/tenants/{tenant.id}/keys")).json()["items"]
    await operator.delete(f"/v1/tenants/{tenant.id}/keys/{key['id']}")
    with pytest.raises(NotAuthenticated):
        await services.accounts.open_link(token_of(link), address=None)


async def test_the_operator_creates_links_for_the_named_tenant(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
) -> None:
    answer = await operator.post(PATH, json={}, headers={"Waybill-Tenant": tenant.id})
    _, visitor = await services.accounts.open_link(token_of(answer.json()), address=None)
    assert visitor.actor.name == "portal:operator"
    assert visitor.tenant_id == parse_id(Prefix.TENANT, tenant.id)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("role", "admin"),
        ("role", "Viewer"),
        ("role", None),
        ("label", ""),
        ("label", " "),
        ("label", "x" * 101),
        ("label", "a\n<b>"),
        ("label", "\ud800"),
        ("label", 7),
        ("expires_in_seconds", 59),
        ("expires_in_seconds", 86_401),
        ("expires_in_seconds", 1.5),
        ("expires_in_seconds", "60"),
        ("expires_in_seconds", None),
        ("tenant_id", "ten_01kasw8qbefy09m6sc7n75yr3h"),
    ],
)
async def test_invalid_fields_are_named(tenant: TenantClient, field: str, value: object) -> None:
    refused = await tenant.post(PATH, {field: value})
    assert refused.status_code == 422
    assert [fault["field"] for fault in refused.json()["errors"]] == [field]


async def test_a_link_is_only_in_its_tenants_audit(tenant: TenantClient, other_tenant: TenantClient) -> None:
    await made(tenant.client, label="Joe")
    (entry,) = (await tenant.client.get("/v1/audit", params={"what": "portal_link.*"})).json()["items"]
    assert (entry["what"], entry["details"]["label"]) == ("portal_link.created", "Joe")
    assert entry["sentence"].startswith("A portal link valid until ")
    theirs = await other_tenant.client.get("/v1/audit", params={"what": "portal_link.*"})
    assert theirs.json()["items"] == []


async def test_accounts_are_only_in_the_operators_audit(
    services: Services, operator: httpx.AsyncClient, tenant: TenantClient
) -> None:
    user = await services.accounts.create(
        f"{tenant.id}@example.com", "Jane", Role.VIEWER, None, actor=Actor("cli:ada")
    )
    wanted = {"what": "person.created"}
    entry, *_ = (await operator.get("/v1/audit", params=wanted)).json()["items"]
    assert (entry["tenant_id"], entry["details"]["name"]) == (None, user.full_name)
    assert (await tenant.client.get("/v1/audit", params=wanted)).json()["items"] == []
    named = await operator.get("/v1/audit", params=wanted, headers={"Waybill-Tenant": tenant.id})
    assert named.json()["items"] == []
