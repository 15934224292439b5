"""How an endpoint's settings are written on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, cast

import typer

from delivery.cli.auth_options import Certificate, NamedAuth
from delivery.cli.door import WrongUsage
from delivery.cli.options import read_content
from delivery.model import Format, PayloadKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.endpoints import EndpointChanges, LimitsAsked

_DEFAULT: Final = "default"
_NONE: Final = "none"
_DELAY = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h|d)?")
_RATE = re.compile(r"(\d{1,9})/(\d{1,9}(?:\.\d{1,3})?)?(s|m|h|d)")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Header(NamedTuple):
    """A custom header; without a value it is to be taken away."""

    name: str
    value: str | None


class Delays(NamedTuple):
    """A retry schedule in seconds; None stands for the default."""

    seconds: list[float] | None


class Timeout(NamedTuple):
    """The time for one attempt in seconds; None stands for the default."""

    seconds: float | None


def read_header(text: str) -> Header:
    """Read `Name: value`, or `Name:`."""
    name, colon, value = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"{text!r} is not of the form 'Name: value'.")
    return Header(name.strip(), value.strip() or None)


def read_delays(text: str) -> Delays:
    """Read `0,5s,5m,2h` or `default`."""
    if text == _DEFAULT:
        return Delays(None)
    delays = [_DELAY.fullmatch(part.strip()) for part in text.split(",")]
    seconds = [float(delay[1]) * _SECONDS[delay[2]] for delay in delays if delay is not None]
    if len(seconds) < len(delays):
        raise typer.BadParameter(f"{text!r} is not a list of delays such as 0,5s,5m,2h.")
    return Delays(seconds)


def read_timeout(text: str) -> Timeout:
    """Read seconds or `default`."""
    try:
        return Timeout(None if text == _DEFAULT else float(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number of seconds.") from None


class InFlight(NamedTuple):
    """How many deliveries may be in flight; None stands for the default."""

    most: int | None


class Rate(NamedTuple):
    """A rate limit: so many in so many seconds; None stands for none."""

    limit: int | None
    per_seconds: float = 1


class Term(NamedTuple):
    """One number of a circuit breaker; no name stands for the defaults of all of them."""

    name: str | None
    value: float = 0


class Hours(NamedTuple):
    """A time in hours; None stands for the default."""

    hours: float | None


class Status(NamedTuple):
    """A status that is meant for good; None stands for none."""

    status: int | None


def read_in_flight(text: str) -> InFlight:
    """Read a number or `default`."""
    if text == _DEFAULT:
        return InFlight(None)
    return InFlight(_whole(text, f"{text!r} is not a whole number."))


def read_rate(text: str) -> Rate:
    """Read `100/60s`, `10/s` or `none`."""
    if text == _NONE:
        return Rate(None)
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a rate such as 10/s, 100/1m or 5000/1h.")
    return Rate(int(found[1]), float(found[2] or 1) * _SECONDS[found[3]])


def read_term(text: str) -> Term:
    """Read `failure_ratio=0.3` or `default`."""
    if text == _DEFAULT:
        return Term(None)
    name, sign, value = text.partition("=")
    wrong = f"{text!r} is not of the form NAME=NUMBER."
    if not sign:
        raise typer.BadParameter(wrong)
    name = name.strip()
    return Term(name, _whole(value, wrong) if value.strip().isdecimal() else _number(value, wrong))


def read_hours(text: str) -> Hours:
    """Read hours or `default`."""
    return Hours(None if text == _DEFAULT else _number(text, f"{text!r} is not a number of hours."))


def read_status(text: str) -> Status:
    """Read a status or `none`."""
    return Status(None if text == _NONE else _whole(text, f"{text!r} is not a status."))


def _whole(text: str, wrong: str) -> int:
    # Python writes no number back that is longer than some thousand digits.
    if _WHOLE.fullmatch(text.strip()) is None:
        raise typer.BadParameter(wrong)
    return int(text)


def _number(text: str, wrong: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(wrong) from None


def read_secret(text: str) -> str:
    """Read a secret from where the option says."""
    return read_content(text).decode(errors="replace").strip()


ForPeople = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="For people.")]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="PATTERN",
        help="Wanted event types: order.created, order.* or *. Give it again for more.",
    ),
]
Channels = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        metavar="CHANNEL",
        help="Only events that share one of its channels. Give it again for more.",
    ),
]
OwnCondition = Annotated[
    str | None,
    typer.Option(
        "--condition", metavar="JMESPATH", help='Only events whose data meets it: "total >= `100`".'
    ),
]
Headers = Annotated[
    list[Header] | None,
    typer.Option(
        "--header",
        parser=read_header,
        metavar="'NAME: VALUE'",
        help="A header that goes with every delivery. Give it again for more.",
    ),
]
Schedule = Annotated[
    Delays | None,
    typer.Option(
        "--schedule",
        parser=read_delays,
        metavar="DELAYS",
        help="The wait before each attempt: 0,5s,5m,2h; the first is 0.",
    ),
]
OneAttempt = Annotated[
    Timeout | None,
    typer.Option("--timeout", parser=read_timeout, metavar="SECONDS", help="For one attempt in all."),
]
OwnSecret = Annotated[
    str | None,
    typer.Option(
        "--secret",
        parser=read_secret,
        metavar="SECRET",
        help="A secret of your own: @file, - (standard input) or itself. Better: a fresh one.",
    ),
]
OwnInFlight = Annotated[
    InFlight | None,
    typer.Option(
        "--in-flight-max",
        parser=read_in_flight,
        metavar="COUNT",
        help="Most deliveries in flight, 1 to 1000.",
    ),
]
OwnRate = Annotated[
    Rate | None,
    typer.Option(
        "--rate-limit", parser=read_rate, metavar="COUNT/TIME", help="At most so many: 10/s, 100/1m, 5000/1h."
    ),
]
OwnBreaker = Annotated[
    list[Term] | None,
    typer.Option(
        "--breaker",
        parser=read_term,
        metavar="NAME=NUMBER",
        help="When its circuit breaker opens: consecutive_failures, failure_ratio, minimum_requests, "
        "window_seconds, cool_down_seconds, longest_cool_down_seconds. Give it again for more.",
    ),
]
OwnDisableAfter = Annotated[
    Hours | None,
    typer.Option(
        "--disable-after-hours",
        parser=read_hours,
        metavar="HOURS",
        help="Disable it when it has only failed for so long.",
    ),
]
OwnPermanent = Annotated[
    list[Status] | None,
    typer.Option(
        "--permanent-status",
        parser=read_status,
        metavar="STATUS",
        help="A 4xx after which a delivery is not tried again. Give it again for more.",
    ),
]


@dataclass(frozen=True, slots=True)
class NamedLimits:
    """What of an endpoint's own limits was named on the command line."""

    in_flight: InFlight | None = None
    rate: Rate | None = None
    breaker: Sequence[Term] | None = None
    disable_after: Hours | None = None
    permanent: Sequence[Status] | None = None

    def asked(self) -> LimitsAsked:
        """The limits that were asked for: what was not named is left out."""
        asked: LimitsAsked = {}
        self.add_to(asked)
        return asked

    def add_to(self, asked: LimitsAsked) -> None:
        """Add them to what else was asked for."""
        if self.in_flight is not None:
            asked["in_flight_max"] = self.in_flight.most
        if self.rate is not None:
            limit, per = self.rate
            asked["rate_limit"] = None if limit is None else {"limit": limit, "per_seconds": per}
        if self.breaker is not None:
            asked["breaker"] = {term.name: term.value for term in self.breaker if term.name is not None}
        if self.disable_after is not None:
            asked["disable_after_hours"] = self.disable_after.hours
        if self.permanent is not None:
            asked["permanent_statuses"] = [one.status for one in self.permanent if one.status is not None]


