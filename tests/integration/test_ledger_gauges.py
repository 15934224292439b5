"""The ledger's gauges for metrics, on which alerts depend."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.clock import clock
from delivery.domain.accounts import Actor
from delivery.ledger.stats import gauges
from delivery.services.api_keys.service import ApiKeyService
from delivery.services.api_keys.validation import ApiKeyConfig, NewApiKey
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.ledger.db.session import Ledger

DAY = timedelta(days=1)


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with build.open_ledger(database_url) as ledger:
        yield ledger


async def first_key_to_end(ledger: Ledger) -> float | None:
    async with ledger.transaction() as tx:
        return (await gauges.read(tx, now=clock())).expiry_timestamps.get("api_key")


async def test_a_key_whose_place_another_has_taken_may_end(ledger: Ledger) -> None:
    terms = ApiKeyConfig(operator_key=None, overlap=DAY, requests_per_second=0)
    keys = ApiKeyService(ledger, terms, clock=clock, random_bytes=secrets.token_bytes)
    by = Actor("cli:ada", "here")
    tenant = await build.create_tenant(ledger)
    assert await first_key_to_end(ledger) is None
    first = (await keys.create(tenant, NewApiKey("shop", lifetime=3 * DAY), actor=by)).key
    assert first.expires_at is not None
    assert await first_key_to_end(ledger) == pytest.approx(first.expires_at.timestamp(), abs=0.01)
    # From here on the first one ends in a day, and its successor is what is relied on.
    second = (await keys.rotate(tenant, first.id, actor=by)).key
    assert second.expires_at is not None
    assert await first_key_to_end(ledger) == pytest.approx(second.expires_at.timestamp(), abs=0.01)
    await keys.revoke(tenant, second.id, actor=by)
    assert await first_key_to_end(ledger) is None
