"""Dead letters: messages from RabbitMQ that were refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from delivery.domain.ids import KeyId, MessageId, TenantId
from delivery.domain.pagination import Page
from delivery.ledger.db.batches import build_delete, delete_before

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.domain.pagination import PageRequest
    from delivery.ledger.db.session import Transaction

_SUMMARY_COLUMNS: Final = (
    "id, tenant_id, key_id, message_id, publisher, size, reason, times, first_at, last_at"
)
# A redelivered message, such as one whose acknowledgement was lost, gets no second row.
_UPSERT = text("""
    insert into refused_messages as r (id, tenant_id, key_id, message_id, publisher, body, size, reason,
                                       fingerprint, first_at, last_at)
    values (:id, :tenant, :key, :message, :publisher, :body, :size, :reason, :fingerprint, :now, :now)
    on conflict (fingerprint) do update
        set times = r.times + 1, last_at = excluded.last_at, reason = excluded.reason
""")
_PAGE = text(f"""
    select {_SUMMARY_COLUMNS} from refused_messages where id < :before order by id desc limit :most
""")  # noqa: S608  our own words
_READ = text(f"select {_SUMMARY_COLUMNS}, body from refused_messages where id = :id")  # noqa: S608  our own words
_DELETE = text("delete from refused_messages where id = :id")
_DELETE_EXPIRED = build_delete("refused_messages", "id", expired="last_at < :before", order="last_at")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message as it came, and why it was refused. `body` None: it was not read."""

    id: MessageId
    tenant_id: TenantId | None
    key_id: KeyId | None
    message_id: str | None
    publisher: str | None
    size: int
    reason: str
    times: int
    first_at: datetime
    last_at: datetime
    body: bytes | None = None


async def upsert(tx: Transaction, dead_letter: DeadLetter, *, fingerprint: bytes) -> None:
    """Insert a message; one with the same fingerprint is counted instead."""
    await tx.execute(
        _UPSERT,
        {
            "id": dead_letter.id,
            "tenant": dead_letter.tenant_id,
            "key": dead_letter.key_id,
            "message": dead_letter.message_id,
            "publisher": dead_letter.publisher,
            "body": dead_letter.body or b"",
            "size": dead_letter.size,
            "reason": dead_letter.reason,
            "fingerprint": fingerprint,
            "now": dead_letter.last_at,
        },
    )


async def read_page(tx: Transaction, page_request: PageRequest) -> Page[DeadLetter]:
    """The dead letters, newest first, without bodies."""
    rows = await tx.execute(_PAGE, {"before": page_request.before, "most": page_request.limit + 1})
    return Page.from_rows([_dead_letter_from_row(row) for row in rows], page_request)


async def read(tx: Transaction, dead_letter_id: MessageId) -> DeadLetter | None:
    """One dead letter with its body."""
    row = (await tx.execute(_READ, {"id": dead_letter_id})).one_or_none()
    return None if row is None else _dead_letter_from_row(row, body=bytes(row.body))


async def delete(tx: Transaction, dead_letter_id: MessageId) -> bool:
    """Delete one; False if there was none."""
    return (await tx.execute(_DELETE, {"id": dead_letter_id})).rowcount == 1


async def delete_expired(tx: Transaction, *, before: datetime) -> bool:
    """Delete up to 1,000 that were not redelivered since then; True if there may be more."""
    return await delete_before(tx, _DELETE_EXPIRED, before)


def _dead_letter_from_row(row: Row[*tuple[Any, ...]], *, body: bytes | None = None) -> DeadLetter:
    return DeadLetter(
        id=MessageId(row.id),
        tenant_id=None if row.tenant_id is None else TenantId(row.tenant_id),
        key_id=None if row.key_id is None else KeyId(row.key_id),
        message_id=row.message_id,
        publisher=row.publisher,
        size=row.size,
        reason=row.reason,
        times=row.times,
        first_at=row.first_at,
        last_at=row.last_at,
        body=body,
    )
