"""How traces are shown to people: what happened, line by line, and first of all where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.cli.screen import print_facts, print_indented, say
from delivery.model import Prefix, show_id
from delivery.wording import exact, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.tracing import DeliveryTrace, EventTrace, Fate, Step


def print_delivery_trace(trace: DeliveryTrace) -> None:
    """Print why a delivery is where it is: the answer first, then everything that led to it."""
    one = trace.delivery
    say(f"Delivery {show_id(Prefix.DELIVERY, one.id)}", style="bold")
    say(trace.standing)
    say("")
    print_facts(_lines(trace.steps), title="What happened (UTC)")
    _print_left_out(trace.left_out)
    if one.attempts:
        whose = f"--tenant {show_id(Prefix.TENANT, one.tenant_id)}"
        say("")
        say(f"All attempts: waybill delivery show {whose} {show_id(Prefix.DELIVERY, one.id)}", style="dim")


def print_event_trace(trace: EventTrace) -> None:
    """Print why an event went where it went: the answer first, then every endpoint."""
    event = trace.event
    say(f"Event {show_id(Prefix.EVENT, event.id)}", style="bold")
    say(f"{event.type}, accepted {exact(event.created_at)}. {trace.standing}")
    _print_fates("It was owed to", [fate for fate in trace.endpoints if fate.delivery is not None])
    _print_fates("It was not owed to", [fate for fate in trace.endpoints if fate.delivery is None])
    _print_left_out(trace.left_out)


def _lines(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """When and what; a time that is the same as above is not said again."""
    times = [short(step.at) for step in steps]
    said = [time if time != before else "" for before, time in zip(["", *times], times, strict=False)]
    return [(time, step.sentence) for time, step in zip(said, steps, strict=True)]


def _print_fates(title: str, fates: Sequence[Fate]) -> None:
    if not fates:
        return
    say("")
    say(title, style="bold")
    for fate in fates:
        print_indented(f"{fate.url} ({show_id(Prefix.ENDPOINT, fate.endpoint_id)})", by=2)
        print_indented(fate.sentence, by=4, style="" if fate.delivery is not None else "dim")


def _print_left_out(left_out: Sequence[str]) -> None:
    for sentence in left_out:
        say("")
        say(sentence, style="dim")
