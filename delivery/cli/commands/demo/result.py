"""Both sides of the demo's deliveries, the ledger's and the receivers', and what is missing. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta

UNFINISHED = frozenset({"pending", "in_flight", "failed"})


@dataclass(frozen=True, slots=True)
class LedgerDelivery:
    """A delivery as the API shows it. `took`: from accept to success; `detail`: the last attempt's result."""

    id: str
    event_id: str
    status: str
    attempts: int
    took: timedelta | None
    detail: str | None = None
    held_by: str | None = None


@dataclass(frozen=True, slots=True)
class ReceiverTally:
    """What one receiver got, and what the ledger has for it. `verified` counts by event id."""

    name: str
    down: bool
    refused: int
    forged: int
    verified: Mapping[str, int]
    deliveries: Sequence[LedgerDelivery]

    def count(self, *statuses: str) -> int:
        """The number of deliveries with one of these statuses."""
        return sum(delivery.status in statuses for delivery in self.deliveries)

    @property
    def attempts(self) -> int:
        """The number of attempts in the ledger."""
        return sum(delivery.attempts for delivery in self.deliveries)

    def latency(self, share: float) -> timedelta | None:
        """The time from accept to success within which this share of the deliveries stayed."""
        took = sorted(delivery.took for delivery in self.deliveries if delivery.took is not None)
        return took[min(len(took) - 1, int(share * len(took)))] if took else None


def find_missing(tallies: Sequence[ReceiverTally], accepted: Sequence[str], *, published: int) -> list[str]:
    """What should have happened and did not, one sentence each."""
    return list(_find_missing(tallies, accepted, published))


def _find_missing(tallies: Sequence[ReceiverTally], accepted: Sequence[str], published: int) -> Iterator[str]:
    if len(set(accepted)) != published:
        yield f"{published} events were published and {len(set(accepted))} accepted."
    for tally in tallies:
        recorded = [delivery.event_id for delivery in tally.deliveries]
        if lost := set(accepted) - set(recorded):
            yield f"{tally.name}: the ledger has no delivery for {_join(lost)}."
        if len(recorded) != len(set(recorded)):
            yield f"{tally.name}: the ledger has {len(recorded)} deliveries for {len(set(recorded))} events."
        yield from _check_unfinished(tally) if tally.down else _check_delivered(tally, accepted)


def _check_delivered(tally: ReceiverTally, accepted: Sequence[str]) -> Iterator[str]:
    if unseen := [event_id for event_id in accepted if not tally.verified.get(event_id)]:
        yield f"{tally.name}: no verified delivery arrived of {_join(unseen)}."
    if tally.forged:
        yield f"{tally.name}: {tally.forged} signatures did not verify."
    if unfinished := [d.event_id for d in tally.deliveries if d.status != "succeeded"]:
        yield f"{tally.name}: the ledger does not call delivered {_join(unfinished)}."
    if (seen := tally.refused + sum(tally.verified.values())) > tally.attempts:
        yield f"{tally.name}: {tally.attempts} attempts are recorded, and {seen} were seen."


def _check_unfinished(tally: ReceiverTally) -> Iterator[str]:
    if wrong := [d.event_id for d in tally.deliveries if d.status not in UNFINISHED]:
        yield f"{tally.name}: it is down, and yet the ledger does not hold {_join(wrong)}."
    if silent := [d.event_id for d in tally.deliveries if not d.held_by and not (d.attempts and d.detail)]:
        yield f"{tally.name}: the ledger does not say why it waits with {_join(silent)}."


def _join(event_ids: Sequence[str] | set[str]) -> str:
    first, *others = sorted(event_ids)
    return first if not others else f"{first} and {len(others)} more"
