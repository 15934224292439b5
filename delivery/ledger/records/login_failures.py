"""Failed sign-ins by subject: a hash, so that no typed text is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from delivery.ledger.db.batches import build_delete, delete_before

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from delivery.ledger.db.session import Transaction

# Locks or inserts rows, always in the same order: attempts for one subject take turns.
_LOCK = text("""
    insert into sign_in_failures as f (subject, failures, last_at)
    select subject, 0, :now from unnest(cast(:subjects as bytea[])) as tried (subject) order by subject
    on conflict (subject) do update set failures = f.failures
    returning f.subject, f.failures, f.last_at
""")
_WRITE = text("""
    update sign_in_failures f set failures = counted.failures, last_at = :now
    from unnest(cast(:subjects as bytea[]), cast(:failures as integer[])) as counted (subject, failures)
    where f.subject = counted.subject
""")
_CLEAR = text("""
    with mine as materialized (
        select subject from sign_in_failures where subject = any (cast(:subjects as bytea[]))
        order by subject for update
    )
    update sign_in_failures f
    set failures = case when f.subject = :reset then 0 else greatest(f.failures - 1, 0) end
    from mine where f.subject = mine.subject
""")
_DELETE_EXPIRED = build_delete("sign_in_failures", "subject", expired="last_at < :before", order="last_at")


@dataclass(frozen=True, slots=True)
class FailureCount:
    """A subject's recent failures, and the last one's time."""

    failures: int
    last_at: datetime


async def lock_counts(
    tx: Transaction, subjects: Sequence[bytes], *, now: datetime
) -> dict[bytes, FailureCount]:
    """Lock and read these subjects' failures, until the transaction ends."""
    rows = await tx.execute(_LOCK, {"subjects": list(subjects), "now": now})
    return {bytes(row.subject): FailureCount(row.failures, row.last_at) for row in rows}


async def write(tx: Transaction, failures: Mapping[bytes, int], *, now: datetime) -> None:
    """Write these subjects' failures, including this one."""
    values = {"subjects": list(failures), "failures": list(failures.values()), "now": now}
    await tx.execute(_WRITE, values)


async def clear_failures(tx: Transaction, subjects: Sequence[bytes], *, reset_subject: bytes) -> None:
    """Subtract a successful sign-in from these subjects, and reset this one."""
    await tx.execute(_CLEAR, {"subjects": list(subjects), "reset": reset_subject})


async def delete_expired(tx: Transaction, *, before: datetime) -> bool:
    """Delete up to 1,000 subjects without a failure since then; True if there may be more."""
    return await delete_before(tx, _DELETE_EXPIRED, before)
