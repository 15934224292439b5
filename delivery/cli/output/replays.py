"""Print replays: their preview and their state."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from delivery.cli.output.table import Column, print_facts, print_table, print_text
from delivery.domain.durations import format_duration, format_utc
from delivery.domain.ids import Prefix, format_id
from delivery.domain.replay import ItemState, MissingEventFilter, ReplayState
from delivery.services.presentation import format_relative_time
from delivery.services.sentences import describe_hold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from delivery.domain.delivery import ActiveHold
    from delivery.domain.endpoint import Endpoint
    from delivery.domain.replay import Replay
    from delivery.services.replays.validation import ReplayPreview

FINAL_STATES: Final = frozenset({ReplayState.FINISHED, ReplayState.CANCELLED})


def print_replay(replay: Replay, *, now: datetime) -> None:
    """Print a replay and its progress."""
    filters = replay.selection.to_document()
    kind = "events never owed" if isinstance(replay.selection, MissingEventFilter) else "deliveries"
    print_facts(
        [
            ("state", replay.state),
            ("sends", f"{kind}: {_format_filters(filters)}"),
            ("reason", replay.reason),
            ("asked by", f"{replay.actor.name}, {format_relative_time(replay.created_at, now=now)}"),
            ("rate", "as fast as replays may go" if replay.rate is None else f"{replay.rate:g} a second"),
            ("holds", "for paused and disabled endpoints too" if replay.hold else ""),
            ("progress", format_progress(replay)),
            ("over", "" if replay.finished_at is None else format_utc(replay.finished_at)),
        ],
        title=f"Replay {format_id(Prefix.REPLAY, replay.id)}",
    )


def format_progress(replay: Replay) -> str:
    """Format a replay's progress in one line."""
    found = f"{replay.selected:,}" + (" found so far" if replay.selecting else "")
    parts = [f"{replay.done:,} of {found}"]
    parts += [f"{replay.counts[state]:,} {state.value}" for state in ItemState if replay.counts.get(state, 0)]
    if replay.state is ReplayState.RUNNING and replay.per_second:
        parts.append(f"{replay.per_second:,.0f} a second")
    if replay.seconds_left is not None and replay.remaining:
        parts.append(f"{format_duration(timedelta(seconds=replay.seconds_left))} left")
    return ", ".join(parts)


def print_replay_preview(preview: ReplayPreview, *, now: datetime) -> None:
    """Print the preview of a replay."""
    counted = f"{preview.count:,}" if preview.exact else f"about {preview.count:,}"
    print_facts(
        [
            ("deliveries" if not preview.events else "events", counted),
            ("by status", ", ".join(f"{count:,} {status}" for status, count in preview.by_status.items())),
            ("oldest", _format_time(preview.oldest, now=now)),
            ("newest", _format_time(preview.newest, now=now)),
            *(("endpoint", _format_endpoint(endpoint, held)) for endpoint, held in preview.endpoints),
        ],
        title="A replay would send",
    )
    if preview.deliveries:
        print_text("")
        print_text("The oldest of them:", style="bold")
        print_table(
            [Column("DELIVERY"), Column("STATUS"), Column("MADE"), Column("EVENT TYPE", shrinkable=True)],
            [
                (
                    format_id(Prefix.DELIVERY, delivery.id),
                    delivery.status,
                    format_relative_time(delivery.created_at, now=now),
                    delivery.event_type,
                )
                for delivery in preview.deliveries
            ],
            empty_message="",
        )
    if preview.events:
        print_text("")
        print_text("The oldest of them:", style="bold")
        print_table(
            [Column("EVENT"), Column("ACCEPTED"), Column("EVENT TYPE", shrinkable=True)],
            [
                (
                    format_id(Prefix.EVENT, event.id),
                    format_relative_time(event.created_at, now=now),
                    event.type,
                )
                for event in preview.events
            ],
            empty_message="",
        )
    print_text("Nothing was changed.", style="dim")


def _format_filters(document: Mapping[str, object]) -> str:
    return "; ".join(f"{name} {_format_filter_value(name, value)}" for name, value in document.items())


def _format_filter_value(name: str, value: object) -> str:
    if name in {"since", "until"}:
        return format_utc(datetime.fromisoformat(str(value)))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _format_time(moment: datetime | None, *, now: datetime) -> str:
    return "" if moment is None else f"{format_utc(moment)} ({format_relative_time(moment, now=now)})"


def _format_endpoint(endpoint: Endpoint, held: ActiveHold | None) -> str:
    held_back = "" if held is None else f", held: {describe_hold(held.by)}"
    return f"{format_id(Prefix.ENDPOINT, endpoint.id)} {endpoint.url}: {endpoint.state}{held_back}"
