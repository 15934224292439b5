"""Which endpoints an event reaches: by its type, then its channels, then what it holds. Pure.

This is the one place that decides it: accept, recovery, traces and trials ask here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.domain.conditions import ConditionResult, compile_stored_condition
from delivery.domain.event_patterns import find_matching_pattern

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from delivery.domain.conditions import ConditionEvaluator


@dataclass(frozen=True, slots=True)
class Subscription:
    """What an endpoint asks for: patterns of types, and what narrows them.

    No channels: events of any channel and of none. No condition: whatever they hold.
    """

    types: tuple[str, ...]
    channels: tuple[str, ...] = ()
    condition: str | None = None

    @property
    def has_extra_filters(self) -> bool:
        """Whether its types alone do not tell what it gets."""
        return bool(self.channels) or self.condition is not None


@dataclass(frozen=True, slots=True)
class MatchResult:
    """What an event is to an endpoint, part by part.

    `pattern` None: no pattern asks for its type. `answer` None: there is no condition, or nothing to ask
    it about.
    """

    pattern: str | None
    matches_channel: bool
    condition_result: ConditionResult | None

    @property
    def is_match(self) -> bool:
        """Whether the event is owed to the endpoint."""
        return (
            self.pattern is not None
            and self.matches_channel
            and (self.condition_result is None or self.condition_result.is_met)
        )


def match_event(
    subscription: Subscription,
    event_type: str,
    channels: Sequence[str],
    conditions: ConditionEvaluator | None,
) -> MatchResult:
    """Judge each part by itself; without answers, as if the condition were met."""
    answer = None
    if subscription.condition is not None and conditions is not None:
        answer = conditions.evaluate(compile_stored_condition(subscription.condition))
    return MatchResult(
        find_matching_pattern(subscription.types, event_type),
        matches_channels(subscription.channels, channels),
        answer,
    )


def matches_channels(subscribed: Collection[str], channels: Sequence[str]) -> bool:
    """Whether an event of these channels is for who wants these; who names none wants all."""
    return not subscribed or any(channel in subscribed for channel in channels)
