"""How an endpoint's settings are written on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from delivery.cli.door import WrongUsage
from delivery.cli.options import read_content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.endpoints import EndpointChanges

_DEFAULT: Final = "default"
_DELAY = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h|d)?")
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


@dataclass(frozen=True, slots=True)
class Named:
    """What of an endpoint was named on the command line."""

    url: str | None
    filter: list[str] | None
    description: str | None
    headers: Sequence[Header] | None
    schedule: Delays | None
    timeout: Timeout | None

    def changes(self) -> EndpointChanges:
        """The changes that were asked for: what was not named is left out."""
        changes: EndpointChanges = {}
        if self.url is not None:
            changes["url"] = self.url
        if self.filter is not None:
            changes["filter"] = self.filter
        if self.description is not None:
            changes["description"] = self.description
        if self.headers is not None:
            changes["headers"] = dict(self.headers)
        if self.schedule is not None:
            changes["schedule"] = self.schedule.seconds
        if self.timeout is not None:
            changes["timeout_seconds"] = self.timeout.seconds
        if not changes:
            raise WrongUsage("Name at least one thing to change; --help lists them.")
        return changes
