"""What the ledger knows of one delivery and of its endpoint meanwhile: what a trace is told from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.tracing.sentences import moment_of
from delivery.tracing.steps import What

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from delivery.holding import Situation
    from delivery.ledger.deliveries import Progress
    from delivery.ledger.journal import Entry
    from delivery.model import Attempt, Delivery

# The only type that is sent to an endpoint by name.
TEST_TYPE: Final = "waybill.test"


@dataclass(frozen=True, slots=True)
class Story:
    """Everything about one delivery, each list oldest first.

    `progress` None: it is over. `situation` None: its endpoint was deleted. `most` is how many attempts its
    schedule has. `asked` is who asked for it again, `before` what happened to the endpoint before it was
    made, `meanwhile` what has since. `left_out` says, in sentences, what is not told of here.
    """

    delivery: Delivery
    progress: Progress | None
    url: str
    situation: Situation | None
    most: int
    attempts: Sequence[Attempt]
    asked: Sequence[Entry]
    before: Sequence[Entry]
    meanwhile: Sequence[Entry]
    left_out: tuple[str, ...]
    now: datetime


def still_on(entries: Sequence[Entry], *, at: datetime) -> list[Entry]:
    """Of what happened to an endpoint, oldest first, what began a hold that was on at this moment."""
    state = breaker = waiting = None
    for entry in entries:
        match What.of(entry.what):
            case What.PAUSED | What.DISABLED if not entry.details.get("again"):
                state = entry
            case What.RESUMED | What.ENABLED:  # what was known of its health is forgiven too
                state = breaker = waiting = None
            case What.BREAKER_OPENED:
                breaker = entry
            case What.BREAKER_STAYED_OPEN:
                breaker = breaker or entry
            case What.BREAKER_CLOSED:
                breaker = None
            case What.WAITING:
                waiting = entry
            case _:
                pass
    until = None if waiting is None else moment_of(waiting.details, "until")
    if until is None or until <= at:
        waiting = None
    return sorted((e for e in (state, breaker, waiting) if e is not None), key=lambda entry: entry.at)
