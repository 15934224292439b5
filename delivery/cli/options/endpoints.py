"""The options of an endpoint: how their text is read, and the fields they become."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, cast

import typer

from delivery.cli.options.auth import (
    AuthBasicOption,
    AuthBearerOption,
    AuthOption,
    ClientCertificateOption,
    choose_auth,
)
from delivery.cli.options.common import read_content
from delivery.cli.runtime import UsageError
from delivery.domain.durations import parse_duration
from delivery.domain.formats import PayloadFormat, PayloadKind
from delivery.services.endpoints.limits import BREAKER_FIELDS, MAX_IN_FLIGHT

if TYPE_CHECKING:
    from delivery.services.endpoints.validation import EndpointChanges

_DEFAULT: Final = "default"
_NONE: Final = "none"
_RATE = re.compile(r"([0-9]{1,9})/(.+)")
_WHOLE = re.compile(r"-?[0-9]{1,18}")


class HeaderValue(NamedTuple):
    """A custom header. Without a value, the header is removed."""

    name: str
    value: str | None


class ScheduleValue(NamedTuple):
    """A retry schedule in seconds. None: the default."""

    seconds: list[float] | None


class TimeoutValue(NamedTuple):
    """The timeout of one attempt in seconds. None: the default."""

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
    """How many deliveries may be in flight. None: the default."""

    limit: int | None


class RateLimitValue(NamedTuple):
    """A rate limit: `limit` deliveries in `per_seconds`. None: no limit."""

    limit: int | None
    per_seconds: float = 1


class BreakerValue(NamedTuple):
    """One setting of a circuit breaker. Without a name: the defaults of all of them."""

    name: str | None
    value: float = 0


class HoursValue(NamedTuple):
    """A time in hours. None: the default."""

    hours: float | None


class StatusValue(NamedTuple):
    """A status that is not retried. None: no such status."""

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
    # Python refuses to convert integers of more than 4,300 digits back to text.
    if _WHOLE.fullmatch(text.strip()) is None:
        raise typer.BadParameter(message)
    return int(text)


def _parse_number(text: str, message: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(message) from None


def read_secret(text: str) -> str:
    """Read a secret from an option's value, a file or standard input."""
    return read_content(text).decode(errors="replace").strip()


DescriptionOption = Annotated[
    str | None, typer.Option("--description", metavar="TEXT", help="A description, for humans.")
]
FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="PATTERN",
        help="Event types to send: order.created, order.* or *. Repeatable.",
    ),
]
ChannelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        metavar="CHANNEL",
        help="Only events of one of these channels. Repeatable.",
    ),
]
ConditionOption = Annotated[
    str | None,
    typer.Option(
        "--condition", metavar="JMESPATH", help='Only events whose data meets this: "total >= `100`".'
    ),
]
HeadersOption = Annotated[
    list[HeaderValue] | None,
    typer.Option(
        "--header",
        parser=read_header,
        metavar="'NAME: VALUE'",
        help="A header to send with every delivery. Repeatable.",
    ),
]
ScheduleOption = Annotated[
    ScheduleValue | None,
    typer.Option(
        "--schedule",
        parser=read_schedule,
        metavar="DELAYS",
        help="The delay before each attempt: 0,5s,5m,2h; the first is 0.",
    ),
]
TimeoutOption = Annotated[
    TimeoutValue | None,
    typer.Option("--timeout", parser=read_timeout, metavar="SECONDS", help="For one whole attempt."),
]
SecretOption = Annotated[
    str | None,
    typer.Option(
        "--secret",
        parser=read_secret,
        metavar="SECRET",
        help="Your own secret: @file, - (standard input) or itself. Default: a new one is made.",
    ),
]
InFlightMaxOption = Annotated[
    InFlightValue | None,
    typer.Option(
        "--in-flight-max",
        parser=read_in_flight,
        metavar="COUNT",
        help=f"Most deliveries in flight, 1 to {MAX_IN_FLIGHT}.",
    ),
]
RateLimitOption = Annotated[
    RateLimitValue | None,
    typer.Option(
        "--rate-limit",
        parser=read_rate_limit,
        metavar="COUNT/TIME",
        help="At most this rate: 10/s, 100/1m, 5000/1h.",
    ),
]
BreakerOption = Annotated[
    list[BreakerValue] | None,
    typer.Option(
        "--breaker",
        parser=read_breaker_value,
        metavar="NAME=NUMBER",
        help=f"When its circuit breaker opens: {', '.join(BREAKER_FIELDS)}. Repeatable.",
    ),
]
DisableAfterOption = Annotated[
    HoursValue | None,
    typer.Option(
        "--disable-after-hours",
        parser=read_hours,
        metavar="HOURS",
        help="Disable it after this long without a success.",
    ),
]
PermanentStatusesOption = Annotated[
    list[StatusValue] | None,
    typer.Option(
        "--permanent-status",
        parser=read_status,
        metavar="STATUS",
        help="A 4xx status that is not retried. Repeatable.",
    ),
]


