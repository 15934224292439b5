"""The audit page: filters, and isolation of tenants."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from delivery.clock import clock
from delivery.domain.accounts import ENGINE_ACTOR
from delivery.domain.ids import Prefix, format_id
from delivery.ledger.records import journal
from delivery.ledger.records.journal import JournalEntry
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from tests.integration.console.conftest import FormBrowser

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
async def _happened(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    """Entries by Ada, by the engine and by an API key."""
    now = clock()
    entries = [
        JournalEntry(tenant, "endpoint.paused", "Ada", now, HOSTILE, endpoint, address="10.0.0.7"),
        JournalEntry(tenant, "endpoint.breaker_opened", ENGINE_ACTOR, now, endpoint_id=endpoint),
        JournalEntry(tenant, "tenant.changed", HOSTILE, now, details={"name": "Acme"}),
    ]
    async with ledger.transaction() as tx:
        await journal.append(tx, entries)


async def test_audit_shows_actor_action_address_and_reason(staff: FormBrowser) -> None:
    page = await staff.get_text("/audit")
    assert "The endpoint was paused." in page
    assert "from 10.0.0.7" in page


async def test_user_text_is_escaped(staff: FormBrowser) -> None:
    page = await staff.get_text("/audit")
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") >= 3


async def test_engine_actions_are_shown_on_request(staff: FormBrowser) -> None:
    assert "circuit breaker opened" not in await staff.get_text("/audit")
    assert "circuit breaker opened" in await staff.get_text("/audit", engine="1")


@pytest.mark.parametrize(
    "query",
    [
        {"actor": "Ada"},
        {"what": "endpoint.*"},
        {"what": "key.*, endpoint.paused"},
        {"since": "1h", "actor": "Ada"},
    ],
)
async def test_entries_are_found_by_actor_action_and_time(staff: FormBrowser, query: dict[str, str]) -> None:
    page = await staff.get_text("/audit", **query)
    assert "The endpoint was paused." in page
    assert "The tenant was changed" not in page


async def test_entries_are_found_by_endpoint(staff: FormBrowser, endpoint: EndpointId) -> None:
    page = await staff.get_text("/audit", endpoint=format_id(Prefix.ENDPOINT, endpoint))
    assert "The endpoint was paused." in page
    assert f"/console/endpoints/{format_id(Prefix.ENDPOINT, endpoint)}" in page
    assert "The tenant was changed" not in page


async def test_empty_audit_search_says_so(staff: FormBrowser) -> None:
    assert "No audit entries match this filter" in await staff.get_text("/audit", actor="Grace")


@pytest.mark.parametrize("name", ["what", "endpoint", "delivery", "since", "until"])
async def test_invalid_filter_shows_an_error_beside_it(staff: FormBrowser, name: str) -> None:
    page = await staff.get("/audit", **{name: "<nonsense>"})
    assert page.status_code == 422
    assert f'id="fault-{name}"' in page.text
    assert 'value="&lt;nonsense&gt;"' in page.text


async def test_audit_continues_on_the_next_page(staff: FormBrowser, ledger: Ledger, tenant: TenantId) -> None:
    async with ledger.transaction() as tx:
        await journal.append(
            tx, [JournalEntry(tenant, "tenant.changed", "Grace", clock()) for _ in range(60)]
        )
    first = await staff.get_text("/audit", actor="Grace")
    more = re.search(r'href="([^"]+)" rel="next"', first)
    assert more is not None
    second = await staff.client.get(more[1].replace("&amp;", "&"))
    assert second.text.count("The tenant was changed.") == 10


async def test_partner_sees_only_its_own_entries(
    partner: FormBrowser, sign_in_as: Callable[..., FormBrowser], ledger: Ledger
) -> None:
    assert "The endpoint was paused." in await partner.get_text("/audit")
    stranger = sign_in_as(tenant=await build.create_tenant(ledger))
    assert "No audit entries yet" in await stranger.get_text("/audit")
