"""People with accounts at the console of a stack: an admin, support, and somebody who may only look."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.stack import WAYBILL

if TYPE_CHECKING:
    from tests.support.stack import Stack


@dataclass(frozen=True, slots=True)
class Colleague:
    """One account."""

    email: str
    name: str
    role: str
    password: str = "correct horse battery staple"  # noqa: S105  of engines that live for a minute


ADMIN = Colleague("ada@example.com", "Ada Lovelace", "admin")
SUPPORT = Colleague("sam@example.com", "Sam Okafor", "support")
VIEWER = Colleague("vera@example.com", "Vera Lind", "viewer")
STAFF = (ADMIN, SUPPORT, VIEWER)


def take_on(stack: Stack) -> None:
    """Give each of them an account, from the command line."""
    with ThreadPoolExecutor(len(STAFF)) as threads:
        list(threads.map(lambda one: _take_on(stack, one), STAFF))


def _take_on(stack: Stack, one: Colleague) -> None:
    asked = ("person", "create", one.email, one.name, "--role", one.role, "--password-stdin")
    stack.run(str(WAYBILL), *asked, given=f"{one.password}\n")
