"""An endpoint's live secrets: while a rotation overlaps, the old one signs beside the new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from signing.secrets import Secret


@dataclass(frozen=True, slots=True)
class RingEntry:
    """A secret and the moment from which on it no longer signs; None while it is the newest."""

    secret: Secret
    not_after: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Whether the secret signs at this moment."""
        return self.not_after is None or now < self.not_after


@dataclass(frozen=True, slots=True)
class KeyRing:
    """An endpoint's secrets, newest first."""

    entries: tuple[RingEntry, ...]

    @classmethod
    def from_secret(cls, secret: Secret) -> Self:
        """A ring that holds one secret for good."""
        return cls((RingEntry(secret),))

    def get_live_secrets(self, now: datetime) -> tuple[Secret, ...]:
        """The secrets that sign at this moment, newest first."""
        return tuple([entry.secret for entry in self.entries if entry.is_live(now)])

    def rotate_to(self, secret: Secret, *, now: datetime, overlap: timedelta) -> Self:
        """The ring after a rotation: the new secret first, the others for no longer than the overlap."""
        until = now + overlap
        older = tuple(
            RingEntry(entry.secret, until if entry.not_after is None else min(entry.not_after, until))
            for entry in self.entries
            if entry.is_live(now)
        )
        return type(self)((RingEntry(secret), *older))