OwnFormat = Annotated[
    Format | None, typer.Option("--format", help="How its events are written: Waybill's own, or CloudEvents.")
]
OwnPayload = Annotated[
    PayloadKind | None, typer.Option("--payload", help="thin: without the data, with a link to it.")
]


@dataclass(frozen=True, slots=True)
class Named:
    """What of an endpoint was named on the command line."""

    url: str | None
    filter: list[str] | None
    description: str | None
    headers: Sequence[Header] | None
    schedule: Delays | None
    timeout: Timeout | None
    limits: NamedLimits = field(default_factory=NamedLimits)
    auth: NamedAuth = field(default_factory=NamedAuth)
    certificate: Certificate | None = None
    format: Format | None = None
    payload: PayloadKind | None = None
    channels: list[str] | None = None
    condition: str | None = None

    def changes(self) -> EndpointChanges:
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
        self._add_wants(changes)
        if self.schedule is not None:
            changes["schedule"] = self.schedule.seconds
        if self.timeout is not None:
            changes["timeout_seconds"] = self.timeout.seconds
        if (auth := self.auth.chosen) is not None:
            changes["auth"] = auth.asked
        if self.certificate is not None:
            changes["client_certificate"] = self.certificate.asked
        self.limits.add_to(changes)
        if not changes:
            raise WrongUsage("Name at least one thing to change; --help lists them.")
        return changes

    def _add_wants(self, changes: EndpointChanges) -> None:
        if self.filter is not None:
            changes["filter"] = self.filter
        if self.channels is not None:
            changes["channels"] = [one for one in self.channels if one != _NONE]
        if self.condition is not None:
            changes["condition"] = None if self.condition == _NONE else self.condition
