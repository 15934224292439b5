"""Accounts and sessions: signing in, refused sign-ins, and the end of sessions."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from delivery.domain.accounts import Actor, Role
from delivery.domain.errors import Conflict, Invalid, NotAuthenticated, NotFound, TooManyTries
from delivery.domain.ids import UserId, new_id
from delivery.domain.pagination import PageRequest
from delivery.ledger.records import login_failures, sessions
from delivery.services.accounts.roles import Ability
from delivery.services.accounts.service import AccountService, UserChanges
from tests.support import ledger_builders as build
from tests.support.accounts import (
    ADA,
    HOME_ADDRESS,
    PASSWORD,
    SESSION_LIFETIME,
    WRONG_PASSWORD,
    ManualClock,
    create_user,
    make_account_service,
    make_clock,
)

if TYPE_CHECKING:
    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger

NEW = "another horse battery"


@pytest.fixture
def clock() -> ManualClock:
    return make_clock()


@pytest.fixture
def accounts(ledger: Ledger, clock: ManualClock) -> AccountService:
    return make_account_service(ledger, clock)


async def refused(
    accounts: AccountService, email: str, password: str, *, address: str | None = HOME_ADDRESS
) -> None:
    """Sign in, and expect a refusal."""
    with pytest.raises(NotAuthenticated):
        await accounts.sign_in(email, password, address=address)


# ---- signing in
async def test_whoever_knows_the_password_is_let_in_as_who_they_are(
    accounts: AccountService, clock: ManualClock
) -> None:
    jane = await create_user(accounts, role=Role.SUPPORT)
    token, visitor = await accounts.sign_in(" Jane@Example.COM ", PASSWORD, address=HOME_ADDRESS)
    assert visitor.actor == Actor("Jane <jane@example.com>", HOME_ADDRESS)
    assert (visitor.name, visitor.role, visitor.user_id) == ("Jane", Role.SUPPORT, jane.id)
    assert (visitor.tenant_id, visitor.expires_at) == (None, clock.now + SESSION_LIFETIME)
    assert await accounts.load_principal(token, address=HOME_ADDRESS) == visitor


async def test_an_actor_has_the_address_of_the_request_not_of_the_sign_in(accounts: AccountService) -> None:
    await create_user(accounts)
    token, _ = await accounts.sign_in("jane@example.com", PASSWORD, address=HOME_ADDRESS)
    assert (await accounts.load_principal(token, address="198.51.100.1")).actor.address == "198.51.100.1"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("jane@example.com", WRONG_PASSWORD),
        ("jane@example.com", ""),
        ("jane@example.com", "x" * 100_000),
        ("jane@example.com", "\ud800\0"),
        ("nobody@example.com", PASSWORD),
        ("", PASSWORD),
        ("\ud800\0" * 1000, PASSWORD),
    ],
)
async def test_anything_else_is_refused_with_one_answer_for_all(
    accounts: AccountService, email: str, password: str
) -> None:
    await create_user(accounts)
    await refused(accounts, email, password)


async def test_an_account_without_a_password_cannot_be_signed_in_to_with_any(
    accounts: AccountService,
) -> None:
    await accounts.create("jane@example.com", "Jane", Role.VIEWER, None, actor=ADA)
    await refused(accounts, "jane@example.com", "")


async def test_externally_authenticated_user_needs_no_password(accounts: AccountService) -> None:
    jane = await accounts.create("jane@example.com", "Jane", Role.VIEWER, None, actor=ADA)
    token, _ = await accounts.open_session(jane.id, address=HOME_ADDRESS)
    assert (await accounts.load_principal(token)).user_id == jane.id


@pytest.mark.parametrize("token", ["", "wbs_", "wbs_" + "A" * 43, "wbl_" + "A" * 43, "\ud800"])
async def test_unknown_session_token_is_rejected(accounts: AccountService, token: str) -> None:
    with pytest.raises(NotAuthenticated):
        await accounts.load_principal(token)


async def test_a_hash_of_older_terms_is_renewed_by_signing_in(
    ledger: Ledger, accounts: AccountService
) -> None:
    await create_user(accounts)
    newer = make_account_service(
        ledger, make_clock(), PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
    )
    await newer.sign_in("jane@example.com", PASSWORD, address=HOME_ADDRESS)
    assert "t=2" in (await build.fetch_row(ledger, "select password_hash from people")).password_hash
    await newer.sign_in("jane@example.com", PASSWORD, address=HOME_ADDRESS)


# ---- what is kept
async def test_neither_token_nor_password_is_in_the_database(
    ledger: Ledger, accounts: AccountService
) -> None:
    await create_user(accounts)
    token, _ = await accounts.sign_in("jane@example.com", PASSWORD, address=HOME_ADDRESS)
    for table in ("people", "sessions", "journal", "sign_in_failures"):
        for found in await build.fetch_rows(ledger, f"select t::text as whole from {table} t"):  # noqa: S608  our own names
            for secret in (token, token.removeprefix("wbs_"), PASSWORD):
                assert secret not in found.whole
                assert secret.encode().hex() not in found.whole


async def test_what_was_typed_in_vain_is_kept_as_a_hash(ledger: Ledger, accounts: AccountService) -> None:
    await refused(accounts, "my-secret-password", "x")
    stored = await build.fetch_rows(ledger, "select f::text as whole from sign_in_failures f")
    assert len(stored) == 3
    assert not [item for item in stored if b"my-secret-password".hex() in item.whole]


# ---- too many tries
async def wait_of(accounts: AccountService, email: str, address: str) -> float:
    """How long an attempt must wait."""
    with pytest.raises(TooManyTries) as refusal:
        await accounts.sign_in(email, PASSWORD, address=address)
    return refusal.value.retry_after.total_seconds()


async def test_after_five_wrong_passwords_the_right_one_has_to_wait_too(
    accounts: AccountService, clock: ManualClock
) -> None:
    await create_user(accounts)
    for _ in range(5):
        await refused(accounts, "jane@example.com", WRONG_PASSWORD)
    assert await wait_of(accounts, "jane@example.com", HOME_ADDRESS) == 1
    clock.advance(seconds=1)
    await refused(accounts, "jane@example.com", WRONG_PASSWORD)
    assert await wait_of(accounts, "jane@example.com", HOME_ADDRESS) == 2


async def test_a_try_that_has_to_wait_does_not_lengthen_the_wait(
    accounts: AccountService, clock: ManualClock
) -> None:
    await create_user(accounts)
    for _ in range(5):
        await refused(accounts, "jane@example.com", WRONG_PASSWORD)
    for _ in range(20):
        await wait_of(accounts, "jane@example.com", HOME_ADDRESS)
    clock.advance(seconds=1)
    await accounts.sign_in("jane@example.com", PASSWORD, address=HOME_ADDRESS)


async def test_correct_password_resets_the_failure_count(
    accounts: AccountService, clock: ManualClock
) -> None:
    await create_user(accounts)
    for _ in range(5):
        await refused(accounts, "jane@example.com", WRONG_PASSWORD)
    clock.advance(seconds=1)
    await accounts.sign_in("jane@example.com", PASSWORD, address=HOME_ADDRESS)
    for _ in range(5):
        await refused(accounts, "jane@example.com", WRONG_PASSWORD)
    assert await wait_of(accounts, "jane@example.com", HOME_ADDRESS) == 1


async def test_who_guesses_at_one_address_keeps_nobody_out_at_another(accounts: AccountService) -> None:
    await create_user(accounts)
    for _ in range(5):
        await refused(accounts, "jane@example.com", WRONG_PASSWORD)
    await accounts.sign_in("jane@example.com", PASSWORD, address="198.51.100.1")


async def test_who_tries_many_accounts_at_one_address_has_to_wait(accounts: AccountService) -> None:
    for number in range(30):
        await refused(accounts, f"somebody{number}@example.com", WRONG_PASSWORD)
    assert await wait_of(accounts, "another@example.com", HOME_ADDRESS) == 1


async def test_distributed_guessing_delays_the_owner_only_seconds(
    accounts: AccountService, clock: ManualClock
) -> None:
    await create_user(accounts)
    for number in range(100):
        await refused(accounts, "jane@example.com", WRONG_PASSWORD, address=f"198.51.100.{number}")
    assert await wait_of(accounts, "jane@example.com", HOME_ADDRESS) == 1
    for number in range(10):
        clock.advance(seconds=30)
        await refused(accounts, "jane@example.com", WRONG_PASSWORD, address=f"192.0.2.{number}")
    assert await wait_of(accounts, "jane@example.com", HOME_ADDRESS) == 30
    clock.advance(seconds=30)
    await accounts.sign_in("jane@example.com", PASSWORD, address=HOME_ADDRESS)


async def test_concurrent_sign_in_attempts_are_all_counted(accounts: AccountService) -> None:
    await create_user(accounts)
    tries = [accounts.sign_in("jane@example.com", WRONG_PASSWORD, address=HOME_ADDRESS) for _ in range(20)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    kinds = [type(outcome) for outcome in outcomes]
    assert (kinds.count(NotAuthenticated), kinds.count(TooManyTries)) == (5, 15)


async def test_signing_in_well_never_makes_anybody_wait(accounts: AccountService) -> None:
    await create_user(accounts)
    for _ in range(40):
        await accounts.sign_in("jane@example.com", PASSWORD, address=HOME_ADDRESS)


# ---- what ends a session
async def signed_in(accounts: AccountService, *emails: str) -> list[str]:
    """Session tokens of these accounts."""
    return [(await accounts.sign_in(email, PASSWORD, address=HOME_ADDRESS))[0] for email in emails]


async def ended(accounts: AccountService, token: str) -> bool:
    try:
        await accounts.load_principal(token)
    except NotAuthenticated:
        return True
    return False


async def test_a_session_lasts_as_long_as_is_set_however_busy(
    accounts: AccountService, clock: ManualClock
) -> None:
    await create_user(accounts)
    (token,) = await signed_in(accounts, "jane@example.com")
    clock.advance(hours=11.9)
    assert not await ended(accounts, token)
    clock.advance(hours=0.1)
    assert await ended(accounts, token)


async def test_signing_out_ends_this_session_and_no_other(accounts: AccountService) -> None:
    await create_user(accounts)
    here, there = await signed_in(accounts, "jane@example.com", "jane@example.com")
    await accounts.sign_out(here)
    await accounts.sign_out(here)
    assert (await ended(accounts, here), await ended(accounts, there)) == (True, False)


async def test_whoever_is_disabled_is_out_at_once_and_stays_so(accounts: AccountService) -> None:
    jane = await create_user(accounts)
    (token,) = await signed_in(accounts, "jane@example.com")
    await accounts.change(jane.id, {"disabled": True}, reason="left", actor=ADA)
    assert await ended(accounts, token)
    await refused(accounts, "jane@example.com", PASSWORD)
    with pytest.raises(NotAuthenticated):
        await accounts.open_session(jane.id, address=HOME_ADDRESS)


async def test_to_be_enabled_again_brings_no_session_back(accounts: AccountService) -> None:
    jane = await create_user(accounts)
    (token,) = await signed_in(accounts, "jane@example.com")
    await accounts.change(jane.id, {"disabled": True}, actor=ADA)
    await accounts.change(jane.id, {"disabled": False}, actor=ADA)
    assert await ended(accounts, token)
    await signed_in(accounts, "jane@example.com")


async def test_another_role_counts_in_open_sessions_at_once(accounts: AccountService) -> None:
    jane = await create_user(accounts)
    (token,) = await signed_in(accounts, "jane@example.com")
    await accounts.change(jane.id, {"role": Role.SUPPORT}, actor=ADA)
    assert (await accounts.load_principal(token)).has_ability(Ability.REPLAY)
    await accounts.change(jane.id, {"role": Role.VIEWER}, actor=ADA)
    assert not (await accounts.load_principal(token)).has_ability(Ability.REPLAY)


async def test_a_new_password_ends_every_session_and_is_the_only_one(accounts: AccountService) -> None:
    jane = await create_user(accounts)
    (token,) = await signed_in(accounts, "jane@example.com")
    await accounts.set_password(jane.id, NEW, actor=ADA)
    assert await ended(accounts, token)
    await refused(accounts, "jane@example.com", PASSWORD)
    await accounts.sign_in("jane@example.com", NEW, address=HOME_ADDRESS)


async def test_whoever_renews_their_password_stays_and_their_other_sessions_end(
    accounts: AccountService,
) -> None:
    await create_user(accounts)
    here, there = await signed_in(accounts, "jane@example.com", "jane@example.com")
    await accounts.change_own_password(here, PASSWORD, NEW, address=HOME_ADDRESS)
    assert (await ended(accounts, here), await ended(accounts, there)) == (False, True)
    await accounts.sign_in("jane@example.com", NEW, address=HOME_ADDRESS)


async def test_a_password_is_renewed_only_by_whoever_knows_it(accounts: AccountService) -> None:
    await create_user(accounts)
    (token,) = await signed_in(accounts, "jane@example.com")
    for _ in range(5):
        with pytest.raises(Invalid) as refusal:
            await accounts.change_own_password(token, WRONG_PASSWORD, NEW, address=HOME_ADDRESS)
        assert refusal.value.field == "current"
    with pytest.raises(TooManyTries):
        await accounts.change_own_password(token, PASSWORD, NEW, address=HOME_ADDRESS)


async def test_one_persons_new_password_ends_nobody_elses_session(accounts: AccountService) -> None:
    jane, _ = await create_user(accounts), await create_user(accounts, "joe")
    (token,) = await signed_in(accounts, "joe@example.com")
    await accounts.set_password(jane.id, NEW, actor=ADA)
    assert not await ended(accounts, token)


# ---- accounts
async def test_an_address_has_one_account(accounts: AccountService) -> None:
    await create_user(accounts)
    with pytest.raises(Conflict):
        await accounts.create("JANE@example.com", "Another", Role.VIEWER, PASSWORD, actor=ADA)


async def test_people_are_found_by_id_and_by_address_and_listed(accounts: AccountService) -> None:
    jane, joe = await create_user(accounts), await create_user(accounts, "joe")
    assert await accounts.read(jane.id) == await accounts.find(" Jane@example.com") == jane
    assert (await accounts.list_users(PageRequest())).items == (joe, jane)
    assert (await accounts.list_users(PageRequest(1))).next_cursor == joe.id


async def test_unknown_user_is_not_found(accounts: AccountService) -> None:
    unknown = UserId(new_id())
    for looking in (
        accounts.read(unknown),
        accounts.find("x@y"),
        accounts.change(unknown, {"name": "x"}, actor=ADA),
        accounts.set_password(unknown, PASSWORD, actor=ADA),
    ):
        with pytest.raises(NotFound):
            await looking


@pytest.mark.parametrize("change", [UserChanges(disabled=True), UserChanges(role=Role.SUPPORT)])
async def test_the_last_admin_stays(accounts: AccountService, change: UserChanges) -> None:
    boss, gone = (
        await create_user(accounts, "boss", Role.ADMIN),
        await create_user(accounts, "gone", Role.ADMIN),
    )
    await accounts.change(gone.id, {"disabled": True}, actor=ADA)
    with pytest.raises(Conflict):
        await accounts.change(boss.id, change, actor=ADA)
    assert await accounts.read(boss.id) == boss


async def test_of_two_admins_who_demote_each_other_at_once_one_stays(accounts: AccountService) -> None:
    first, second = (
        await create_user(accounts, "one", Role.ADMIN),
        await create_user(accounts, "other", Role.ADMIN),
    )
    outcomes = await asyncio.gather(
        accounts.change(first.id, {"role": Role.VIEWER}, actor=ADA),
        accounts.change(second.id, {"role": Role.VIEWER}, actor=ADA),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes].count(Conflict) == 1


async def test_the_last_admin_may_be_called_differently(accounts: AccountService) -> None:
    boss = await create_user(accounts, "boss", Role.ADMIN)
    assert (await accounts.change(boss.id, {"name": "The boss"}, actor=ADA)).name == "The boss"


# ---- the audit
async def test_the_journal_tells_what_was_done_with_whom_from_where_and_why(
    ledger: Ledger, accounts: AccountService
) -> None:
    jane = await create_user(accounts)
    await signed_in(accounts, "jane@example.com")
    await accounts.change(jane.id, {"role": Role.SUPPORT, "disabled": True}, reason="left", actor=ADA)
    await accounts.change(jane.id, {"disabled": False, "name": "Jane D"}, actor=ADA)
    await accounts.change(jane.id, {"disabled": False, "name": "Jane D"}, actor=ADA)
    await accounts.change(jane.id, {"role": Role.VIEWER}, actor=ADA)
    await accounts.set_password(jane.id, NEW, actor=ADA)
    result = await build.fetch_rows(
        ledger, "select what, actor, address, reason, details from journal order by id"
    )
    assert [(item.what, item.actor, item.address, item.reason) for item in result] == [
        ("person.created", "cli:ada", "laptop", None),
        ("person.signed_in", "Jane <jane@example.com>", HOME_ADDRESS, None),
        ("person.disabled", "cli:ada", "laptop", "left"),
        ("person.enabled", "cli:ada", "laptop", None),
        ("person.changed", "cli:ada", "laptop", None),
        ("person.password_set", "cli:ada", "laptop", None),
    ]
    assert result[4].details["before"] == "support"
    assert result[4].details["role"] == "viewer"


async def test_a_try_in_vain_leaves_nothing_in_the_journal(ledger: Ledger, accounts: AccountService) -> None:
    await refused(accounts, "jane@example.com", WRONG_PASSWORD)
    assert await build.fetch_rows(ledger, "select 1 from journal") == []


# ---- what time brings
async def test_sessions_links_and_failures_that_are_over_are_forgotten(
    ledger: Ledger, accounts: AccountService, clock: ManualClock, tenant: TenantId
) -> None:
    jane = await create_user(accounts)
    await accounts.open_session(jane.id, address=HOME_ADDRESS)
    link = await accounts.create_link(tenant, key_id=None, role=Role.VIEWER, actor=ADA)
    await accounts.open_link(link.token, address=HOME_ADDRESS)
    await refused(accounts, "jane@example.com", WRONG_PASSWORD)
    clock.advance(days=2)
    (token,) = await signed_in(accounts, "jane@example.com")
    for forget in (sessions.delete_expired, login_failures.delete_expired):
        async with ledger.transaction() as tx:
            assert not await forget(tx, before=clock.now - timedelta(days=1))
    counts = [await build.count_rows(ledger, table) for table in ("sessions", "portal_links", "people")]
    assert counts == [1, 0, 1]
    assert not await ended(accounts, token)


async def test_forgetting_goes_on_in_steps(ledger: Ledger, clock: ManualClock) -> None:
    await build.execute(
        ledger,
        """
        insert into sign_in_failures (subject, failures, last_at)
        select int4send(n), 1, cast(:at as timestamptz) from generate_series(1, 1500) as n
        """,
        at=clock.now,
    )
    for more in (True, False):
        async with ledger.transaction() as tx:
            assert await login_failures.delete_expired(tx, before=clock.now + timedelta(days=1)) is more
    assert await build.count_rows(ledger, "sign_in_failures") == 0
