"""Keys on a real ledger: they end when they should, in every process, and are looked up seldom."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.errors import Conflict, Invalid, NotAuthenticated, NotFound, TooManyTries
from delivery.keys import Keys, KeyTerms, MadeKey, NewKey
from delivery.keys.guesses import PACE
from delivery.ledger import Ledger
from delivery.model import KeyId, new_id
from delivery.paging import Cut
from delivery.scopes import Scope
from tests.support import ledger as on
from tests.support.people import ADA, Clock, clock_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from delivery.ledger import Transaction
    from delivery.model import ApiKey, TenantId

OPERATOR_KEY = "operator-key-for-tests-only"
HERE = "203.0.113.7"


class Counting(Ledger):
    """A ledger that counts its transactions."""

    begun = 0

    @asynccontextmanager
    async def transaction(self, *, of: UUID | None = None) -> AsyncIterator[Transaction]:
        self.begun += 1
        async with super().transaction(of=of) as tx:
            yield tx


@pytest.fixture
def clock() -> Clock:
    return clock_now()


def keys_of(ledger: Ledger, clock: Clock) -> Keys:
    """The use cases, as one process has them."""
    terms = KeyTerms(operator_key=OPERATOR_KEY)
    return Keys(ledger, terms, clock=clock, random_bytes=secrets.token_bytes)


@pytest.fixture
async def keys(ledger: Ledger, clock: Clock) -> AsyncIterator[Keys]:
    made = keys_of(ledger, clock)
    yield made
    await made.settle()


async def refused(keys: Keys, made: MadeKey) -> None:
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(made.text)


async def listed(keys: Keys, tenant: TenantId) -> list[ApiKey]:
    return list((await keys.page(tenant, Cut())).items)


async def test_a_key_is_kept_as_it_was_asked_for(keys: Keys, clock: Clock, tenant: TenantId) -> None:
    scopes = [Scope.READ, Scope.REPLAY]
    new = NewKey("support", scopes, lasts=timedelta(days=1), requests_per_second=5)
    made = await keys.create(tenant, new, actor=ADA)
    assert await listed(keys, tenant) == [made.kept]
    assert await keys.authenticate(made.text) == made.kept
    assert made.kept.scopes == set(scopes)
    assert made.kept.expires_at == clock.now + timedelta(days=1)


async def test_a_key_s_end_is_obeyed_to_the_moment_also_by_whoever_remembers_it(
    keys: Keys, clock: Clock, tenant: TenantId
) -> None:
    made = await keys.create(tenant, NewKey("shop", lasts=timedelta(minutes=1)), actor=ADA)
    clock.on(seconds=59)
    assert await keys.authenticate(made.text) == made.kept
    clock.on(seconds=1)
    await refused(keys, made)


async def test_a_rotated_key_goes_on_for_the_overlap_and_its_successor_may_do_the_same(
    keys: Keys, clock: Clock, tenant: TenantId
) -> None:
    new = NewKey("shop", [Scope.PUBLISH], lasts=timedelta(days=30), requests_per_second=9)
    first = await keys.create(tenant, new, actor=ADA)
    clock.on(days=10)
    second = await keys.rotate(tenant, first.kept.id, overlap=timedelta(hours=2), actor=ADA)
    assert (second.kept.name, second.kept.requests_per_second) == ("shop", 9)
    assert second.kept.scopes == {Scope.PUBLISH}
    assert second.kept.expires_at == clock.now + timedelta(days=30)
    for made in (first, second):
        await keys.authenticate(made.text)
    clock.on(hours=2)
    await refused(keys, first)
    await keys.authenticate(second.text)
    newest, oldest = await listed(keys, tenant)
    assert (newest.id, oldest.replaced_by, newest.replaced_by) == (second.kept.id, second.kept.id, None)


async def test_without_an_overlap_a_rotated_key_ends_at_once(keys: Keys, tenant: TenantId) -> None:
    made = await keys.create(tenant, NewKey("shop"), actor=ADA)
    await keys.authenticate(made.text)
    await keys.rotate(tenant, made.kept.id, overlap=timedelta(0), actor=ADA)
    await refused(keys, made)


async def test_a_rotation_lengthens_no_key_s_life(keys: Keys, clock: Clock, tenant: TenantId) -> None:
    made = await keys.create(tenant, NewKey("shop", lasts=timedelta(minutes=5)), actor=ADA)
    await keys.rotate(tenant, made.kept.id, actor=ADA)
    clock.on(minutes=5)
    await refused(keys, made)


async def test_what_has_ended_or_was_rotated_is_not_rotated_again(
    keys: Keys, clock: Clock, tenant: TenantId
) -> None:
    rotated = await keys.create(tenant, NewKey("one"), actor=ADA)
    revoked = await keys.create(tenant, NewKey("two"), actor=ADA)
    expired = await keys.create(tenant, NewKey("three", lasts=timedelta(minutes=1)), actor=ADA)
    await keys.rotate(tenant, rotated.kept.id, actor=ADA)
    await keys.revoke(tenant, revoked.kept.id, actor=ADA)
    clock.on(minutes=1)
    for made in (rotated, revoked, expired):
        with pytest.raises(Conflict):
            await keys.rotate(tenant, made.kept.id, actor=ADA)
    with pytest.raises(NotFound):
        await keys.rotate(tenant, KeyId(new_id()), actor=ADA)
    with pytest.raises(Invalid, match="overlap_hours"):
        await keys.rotate(tenant, rotated.kept.id, overlap=timedelta(days=31), actor=ADA)


async def test_of_many_who_rotate_a_key_at_once_one_does(keys: Keys, tenant: TenantId) -> None:
    made = await keys.create(tenant, NewKey("shop"), actor=ADA)
    tries = [keys.rotate(tenant, made.kept.id, actor=ADA) for _ in range(5)]
    came = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one).__name__ for one in came) == ["Conflict"] * 4 + ["MadeKey"]
    assert len(await listed(keys, tenant)) == 2


async def test_another_tenant_s_key_is_not_rotated(keys: Keys, ledger: Ledger, tenant: TenantId) -> None:
    made = await keys.create(tenant, NewKey("shop"), actor=ADA)
    with pytest.raises(NotFound):
        await keys.rotate(await on.new_tenant(ledger), made.kept.id, actor=ADA)


async def test_many_requests_with_a_cold_key_look_it_up_once(
    keys: Keys, shared_url: str, clock: Clock, tenant: TenantId
) -> None:
    made = await keys.create(tenant, NewKey("shop"), actor=ADA)
    counting = Counting(shared_url)
    elsewhere = keys_of(counting, clock)
    found = await asyncio.gather(*(elsewhere.authenticate(made.text) for _ in range(100)))
    await elsewhere.settle()
    await counting.close()
    assert {one.id for one in found if one is not None} == {made.kept.id}
    # One to look it up, one to note that it was used.
    assert counting.begun == 2


async def test_one_who_gives_up_takes_the_lookup_from_nobody(keys: Keys, tenant: TenantId) -> None:
    made = await keys.create(tenant, NewKey("shop"), actor=ADA)
    first, second = (asyncio.create_task(keys.authenticate(made.text)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == made.kept
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_a_key_revoked_while_it_is_looked_up_is_not_remembered(keys: Keys, tenant: TenantId) -> None:
    made = await keys.create(tenant, NewKey("shop"), actor=ADA)
    asking = asyncio.create_task(keys.authenticate(made.text))
    await keys.revoke(tenant, made.kept.id, actor=ADA)
    await asyncio.gather(asking, return_exceptions=True)
    await refused(keys, made)


async def test_when_a_key_was_used_is_noted_seldom_over_all_processes(
    keys: Keys, ledger: Ledger, clock: Clock, tenant: TenantId
) -> None:
    elsewhere = keys_of(ledger, clock)
    made = await keys.create(tenant, NewKey("shop"), actor=ADA)
    assert made.kept.last_used_at is None
    seen = set()
    for _ in range(13):
        for one in (keys, elsewhere):
            await one.authenticate(made.text)
            await one.settle()
        seen.add((await listed(keys, tenant))[0].last_used_at)
        clock.on(seconds=10)
    assert len(seen) == 3
    assert max(at for at in seen if at is not None) == clock.now - timedelta(seconds=10)


async def test_a_new_key_is_taken_while_its_use_cannot_be_noted(
    keys: Keys, ledger: Ledger, tenant: TenantId
) -> None:
    made = await keys.create(tenant, NewKey("shop"), actor=ADA)
    async with ledger.transaction() as tx:
        await tx.exec_driver_sql("select 1 from api_keys for update")
        assert await keys.authenticate(made.text) == made.kept
    await keys.settle()
    assert (await listed(keys, tenant))[0].last_used_at is not None


async def test_the_operator_s_key_is_no_tenant_s(keys: Keys) -> None:
    assert await keys.authenticate(OPERATOR_KEY) is None
    for wrong in (OPERATOR_KEY[:-1], OPERATOR_KEY + "x", OPERATOR_KEY.upper(), "", "\xff"):
        with pytest.raises(NotAuthenticated):
            await keys.authenticate(wrong)


async def test_whoever_guesses_from_one_address_waits_and_others_there_go_on(
    keys: Keys, clock: Clock, tenant: TenantId
) -> None:
    made = await keys.create(tenant, NewKey("shop"), actor=ADA)
    await keys.authenticate(made.text, address=HERE)
    for number in range(int(PACE.burst)):
        with pytest.raises(NotAuthenticated):
            await keys.authenticate(f"wbk_{number:043d}", address=HERE)
    for guess in ("wbk_" + "A" * 43, "nonsense", OPERATOR_KEY):
        with pytest.raises(TooManyTries):
            await keys.authenticate(guess, address=HERE)
    assert await keys.authenticate(OPERATOR_KEY, address="198.51.100.1") is None
    # Long enough for it to be looked up again.
    clock.on(seconds=10)
    for _ in range(int(10 * PACE.per_second)):
        with pytest.raises(NotAuthenticated):
            await keys.authenticate("nonsense", address=HERE)
    found = await keys.authenticate(made.text, address=HERE)
    assert found is not None
    assert found.id == made.kept.id
