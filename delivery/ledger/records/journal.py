"""The journal: changes of endpoints, deliveries and more, with actor and reason. Append-only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from sqlalchemy import text

from delivery.domain.ids import DeliveryId, EndpointId, TenantId, new_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.domain.accounts import Actor
    from delivery.ledger.db.session import Transaction

# The owner of entries without a tenant, such as those on console accounts: no tenant has this id.
NO_TENANT = TenantId(UUID(int=0))

_APPEND = text("""
    insert into journal (id, tenant_id, endpoint_id, delivery_id, at, what, actor, reason, details,
        address)
    select j.id, j.tenant_id, j.endpoint_id, j.delivery_id, j.at, j.what, j.actor, j.reason,
           cast(j.details as json), j.address
    from unnest(cast(:ids as uuid[]), cast(:tenants as uuid[]), cast(:endpoints as uuid[]),
                cast(:deliveries as uuid[]), cast(:moments as timestamptz[]), cast(:whats as text[]),
                cast(:actors as text[]), cast(:reasons as text[]), cast(:details as text[]),
                cast(:addresses as text[]))
        as j (id, tenant_id, endpoint_id, delivery_id, at, what, actor, reason, details, address)
""")
_BY_ENDPOINT = text("""
    select * from journal
    where endpoint_id = :endpoint and tenant_id = :tenant and delivery_id is null
      and at >= :since and at < :until
    order by id desc limit :most
""")
_BY_DELIVERY = text("""
    select * from journal where delivery_id = :delivery and tenant_id = :tenant order by id desc limit :most
""")


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry. `what` is `noun.verb`; `details` are plain JSON values."""

    tenant_id: TenantId
    action: str
    actor: str
    at: datetime
    reason: str | None = None
    endpoint_id: EndpointId | None = None
    delivery_id: DeliveryId | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    address: str | None = None

    @classmethod
    def by_actor(  # noqa: PLR0913  the facts of an entry
        cls,
        tenant_id: TenantId | None,
        action: str,
        actor: Actor,
        *,
        at: datetime,
        reason: str | None = None,
        endpoint_id: EndpointId | None = None,
        delivery_id: DeliveryId | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> JournalEntry:
        """Build the entry of an action by a user, an API key or the CLI; `tenant_id` None: no tenant's."""
        return cls(
            NO_TENANT if tenant_id is None else tenant_id,
            action,
            actor.name,
            at,
            reason,
            endpoint_id,
            delivery_id,
            details or {},
            actor.address,
        )

    @property
    def owner(self) -> TenantId | None:
        """The tenant; None: the entry is about the engine itself."""
        return None if self.tenant_id == NO_TENANT else self.tenant_id


async def append(tx: Transaction, entries: Sequence[JournalEntry]) -> None:
    """Append entries."""
    if not entries:
        return
    await tx.execute(
        _APPEND,
        {
            "ids": [new_id() for _ in entries],
            "tenants": [entry.tenant_id for entry in entries],
            "endpoints": [entry.endpoint_id for entry in entries],
            "deliveries": [entry.delivery_id for entry in entries],
            "moments": [entry.at for entry in entries],
            "whats": [entry.action for entry in entries],
            "actors": [entry.actor for entry in entries],
            "reasons": [entry.reason for entry in entries],
            "details": [msgspec.json.encode(entry.details).decode() for entry in entries],
            "addresses": [entry.address for entry in entries],
        },
    )


async def read_by_endpoint(
    tx: Transaction,
    tenant_id: TenantId,
    endpoint_id: EndpointId,
    *,
    since: datetime,
    until: datetime,
    limit: int,
) -> list[JournalEntry]:
    """The entries of an endpoint from `since` on and before `until`, newest first."""
    values = {"tenant": tenant_id, "endpoint": endpoint_id, "since": since, "until": until, "most": limit}
    return [entry_from_row(row) for row in await tx.execute(_BY_ENDPOINT, values)]


async def read_by_delivery(
    tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId, *, limit: int
) -> list[JournalEntry]:
    """The entries of one delivery, newest first."""
    values = {"tenant": tenant_id, "delivery": delivery_id, "most": limit}
    return [entry_from_row(row) for row in await tx.execute(_BY_DELIVERY, values)]


def entry_from_row(row: Row[*tuple[Any, ...]]) -> JournalEntry:
    """Build the entry from a row of `journal`."""
    return JournalEntry(
        tenant_id=TenantId(row.tenant_id),
        action=row.what,
        actor=row.actor,
        at=row.at,
        reason=row.reason,
        endpoint_id=None if row.endpoint_id is None else EndpointId(row.endpoint_id),
        delivery_id=None if row.delivery_id is None else DeliveryId(row.delivery_id),
        details=row.details,
        address=row.address,
    )
