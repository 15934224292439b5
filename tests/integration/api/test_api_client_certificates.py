"""An endpoint's client certificate: set, shown without its key, changed, removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.receivers import CertificateAuthority

if TYPE_CHECKING:
    import psycopg

    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

AUTHORITY = CertificateAuthority()
SOON = datetime.now(UTC) + timedelta(days=30)


def make_certificate_input(name: str) -> dict[str, str]:
    chain, key = AUTHORITY.make_client_certificate(name, until=SOON)
    return {"certificate": chain, "private_key": key}


ADA, BOB = make_certificate_input("ada"), make_certificate_input("bob")
KEY_LINE = ADA["private_key"].splitlines()[1]


async def test_the_private_key_is_never_returned(tenant: TenantClient, sql: psycopg.Connection) -> None:
    created = await tenant.create_endpoint(client_certificate=ADA)
    output = created["client_certificate"]
    assert "CN=ada" in output["subject"]
    assert output["not_after"][:10] == SOON.date().isoformat()
    paths = (f"/v1/endpoints/{created['id']}", "/v1/endpoints", "/v1/audit")
    response = [await tenant.client.get(path) for path in paths]
    assert response[0].json()["client_certificate"] == output
    stored = sql.execute(
        "select (select string_agg(e::text, '') from endpoints e), "
        "(select string_agg(j::text, '') from journal j)"
    )
    assert KEY_LINE not in "".join(answer.text for answer in response) + str(stored.fetchone())


async def test_a_certificate_is_changed_audited_and_removed(tenant: TenantClient) -> None:
    path = f"/v1/endpoints/{(await tenant.create_endpoint())['id']}"
    came = [
        (await tenant.client.patch(path, json={"client_certificate": case})).json()["client_certificate"]
        for case in (ADA, BOB, None)
    ]
    assert [certificate and certificate["subject"].split("CN=")[1].split(",")[0] for certificate in came] == [
        "ada",
        "bob",
        None,
    ]
    audit = (await tenant.client.get("/v1/audit")).json()["items"]
    output = [
        entry["details"]["client_certificate"] for entry in audit if entry["what"] == "endpoint.changed"
    ]
    assert output[:2] == [{"was": came[1], "is": None}, {"was": came[0], "is": came[1]}]


async def test_setting_the_same_certificate_changes_nothing(tenant: TenantClient) -> None:
    created = await tenant.create_endpoint(client_certificate=ADA)
    repeated = await tenant.client.patch(f"/v1/endpoints/{created['id']}", json={"client_certificate": ADA})
    assert repeated.json()["updated_at"] == created["updated_at"]


@pytest.mark.parametrize(
    "provided",
    [
        {},
        "ada",
        [],
        {"certificate": ADA["certificate"]},
        ADA | {"passphrase": "x"},
        ADA | {"private_key": BOB["private_key"]},
        ADA | {"private_key": "x"},
        ADA | {"certificate": None},
        ADA | {"certificate": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"},
    ],
)
async def test_an_invalid_certificate_is_refused_without_repeating_it(
    tenant: TenantClient, provided: Any
) -> None:
    url = "https://shop.example/in"
    refused = await tenant.client.post("/v1/endpoints", json={"url": url, "client_certificate": provided})
    assert refused.status_code == 422
    assert all(error["field"].startswith("client_certificate") for error in refused.json()["errors"])
    assert KEY_LINE not in refused.text
    assert BOB["private_key"].splitlines()[1] not in refused.text
