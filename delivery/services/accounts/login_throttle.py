"""How long to wait after failed sign-ins. Pure.

Failures are counted for three subjects: an account from one network, a network, and an account. The first
slows down guessing one password, the second trying many accounts. The third slows down guessing from many
networks; its wait stays short, so that nobody can lock a user out. A try is counted as a failure before the
password is checked, so concurrent tries all count; a success takes it back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from delivery.domain.client_network import get_client_network

if TYPE_CHECKING:
    from datetime import datetime

INITIAL_WAIT: Final = timedelta(seconds=1)
# After this long without a failure the count starts from zero.
RESET_AFTER: Final = timedelta(hours=1)
_MAX_DOUBLINGS: Final = 30


class ThrottleKind(StrEnum):
    """The kinds of subjects whose failures are counted."""

    ACCOUNT_AT_ADDRESS = "account_at_address"
    ADDRESS = "address"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class ThrottleRule:
    """After `free_failures` each further try waits: a second at first, then twice the wait before."""

    free_failures: int
    max_wait: timedelta


RULES: Final = {
    ThrottleKind.ACCOUNT_AT_ADDRESS: ThrottleRule(5, timedelta(minutes=15)),
    ThrottleKind.ADDRESS: ThrottleRule(30, timedelta(minutes=15)),
    ThrottleKind.ACCOUNT: ThrottleRule(100, timedelta(seconds=30)),
}


@dataclass(frozen=True, slots=True)
class ThrottleSubject:
    """A subject, stored under a hash that does not reveal it."""

    kind: ThrottleKind
    key: bytes


def build_subjects(email: str, address: str | None) -> tuple[ThrottleSubject, ...]:
    """The subjects of a try, the account from its network first; `address` None: it is not known."""
    network = None if address is None else get_client_network(address)
    parts = {ThrottleKind.ACCOUNT_AT_ADDRESS: (email, network or ""), ThrottleKind.ACCOUNT: (email,)}
    if network is not None:
        parts[ThrottleKind.ADDRESS] = (network,)
    return tuple(ThrottleSubject(kind, _hash_key(kind, *values)) for kind, values in parts.items())


def count_current_failures(failures: int, last_at: datetime, *, now: datetime) -> int:
    """How many failures still count."""
    return failures if now - last_at < RESET_AFTER else 0


def compute_wait(kind: ThrottleKind, failures: int, last_at: datetime, *, now: datetime) -> timedelta:
    """How long to wait before the next try is checked; zero: it is checked now."""
    rule = RULES[kind]
    excess = count_current_failures(failures, last_at, now=now) - rule.free_failures
    if excess < 0:
        return timedelta(0)
    factor: int = 2 ** min(excess, _MAX_DOUBLINGS)
    wait = min(rule.max_wait, INITIAL_WAIT * factor)
    # The clocks of two machines may differ, which must not make the wait longer.
    return min(max(last_at + wait - now, timedelta(0)), wait)


def _hash_key(kind: ThrottleKind, *parts: str) -> bytes:
    return hashlib.sha256("\0".join([kind, *parts]).encode(errors="surrogatepass")).digest()
