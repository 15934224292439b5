"""Exports everything that a filter matches, page by page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from delivery.domain.pagination import PageRequest
from delivery.ledger.records import attempts
from delivery.ledger.search import search
from delivery.services.exports import rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from datetime import datetime

    from delivery.domain.delivery import Delivery
    from delivery.domain.delivery_filter import DeliveryFilter
    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.services.exports.rows import ExportFormat

ROWS_BATCH_SIZE: Final = 1_000


class ExportService:
    """Writes deliveries and attempts as lines, oldest delivery first.

    Each page is read in a transaction of its own, which ends before the page is yielded: a slow client holds
    nothing. Deliveries and attempts made after the start are left out. A delivery's status is that of the
    moment when its page was read.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Callable[[], datetime],
        default_max_in_flight: int,
        batch_size: int = ROWS_BATCH_SIZE,
    ) -> None:
        """`default_max_in_flight` applies to endpoints without a limit of their own."""
        self._ledger = ledger
        self._clock = clock
        self._default_max_in_flight = default_max_in_flight
        self._batch_size = batch_size

    async def export_deliveries(
        self, tenant_id: TenantId | None, delivery_filter: DeliveryFilter, export_format: ExportFormat
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield the matching deliveries as pairs of row count and bytes."""
        columns = rows.DELIVERY_COLUMNS
        yield 0, rows.encode_header(export_format, columns)
        async for page in self._iterate_pages(tenant_id, self._limit_to_now(delivery_filter)):
            yield len(page), rows.encode_rows(export_format, columns, map(rows.build_delivery_row, page))

    async def export_attempts(
        self, tenant_id: TenantId | None, delivery_filter: DeliveryFilter, export_format: ExportFormat
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield the attempts of the matching deliveries, in the order of the deliveries."""
        columns = rows.ATTEMPT_COLUMNS
        before = self._clock()
        yield 0, rows.encode_header(export_format, columns)
        async for page in self._iterate_pages(tenant_id, self._limit_to_now(delivery_filter)):
            cursor: attempts.AttemptCursor | None = attempts.AttemptCursor()
            while cursor is not None:
                async with self._ledger.transaction(tenant_id=tenant_id) as tx:
                    batch, cursor = await attempts.read_by_deliveries(
                        tx, page, cursor, before=before, limit=self._batch_size
                    )
                yield len(batch), rows.encode_rows(export_format, columns, map(rows.build_attempt_row, batch))

    def _limit_to_now(self, delivery_filter: DeliveryFilter) -> DeliveryFilter:
        now = self._clock()
        return replace(
            delivery_filter, until=now if delivery_filter.until is None else min(delivery_filter.until, now)
        )

    async def _iterate_pages(
        self, tenant_id: TenantId | None, delivery_filter: DeliveryFilter
    ) -> AsyncGenerator[Sequence[Delivery], None]:
        page_request = PageRequest.from_cursor(self._batch_size, None, oldest_first=True)
        while True:
            async with self._ledger.transaction(tenant_id=tenant_id) as tx:
                prepared = await search.prepare_search(
                    tx, tenant_id, delivery_filter, default_max_in_flight=self._default_max_in_flight
                )
                page = await search.read_page(tx, prepared, page_request)
            if page.items:
                yield page.items
            if page.next_cursor is None:
                return
            page_request = PageRequest.from_cursor(self._batch_size, page.next_cursor, oldest_first=True)
