"""Schedules replays: names each one that has a step to take to a worker."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from delivery.services.replays.schedule import claim_due_replays
from workers.tasks.periodic import PeriodicTask

if TYPE_CHECKING:
    from delivery.ledger.db.session import Ledger
    from workers.broker.broker import Publisher
    from workers.broker.thread import BrokerThread

# A step whose message was lost, or whose worker died, is published again after this.
STEP_TIMEOUT: Final = timedelta(seconds=5)
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 1.0


def create_replay_task(ledger: Ledger, publisher: Publisher, thread: BrokerThread) -> PeriodicTask:
    """Publish the id of each replay that is due. With several relays, each publishes some."""

    async def publish_due() -> float:
        due = await claim_due_replays(ledger, lease=STEP_TIMEOUT)
        if due.replay_ids:
            await thread.run(lambda: publisher.publish(due.replay_ids))
        pause = MAX_PAUSE_SECONDS if due.next_due_in is None else due.next_due_in.total_seconds()
        return min(MAX_PAUSE_SECONDS, max(MIN_PAUSE_SECONDS, pause))

    return PeriodicTask(publish_due, retry_seconds=MAX_PAUSE_SECONDS, postponed_event="replays.postponed")
