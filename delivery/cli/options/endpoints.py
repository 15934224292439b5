"""How an endpoint's settings are written on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, cast

import typer

from delivery.cli.options.auth import AuthOptions, CertificateValue
from delivery.cli.options.common import read_content
from delivery.cli.runtime import UsageError
from delivery.domain.durations import parse_duration
from delivery.domain.formats import PayloadFormat, PayloadKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.services.endpoints.validation import EndpointChanges, LimitChanges

_DEFAULT: Final = "default"
_NONE: Final = "none"
_RATE = re.compile(r"([0-9]{1,9})/(.+)")
_WHOLE = re.compile(r"-?[0-9]{1,18}")


class HeaderValue(NamedTuple):
    """A custom header; without a value it is to be taken away."""

    name: str
    value: str | None


class ScheduleValue(NamedTuple):
    """A retry schedule in seconds; None stands for the default."""

    seconds: list[float] | None


class TimeoutValue(NamedTuple):
    """The time for one attempt in seconds; None stands for the default."""

    seconds: float | None


def read_header(text: str) -> HeaderValue:
    """Read `Name: value`, or `Name:`."""
    name, colon, value = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"{text!r} is not of the form 'Name: value'.")
    return HeaderValue(name.strip(), value.strip() or None)


def read_schedule(text: str) -> ScheduleValue:
    """Read `0,5s,5m,2h` or `default`."""
    if text == _DEFAULT:
        return ScheduleValue(None)
    try:
        delays = [parse_duration(part.strip(), default_unit="s") for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of delays such as 0,5s,5m,2h.") from None
    return ScheduleValue([delay.total_seconds() for delay in delays])


def read_timeout(text: str) -> TimeoutValue:
    """Read seconds or `default`."""
    try:
        return TimeoutValue(None if text == _DEFAULT else float(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number of seconds.") from None


class InFlightValue(NamedTuple):
    """How many deliveries may be in flight; None stands for the default."""

    limit: int | None


class RateLimitValue(NamedTuple):
    """A rate limit: so many in so many seconds; None stands for none."""

    limit: int | None
    per_seconds: float = 1


class BreakerValue(NamedTuple):
    """One number of a circuit breaker; no name stands for the defaults of all of them."""

    name: str | None
    value: float = 0


class HoursValue(NamedTuple):
    """A time in hours; None stands for the default."""

    hours: float | None


class StatusValue(NamedTuple):
    """A status that is meant for good; None stands for none."""

    status: int | None


def read_in_flight(text: str) -> InFlightValue:
    """Read a number or `default`."""
    if text == _DEFAULT:
        return InFlightValue(None)
    return InFlightValue(_parse_whole_number(text, f"{text!r} is not a whole number."))


def read_rate_limit(text: str) -> RateLimitValue:
    """Read `100/60s`, `10/s` or `none`."""
    if text == _NONE:
        return RateLimitValue(None)
    try:
        return _parse_rate(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a rate such as 10/s, 100/1m or 5000/1h.") from None


def _parse_rate(text: str) -> RateLimitValue:
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError("is not a rate")
    period = f"1{match[2]}" if match[2].isalpha() else match[2]
    return RateLimitValue(int(match[1]), parse_duration(period).total_seconds())


def read_breaker_value(text: str) -> BreakerValue:
    """Read `failure_ratio=0.3` or `default`."""
    if text == _DEFAULT:
        return BreakerValue(None)
    name, sign, value = text.partition("=")
    wrong = f"{text!r} is not of the form NAME=NUMBER."
    if not sign:
        raise typer.BadParameter(wrong)
    name = name.strip()
    return BreakerValue(
        name, _parse_whole_number(value, wrong) if value.strip().isdecimal() else _parse_number(value, wrong)
    )


def read_hours(text: str) -> HoursValue:
    """Read hours or `default`."""
    return HoursValue(
        None if text == _DEFAULT else _parse_number(text, f"{text!r} is not a number of hours.")
    )


def read_status(text: str) -> StatusValue:
    """Read a status or `none`."""
    return StatusValue(None if text == _NONE else _parse_whole_number(text, f"{text!r} is not a status."))


def _parse_whole_number(text: str, message: str) -> int:
    # Python writes no number back that is longer than some thousand digits.
    if _WHOLE.fullmatch(text.strip()) is None:
        raise typer.BadParameter(message)
    return int(text)


def _parse_number(text: str, message: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(message) from None


def read_secret(text: str) -> str:
    """Read a secret from where the option says."""
    return read_content(text).decode(errors="replace").strip()


DescriptionOption = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="For people.")]
FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="PATTERN",
        help="Wanted event types: order.created, order.* or *. Give it again for more.",
    ),
]
ChannelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        metavar="CHANNEL",
        help="Only events that share one of its channels. Give it again for more.",
    ),
]
ConditionOption = Annotated[
    str | None,
    typer.Option(
        "--condition", metavar="JMESPATH", help='Only events whose data meets it: "total >= `100`".'
    ),
]
HeadersOption = Annotated[
    list[HeaderValue] | None,
    typer.Option(
        "--header",
        parser=read_header,
        metavar="'NAME: VALUE'",
        help="A header that goes with every delivery. Give it again for more.",
    ),
]
ScheduleOption = Annotated[
    ScheduleValue | None,
    typer.Option(
        "--schedule",
        parser=read_schedule,
        metavar="DELAYS",
        help="The wait before each attempt: 0,5s,5m,2h; the first is 0.",
    ),
]
TimeoutOption = Annotated[
    TimeoutValue | None,
    typer.Option("--timeout", parser=read_timeout, metavar="SECONDS", help="For one attempt in all."),
]
SecretOption = Annotated[
    str | None,
    typer.Option(
        "--secret",
        parser=read_secret,
        metavar="SECRET",
        help="A secret of your own: @file, - (standard input) or itself. Better: a fresh one.",
    ),
]
InFlightMaxOption = Annotated[
    InFlightValue | None,
    typer.Option(
        "--in-flight-max",
        parser=read_in_flight,
        metavar="COUNT",
        help="Most deliveries in flight, 1 to 1000.",
    ),
]
RateLimitOption = Annotated[
    RateLimitValue | None,
    typer.Option(
        "--rate-limit",
        parser=read_rate_limit,
        metavar="COUNT/TIME",
        help="At most so many: 10/s, 100/1m, 5000/1h.",
    ),
]
BreakerOption = Annotated[
    list[BreakerValue] | None,
    typer.Option(
        "--breaker",
        parser=read_breaker_value,
        metavar="NAME=NUMBER",
        help="When its circuit breaker opens: consecutive_failures, failure_ratio, minimum_requests, "
        "window_seconds, cool_down_seconds, longest_cool_down_seconds. Give it again for more.",
    ),
]
DisableAfterOption = Annotated[
    HoursValue | None,
    typer.Option(
        "--disable-after-hours",
        parser=read_hours,
        metavar="HOURS",
        help="Disable it when it has only failed for so long.",
    ),
]
PermanentStatusesOption = Annotated[
    list[StatusValue] | None,
    typer.Option(
        "--permanent-status",
        parser=read_status,
        metavar="STATUS",
        help="A 4xx after which a delivery is not tried again. Give it again for more.",
    ),
]


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """What of an endpoint's own limits was named on the command line."""

    in_flight: InFlightValue | None = None
    rate: RateLimitValue | None = None
    breaker: Sequence[BreakerValue] | None = None
    disable_after: HoursValue | None = None
    permanent: Sequence[StatusValue] | None = None

    def to_limits(self) -> LimitChanges:
        """The limits that were asked for: what was not named is left out."""
        asked: LimitChanges = {}
        self.add_to(asked)
        return asked

    def add_to(self, limits: LimitChanges) -> None:
        """Add them to what else was asked for."""
        if self.in_flight is not None:
            limits["in_flight_max"] = self.in_flight.limit
        if self.rate is not None:
            limit, per = self.rate
            limits["rate_limit"] = None if limit is None else {"limit": limit, "per_seconds": per}
        if self.breaker is not None:
            limits["breaker"] = {term.name: term.value for term in self.breaker if term.name is not None}
        if self.disable_after is not None:
            limits["disable_after_hours"] = self.disable_after.hours
        if self.permanent is not None:
            limits["permanent_statuses"] = [one.status for one in self.permanent if one.status is not None]


