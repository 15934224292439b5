"""Accounts for tests: a clock that is set by hand, and hashes that take no time."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from argon2 import PasswordHasher

from delivery.domain.accounts import Actor, Role
from delivery.services.accounts.passwords import PasswordService
from delivery.services.accounts.service import AccountService

if TYPE_CHECKING:
    from delivery.domain.accounts import User
    from delivery.ledger.db.session import Ledger

ADA = Actor("cli:ada", "laptop")
HOME_ADDRESS = "203.0.113.7"
PASSWORD = "correct horse battery"  # noqa: S105  of a test
WRONG_PASSWORD = "incorrect horse battery"  # noqa: S105  of a test
SESSION_LIFETIME = timedelta(hours=12)
FAST_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class ManualClock:
    """A clock that tests move."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        """Let time pass."""
        self.now += timedelta(**by)


def make_clock() -> ManualClock:
    """A clock that stands at this moment: the journal has a place for today alone."""
    return ManualClock(datetime.now(UTC))


def make_account_service(
    ledger: Ledger, clock: ManualClock, hasher: PasswordHasher = FAST_HASHER
) -> AccountService:
    """The use cases, on this ledger and clock."""
    return AccountService(
        ledger,
        PasswordService(hasher),
        session_lifetime=SESSION_LIFETIME,
        clock=clock,
        random_bytes=secrets.token_bytes,
    )


async def create_user(accounts: AccountService, name: str = "jane", role: Role = Role.VIEWER) -> User:
    """An account whose password is the right one."""
    return await accounts.create(f"{name}@example.com", name.title(), role, PASSWORD, actor=ADA)
