"""Subscriptions: whether an event matches an endpoint by type, channels and condition. Pure.

Intake, recovery, timelines and filter tests all decide it here.
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
    """Which events an endpoint gets: patterns of types, channels and a condition.

    Without channels, events of any channel and of none. Without a condition, whatever their data.
    """

    types: tuple[str, ...]
    channels: tuple[str, ...] = ()
    condition: str | None = None

    @property
    def has_extra_filters(self) -> bool:
        """Whether it filters by more than types."""
        return bool(self.channels) or self.condition is not None


@dataclass(frozen=True, slots=True)
class MatchResult:
    """How an event matches a subscription, part by part.

    `pattern` None: no pattern matches its type. `condition_result` None: no condition, or none evaluated.
    """

    pattern: str | None
    matches_channel: bool
    condition_result: ConditionResult | None

    @property
    def is_match(self) -> bool:
        """Whether all parts match."""
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
    """Match each part by itself; without an evaluator the condition counts as met."""
    answer = None
    if subscription.condition is not None and conditions is not None:
        answer = conditions.evaluate(compile_stored_condition(subscription.condition))
    return MatchResult(
        find_matching_pattern(subscription.types, event_type),
        matches_channels(subscription.channels, channels),
        answer,
    )


def matches_channels(subscribed: Collection[str], channels: Sequence[str]) -> bool:
    """Whether an event with these channels matches; a subscription without channels matches all."""
    return not subscribed or any(channel in subscribed for channel in channels)