PayloadFormatOption = Annotated[
    PayloadFormat | None,
    typer.Option("--format", help="How events are written: Waybill's own, or CloudEvents."),
]
PayloadKindOption = Annotated[
    PayloadKind | None, typer.Option("--payload", help="thin: without the data, with a link to it.")
]


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """The options that `endpoint create` and `endpoint update` share. None: not given."""

    filter: FilterOption = None
    channels: ChannelsOption = None
    condition: ConditionOption = None
    description: DescriptionOption = None
    headers: HeadersOption = None
    schedule: ScheduleOption = None
    timeout: TimeoutOption = None
    in_flight_max: InFlightMaxOption = None
    rate_limit: RateLimitOption = None
    breaker: BreakerOption = None
    disable_after: DisableAfterOption = None
    permanent_statuses: PermanentStatusesOption = None
    auth: AuthOption = None
    auth_basic: AuthBasicOption = None
    auth_bearer: AuthBearerOption = None
    client_cert: ClientCertificateOption = None
    format: PayloadFormatOption = None
    payload: PayloadKindOption = None

    def to_fields(self) -> EndpointChanges:
        """The fields that were given, under the API's names. Raises UsageError for two kinds of auth."""
        plain = {
            "filter": self.filter,
            "channels": self.channels,
            "condition": self.condition,
            "description": self.description,
            "headers": None if self.headers is None else dict(self.headers),
            "format": self.format,
            "payload": self.payload,
        }
        fields = cast("EndpointChanges", {name: value for name, value in plain.items() if value is not None})
        self._add_nullable(fields)
        self._add_limits(fields)
        return fields

    def to_changes(self, url: str | None = None) -> EndpointChanges:
        """The changes that were asked for, `none` taken as empty. Raises UsageError when there are none."""
        changes = self.to_fields()
        if url is not None:
            changes["url"] = url
        if self.channels is not None:
            changes["channels"] = [channel for channel in self.channels if channel != _NONE]
        if self.condition == _NONE:
            changes["condition"] = None
        if not changes:
            raise UsageError("Name at least one thing to change; --help lists them.")
        return changes

    def _add_nullable(self, fields: EndpointChanges) -> None:
        if self.schedule is not None:
            fields["schedule"] = self.schedule.seconds
        if self.timeout is not None:
            fields["timeout_seconds"] = self.timeout.seconds
        if (auth := choose_auth(self.auth, self.auth_basic, self.auth_bearer)) is not None:
            fields["auth"] = auth.value
        if self.client_cert is not None:
            fields["client_certificate"] = self.client_cert.value

    def _add_limits(self, fields: EndpointChanges) -> None:
        if self.in_flight_max is not None:
            fields["in_flight_max"] = self.in_flight_max.limit
        if self.rate_limit is not None:
            limit, period = self.rate_limit
            fields["rate_limit"] = None if limit is None else {"limit": limit, "per_seconds": period}
        if self.breaker is not None:
            fields["breaker"] = {
                number.name: number.value for number in self.breaker if number.name is not None
            }
        if self.disable_after is not None:
            fields["disable_after_hours"] = self.disable_after.hours
        if self.permanent_statuses is not None:
            fields["permanent_statuses"] = [
                value.status for value in self.permanent_statuses if value.status is not None
            ]
