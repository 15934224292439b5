"""A ledger with a tenant and an endpoint. Modules with other needs define their own `ledger`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from tests.support.postgres import DatabaseServer


@pytest.fixture(scope="module")
def shared_url(database_server: DatabaseServer, migrated_template: str) -> Iterator[str]:
    """One database for the tests of a module."""
    with database_server.database(template=migrated_template) as url:
        yield url


@pytest.fixture
async def ledger(shared_url: str) -> AsyncIterator[Ledger]:
    """The module's ledger, with nothing in it."""
    async with build.open_ledger(shared_url) as ledger:
        await build.empty_ledger(ledger)
        yield ledger


@pytest.fixture
async def own_ledger(database_url: str) -> AsyncIterator[Ledger]:
    """For tests that change the schema itself."""
    async with build.open_ledger(database_url) as ledger:
        yield ledger


@pytest.fixture
async def tenant(ledger: Ledger) -> TenantId:
    return await build.create_tenant(ledger)


@pytest.fixture
async def endpoint(ledger: Ledger, tenant: TenantId) -> EndpointId:
    return await build.create_endpoint(ledger, tenant)
