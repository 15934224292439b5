"""Sealed values under the newest key: what rotating WAYBILL_SECRET_KEYS comes to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from delivery.errors import SecretUnreadable
from delivery.ledger import journal, sealed
from delivery.ledger.journal import NOBODYS, Entry
from delivery.ledger.sealed import AUTH, HEADERS, IDENTITY, SECRETS, Change
from delivery.secrets import auth_context, headers_context, identity_context, secret_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from delivery.ledger import Ledger
    from delivery.ledger.sealed import Place, Sealed
    from delivery.model import Actor
    from delivery.secrets import SecretBox

AT_ONCE: Final = 500
FIRST: Final = UUID(int=0)
# Every column that holds sealed values, with what ties each of them to its place.
PLACES: Final = (
    (SECRETS, secret_context),
    (HEADERS, headers_context),
    (AUTH, auth_context),
    (IDENTITY, identity_context),
)


@dataclass(frozen=True, slots=True)
class Under:
    """How many values need this key. `at_hand`: it is among WAYBILL_SECRET_KEYS; the newest comes first."""

    key_id: str
    at_hand: bool
    values: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was done, and how it stands now, by key.

    `changed`: somebody else changed them meanwhile. `unreadable`: no key at hand opens them, so they stay.
    """

    under: tuple[Under, ...]
    resealed: int = 0
    changed: int = 0
    unreadable: int = 0

    @property
    def left(self) -> int:
        """How many values need another key than the newest."""
        return sum(one.values for one in self.under[1:])


class Resealing:
    """Brings every sealed value under the newest key, in short steps, beside everything that runs.

    A step reads some values by id and replaces those that nobody has changed since. Whatever is stopped in
    between is begun again: what is under the newest key already is passed over.
    """

    def __init__(
        self, ledger: Ledger, box: SecretBox, *, clock: Callable[[], datetime], at_once: int = AT_ONCE
    ) -> None:
        """Work on this ledger, with these keys, so many values a step."""
        self._at_once = at_once
        self._ledger = ledger
        self._box = box
        self._clock = clock

    async def look(self) -> Report:
        """How it stands, with nothing changed."""
        return Report(await self._under())

    async def run(self, *, actor: Actor, tell: Callable[[int], None] | None = None) -> Report:
        """Reseal what needs it; `tell` hears after each step how many there have been."""
        done: Counter[str] = Counter()
        for place, context in PLACES:
            last: UUID | None = FIRST
            while last is not None:
                last = await self._step(place, context, last, done)
                if tell is not None and done["resealed"]:
                    tell(done["resealed"])
        if done["resealed"]:
            await self._note(done, actor)
        return Report(
            await self._under(),
            resealed=done["resealed"],
            changed=done["changed"],
            unreadable=done["unreadable"],
        )

    async def _step(
        self, place: Place, context: Callable[[UUID, UUID], bytes], last: UUID, done: Counter[str]
    ) -> UUID | None:
        """Do the values after this id; gives the last of them, None: that was all."""
        async with self._ledger.transaction() as tx:
            found = await sealed.after(tx, place, last, most=self._at_once)
        changes = [change for one in found if (change := self._change(one, context, done)) is not None]
        if changes:
            async with self._ledger.transaction() as tx:
                changed = await sealed.change(tx, place, changes)
            done["resealed"] += changed
            done["changed"] += len(changes) - changed
        return found[-1].id if len(found) == self._at_once else None

    def _change(
        self, one: Sealed, context: Callable[[UUID, UUID], bytes], done: Counter[str]
    ) -> Change | None:
        try:
            after = self._box.resealed(one.sealed, context=context(one.tenant_id, one.endpoint_id))
        except SecretUnreadable:
            done["unreadable"] += 1
            return None
        return None if after is None else Change(one.id, one.sealed, after)

    async def _under(self) -> tuple[Under, ...]:
        counts: Counter[str] = Counter(dict.fromkeys(self._box.key_ids, 0))
        newest = self._box.key_ids[0]
        for place, _ in PLACES:
            async with self._ledger.transaction() as tx:
                found = await sealed.marks(tx, place)
            for mark, count in found.items():
                counts[self._box.key_id_of(mark)] += count
        return tuple(
            Under(key_id, key_id in self._box.key_ids, count)
            for key_id, count in sorted(counts.items(), key=lambda one: one[0] != newest)
        )

    async def _note(self, done: Mapping[str, int], actor: Actor) -> None:
        details = {"values": done["resealed"], "key_id": self._box.key_ids[0]}
        entry = Entry(
            NOBODYS, "secrets.resealed", actor.name, self._clock(), details=details, address=actor.address
        )
        async with self._ledger.transaction() as tx:
            await journal.append(tx, [entry])
