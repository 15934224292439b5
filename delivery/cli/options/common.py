"""Arguments and options that many commands share, and the parsers of their text."""

from __future__ import annotations

import functools
import inspect
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from delivery.clock import clock
from delivery.domain.durations import parse_duration, parse_time
from delivery.domain.errors import MalformedId
from delivery.domain.ids import (
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


def make_id_parser(prefix: Prefix) -> Callable[[str], UUID]:
    """Make a parser of ids with this prefix."""

    def read(text: str) -> UUID:
        try:
            return parse_id(prefix, text)
        except MalformedId as error:
            raise typer.BadParameter(str(error)) from None

    return read


def read_time(text: str) -> datetime:
    """Read `2026-11-22T18:00:00Z`, or an age such as `15m`, `2h`, `7d`."""
    try:
        return parse_time(text, now=clock())
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}.") from None


@dataclass(frozen=True, slots=True)
class Expiry:
    """When something expires: at a time, or after a duration."""

    at: datetime | None = None
    after: timedelta | None = None


def read_expiry(text: str) -> Expiry:
    """Read a time such as `2027-01-31T18:00:00Z`, or a duration from now such as `12h`, `90d`."""
    try:
        return Expiry(after=parse_duration(text))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is neither a while such as 12h or 90d nor a moment such as 2027-01-31T18:00:00Z."
        )
    return Expiry(at=at)


def read_content(text: str) -> bytes:
    """Read an option's value: the text itself, a file for `@path`, or standard input for `-`."""
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode(errors="surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]} cannot be read: {error.strerror}.") from None


def with_options(group: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: in place of its first parameter, the command takes the options of `group`.

    `group` is called with their values, and what it returns becomes that first parameter.
    """
    shared = inspect.signature(group, eval_str=True).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(command).parameters.values()

        @functools.wraps(command)
        def run(**values: Any) -> None:
            command(group(**{name: values.pop(name) for name in shared}), **values)

        required = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
        optional = [parameter for parameter in own if parameter.default is not inspect.Parameter.empty]
        parameters = [*required, *shared.values(), *optional]
        setattr(run, "__signature__", inspect.Signature(parameters))  # noqa: B010  what typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _id_argument(prefix: Prefix) -> Any:
    # Hidden from the list of arguments, which would name Python's type; the usage line names it.
    return typer.Argument(
        parser=make_id_parser(prefix), metavar=f"{prefix}_…", show_default=False, hidden=True
    )


def id_option(name: str, prefix: Prefix, help_text: str) -> Any:
    """An option that takes an id."""
    return typer.Option(
        name, parser=make_id_parser(prefix), metavar=f"{prefix}_…", help=help_text, show_default=False
    )


TenantOption = Annotated[
    TenantId,
    typer.Option(
        "--tenant",
        parser=make_id_parser(Prefix.TENANT),
        metavar="ten_…",
        envvar="WAYBILL_TENANT",
        help="The tenant's id.",
        show_default=False,
    ),
]
AnyTenantOption = Annotated[
    TenantId | None,
    typer.Option(
        "--tenant",
        parser=make_id_parser(Prefix.TENANT),
        metavar="ten_…",
        envvar="WAYBILL_TENANT",
        help="The tenant's id. Default: all tenants.",
        show_default=False,
    ),
]
TenantArgument = Annotated[TenantId, _id_argument(Prefix.TENANT)]
KeyArgument = Annotated[KeyId, _id_argument(Prefix.KEY)]
EndpointArgument = Annotated[EndpointId, _id_argument(Prefix.ENDPOINT)]
EventArgument = Annotated[EventId, _id_argument(Prefix.EVENT)]
DeliveryArgument = Annotated[DeliveryId, _id_argument(Prefix.DELIVERY)]
AttemptArgument = Annotated[AttemptId, _id_argument(Prefix.ATTEMPT)]
MessageArgument = Annotated[MessageId, _id_argument(Prefix.MESSAGE)]
OptionalMessageArgument = Annotated[MessageId | None, _id_argument(Prefix.MESSAGE)]
ReplayArgument = Annotated[ReplayId, _id_argument(Prefix.REPLAY)]

ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="The reason, for the audit log.")
]
JsonOption = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document.")]
LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=1_000, metavar="COUNT", help="Maximum number of items.")
]
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        parser=read_time, metavar="WHEN", help="Only since then: an age such as 15m or 2h, or a time."
    ),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option(
        parser=read_time, metavar="WHEN", help="Only before then: an age such as 15m or 2h, or a time."
    ),
]
