"""Exports: everything that a selection means, page by page, however much it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from delivery.exporting import rows
from delivery.ledger import attempts, search
from delivery.paging import Cut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from datetime import datetime

    from delivery.exporting.rows import Format
    from delivery.ledger import Ledger
    from delivery.model import Delivery, TenantId
    from delivery.selection import DeliverySelection

ROWS_AT_ONCE: Final = 1_000


class Exports:
    """Writes deliveries and attempts as lines, oldest delivery first.

    Each piece is read in a transaction of its own, which is over when the piece is given out: a reader who
    takes hours holds nothing. What is made after an export has begun is not in it. How a delivery stands is
    told as of the moment at which its page was read.
    """

    def __init__(
        self, ledger: Ledger, *, clock: Callable[[], datetime], in_flight: int, at_once: int = ROWS_AT_ONCE
    ) -> None:
        """`in_flight` is how many an endpoint may have on their way that has no limit of its own."""
        self._ledger = ledger
        self._clock = clock
        self._in_flight = in_flight
        self._at_once = at_once

    async def deliveries(
        self, tenant_id: TenantId | None, wanted: DeliverySelection, form: Format
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """The deliveries that are meant: how many rows each piece has, and its bytes."""
        columns = rows.DELIVERY_COLUMNS
        yield 0, rows.head(form, columns)
        async for some in self._pages(tenant_id, self._until_now(wanted)):
            yield len(some), rows.lines(form, columns, map(rows.delivery_row, some))

    async def attempts(
        self, tenant_id: TenantId | None, wanted: DeliverySelection, form: Format
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """The attempts that were made so far for the deliveries that are meant, in their order."""
        columns = rows.ATTEMPT_COLUMNS
        before = self._clock()
        yield 0, rows.head(form, columns)
        async for some in self._pages(tenant_id, self._until_now(wanted)):
            place: attempts.Place | None = attempts.Place()
            while place is not None:
                async with self._ledger.transaction(of=tenant_id) as tx:
                    found, place = await attempts.of_deliveries(
                        tx, some, place, before=before, most=self._at_once
                    )
                yield len(found), rows.lines(form, columns, map(rows.attempt_row, found))

    def _until_now(self, wanted: DeliverySelection) -> DeliverySelection:
        now = self._clock()
        return replace(wanted, until=now if wanted.until is None else min(wanted.until, now))

    async def _pages(
        self, tenant_id: TenantId | None, wanted: DeliverySelection
    ) -> AsyncGenerator[Sequence[Delivery], None]:
        cut = Cut.following(self._at_once, None, oldest_first=True)
        while True:
            async with self._ledger.transaction(of=tenant_id) as tx:
                asked = await search.prepared(tx, tenant_id, wanted, in_flight=self._in_flight)
                page = await search.page(tx, asked, cut)
            if page.items:
                yield page.items
            if page.last is None:
                return
            cut = Cut.following(self._at_once, page.last, oldest_first=True)
