"""The options of a delivery filter, the same for every command that takes one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, TypeVar

import typer

from delivery.cli.options.common import SinceOption, UntilOption, make_id_parser, with_options
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import (
    DeliveryFilter,
    check_http_status,
    check_outcome,
    parse_delivery_filter,
)
from delivery.domain.event_patterns import check_pattern
from delivery.domain.filter_fields import InvalidFilter
from delivery.domain.ids import EndpointId, EventId, Prefix
from delivery.domain.payload_path import PayloadEquals
from retries.health import Hold

T = TypeVar("T")

SEARCH_BEFORE_HELP: Final = "Continue after this one."


def make_option_parser(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Make an option parser of a function that raises ValueError."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r} {error}") from None

    return read


OldestFirstOption = Annotated[bool, typer.Option("--oldest-first", metavar="", help="Oldest first.")]
TypesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        parser=make_option_parser(check_pattern),
        metavar="TYPE",
        help="Event types: order.*. Repeatable.",
    ),
]
IdempotencyKeyOption = Annotated[
    str | None, typer.Option("--idempotency-key", metavar="KEY", help="The idempotency key of the event.")
]
PayloadFilterOption = Annotated[
    list[PayloadEquals] | None,
    typer.Option(
        "--payload",
        parser=make_option_parser(PayloadEquals.parse),
        metavar="PATH=VALUE",
        help="A value in the event's data: $.order.id=1042. Repeatable.",
    ),
]
_EndpointsOption = Annotated[
    list[EndpointId] | None,
    typer.Option(
        "--endpoint",
        parser=make_id_parser(Prefix.ENDPOINT),
        metavar="ep_…",
        help="Deliveries to one of these endpoints. Repeatable.",
    ),
]
_EventOption = Annotated[
    EventId | None,
    typer.Option(
        "--event", parser=make_id_parser(Prefix.EVENT), metavar="evt_…", help="Deliveries of this event."
    ),
]
_StatusesOption = Annotated[
    list[DeliveryStatus] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="Statuses: pending, in_flight, succeeded, failed, cancelled.",
    ),
]
_OutcomesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--outcome",
        parser=make_option_parser(check_outcome),
        metavar="OUTCOME",
        help="The outcome of the last attempt: refused, timed_out …",
    ),
]
_ResponsesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--response",
        parser=make_option_parser(check_http_status),
        metavar="STATUS",
        help="The HTTP status of the last attempt: 503, 5xx.",
    ),
]
_AttemptsMinOption = Annotated[
    int | None, typer.Option("--attempts-min", min=0, metavar="COUNT", help="Minimum number of attempts.")
]
_AttemptsMaxOption = Annotated[
    int | None, typer.Option("--attempts-max", min=0, metavar="COUNT", help="Maximum number of attempts.")
]
_HeldByOption = Annotated[
    list[Hold] | None,
    typer.Option("--held-by", metavar="WHAT", help="Deliveries that this holds now: paused, breaker_open …"),
]


def _read_delivery_filter(  # noqa: PLR0913, PLR0917  one for each option
    endpoint: _EndpointsOption = None,
    event: _EventOption = None,
    type: TypesOption = None,  # noqa: A002  the option's name
    status: _StatusesOption = None,
    outcome: _OutcomesOption = None,
    response: _ResponsesOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    attempts_min: _AttemptsMinOption = None,
    attempts_max: _AttemptsMaxOption = None,
    idempotency_key: IdempotencyKeyOption = None,
    payload: PayloadFilterOption = None,
    held_by: _HeldByOption = None,
) -> DeliveryFilter:
    options: dict[str, Any] = locals()
    with reporting_options():
        return parse_delivery_filter(options, limited=False)


@contextmanager
def reporting_options() -> Iterator[None]:
    """Turn an InvalidFilter from inside the block into a usage error that names the option."""
    try:
        yield
    except InvalidFilter as error:
        option = f"'--{error.field.replace('_', '-')}'"
        raise typer.BadParameter(error.why, param_hint=option) from None


with_filter_options = with_options(_read_delivery_filter)