PayloadFormatOption = Annotated[
    PayloadFormat | None,
    typer.Option("--format", help="How its events are written: Waybill's own, or CloudEvents."),
]
PayloadKindOption = Annotated[
    PayloadKind | None, typer.Option("--payload", help="thin: without the data, with a link to it.")
]


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """What of an endpoint was named on the command line."""

    url: str | None
    filter: list[str] | None
    description: str | None
    headers: Sequence[HeaderValue] | None
    schedule: ScheduleValue | None
    timeout: TimeoutValue | None
    limits: LimitOptions = field(default_factory=LimitOptions)
    auth: AuthOptions = field(default_factory=AuthOptions)
    certificate: CertificateValue | None = None
    format: PayloadFormat | None = None
    payload: PayloadKind | None = None
    channels: list[str] | None = None
    condition: str | None = None

    def to_changes(self) -> EndpointChanges:
        """The changes that were asked for: what was not named is left out."""
        plain = {
            "url": self.url,
            "description": self.description,
            "headers": None if self.headers is None else dict(self.headers),
            "format": self.format,
            "payload": self.payload,
        }
        named = {name: value for name, value in plain.items() if value is not None}
        changes = cast("EndpointChanges", named)
        self._add_subscription(changes)
        if self.schedule is not None:
            changes["schedule"] = self.schedule.seconds
        if self.timeout is not None:
            changes["timeout_seconds"] = self.timeout.seconds
        if (auth := self.auth.chosen) is not None:
            changes["auth"] = auth.value
        if self.certificate is not None:
            changes["client_certificate"] = self.certificate.value
        self.limits.add_to(changes)
        if not changes:
            raise UsageError("Name at least one thing to change; --help lists them.")
        return changes

    def _add_subscription(self, changes: EndpointChanges) -> None:
        if self.filter is not None:
            changes["filter"] = self.filter
        if self.channels is not None:
            changes["channels"] = [one for one in self.channels if one != _NONE]
        if self.condition is not None:
            changes["condition"] = None if self.condition == _NONE else self.condition
