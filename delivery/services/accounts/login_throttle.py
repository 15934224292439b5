"""How long somebody has to wait after sign-ins that failed. Pure.

Three things are counted: an account from one address, an address, an account. The first slows down whoever
guesses; the second whoever tries many accounts; the third whoever guesses from many addresses, and it never
waits for long, so that nobody can lock somebody else out. A try is counted before it is looked at: a thousand
at the same moment are a thousand, and what went well is taken back.
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
# After so much quiet it all begins again.
RESET_AFTER: Final = timedelta(hours=1)
_MAX_DOUBLINGS: Final = 30


class ThrottleKind(StrEnum):
    """What is counted."""

    ACCOUNT_AT_ADDRESS = "account_at_address"
    ADDRESS = "address"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class ThrottleRule:
    """After `free` failures each try waits, at first a second, then twice as long as before."""

    free_failures: int
    max_wait: timedelta


RULES: Final = {
    ThrottleKind.ACCOUNT_AT_ADDRESS: ThrottleRule(5, timedelta(minutes=15)),
    ThrottleKind.ADDRESS: ThrottleRule(30, timedelta(minutes=15)),
    ThrottleKind.ACCOUNT: ThrottleRule(100, timedelta(seconds=30)),
}


@dataclass(frozen=True, slots=True)
class ThrottleSubject:
    """What is counted, under a hash that tells nothing of it."""

    kind: ThrottleKind
    key: bytes


def build_subjects(email: str, address: str | None) -> tuple[ThrottleSubject, ...]:
    """What a try counts for, the account at its address first; `address` None: it is not known from where."""
    where = None if address is None else get_client_network(address)
    named = {ThrottleKind.ACCOUNT_AT_ADDRESS: (email, where or ""), ThrottleKind.ACCOUNT: (email,)}
    if where is not None:
        named[ThrottleKind.ADDRESS] = (where,)
    return tuple(ThrottleSubject(kind, _hash_key(kind, *parts)) for kind, parts in named.items())


def count_current_failures(failures: int, last_at: datetime, *, now: datetime) -> int:
    """How many failures still count."""
    return failures if now - last_at < RESET_AFTER else 0


def compute_wait(kind: ThrottleKind, failures: int, last_at: datetime, *, now: datetime) -> timedelta:
    """How long to wait before the next try is looked at; nothing: it may be made now."""
    rule = RULES[kind]
    beyond = count_current_failures(failures, last_at, now=now) - rule.free_failures
    if beyond < 0:
        return timedelta(0)
    doubled: int = 2 ** min(beyond, _MAX_DOUBLINGS)
    pause = min(rule.max_wait, INITIAL_WAIT * doubled)
    # Clocks of two machines may differ: nobody waits longer for that.
    return min(max(last_at + pause - now, timedelta(0)), pause)


def _hash_key(kind: ThrottleKind, *parts: str) -> bytes:
    return hashlib.sha256("\0".join([kind, *parts]).encode(errors="surrogatepass")).digest()
