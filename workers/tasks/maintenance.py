"""Schedules maintenance: a round every minute, and deleted endpoints as soon as the relay finds them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from workers.tasks.periodic import PeriodicTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.domain.ids import EndpointId
    from delivery.services.maintenance import MaintenanceService

ROUND_INTERVAL_SECONDS = 60.0
RETRY_SECONDS = 1.0


class MaintenanceTask:
    """Runs maintenance beside a relay."""

    def __init__(self, service: MaintenanceService) -> None:
        self._service = service
        self._deleted_endpoints: list[EndpointId] = []
        self._next_round = 0.0
        self._periodic = PeriodicTask(
            self._step, retry_seconds=RETRY_SECONDS, postponed_event="maintenance.postponed"
        )

    def schedule_cancellation(self, endpoint_ids: Sequence[EndpointId]) -> None:
        """Schedule the cancellation of pending deliveries of these deleted endpoints."""
        if endpoint_ids:
            self._deleted_endpoints = list(endpoint_ids)
            self._periodic.wake()

    async def run(self) -> NoReturn:
        """Run until cancelled."""
        await self._periodic.run()

    async def _step(self) -> float:
        # Others may be scheduled meanwhile; the next scan schedules those that an outage leaves undone.
        deleted, self._deleted_endpoints = self._deleted_endpoints, []
        await self._service.cancel_for_deleted_endpoints(deleted)
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next_round:
            await self._service.run_round()
            self._next_round = loop.time() + ROUND_INTERVAL_SECONDS
        return self._next_round - loop.time()
