"""Print timelines: the current status first, then what happened, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.cli.output.table import print_facts, print_indented, print_text
from delivery.domain.durations import format_utc
from delivery.domain.ids import Prefix, format_id
from delivery.services.presentation import format_short_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.services.timeline.delivery_entries import DeliveryTimeline
    from delivery.services.timeline.entries import TimelineEntry
    from delivery.services.timeline.event_entries import EventFate, EventTimeline


def print_delivery_trace(trace: DeliveryTimeline) -> None:
    """Print a delivery's timeline: its status first, then what led to it."""
    delivery = trace.delivery
    print_text(f"Delivery {format_id(Prefix.DELIVERY, delivery.id)}", style="bold")
    print_text(trace.summary)
    print_text("")
    print_facts(_format_steps(trace.steps), title="What happened (UTC)")
    _print_left_out(trace.left_out)
    if delivery.attempts:
        tenant_option = f"--tenant {format_id(Prefix.TENANT, delivery.tenant_id)}"
        print_text("")
        print_text(
            f"All attempts: waybill delivery show {tenant_option} {format_id(Prefix.DELIVERY, delivery.id)}",
            style="dim",
        )


def print_event_trace(trace: EventTimeline) -> None:
    """Print an event's timeline: a summary first, then every endpoint."""
    event = trace.event
    print_text(f"Event {format_id(Prefix.EVENT, event.id)}", style="bold")
    print_text(f"{event.type}, accepted {format_utc(event.created_at)}. {trace.summary}")
    _print_fates("It was owed to", [fate for fate in trace.endpoints if fate.delivery is not None])
    _print_fates("It was not owed to", [fate for fate in trace.endpoints if fate.delivery is None])
    _print_left_out(trace.left_out)


def _format_steps(steps: Sequence[TimelineEntry]) -> list[tuple[str, str]]:
    """Times and sentences. A repeated time is left out."""
    times = [format_short_time(step.at) for step in steps]
    labels = [time if time != before else "" for before, time in zip(["", *times], times, strict=False)]
    return [(time, step.sentence) for time, step in zip(labels, steps, strict=True)]


def _print_fates(title: str, fates: Sequence[EventFate]) -> None:
    if not fates:
        return
    print_text("")
    print_text(title, style="bold")
    for fate in fates:
        print_indented(f"{fate.url} ({format_id(Prefix.ENDPOINT, fate.endpoint_id)})", indent=2)
        print_indented(fate.sentence, indent=4, style="" if fate.delivery is not None else "dim")


def _print_left_out(left_out: Sequence[str]) -> None:
    for sentence in left_out:
        print_text("")
        print_text(sentence, style="dim")
