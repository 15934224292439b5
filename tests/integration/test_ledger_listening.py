"""LISTEN and NOTIFY: the relay hears which endpoints have something due, once it is committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.errors import Unavailable
from delivery.domain.ids import EndpointId, TenantId
from delivery.ledger.db.session import Ledger
from delivery.ledger.queue.enqueue import encode_due_payload
from delivery.ledger.queue.notifications import NotificationListener, decode_due_payload
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAIRS = st.sets(st.tuples(st.uuids().map(TenantId), st.uuids().map(EndpointId)))


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    async with build.open_ledger(database_url) as ledger:
        yield ledger


@given(PAIRS)
def test_what_is_written_is_read_back_and_fits_a_notification(
    pairs: set[tuple[TenantId, EndpointId]],
) -> None:
    payload = encode_due_payload(pairs)
    assert len(payload.encode()) < 8_000
    assert decode_due_payload(payload) == pairs


def test_notification_overflow_means_scan_all() -> None:
    pairs = {(TenantId(UUID(int=1)), EndpointId(UUID(int=n))) for n in range(500)}
    assert encode_due_payload(pairs) == ""
    most = set(list(pairs)[:170])
    assert len(encode_due_payload(most).encode()) < 8_000
    assert decode_due_payload(encode_due_payload(most)) == most


@given(st.text(max_size=100))
def test_any_notification_payload_is_endpoints_or_scan_all(payload: str) -> None:
    assert isinstance(decode_due_payload(payload), set)


async def first_word(listener: NotificationListener) -> set[tuple[TenantId, EndpointId]]:
    async with asyncio.timeout(10):
        async for _, endpoints in listener.receive_notifications():
            return endpoints
    raise AssertionError("It ended without a word.")


async def test_accepted_events_are_notified_on_commit(ledger: Ledger) -> None:
    tenant = await build.create_tenant(ledger)
    endpoint = await build.create_endpoint(ledger, tenant)
    listener = await NotificationListener.open(ledger)
    await build.accept_event(ledger, tenant)
    assert await first_word(listener) == {(tenant, endpoint)}
    await listener.close()


async def test_an_event_that_is_owed_to_nobody_wakes_nobody(ledger: Ledger) -> None:
    tenant = await build.create_tenant(ledger)
    listener = await NotificationListener.open(ledger)
    await build.accept_event(ledger, tenant)
    endpoint = await build.create_endpoint(ledger, tenant)
    await build.accept_event(ledger, tenant)
    assert await first_word(listener) == {(tenant, endpoint)}
    await listener.close()


async def test_a_listener_whose_connection_breaks_says_so(ledger: Ledger) -> None:
    listener = await NotificationListener.open(ledger)
    waiting = asyncio.create_task(first_word(listener))
    await build.fetch_rows(
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
        await NotificationListener.open(Ledger(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/nothing"))
