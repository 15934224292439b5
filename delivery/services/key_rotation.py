"""Rotation of WAYBILL_SECRET_KEYS: re-encrypt every sealed value under the newest key."""

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
from delivery.ledger.records.journal import JournalEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.domain.secret_box import SecretBox
    from delivery.ledger.db.session import Ledger
    from delivery.ledger.records.encrypted_values import SealedColumn, SealedValue

BATCH_SIZE: Final = 500
NIL_ID: Final = UUID(int=0)
# Every column of sealed values, with the function that builds the context of a value.
SEALED_COLUMNS: Final = (
    (SECRETS, build_secret_context),
    (HEADERS, build_headers_context),
    (AUTH, build_auth_context),
    (IDENTITY, build_identity_context),
)


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """How many values need a key. `is_available`: it is in WAYBILL_SECRET_KEYS."""

    key_id: str
    is_available: bool
    value_count: int


@dataclass(frozen=True, slots=True)
class KeyRotationReport:
    """What a rotation did, and the use of each key after it, the newest key first.

    `changed`: values that somebody else changed meanwhile. `unreadable`: values that no available key opens.
    """

    key_usage: tuple[KeyUsage, ...]
    rotated: int = 0
    changed: int = 0
    unreadable: int = 0

    @property
    def remaining(self) -> int:
        """How many values need another key than the newest."""
        return sum(usage.value_count for usage in self.key_usage[1:])


class KeyRotationService:
    """Re-encrypts sealed values in short transactions, beside all other work.

    A step reads a batch by id and replaces the values that nobody has changed since. A run that was stopped
    can be started again: values under the newest key are skipped.
    """

    def __init__(
        self, ledger: Ledger, box: SecretBox, *, clock: Callable[[], datetime], batch_size: int = BATCH_SIZE
    ) -> None:
        self._batch_size = batch_size
        self._ledger = ledger
        self._box = box
        self._clock = clock

    async def read_report(self) -> KeyRotationReport:
        """Report the use of each key; nothing is changed."""
        return KeyRotationReport(await self._count_key_usage())

    async def run(
        self, *, actor: Actor, on_progress: Callable[[int], None] | None = None
    ) -> KeyRotationReport:
        """Re-encrypt every value that needs it; `on_progress` gets the number so far after each step."""
        counts: Counter[str] = Counter()
        for column, build_context in SEALED_COLUMNS:
            last: UUID | None = NIL_ID
            while last is not None:
                last = await self._step(column, build_context, last, counts)
                if on_progress is not None and counts["resealed"]:
                    on_progress(counts["resealed"])
        if counts["resealed"]:
            await self._append_entry(counts, actor)
        return KeyRotationReport(
            await self._count_key_usage(),
            rotated=counts["resealed"],
            changed=counts["changed"],
            unreadable=counts["unreadable"],
        )

    async def _step(
        self,
        column: SealedColumn,
        build_context: Callable[[UUID, UUID], bytes],
        after: UUID,
        counts: Counter[str],
    ) -> UUID | None:
        """Re-encrypt a batch after this id; returns the last id, or None at the end."""
        async with self._ledger.transaction() as tx:
            values = await encrypted_values.read_after(tx, column, after, limit=self._batch_size)
        changes = [
            change
            for value in values
            if (change := self._build_change(value, build_context, counts)) is not None
        ]
        if changes:
            async with self._ledger.transaction() as tx:
                replaced = await encrypted_values.replace_values(tx, column, changes)
            counts["resealed"] += replaced
            counts["changed"] += len(changes) - replaced
        return values[-1].id if len(values) == self._batch_size else None

    def _build_change(
        self, value: SealedValue, build_context: Callable[[UUID, UUID], bytes], counts: Counter[str]
    ) -> SealedValueChange | None:
        context = build_context(value.tenant_id, value.endpoint_id)
        try:
            after = self._box.rewrap(value.sealed, context=context)
        except SecretUnreadable:
            counts["unreadable"] += 1
            return None
        return None if after is None else SealedValueChange(value.id, value.sealed, after)

    async def _count_key_usage(self) -> tuple[KeyUsage, ...]:
        counts: Counter[str] = Counter(dict.fromkeys(self._box.key_ids, 0))
        newest = self._box.key_ids[0]
        for column, _ in SEALED_COLUMNS:
            async with self._ledger.transaction() as tx:
                marks = await encrypted_values.count_marks(tx, column)
            for mark, count in marks.items():
                counts[self._box.read_key_id(mark)] += count
        return tuple(
            KeyUsage(key_id, key_id in self._box.key_ids, count)
            for key_id, count in sorted(counts.items(), key=lambda item: item[0] != newest)
        )

    async def _append_entry(self, counts: Mapping[str, int], actor: Actor) -> None:
        details = {"values": counts["resealed"], "key_id": self._box.key_ids[0]}
        entry = JournalEntry.by_actor(None, "secrets.resealed", actor, at=self._clock(), details=details)
        async with self._ledger.transaction() as tx:
            await journal.append(tx, [entry])
