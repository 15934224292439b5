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

from delivery.networks import network_of

if TYPE_CHECKING:
    from datetime import datetime

FIRST: Final = timedelta(seconds=1)
# After so much quiet it all begins again.
FORGOTTEN: Final = timedelta(hours=1)
_MOST_DOUBLINGS: Final = 30


class Kind(StrEnum):
    """What is counted."""

    ACCOUNT_AT_ADDRESS = "account_at_address"
    ADDRESS = "address"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Rule:
    """After `free` failures each try waits, at first a second, then twice as long as before."""

    free: int
    longest: timedelta


RULES: Final = {
    Kind.ACCOUNT_AT_ADDRESS: Rule(5, timedelta(minutes=15)),
    Kind.ADDRESS: Rule(30, timedelta(minutes=15)),
    Kind.ACCOUNT: Rule(100, timedelta(seconds=30)),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is counted, under a hash that tells nothing of it."""

    kind: Kind
    key: bytes


def subjects_of(email: str, address: str | None) -> tuple[Subject, ...]:
    """What a try counts for, the account at its address first; `address` None: it is not known from where."""
    where = None if address is None else network_of(address)
    named = {Kind.ACCOUNT_AT_ADDRESS: (email, where or ""), Kind.ACCOUNT: (email,)}
    if where is not None:
        named[Kind.ADDRESS] = (where,)
    return tuple(Subject(kind, _key(kind, *parts)) for kind, parts in named.items())


def failures_now(failures: int, last_at: datetime, *, now: datetime) -> int:
    """How many failures still count."""
    return failures if now - last_at < FORGOTTEN else 0


def wait(kind: Kind, failures: int, last_at: datetime, *, now: datetime) -> timedelta:
    """How long to wait before the next try is looked at; nothing: it may be made now."""
    rule = RULES[kind]
    beyond = failures_now(failures, last_at, now=now) - rule.free
    if beyond < 0:
        return timedelta(0)
    doubled: int = 2 ** min(beyond, _MOST_DOUBLINGS)
    pause = min(rule.longest, FIRST * doubled)
    # Clocks of two machines may differ: nobody waits longer for that.
    return min(max(last_at + pause - now, timedelta(0)), pause)


def _key(kind: Kind, *parts: str) -> bytes:
    return hashlib.sha256("\0".join([kind, *parts]).encode(errors="surrogatepass")).digest()
