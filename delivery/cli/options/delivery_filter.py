"""The options that say which deliveries are meant, the same for every command that takes a selection."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import typer

from delivery.cli.options import Since, Until, id_reader
from delivery.filters import check_pattern
from delivery.model import DeliveryStatus, EndpointId, EventId, Prefix
from delivery.payload import PayloadEquals
from delivery.selection import DeliverySelection, check_http, check_outcome
from retries.health import Hold

T = TypeVar("T")

Beyond: Final = "Go on behind this one."


def reader(read: Callable[[str], T]) -> Callable[[str], T]:
    """What reads an option with a check that raises ValueError."""

    def reading(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r} {error}") from None

    return reading


OldestFirst = Annotated[bool, typer.Option("--oldest-first", metavar="", help="Not the newest first.")]
OfTypes = Annotated[
    list[str] | None,
    typer.Option("--type", parser=reader(check_pattern), metavar="TYPE", help="Of these types: order.*."),
]
UnderKey = Annotated[
    str | None, typer.Option("--idempotency-key", metavar="KEY", help="Whose event came under this key.")
]
WithPayload = Annotated[
    list[PayloadEquals] | None,
    typer.Option(
        "--payload",
        parser=reader(PayloadEquals.parse),
        metavar="PATH=VALUE",
        help="Whose event holds this, from its data on: $.order.id=1042.",
    ),
]
_Endpoints = Annotated[
    list[EndpointId] | None,
    typer.Option(
        "--endpoint", parser=id_reader(Prefix.ENDPOINT), metavar="ep_…", help="To any of these endpoints."
    ),
]
_Event = Annotated[
    EventId | None,
    typer.Option("--event", parser=id_reader(Prefix.EVENT), metavar="evt_…", help="Of this event."),
]
_Statuses = Annotated[
    list[DeliveryStatus] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="That stand so: pending, in_flight, succeeded, failed, cancelled.",
    ),
]
_Outcomes = Annotated[
    list[str] | None,
    typer.Option(
        "--outcome",
        parser=reader(check_outcome),
        metavar="OUTCOME",
        help="Whose last attempt came to this: refused, timed_out …",
    ),
]
_Responses = Annotated[
    list[str] | None,
    typer.Option(
        "--response",
        parser=reader(check_http),
        metavar="STATUS",
        help="Whose last answer was this: 503, 5xx.",
    ),
]
_AttemptsMin = Annotated[
    int | None, typer.Option("--attempts-min", min=0, metavar="COUNT", help="With so many attempts at least.")
]
_AttemptsMax = Annotated[
    int | None, typer.Option("--attempts-max", min=0, metavar="COUNT", help="With so many attempts at most.")
]
_HeldBy = Annotated[
    list[Hold] | None,
    typer.Option("--held-by", metavar="WHAT", help="That this holds back now: paused, breaker_open …"),
]


def _filters(  # noqa: PLR0913, PLR0917  one for each option
    endpoint: _Endpoints = None,
    event: _Event = None,
    type_: OfTypes = None,
    status: _Statuses = None,
    outcome: _Outcomes = None,
    response: _Responses = None,
    since: Since = None,
    until: Until = None,
    attempts_min: _AttemptsMin = None,
    attempts_max: _AttemptsMax = None,
    idempotency_key: UnderKey = None,
    payload: WithPayload = None,
    held_by: _HeldBy = None,
) -> DeliverySelection:
    return DeliverySelection(
        endpoints=tuple(endpoint or ()),
        event_id=event,
        types=tuple(type_ or ()),
        statuses=tuple(status or ()),
        outcomes=tuple(outcome or ()),
        http=tuple(response or ()),
        since=since,
        until=until,
        attempts_min=attempts_min,
        attempts_max=attempts_max,
        idempotency_key=idempotency_key,
        payload=tuple(payload or ()),
        held_by=tuple(held_by or ()),
    )


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, instead of its first parameter `wanted`, all the options that make a selection."""
    filters = inspect.signature(_filters).parameters
    _, *own = inspect.signature(command).parameters.values()

    @functools.wraps(command)
    def run(**given: Any) -> None:
        wanted = _filters(**{name: given.pop(name) for name in filters})
        command(wanted, **given)

    arguments = [one for one in own if one.default is inspect.Parameter.empty]
    options = [one for one in own if one.default is not inspect.Parameter.empty]
    parameters = [*arguments, *filters.values(), *options]
    setattr(run, "__signature__", inspect.Signature(parameters))  # noqa: B010  what typer reads
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run
