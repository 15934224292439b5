"""Messages that came over RabbitMQ and could not be accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from delivery.model import KeyId, MessageId, TenantId
from delivery.paging import Page

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.ledger.session import Transaction
    from delivery.paging import Cut

AT_ONCE: Final = 1_000

_HEAD: Final = "id, tenant_id, key_id, message_id, publisher, size, reason, times, first_at, last_at"
# The same one again, such as one whose acknowledgement was lost, is no second row.
_SET_ASIDE = text("""
    insert into refused_messages as r (id, tenant_id, key_id, message_id, publisher, body, size, reason,
                                       fingerprint, first_at, last_at)
    values (:id, :tenant, :key, :message, :publisher, :body, :size, :reason, :fingerprint, :now, :now)
    on conflict (fingerprint) do update
        set times = r.times + 1, last_at = excluded.last_at, reason = excluded.reason
""")
_PAGE = text(f"""
    select {_HEAD} from refused_messages where id < :before order by id desc limit :most
""")  # noqa: S608  our own words
_READ = text(f"select {_HEAD}, body from refused_messages where id = :id")  # noqa: S608  our own words
_TAKE_OFF = text("delete from refused_messages where id = :id")
_FORGET = text("""
    delete from refused_messages where id in (
        select id from refused_messages where last_at < :before
        order by last_at limit :most for update skip locked
    )
""")


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """A message as it came, and why it was not accepted. `body` None: it was not asked for."""

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


async def set_aside(tx: Transaction, message: RefusedMessage, *, fingerprint: bytes) -> None:
    """Write a message down; one with the same fingerprint is counted instead."""
    await tx.execute(
        _SET_ASIDE,
        {
            "id": message.id,
            "tenant": message.tenant_id,
            "key": message.key_id,
            "message": message.message_id,
            "publisher": message.publisher,
            "body": message.body or b"",
            "size": message.size,
            "reason": message.reason,
            "fingerprint": fingerprint,
            "now": message.last_at,
        },
    )


async def page(tx: Transaction, cut: Cut) -> Page[RefusedMessage]:
    """What is set aside, newest first, without bodies."""
    rows = await tx.execute(_PAGE, {"before": cut.before, "most": cut.limit + 1})
    return Page.of([_message(row) for row in rows], cut)


async def read(tx: Transaction, id_: MessageId) -> RefusedMessage | None:
    """One of them with its body."""
    row = (await tx.execute(_READ, {"id": id_})).one_or_none()
    return None if row is None else _message(row, body=bytes(row.body))


async def take_off(tx: Transaction, id_: MessageId) -> bool:
    """Delete one; whether it was there."""
    return (await tx.execute(_TAKE_OFF, {"id": id_})).rowcount == 1


async def forget(tx: Transaction, *, before: datetime) -> bool:
    """Delete up to 1,000 that did not come again since then; whether there may be more."""
    return (await tx.execute(_FORGET, {"before": before, "most": AT_ONCE})).rowcount == AT_ONCE


def _message(row: Row[*tuple[Any, ...]], *, body: bytes | None = None) -> RefusedMessage:
    return RefusedMessage(
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
