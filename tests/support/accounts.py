"""Accounts for tests: a clock that is set by hand, and hashes that take no time."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from argon2 import PasswordHasher

from delivery.model import Actor
from delivery.people import Passwords, People, Role

if TYPE_CHECKING:
    from delivery.ledger import Ledger
    from delivery.people import Person

ADA = Actor("cli:ada", "laptop")
HOME = "203.0.113.7"
RIGHT = "correct horse battery"
WRONG = "incorrect horse battery"
SESSION = timedelta(hours=12)
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class Clock:
    """A clock that goes on when it is told to."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def on(self, **by: float) -> None:
        """Let time pass."""
        self.now += timedelta(**by)


def clock_now() -> Clock:
    """A clock that stands at this moment: the journal has a place for today alone."""
    return Clock(datetime.now(UTC))


def people_of(ledger: Ledger, clock: Clock, hasher: PasswordHasher = CHEAP) -> People:
    """The use cases, on this ledger and clock."""
    return People(ledger, Passwords(hasher), lasts=SESSION, clock=clock, random_bytes=secrets.token_bytes)


async def somebody(people: People, name: str = "jane", role: Role = Role.VIEWER) -> Person:
    """An account whose password is the right one."""
    return await people.create(f"{name}@example.com", name.title(), role, RIGHT, actor=ADA)
