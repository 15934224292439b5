"""LISTEN and NOTIFY: the relay hears which endpoints have something due, once it is committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.errors import Unavailable
from delivery.ledger import Ledger
from delivery.ledger.accepting import due_payload
from delivery.ledger.listening import Listener, endpoints_in
from delivery.model import EndpointId, TenantId
from tests.support import ledger as on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAIRS = st.sets(st.tuples(st.uuids().map(TenantId), st.uuids().map(EndpointId)))


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with on.opened(database_url) as ledger:
        yield ledger


@given(PAIRS)
def test_what_is_written_is_read_back_and_fits_a_notification(
    pairs: set[tuple[TenantId, EndpointId]],
) -> None:
    payload = due_payload(pairs)
    assert len(payload.encode()) < 8_000
    assert endpoints_in(payload) == pairs


def test_more_endpoints_than_fit_are_read_as_look_for_yourself() -> None:
    pairs = {(TenantId(UUID(int=1)), EndpointId(UUID(int=n))) for n in range(500)}
    assert due_payload(pairs) == ""
    most = set(list(pairs)[:170])
    assert len(due_payload(most).encode()) < 8_000
    assert endpoints_in(due_payload(most)) == most


@given(st.text(max_size=100))
def test_any_other_payload_means_look_for_yourself_or_names_endpoints(payload: str) -> None:
    assert isinstance(endpoints_in(payload), set)


async def first_word(listener: Listener) -> set[tuple[TenantId, EndpointId]]:
    async with asyncio.timeout(10):
        async for _, endpoints in listener.heard():
            return endpoints
    raise AssertionError("It ended without a word.")


async def test_what_is_accepted_is_heard_of_at_its_commit(ledger: Ledger) -> None:
    tenant = await on.new_tenant(ledger)
    endpoint = await on.new_endpoint(ledger, tenant)
    listener = await Listener.open(ledger)
    await on.accept(ledger, tenant)
    assert await first_word(listener) == {(tenant, endpoint)}
    await listener.close()


async def test_an_event_that_is_owed_to_nobody_wakes_nobody(ledger: Ledger) -> None:
    tenant = await on.new_tenant(ledger)
    listener = await Listener.open(ledger)
    await on.accept(ledger, tenant)
    endpoint = await on.new_endpoint(ledger, tenant)
    await on.accept(ledger, tenant)
    assert await first_word(listener) == {(tenant, endpoint)}
    await listener.close()


async def test_a_listener_whose_connection_breaks_says_so(ledger: Ledger) -> None:
    listener = await Listener.open(ledger)
    waiting = asyncio.create_task(first_word(listener))
    await on.rows(
        ledger,
        """
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name = 'waybill listener'
        """,
    )
    with pytest.raises(Unavailable):
        await waiting
    await listener.close()


async def test_a_ledger_that_is_down_cannot_be_listened_to(unused_tcp_port: int) -> None:
    with pytest.raises(Unavailable):
        await Listener.open(Ledger(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/nothing"))
