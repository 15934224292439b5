"""A ledger to work on, and somebody in it. Modules that need it otherwise define their own `ledger`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import ledger as on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from delivery.ledger import Ledger
    from delivery.model import EndpointId, TenantId
    from tests.support.postgres import DatabaseServer


@pytest.fixture(scope="module")
def shared_url(database_server: DatabaseServer, migrated_template: str) -> Iterator[str]:
    """One database for the tests of a module."""
    with database_server.database(template=migrated_template) as url:
        yield url


@pytest.fixture
async def ledger(shared_url: str) -> AsyncIterator[Ledger]:
    """The module's ledger, with nothing in it."""
    async with on.opened(shared_url) as ledger:
        await on.emptied(ledger)
        yield ledger


@pytest.fixture
async def own_ledger(database_url: str) -> AsyncIterator[Ledger]:
    """For tests that change the schema itself."""
    async with on.opened(database_url) as ledger:
        yield ledger


@pytest.fixture
async def tenant(ledger: Ledger) -> TenantId:
    return await on.new_tenant(ledger)


@pytest.fixture
async def endpoint(ledger: Ledger, tenant: TenantId) -> EndpointId:
    return await on.new_endpoint(ledger, tenant)
