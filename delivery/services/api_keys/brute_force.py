"""Whoever tries one wrong key after another has to wait. In memory, in each process by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.errors import TooManyTries
from delivery.keys.buckets import NOTHING, Bucket, Pace
from delivery.networks import network_of

if TYPE_CHECKING:
    from datetime import datetime

# So many wrong keys at once from one network, and so many a second after that.
PACE: Final = Pace(per_second=2, burst=60)
MOST_NETWORKS: Final = 10_000
MOST_USERS: Final = 20_000


class Guesses:
    """What wrong keys came from where, and who has shown a right one there.

    Wrong ones are counted once they are known to be wrong: a thousand at the same moment are a thousand, for
    which the network then owes. Whoever has used a right key from a network goes on using it, so nobody
    behind the same proxy is locked out by somebody else's guesses. Both memories are bounded: what is oldest
    goes first.
    """

    def __init__(self) -> None:
        """Nobody has guessed yet."""
        self._buckets: dict[str, Bucket] = {}
        self._users: dict[tuple[str, bytes], None] = {}

    def look(self, address: str | None, key_sha256: bytes, *, now: datetime) -> None:
        """Raise TooManyTries, before a key is looked at, where there were too many wrong ones."""
        if not self._buckets:
            return
        network = network_of(address or "")
        bucket = self._buckets.get(network)
        if bucket is None or (network, key_sha256) in self._users:
            return
        wait = bucket.refilled(PACE, now=now).wait(PACE)
        if wait > NOTHING:
            raise TooManyTries(wait)

    def wrong(self, address: str | None, *, now: datetime) -> None:
        """Count a wrong key."""
        network = network_of(address or "")
        bucket = self._buckets.pop(network, None) or Bucket.full(PACE, now=now)
        if len(self._buckets) >= MOST_NETWORKS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[network] = bucket.refilled(PACE, now=now).less_one(least=-PACE.burst)

    def right(self, address: str | None, key_sha256: bytes) -> None:
        """Remember that a right key came from there."""
        user = (network_of(address or ""), key_sha256)
        if user not in self._users and len(self._users) >= MOST_USERS:
            del self._users[next(iter(self._users))]
        self._users[user] = None
