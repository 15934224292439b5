"""Replays on a terminal: what one would send, how far it is, and its progress while it goes on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from delivery.cli.screen import Column, console, note, print_facts, print_table, say
from delivery.jobs import ItemState, MissingSelection, ReplayState
from delivery.model import Prefix, show_id
from delivery.tracing.sentences import held_by
from delivery.wording import exact, length, when

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from rich.console import Console, RenderableType

    from delivery.jobs import Replay
    from delivery.model import Endpoint, Held
    from delivery.replay import Preview

_WIDE: Final = 60
_LOOK_SECONDS: Final = 0.5
_LINE_SECONDS: Final = 5.0
OVER: Final = frozenset({ReplayState.FINISHED, ReplayState.CANCELLED})


def print_replay(replay: Replay, *, now: datetime) -> None:
    """Print a replay and how far it is."""
    wanted = replay.wanted.to_document()
    kind = "events never owed" if isinstance(replay.wanted, MissingSelection) else "deliveries"
    print_facts(
        [
            ("state", replay.state),
            ("sends", f"{kind}: {_filters(wanted)}"),
            ("reason", replay.reason),
            ("asked by", f"{replay.actor.name}, {when(replay.created_at, now=now)}"),
            ("rate", "as fast as replays may go" if replay.rate is None else f"{replay.rate:g} a second"),
            ("holds", "for paused and disabled endpoints too" if replay.hold else ""),
            ("progress", progress_line(replay)),
            ("over", "" if replay.finished_at is None else exact(replay.finished_at)),
        ],
        title=f"Replay {show_id(Prefix.REPLAY, replay.id)}",
    )


def progress_line(replay: Replay) -> str:
    """How far a replay is, in one line."""
    found = f"{replay.selected:,}" + (" found so far" if replay.selecting else "")
    parts = [f"{replay.done:,} of {found}"]
    parts += [f"{replay.counts[state]:,} {state.value}" for state in ItemState if replay.counts.get(state, 0)]
    if replay.state is ReplayState.RUNNING and replay.per_second:
        parts.append(f"{replay.per_second:,.0f} a second")
    if replay.seconds_left is not None and replay.remaining:
        parts.append(f"{length(timedelta(seconds=replay.seconds_left))} left")
    return ", ".join(parts)


def print_preview(preview: Preview, *, now: datetime) -> None:
    """Print what a replay would send."""
    counted = f"{preview.count:,}" if preview.exact else f"about {preview.count:,}"
    print_facts(
        [
            ("deliveries" if not preview.events else "events", counted),
            ("by status", ", ".join(f"{count:,} {status}" for status, count in preview.by_status.items())),
            ("oldest", _moment(preview.oldest, now=now)),
            ("newest", _moment(preview.newest, now=now)),
            *(("endpoint", _standing(endpoint, held)) for endpoint, held in preview.endpoints),
        ],
        title="A replay would send",
    )
    if preview.deliveries:
        say("")
        say("The oldest of them:", style="bold")
        print_table(
            [Column("DELIVERY"), Column("STATUS"), Column("MADE"), Column("EVENT TYPE", gives_way=True)],
            [
                (show_id(Prefix.DELIVERY, one.id), one.status, when(one.created_at, now=now), one.event_type)
                for one in preview.deliveries
            ],
            none="",
        )
    if preview.events:
        say("")
        say("The oldest of them:", style="bold")
        print_table(
            [Column("EVENT"), Column("ACCEPTED"), Column("EVENT TYPE", gives_way=True)],
            [
                (show_id(Prefix.EVENT, one.id), when(one.created_at, now=now), one.type)
                for one in preview.events
            ],
            none="",
        )
    say("Nothing was changed.", style="dim")


async def watched(read: Callable[[], Awaitable[Replay]]) -> Replay:
    """Show a replay's progress until it is over, or paused: drawn on a terminal, else a line now and then."""
    out = console(stderr=True)
    replay = await read()
    if out.is_terminal and not out.is_dumb_terminal:
        with Live(_Bar(replay), console=out, refresh_per_second=8, transient=True) as live:
            while replay.state not in OVER and replay.state is not ReplayState.PAUSED:
                await asyncio.sleep(_LOOK_SECONDS)
                replay = await read()
                live.update(_Bar(replay))
        return replay
    told = 0.0
    while replay.state not in OVER and replay.state is not ReplayState.PAUSED:
        if time.monotonic() - told >= _LINE_SECONDS:
            note(progress_line(replay))
            told = time.monotonic()
        await asyncio.sleep(_LOOK_SECONDS)
        replay = await read()
    return replay


@dataclass(frozen=True, slots=True)
class _Bar:
    replay: Replay

    def __rich_console__(self, console: Console, _options: object) -> list[RenderableType]:
        replay = self.replay
        bar = ProgressBar(
            total=replay.selected or None,
            completed=replay.done,
            width=min(_WIDE, console.width),
            pulse=replay.selecting,
        )
        title = Text(f"{show_id(Prefix.REPLAY, replay.id)} {replay.state}", style="bold")
        drawn = Table.grid()
        drawn.add_row(bar)
        return [Group(title, drawn, Text(progress_line(replay)))]


def _filters(document: Mapping[str, object]) -> str:
    return "; ".join(f"{name} {_plain(name, value)}" for name, value in document.items())


def _plain(name: str, value: object) -> str:
    if name in {"since", "until"}:
        return exact(datetime.fromisoformat(str(value)))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _moment(moment: datetime | None, *, now: datetime) -> str:
    return "" if moment is None else f"{exact(moment)} ({when(moment, now=now)})"


def _standing(endpoint: Endpoint, held: Held | None) -> str:
    held_back = "" if held is None else f", held: {held_by(held.by)}"
    return f"{show_id(Prefix.ENDPOINT, endpoint.id)} {endpoint.url}: {endpoint.state}{held_back}"
