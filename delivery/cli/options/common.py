"""The arguments and options that many commands share, and how their text is read."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from delivery.bootstrap import clock
from delivery.errors import MalformedId
from delivery.model import (
    AttemptId,
    DeliveryId,
    EndpointId,
    EventId,
    KeyId,
    MessageId,
    Prefix,
    ReplayId,
    TenantId,
    parse_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID


def examples(*lines: str) -> str:
    """The end of a command's help: each line as it is."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


_AGE = re.compile(r"(\d{1,6})(s|m|h|d)")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)  # ids tell no earlier time
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def id_reader(prefix: Prefix) -> Callable[[str], UUID]:
    """What reads an id of this kind from an argument."""

    def read(text: str) -> UUID:
        try:
            return parse_id(prefix, text)
        except MalformedId as error:
            raise typer.BadParameter(str(error)) from None

    return read


def read_moment(text: str) -> datetime:
    """Read `2026-11-22T18:00:00Z`, or an age such as `15m`, `2h`, `7d`."""
    try:
        age = _AGE.fullmatch(text)
        moment = datetime.fromisoformat(text) if age is None else clock() - _ago(age)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None or moment < _EARLIEST:
        raise typer.BadParameter(
            f"{text!r} is neither an age such as 15m, 2h or 7d nor a moment such as 2026-11-22T18:00:00Z."
        )
    return moment


@dataclass(frozen=True, slots=True)
class End:
    """When something ends: at a moment, or after a while."""

    at: datetime | None = None
    after: timedelta | None = None


def read_end(text: str) -> End:
    """Read `2027-01-31T18:00:00Z`, or a while from now on such as `12h`, `90d`."""
    age = _AGE.fullmatch(text)
    try:
        end = End(at=datetime.fromisoformat(text)) if age is None else End(after=_ago(age))
    except (ValueError, OverflowError):
        end = End()
    if end.after is None and (end.at is None or end.at.tzinfo is None):
        raise typer.BadParameter(
            f"{text!r} is neither a while such as 12h or 90d nor a moment such as 2027-01-31T18:00:00Z."
        )
    return end


def read_content(given: str) -> bytes:
    """What an option stands for: itself, the content of a file for `@path`, standard input for `-`."""
    if given == "-":
        return sys.stdin.buffer.read()
    if not given.startswith("@"):
        return given.encode(errors="surrogateescape")
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{given[1:]} cannot be read: {error.strerror}.") from None


def _ago(age: re.Match[str]) -> timedelta:
    return timedelta(**{_UNITS[age[2]]: int(age[1])})


def _argument(prefix: Prefix) -> Any:
    # Hidden from the list of arguments, which would name Python's type; the usage line names it.
    return typer.Argument(parser=id_reader(prefix), metavar=f"{prefix}_…", show_default=False, hidden=True)


def id_option(name: str, prefix: Prefix, about: str) -> Any:
    """An option that takes an id."""
    return typer.Option(name, parser=id_reader(prefix), metavar=f"{prefix}_…", help=about, show_default=False)


Tenant = Annotated[
    TenantId,
    typer.Option(
        "--tenant",
        parser=id_reader(Prefix.TENANT),
        metavar="ten_…",
        envvar="WAYBILL_TENANT",
        help="Whose: the tenant's id.",
        show_default=False,
    ),
]
AnyTenant = Annotated[
    TenantId | None,
    typer.Option(
        "--tenant",
        parser=id_reader(Prefix.TENANT),
        metavar="ten_…",
        envvar="WAYBILL_TENANT",
        help="Whose: the tenant's id. None: those of all tenants.",
        show_default=False,
    ),
]
TheTenant = Annotated[TenantId, _argument(Prefix.TENANT)]
TheKey = Annotated[KeyId, _argument(Prefix.KEY)]
TheEndpoint = Annotated[EndpointId, _argument(Prefix.ENDPOINT)]
TheEvent = Annotated[EventId, _argument(Prefix.EVENT)]
TheDelivery = Annotated[DeliveryId, _argument(Prefix.DELIVERY)]
TheAttempt = Annotated[AttemptId, _argument(Prefix.ATTEMPT)]
TheMessage = Annotated[MessageId, _argument(Prefix.MESSAGE)]
AMessage = Annotated[MessageId | None, _argument(Prefix.MESSAGE)]
TheReplay = Annotated[ReplayId, _argument(Prefix.REPLAY)]

Why = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why, for people.")]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document.")]
Limit = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=1_000, metavar="COUNT", help="At most so many.")
]
Since = Annotated[
    datetime | None,
    typer.Option(parser=read_moment, metavar="WHEN", help="Only from then on: 15m, 2h or a moment."),
]
Until = Annotated[
    datetime | None,
    typer.Option(parser=read_moment, metavar="WHEN", help="Only before then: 15m, 2h or a moment."),
]
