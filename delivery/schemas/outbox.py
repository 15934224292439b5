"""The state of an application's outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import AwareDatetime  # noqa: TC002  pydantic reads the annotations

from delivery.schemas.base import ResponseModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill_client.outbox.store import OutboxStatus, RefusedRow


class RefusedRowOut(ResponseModel):
    """An event that Waybill refused, with the reason."""

    id: int
    type: str
    stream: str | None
    created_at: AwareDatetime
    refused_at: AwareDatetime
    reason: str


class OutboxOut(ResponseModel):
    """Events by state, and a page of the refused ones, oldest first."""

    waiting: int
    on_their_way: int
    refused: int
    oldest_waiting_since: AwareDatetime | None
    items: list[RefusedRowOut]

    @classmethod
    def from_record(cls, status: OutboxStatus, refused: Sequence[RefusedRow]) -> Self:
        """Show an outbox."""
        return cls(
            waiting=status.waiting,
            on_their_way=status.in_flight,
            refused=status.refused,
            oldest_waiting_since=status.oldest_created_at,
            items=[
                RefusedRowOut(
                    id=row.id,
                    type=row.type,
                    stream=row.stream,
                    created_at=row.created_at,
                    refused_at=row.refused_at,
                    reason=row.reason,
                )
                for row in refused
            ],
        )
