"""Sealed values under the newest key: what rotating WAYBILL_SECRET_KEYS comes to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from delivery.domain.errors import SecretUnreadable
from delivery.domain.secret_box import (
    build_auth_context,
    build_headers_context,
    build_identity_context,
    build_secret_context,
)
from delivery.ledger.records import encrypted_values, journal
from delivery.ledger.records.encrypted_values import AUTH, HEADERS, IDENTITY, SECRETS, SealedValueChange
from delivery.ledger.records.journal import NO_TENANT, JournalEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.secret_box import SecretBox
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.records.encrypted_values import SealedColumn, SealedValue

BATCH_SIZE: Final = 500
NIL_ID: Final = UUID(int=0)
# Every column that holds sealed values, with what ties each of them to its place.
SEALED_COLUMNS: Final = (
    (SECRETS, build_secret_context),
    (HEADERS, build_headers_context),
    (AUTH, build_auth_context),
    (IDENTITY, build_identity_context),
)


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """How many values need this key. `at_hand`: it is among WAYBILL_SECRET_KEYS; the newest comes first."""

    key_id: str
    is_available: bool
    value_count: int


@dataclass(frozen=True, slots=True)
class KeyRotationReport:
    """What was done, and how it stands now, by key.

    `changed`: somebody else changed them meanwhile. `unreadable`: no key at hand opens them, so they stay.
    """

    key_usage: tuple[KeyUsage, ...]
    rotated: int = 0
    changed: int = 0
    unreadable: int = 0

    @property
    def remaining(self) -> int:
        """How many values need another key than the newest."""
        return sum(one.value_count for one in self.key_usage[1:])


class KeyRotationService:
    """Brings every sealed value under the newest key, in short steps, beside everything that runs.

    A step reads some values by id and replaces those that nobody has changed since. Whatever is stopped in
    between is begun again: what is under the newest key already is passed over.
    """

    def __init__(
        self, ledger: Ledger, box: SecretBox, *, clock: Callable[[], datetime], batch_size: int = BATCH_SIZE
    ) -> None:
        """Work on this ledger, with these keys, so many values a step."""
        self._batch_size = batch_size
        self._ledger = ledger
        self._box = box
        self._clock = clock

    async def read_report(self) -> KeyRotationReport:
        """How it stands, with nothing changed."""
        return KeyRotationReport(await self._count_key_usage())

    async def run(
        self, *, actor: Actor, on_progress: Callable[[int], None] | None = None
    ) -> KeyRotationReport:
        """Reseal what needs it; `tell` hears after each step how many there have been."""
        done: Counter[str] = Counter()
        for place, context in SEALED_COLUMNS:
            last: UUID | None = NIL_ID
            while last is not None:
                last = await self._step(place, context, last, done)
                if on_progress is not None and done["resealed"]:
                    on_progress(done["resealed"])
        if done["resealed"]:
            await self._append_entry(done, actor)
        return KeyRotationReport(
            await self._count_key_usage(),
            rotated=done["resealed"],
            changed=done["changed"],
            unreadable=done["unreadable"],
        )

    async def _step(
        self, column: SealedColumn, context: Callable[[UUID, UUID], bytes], after: UUID, counts: Counter[str]
    ) -> UUID | None:
        """Do the values after this id; gives the last of them, None: that was all."""
        async with self._ledger.transaction() as tx:
            found = await encrypted_values.read_after(tx, column, after, limit=self._batch_size)
        changes = [
            change for one in found if (change := self._build_change(one, context, counts)) is not None
        ]
        if changes:
            async with self._ledger.transaction() as tx:
                changed = await encrypted_values.replace_values(tx, column, changes)
            counts["resealed"] += changed
            counts["changed"] += len(changes) - changed
        return found[-1].id if len(found) == self._batch_size else None

    def _build_change(
        self, value: SealedValue, context: Callable[[UUID, UUID], bytes], counts: Counter[str]
    ) -> SealedValueChange | None:
        try:
            after = self._box.rewrap(value.sealed, context=context(value.tenant_id, value.endpoint_id))
        except SecretUnreadable:
            counts["unreadable"] += 1
            return None
        return None if after is None else SealedValueChange(value.id, value.sealed, after)

    async def _count_key_usage(self) -> tuple[KeyUsage, ...]:
        counts: Counter[str] = Counter(dict.fromkeys(self._box.key_ids, 0))
        newest = self._box.key_ids[0]
        for place, _ in SEALED_COLUMNS:
            async with self._ledger.transaction() as tx:
                found = await encrypted_values.count_marks(tx, place)
            for mark, count in found.items():
                counts[self._box.read_key_id(mark)] += count
        return tuple(
            KeyUsage(key_id, key_id in self._box.key_ids, count)
            for key_id, count in sorted(counts.items(), key=lambda one: one[0] != newest)
        )

    async def _append_entry(self, counts: Mapping[str, int], actor: Actor) -> None:
        details = {"values": counts["resealed"], "key_id": self._box.key_ids[0]}
        entry = JournalEntry(
            NO_TENANT, "secrets.resealed", actor.name, self._clock(), details=details, address=actor.address
        )
        async with self._ledger.transaction() as tx:
            await journal.append(tx, [entry])
