"""An endpoint's live secrets: during a rotation the old secret signs beside the new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from .secrets import Secret


@dataclass(frozen=True, slots=True)
class RingEntry:
    """A secret and the time at which it stops signing; None for the newest."""

    secret: Secret
    not_after: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Whether the secret signs at `now`."""
        return self.not_after is None or now < self.not_after


@dataclass(frozen=True, slots=True)
class KeyRing:
    """An endpoint's secrets, newest first."""

    entries: tuple[RingEntry, ...]

    @classmethod
    def from_secret(cls, secret: Secret) -> Self:
        """A ring of one secret that does not expire."""
        return cls((RingEntry(secret),))

    def get_live_secrets(self, now: datetime) -> tuple[Secret, ...]:
        """The secrets that sign at `now`, newest first."""
        return tuple([entry.secret for entry in self.entries if entry.is_live(now)])

    def rotate_to(self, secret: Secret, *, now: datetime, overlap: timedelta) -> Self:
        """The ring after a rotation: the new secret first, the others until the overlap ends."""
        until = now + overlap
        older = tuple(
            RingEntry(entry.secret, until if entry.not_after is None else min(entry.not_after, until))
            for entry in self.entries
            if entry.is_live(now)
        )
        return type(self)((RingEntry(secret), *older))
