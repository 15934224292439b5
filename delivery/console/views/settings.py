"""An endpoint's settings as text, and which of them differ from the defaults. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from delivery.domain.durations import format_duration
from delivery.services.presentation import format_schedule
from delivery.services.sentences import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from delivery.config import Settings
    from delivery.domain.endpoint import Endpoint

_SCHEME_NAMES: Final = {"v1": "HMAC-SHA256 (v1)", "v1a": "ed25519 (v1a)"}


@dataclass(frozen=True, slots=True)
class EndpointSettingRow:
    """One setting as text. `is_custom`: set on the endpoint, not the operator's default."""

    name: str
    text: str
    is_custom: bool


def describe_settings(endpoint: Endpoint, settings: Settings) -> Sequence[EndpointSettingRow]:
    """Describe all settings that control deliveries to an endpoint and its health."""
    limits, own = endpoint.limits, endpoint.limits.breaker
    policy = limits.apply_defaults(settings.default_health_policy)
    breaker = policy.breaker
    schedule = endpoint.schedule or settings.retry_schedule.delays
    timeout = endpoint.timeout
    rate = limits.rate
    opens = (
        f"opens after {format_count(breaker.consecutive, 'failure')} in a row, or when "
        f"{breaker.ratio * 100:g} % of at least {breaker.minimum} in {format_duration(breaker.window)} fail; "
        f"is open for {format_duration(breaker.cool_down)} at first, "
        f"{format_duration(breaker.longest_cool_down)} at most"
    )
    return (
        EndpointSettingRow("Signature", _SCHEME_NAMES[endpoint.signature], is_custom=True),
        EndpointSettingRow(
            "Attempts", f"{len(schedule)}: {format_schedule(schedule)}", endpoint.schedule is not None
        ),
        EndpointSettingRow(
            "Time limit", f"{_format_timeout(timeout, settings)} for one attempt", timeout is not None
        ),
        EndpointSettingRow(
            "In flight", f"at most {policy.max_in_flight:,} at a time", limits.in_flight is not None
        ),
        EndpointSettingRow(
            "Rate",
            "no limit" if rate is None else f"{rate.limit:,} in {format_duration(rate.per)}",
            rate is not None,
        ),
        EndpointSettingRow("Breaker", opens, bool(own)),
        EndpointSettingRow(
            "Disabled",
            f"after {format_duration(policy.disable_after)} of failures only",
            limits.disable_after is not None,
        ),
        EndpointSettingRow("Permanent", _format_permanent_statuses(limits.permanent), bool(limits.permanent)),
    )


def _format_timeout(timeout: timedelta | None, settings: Settings) -> str:
    return f"{settings.attempt_timeout.total_seconds():g} s" if timeout is None else format_duration(timeout)


def _format_permanent_statuses(statuses: Sequence[int]) -> str:
    if not statuses:
        return "only the default statuses"
    return f"{', '.join(map(str, statuses))} end a delivery at once"
