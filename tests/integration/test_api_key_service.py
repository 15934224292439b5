"""API keys on a real database: they expire in every process, and are looked up rarely."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.domain.errors import Conflict, Invalid, NotAuthenticated, NotFound, TooManyTries
from delivery.domain.ids import KeyId, new_id
from delivery.domain.pagination import PageRequest
from delivery.domain.scopes import Scope
from delivery.ledger.db.session import Ledger
from delivery.services.api_keys.brute_force import FAILURE_RATE
from delivery.services.api_keys.service import ApiKeyService
from delivery.services.api_keys.validation import ApiKeyConfig, CreatedApiKey, NewApiKey
from tests.support import ledger_builders as build
from tests.support.accounts import ADA, ManualClock, make_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from delivery.domain.api_key import ApiKey
    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Transaction

OPERATOR_KEY = "operator-key-for-tests-only"
HERE = "203.0.113.7"


class Counting(Ledger):
    """A ledger that counts its transactions."""

    begun = 0

    @asynccontextmanager
    async def transaction(self, *, tenant_id: UUID | None = None) -> AsyncIterator[Transaction]:
        self.begun += 1
        async with super().transaction(tenant_id=tenant_id) as tx:
            yield tx


@pytest.fixture
def clock() -> ManualClock:
    return make_clock()


def keys_of(ledger: Ledger, clock: ManualClock) -> ApiKeyService:
    """The service of one process."""
    terms = ApiKeyConfig(operator_key=OPERATOR_KEY)
    return ApiKeyService(ledger, terms, clock=clock, random_bytes=secrets.token_bytes)


@pytest.fixture
async def keys(ledger: Ledger, clock: ManualClock) -> AsyncIterator[ApiKeyService]:
    created = keys_of(ledger, clock)
    yield created
    await created.wait_for_background_writes()


async def refused(keys: ApiKeyService, made: CreatedApiKey) -> None:
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(made.text)


async def listed(keys: ApiKeyService, tenant: TenantId) -> list[ApiKey]:
    return list((await keys.list_keys(tenant, PageRequest())).items)


async def test_a_key_is_stored_as_requested(
    keys: ApiKeyService, clock: ManualClock, tenant: TenantId
) -> None:
    scopes = [Scope.READ, Scope.REPLAY]
    new = NewApiKey("support", scopes, lifetime=timedelta(days=1), requests_per_second=5)
    created = await keys.create(tenant, new, actor=ADA)
    assert await listed(keys, tenant) == [created.key]
    assert await keys.authenticate(created.text) == created.key
    assert created.key.scopes == set(scopes)
    assert created.key.expires_at == clock.now + timedelta(days=1)


async def test_cached_keys_expire_on_time(keys: ApiKeyService, clock: ManualClock, tenant: TenantId) -> None:
    created = await keys.create(tenant, NewApiKey("shop", lifetime=timedelta(minutes=1)), actor=ADA)
    clock.advance(seconds=59)
    assert await keys.authenticate(created.text) == created.key
    clock.advance(seconds=1)
    await refused(keys, created)


async def test_a_rotated_key_goes_on_for_the_overlap_and_its_successor_may_do_the_same(
    keys: ApiKeyService, clock: ManualClock, tenant: TenantId
) -> None:
    new = NewApiKey("shop", [Scope.PUBLISH], lifetime=timedelta(days=30), requests_per_second=9)
    first = await keys.create(tenant, new, actor=ADA)
    clock.advance(days=10)
    second = await keys.rotate(tenant, first.key.id, overlap=timedelta(hours=2), actor=ADA)
    assert (second.key.name, second.key.requests_per_second) == ("shop", 9)
    assert second.key.scopes == {Scope.PUBLISH}
    assert second.key.expires_at == clock.now + timedelta(days=30)
    for case in (first, second):
        await keys.authenticate(case.text)
    clock.advance(hours=2)
    await refused(keys, first)
    await keys.authenticate(second.text)
    newest, oldest = await listed(keys, tenant)
    assert (newest.id, oldest.replaced_by, newest.replaced_by) == (second.key.id, second.key.id, None)


async def test_without_an_overlap_a_rotated_key_ends_at_once(keys: ApiKeyService, tenant: TenantId) -> None:
    created = await keys.create(tenant, NewApiKey("shop"), actor=ADA)
    await keys.authenticate(created.text)
    await keys.rotate(tenant, created.key.id, overlap=timedelta(0), actor=ADA)
    await refused(keys, created)


async def test_rotation_never_extends_a_key(
    keys: ApiKeyService, clock: ManualClock, tenant: TenantId
) -> None:
    created = await keys.create(tenant, NewApiKey("shop", lifetime=timedelta(minutes=5)), actor=ADA)
    await keys.rotate(tenant, created.key.id, actor=ADA)
    clock.advance(minutes=5)
    await refused(keys, created)


async def test_ended_and_rotated_keys_cannot_be_rotated(
    keys: ApiKeyService, clock: ManualClock, tenant: TenantId
) -> None:
    rotated = await keys.create(tenant, NewApiKey("one"), actor=ADA)
    revoked = await keys.create(tenant, NewApiKey("two"), actor=ADA)
    expired = await keys.create(tenant, NewApiKey("three", lifetime=timedelta(minutes=1)), actor=ADA)
    await keys.rotate(tenant, rotated.key.id, actor=ADA)
    await keys.revoke(tenant, revoked.key.id, actor=ADA)
    clock.advance(minutes=1)
    for case in (rotated, revoked, expired):
        with pytest.raises(Conflict):
            await keys.rotate(tenant, case.key.id, actor=ADA)
    with pytest.raises(NotFound):
        await keys.rotate(tenant, KeyId(new_id()), actor=ADA)
    with pytest.raises(Invalid, match="overlap_hours"):
        await keys.rotate(tenant, rotated.key.id, overlap=timedelta(days=31), actor=ADA)


async def test_one_of_concurrent_rotations_succeeds(keys: ApiKeyService, tenant: TenantId) -> None:
    created = await keys.create(tenant, NewApiKey("shop"), actor=ADA)
    tries = [keys.rotate(tenant, created.key.id, actor=ADA) for _ in range(5)]
    came = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(item).__name__ for item in came) == ["Conflict"] * 4 + ["CreatedApiKey"]
    assert len(await listed(keys, tenant)) == 2


async def test_another_tenant_s_key_is_not_rotated(
    keys: ApiKeyService, ledger: Ledger, tenant: TenantId
) -> None:
    created = await keys.create(tenant, NewApiKey("shop"), actor=ADA)
    with pytest.raises(NotFound):
        await keys.rotate(await build.create_tenant(ledger), created.key.id, actor=ADA)


async def test_many_requests_with_a_cold_key_look_it_up_once(
    keys: ApiKeyService, shared_url: str, clock: ManualClock, tenant: TenantId
) -> None:
    created = await keys.create(tenant, NewApiKey("shop"), actor=ADA)
    counting = Counting(shared_url)
    elsewhere = keys_of(counting, clock)
    found = await asyncio.gather(*(elsewhere.authenticate(created.text) for _ in range(100)))
    await elsewhere.wait_for_background_writes()
    await counting.close()
    assert {item.id for item in found if item is not None} == {created.key.id}
    # One to look it up, one to record its use.
    assert counting.begun == 2


async def test_cancelled_waiter_does_not_cancel_the_key_lookup(keys: ApiKeyService, tenant: TenantId) -> None:
    created = await keys.create(tenant, NewApiKey("shop"), actor=ADA)
    first, second = (asyncio.create_task(keys.authenticate(created.text)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == created.key
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_a_key_revoked_while_it_is_looked_up_is_not_remembered(
    keys: ApiKeyService, tenant: TenantId
) -> None:
    created = await keys.create(tenant, NewApiKey("shop"), actor=ADA)
    asking = asyncio.create_task(keys.authenticate(created.text))
    await keys.revoke(tenant, created.key.id, actor=ADA)
    await asyncio.gather(asking, return_exceptions=True)
    await refused(keys, created)


async def test_last_used_time_is_written_rarely_across_processes(
    keys: ApiKeyService, ledger: Ledger, clock: ManualClock, tenant: TenantId
) -> None:
    elsewhere = keys_of(ledger, clock)
    created = await keys.create(tenant, NewApiKey("shop"), actor=ADA)
    assert created.key.last_used_at is None
    seen = set()
    for _ in range(13):
        for case in (keys, elsewhere):
            await case.authenticate(created.text)
            await case.wait_for_background_writes()
        seen.add((await listed(keys, tenant))[0].last_used_at)
        clock.advance(seconds=10)
    assert len(seen) == 3
    assert max(at for at in seen if at is not None) == clock.now - timedelta(seconds=10)


async def test_a_new_key_is_taken_while_its_use_cannot_be_noted(
    keys: ApiKeyService, ledger: Ledger, tenant: TenantId
) -> None:
    created = await keys.create(tenant, NewApiKey("shop"), actor=ADA)
    async with ledger.transaction() as tx:
        await tx.exec_driver_sql("select 1 from api_keys for update")
        assert await keys.authenticate(created.text) == created.key
    await keys.wait_for_background_writes()
    assert (await listed(keys, tenant))[0].last_used_at is not None


async def test_the_operator_s_key_is_no_tenant_s(keys: ApiKeyService) -> None:
    assert await keys.authenticate(OPERATOR_KEY) is None
    for wrong in (OPERATOR_KEY[:-1], OPERATOR_KEY + "x", OPERATOR_KEY.upper(), "", "\xff"):
        with pytest.raises(NotAuthenticated):
            await keys.authenticate(wrong)


async def test_key_guesser_is_throttled_but_valid_keys_at_that_address_are_not(
    keys: ApiKeyService, clock: ManualClock, tenant: TenantId
) -> None:
    created = await keys.create(tenant, NewApiKey("shop"), actor=ADA)
    await keys.authenticate(created.text, address=HERE)
    for number in range(int(FAILURE_RATE.burst)):
        with pytest.raises(NotAuthenticated):
            await keys.authenticate(f"wbk_{number:043d}", address=HERE)
    for guess in ("wbk_" + "A" * 43, "nonsense", OPERATOR_KEY):
        with pytest.raises(TooManyTries):
            await keys.authenticate(guess, address=HERE)
    assert await keys.authenticate(OPERATOR_KEY, address="198.51.100.1") is None
    # Long enough for a new lookup.
    clock.advance(seconds=10)
    for _ in range(int(10 * FAILURE_RATE.per_second)):
        with pytest.raises(NotAuthenticated):
            await keys.authenticate("nonsense", address=HERE)
    found = await keys.authenticate(created.text, address=HERE)
    assert found is not None
    assert found.id == created.key.id
