"""Console accounts of a stack: an admin, a support user and a viewer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.stack import WAYBILL

if TYPE_CHECKING:
    from tests.support.stack import Stack


@dataclass(frozen=True, slots=True)
class ConsoleUser:
    """One account."""

    email: str
    name: str
    role: str
    password: str = "correct horse battery staple"  # noqa: S105  of engines that live for a minute


ADMIN = ConsoleUser("ada@example.com", "Ada Lovelace", "admin")
SUPPORT = ConsoleUser("sam@example.com", "Sam Okafor", "support")
VIEWER = ConsoleUser("vera@example.com", "Vera Lind", "viewer")
CONSOLE_USERS = (ADMIN, SUPPORT, VIEWER)


def create_accounts(stack: Stack) -> None:
    """Create an account for each of them with the CLI."""
    with ThreadPoolExecutor(len(CONSOLE_USERS)) as threads:
        list(threads.map(lambda one: _create_account(stack, one), CONSOLE_USERS))


def _create_account(stack: Stack, one: ConsoleUser) -> None:
    asked = ("person", "create", one.email, one.name, "--role", one.role, "--password-stdin")
    stack.run(str(WAYBILL), *asked, stdin=f"{one.password}\n")
