"""An endpoint's authentication: set, shown without its secret, changed, removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "vErY-s3cret-1"  # noqa: S105  of a test
BASIC = {"kind": "basic", "user": "ada", "password": SECRET}
BEARER = {"kind": "bearer", "token": SECRET}
OAUTH2 = {
    "kind": "oauth2",
    "token_url": "https://Login.example:443/token",
    "client_id": "ada",
    "client_secret": SECRET,
    "scope": "send",
}
SHOWN = {
    "basic": {"kind": "basic", "user": "ada"},
    "bearer": {"kind": "bearer"},
    "oauth2": {
        "kind": "oauth2",
        "token_url": "https://login.example/token",
        "client_id": "ada",
        "scope": "send",
    },
}


@pytest.mark.parametrize("auth", [BASIC, BEARER, OAUTH2])
async def test_auth_secrets_are_never_returned(
    tenant: TenantClient, auth: dict[str, str], sql: psycopg.Connection
) -> None:
    created = await tenant.create_endpoint(auth=auth)
    assert created["auth"] == SHOWN[auth["kind"]]
    path = f"/v1/endpoints/{created['id']}"
    response = [await tenant.client.get(place) for place in (path, "/v1/endpoints", "/v1/audit")]
    assert response[0].json()["auth"] == SHOWN[auth["kind"]]
    stored = sql.execute(
        "select string_agg(e::text, ''), string_agg(j::text, '') from endpoints e, journal j"
    )
    assert SECRET not in "".join(answer.text for answer in response) + str(stored.fetchone())


async def test_authentication_is_changed_audited_and_removed(tenant: TenantClient) -> None:
    path = f"/v1/endpoints/{(await tenant.create_endpoint())['id']}"
    changed = [await tenant.client.patch(path, json={"auth": auth}) for auth in (BASIC, BEARER, None)]
    assert [answer.json()["auth"] for answer in changed] == [SHOWN["basic"], SHOWN["bearer"], None]
    audit = (await tenant.client.get("/v1/audit")).json()["items"]
    result = [entry["details"]["auth"] for entry in audit if entry["what"] == "endpoint.changed"]
    assert result[:2] == [
        {"was": SHOWN["bearer"], "is": None},
        {"was": SHOWN["basic"], "is": SHOWN["bearer"]},
    ]


async def test_setting_the_same_authentication_changes_nothing(tenant: TenantClient) -> None:
    created = await tenant.create_endpoint(auth=BASIC)
    repeated = await tenant.client.patch(f"/v1/endpoints/{created['id']}", json={"auth": BASIC})
    assert repeated.json()["updated_at"] == created["updated_at"]


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"kind": "digest"},
        {"kind": "basic"},
        {"kind": "basic", "user": "a:b", "password": "x"},
        {"kind": "basic", "user": "", "password": "x"},
        {"kind": "basic", "user": "a", "password": "x\r\nX-Evil: 1"},
        {"kind": "basic", "user": "a", "password": "ü"},
        {"kind": "basic", "user": "a", "password": "x", "token": "y"},
        {"kind": "basic", "user": 7, "password": "x"},
        {"kind": "bearer", "token": ""},
        {"kind": "bearer", "token": "a b"},
        {"kind": "bearer", "token": "a\n"},
        {"kind": "bearer", "token": "a" * 5_000},
        OAUTH2 | {"token_url": "http://login.example/"},
        OAUTH2 | {"token_url": "https://10.0.0.1/token"},
        OAUTH2 | {"token_url": "https://ada:pw@login.example/"},
        OAUTH2 | {"token_url": "nonsense"},
        OAUTH2 | {"scope": "a  b"},
        OAUTH2 | {"scope": ""},
        OAUTH2 | {"client_secret": None},
        "basic",
        [],
    ],
)
async def test_invalid_authentication_is_refused_without_repeating_it(
    tenant: TenantClient, auth: Any
) -> None:
    url = "https://shop.example/in"
    refused = await tenant.client.post("/v1/endpoints", json={"url": url, "auth": auth})
    assert refused.status_code == 422
    assert all(error["field"].startswith("auth") for error in refused.json()["errors"])
    assert SECRET not in refused.text


@pytest.mark.parametrize("header", ["Authorization", "authorization"])
async def test_a_custom_authorization_header_and_auth_exclude_each_other(
    tenant: TenantClient, header: str
) -> None:
    both = {"url": "https://shop.example/in", "auth": BASIC, "headers": {header: "Bearer x"}}
    assert (await tenant.client.post("/v1/endpoints", json=both)).status_code == 422
    by_auth = f"/v1/endpoints/{(await tenant.create_endpoint(auth=BASIC))['id']}"
    refused = await tenant.client.patch(by_auth, json={"headers": both["headers"]})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "headers")
    swapped = await tenant.client.patch(by_auth, json={"headers": both["headers"], "auth": None})
    assert (swapped.status_code, swapped.json()["auth"]) == (200, None)
