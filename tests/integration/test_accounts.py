"""Accounts and sessions: who gets in, who does not, and what ends a session."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from delivery.errors import Conflict, Invalid, NotAuthenticated, NotFound, TooManyTries
from delivery.ledger import sessions, sign_in_failures
from delivery.model import Actor, PersonId, new_id
from delivery.paging import Cut
from delivery.people import Ability, People, PersonChanges, Role
from tests.support import ledger as on
from tests.support.people import (
    ADA,
    HOME,
    RIGHT,
    SESSION,
    WRONG,
    Clock,
    clock_now,
    people_of,
    somebody,
)

if TYPE_CHECKING:
    from delivery.ledger import Ledger
    from delivery.model import TenantId

NEW = "another horse battery"


@pytest.fixture
def clock() -> Clock:
    return clock_now()


@pytest.fixture
def people(ledger: Ledger, clock: Clock) -> People:
    return people_of(ledger, clock)


async def refused(people: People, email: str, password: str, *, address: str | None = HOME) -> None:
    """Sign in, in vain."""
    with pytest.raises(NotAuthenticated):
        await people.sign_in(email, password, address=address)


# ---- signing in
async def test_whoever_knows_the_password_is_let_in_as_who_they_are(people: People, clock: Clock) -> None:
    jane = await somebody(people, role=Role.SUPPORT)
    token, visitor = await people.sign_in(" Jane@Example.COM ", RIGHT, address=HOME)
    assert visitor.actor == Actor("Jane <jane@example.com>", HOME)
    assert (visitor.name, visitor.role, visitor.person_id) == ("Jane", Role.SUPPORT, jane.id)
    assert (visitor.tenant_id, visitor.expires_at) == (None, clock.now + SESSION)
    assert await people.visitor(token, address=HOME) == visitor


async def test_an_actor_has_the_address_of_the_request_not_of_the_sign_in(people: People) -> None:
    await somebody(people)
    token, _ = await people.sign_in("jane@example.com", RIGHT, address=HOME)
    assert (await people.visitor(token, address="198.51.100.1")).actor.address == "198.51.100.1"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("jane@example.com", WRONG),
        ("jane@example.com", ""),
        ("jane@example.com", "x" * 100_000),
        ("jane@example.com", "\ud800\0"),
        ("nobody@example.com", RIGHT),
        ("", RIGHT),
        ("\ud800\0" * 1000, RIGHT),
    ],
)
async def test_anything_else_is_refused_with_one_answer_for_all(
    people: People, email: str, password: str
) -> None:
    await somebody(people)
    await refused(people, email, password)


async def test_an_account_without_a_password_cannot_be_signed_in_to_with_any(people: People) -> None:
    await people.create("jane@example.com", "Jane", Role.VIEWER, None, actor=ADA)
    await refused(people, "jane@example.com", "")


async def test_whoever_proved_elsewhere_who_they_are_needs_no_password(people: People) -> None:
    jane = await people.create("jane@example.com", "Jane", Role.VIEWER, None, actor=ADA)
    token, _ = await people.open_session(jane.id, address=HOME)
    assert (await people.visitor(token)).person_id == jane.id


@pytest.mark.parametrize("token", ["", "wbs_", "wbs_" + "A" * 43, "wbl_" + "A" * 43, "\ud800"])
async def test_an_unknown_token_is_nobodys(people: People, token: str) -> None:
    with pytest.raises(NotAuthenticated):
        await people.visitor(token)


async def test_a_hash_of_older_terms_is_renewed_by_signing_in(ledger: Ledger, people: People) -> None:
    await somebody(people)
    newer = people_of(ledger, clock_now(), PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    await newer.sign_in("jane@example.com", RIGHT, address=HOME)
    assert "t=2" in (await on.row(ledger, "select password_hash from people")).password_hash
    await newer.sign_in("jane@example.com", RIGHT, address=HOME)


# ---- what is kept
async def test_neither_token_nor_password_is_in_the_database(ledger: Ledger, people: People) -> None:
    await somebody(people)
    token, _ = await people.sign_in("jane@example.com", RIGHT, address=HOME)
    for table in ("people", "sessions", "journal", "sign_in_failures"):
        for found in await on.rows(ledger, f"select t::text as whole from {table} t"):  # noqa: S608  our own names
            for secret in (token, token.removeprefix("wbs_"), RIGHT):
                assert secret not in found.whole
                assert secret.encode().hex() not in found.whole


async def test_what_was_typed_in_vain_is_kept_as_a_hash(ledger: Ledger, people: People) -> None:
    await refused(people, "my-secret-password", "x")
    kept = await on.rows(ledger, "select f::text as whole from sign_in_failures f")
    assert len(kept) == 3
    assert not [one for one in kept if b"my-secret-password".hex() in one.whole]


# ---- too many tries
async def wait_of(people: People, email: str, address: str) -> float:
    """For how long a try has to wait."""
    with pytest.raises(TooManyTries) as refusal:
        await people.sign_in(email, RIGHT, address=address)
    return refusal.value.retry_after.total_seconds()


async def test_after_five_wrong_passwords_the_right_one_has_to_wait_too(people: People, clock: Clock) -> None:
    await somebody(people)
    for _ in range(5):
        await refused(people, "jane@example.com", WRONG)
    assert await wait_of(people, "jane@example.com", HOME) == 1
    clock.on(seconds=1)
    await refused(people, "jane@example.com", WRONG)
    assert await wait_of(people, "jane@example.com", HOME) == 2


async def test_a_try_that_has_to_wait_does_not_lengthen_the_wait(people: People, clock: Clock) -> None:
    await somebody(people)
    for _ in range(5):
        await refused(people, "jane@example.com", WRONG)
    for _ in range(20):
        await wait_of(people, "jane@example.com", HOME)
    clock.on(seconds=1)
    await people.sign_in("jane@example.com", RIGHT, address=HOME)


async def test_the_right_password_begins_it_all_again(people: People, clock: Clock) -> None:
    await somebody(people)
    for _ in range(5):
        await refused(people, "jane@example.com", WRONG)
    clock.on(seconds=1)
    await people.sign_in("jane@example.com", RIGHT, address=HOME)
    for _ in range(5):
        await refused(people, "jane@example.com", WRONG)
    assert await wait_of(people, "jane@example.com", HOME) == 1


async def test_who_guesses_at_one_address_keeps_nobody_out_at_another(people: People) -> None:
    await somebody(people)
    for _ in range(5):
        await refused(people, "jane@example.com", WRONG)
    await people.sign_in("jane@example.com", RIGHT, address="198.51.100.1")


async def test_who_tries_many_accounts_at_one_address_has_to_wait(people: People) -> None:
    for number in range(30):
        await refused(people, f"somebody{number}@example.com", WRONG)
    assert await wait_of(people, "another@example.com", HOME) == 1


async def test_who_guesses_from_everywhere_keeps_the_owner_out_for_seconds(
    people: People, clock: Clock
) -> None:
    await somebody(people)
    for number in range(100):
        await refused(people, "jane@example.com", WRONG, address=f"198.51.100.{number}")
    assert await wait_of(people, "jane@example.com", HOME) == 1
    for number in range(10):
        clock.on(seconds=30)
        await refused(people, "jane@example.com", WRONG, address=f"192.0.2.{number}")
    assert await wait_of(people, "jane@example.com", HOME) == 30
    clock.on(seconds=30)
    await people.sign_in("jane@example.com", RIGHT, address=HOME)


async def test_many_tries_at_the_same_moment_are_many_tries(people: People) -> None:
    await somebody(people)
    tries = [people.sign_in("jane@example.com", WRONG, address=HOME) for _ in range(20)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    kinds = [type(outcome) for outcome in outcomes]
    assert (kinds.count(NotAuthenticated), kinds.count(TooManyTries)) == (5, 15)


async def test_signing_in_well_never_makes_anybody_wait(people: People) -> None:
    await somebody(people)
    for _ in range(40):
        await people.sign_in("jane@example.com", RIGHT, address=HOME)


# ---- what ends a session
async def signed_in(people: People, *emails: str) -> list[str]:
    """Tokens of sessions of these accounts."""
    return [(await people.sign_in(email, RIGHT, address=HOME))[0] for email in emails]


async def ended(people: People, token: str) -> bool:
    try:
        await people.visitor(token)
    except NotAuthenticated:
        return True
    return False


async def test_a_session_lasts_as_long_as_is_set_however_busy(people: People, clock: Clock) -> None:
    await somebody(people)
    (token,) = await signed_in(people, "jane@example.com")
    clock.on(hours=11.9)
    assert not await ended(people, token)
    clock.on(hours=0.1)
    assert await ended(people, token)


async def test_signing_out_ends_this_session_and_no_other(people: People) -> None:
    await somebody(people)
    here, there = await signed_in(people, "jane@example.com", "jane@example.com")
    await people.sign_out(here)
    await people.sign_out(here)
    assert (await ended(people, here), await ended(people, there)) == (True, False)


async def test_whoever_is_disabled_is_out_at_once_and_stays_so(people: People) -> None:
    jane = await somebody(people)
    (token,) = await signed_in(people, "jane@example.com")
    await people.change(jane.id, {"disabled": True}, reason="left", actor=ADA)
    assert await ended(people, token)
    await refused(people, "jane@example.com", RIGHT)
    with pytest.raises(NotAuthenticated):
        await people.open_session(jane.id, address=HOME)


async def test_to_be_enabled_again_brings_no_session_back(people: People) -> None:
    jane = await somebody(people)
    (token,) = await signed_in(people, "jane@example.com")
    await people.change(jane.id, {"disabled": True}, actor=ADA)
    await people.change(jane.id, {"disabled": False}, actor=ADA)
    assert await ended(people, token)
    await signed_in(people, "jane@example.com")


async def test_another_role_counts_in_open_sessions_at_once(people: People) -> None:
    jane = await somebody(people)
    (token,) = await signed_in(people, "jane@example.com")
    await people.change(jane.id, {"role": Role.SUPPORT}, actor=ADA)
    assert (await people.visitor(token)).may(Ability.REPLAY)
    await people.change(jane.id, {"role": Role.VIEWER}, actor=ADA)
    assert not (await people.visitor(token)).may(Ability.REPLAY)


async def test_a_new_password_ends_every_session_and_is_the_only_one(people: People) -> None:
    jane = await somebody(people)
    (token,) = await signed_in(people, "jane@example.com")
    await people.set_password(jane.id, NEW, actor=ADA)
    assert await ended(people, token)
    await refused(people, "jane@example.com", RIGHT)
    await people.sign_in("jane@example.com", NEW, address=HOME)


async def test_whoever_renews_their_password_stays_and_their_other_sessions_end(people: People) -> None:
    await somebody(people)
    here, there = await signed_in(people, "jane@example.com", "jane@example.com")
    await people.renew_password(here, RIGHT, NEW, address=HOME)
    assert (await ended(people, here), await ended(people, there)) == (False, True)
    await people.sign_in("jane@example.com", NEW, address=HOME)


async def test_a_password_is_renewed_only_by_whoever_knows_it(people: People) -> None:
    await somebody(people)
    (token,) = await signed_in(people, "jane@example.com")
    for _ in range(5):
        with pytest.raises(Invalid) as refusal:
            await people.renew_password(token, WRONG, NEW, address=HOME)
        assert refusal.value.field == "current"
    with pytest.raises(TooManyTries):
        await people.renew_password(token, RIGHT, NEW, address=HOME)


async def test_one_persons_new_password_ends_nobody_elses_session(people: People) -> None:
    jane, _ = await somebody(people), await somebody(people, "joe")
    (token,) = await signed_in(people, "joe@example.com")
    await people.set_password(jane.id, NEW, actor=ADA)
    assert not await ended(people, token)


# ---- accounts
async def test_an_address_has_one_account(people: People) -> None:
    await somebody(people)
    with pytest.raises(Conflict):
        await people.create("JANE@example.com", "Another", Role.VIEWER, RIGHT, actor=ADA)


async def test_people_are_found_by_id_and_by_address_and_listed(people: People) -> None:
    jane, joe = await somebody(people), await somebody(people, "joe")
    assert await people.read(jane.id) == await people.find(" Jane@example.com") == jane
    assert (await people.page(Cut())).items == (joe, jane)
    assert (await people.page(Cut(1))).last == joe.id


async def test_nobody_is_not_found(people: People) -> None:
    unknown = PersonId(new_id())
    for looking in (
        people.read(unknown),
        people.find("x@y"),
        people.change(unknown, {"name": "x"}, actor=ADA),
        people.set_password(unknown, RIGHT, actor=ADA),
    ):
        with pytest.raises(NotFound):
            await looking


@pytest.mark.parametrize("change", [PersonChanges(disabled=True), PersonChanges(role=Role.SUPPORT)])
async def test_the_last_admin_stays(people: People, change: PersonChanges) -> None:
    boss, gone = await somebody(people, "boss", Role.ADMIN), await somebody(people, "gone", Role.ADMIN)
    await people.change(gone.id, {"disabled": True}, actor=ADA)
    with pytest.raises(Conflict):
        await people.change(boss.id, change, actor=ADA)
    assert await people.read(boss.id) == boss


async def test_of_two_admins_who_demote_each_other_at_once_one_stays(people: People) -> None:
    one, other = await somebody(people, "one", Role.ADMIN), await somebody(people, "other", Role.ADMIN)
    outcomes = await asyncio.gather(
        people.change(one.id, {"role": Role.VIEWER}, actor=ADA),
        people.change(other.id, {"role": Role.VIEWER}, actor=ADA),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes].count(Conflict) == 1


async def test_the_last_admin_may_be_called_differently(people: People) -> None:
    boss = await somebody(people, "boss", Role.ADMIN)
    assert (await people.change(boss.id, {"name": "The boss"}, actor=ADA)).name == "The boss"


# ---- the audit
async def test_the_journal_tells_what_was_done_with_whom_from_where_and_why(
    ledger: Ledger, people: People
) -> None:
    jane = await somebody(people)
    await signed_in(people, "jane@example.com")
    await people.change(jane.id, {"role": Role.SUPPORT, "disabled": True}, reason="left", actor=ADA)
    await people.change(jane.id, {"disabled": False, "name": "Jane D"}, actor=ADA)
    await people.change(jane.id, {"disabled": False, "name": "Jane D"}, actor=ADA)
    await people.change(jane.id, {"role": Role.VIEWER}, actor=ADA)
    await people.set_password(jane.id, NEW, actor=ADA)
    told = await on.rows(ledger, "select what, actor, address, reason, details from journal order by id")
    assert [(one.what, one.actor, one.address, one.reason) for one in told] == [
        ("person.created", "cli:ada", "laptop", None),
        ("person.signed_in", "Jane <jane@example.com>", HOME, None),
        ("person.disabled", "cli:ada", "laptop", "left"),
        ("person.enabled", "cli:ada", "laptop", None),
        ("person.changed", "cli:ada", "laptop", None),
        ("person.password_set", "cli:ada", "laptop", None),
    ]
    assert told[4].details["before"] == "support"
    assert told[4].details["role"] == "viewer"


async def test_a_try_in_vain_leaves_nothing_in_the_journal(ledger: Ledger, people: People) -> None:
    await refused(people, "jane@example.com", WRONG)
    assert await on.rows(ledger, "select 1 from journal") == []


# ---- what time brings
async def test_sessions_links_and_failures_that_are_over_are_forgotten(
    ledger: Ledger, people: People, clock: Clock, tenant: TenantId
) -> None:
    jane = await somebody(people)
    await people.open_session(jane.id, address=HOME)
    link = await people.make_link(tenant, key_id=None, role=Role.VIEWER, actor=ADA)
    await people.open_link(link.token, address=HOME)
    await refused(people, "jane@example.com", WRONG)
    clock.on(days=2)
    (token,) = await signed_in(people, "jane@example.com")
    for forget in (sessions.forget, sign_in_failures.forget):
        async with ledger.transaction() as tx:
            assert not await forget(tx, before=clock.now - timedelta(days=1))
    counts = [await on.count(ledger, table) for table in ("sessions", "portal_links", "people")]
    assert counts == [1, 0, 1]
    assert not await ended(people, token)


async def test_forgetting_goes_on_in_steps(ledger: Ledger, clock: Clock) -> None:
    await on.change(
        ledger,
        """
        insert into sign_in_failures (subject, failures, last_at)
        select int4send(n), 1, cast(:at as timestamptz) from generate_series(1, 1500) as n
        """,
        at=clock.now,
    )
    for more in (True, False):
        async with ledger.transaction() as tx:
            assert await sign_in_failures.forget(tx, before=clock.now + timedelta(days=1)) is more
    assert await on.count(ledger, "sign_in_failures") == 0
