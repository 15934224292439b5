"""Show a replay's progress while it runs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from delivery.cli.output.replays import FINAL_STATES, format_progress
from delivery.cli.output.table import make_console, print_note
from delivery.domain.ids import Prefix, format_id
from delivery.domain.replay import ReplayState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rich.console import Console, RenderableType

    from delivery.domain.replay import Replay

_MAX_BAR_WIDTH: Final = 60
_POLL_SECONDS: Final = 0.5
_PROGRESS_LINE_SECONDS: Final = 5.0


async def watch_replay(load_replay: Callable[[], Awaitable[Replay]]) -> Replay:
    """Show a replay's progress until it ends or is paused: a bar on a terminal, otherwise lines."""
    out = make_console(stderr=True)
    replay = await load_replay()
    if out.is_terminal and not out.is_dumb_terminal:
        with Live(_ProgressView(replay), console=out, refresh_per_second=8, transient=True) as live:
            while replay.state not in FINAL_STATES and replay.state is not ReplayState.PAUSED:
                await asyncio.sleep(_POLL_SECONDS)
                replay = await load_replay()
                live.update(_ProgressView(replay))
        return replay
    printed_at = 0.0
    while replay.state not in FINAL_STATES and replay.state is not ReplayState.PAUSED:
        if time.monotonic() - printed_at >= _PROGRESS_LINE_SECONDS:
            print_note(format_progress(replay))
            printed_at = time.monotonic()
        await asyncio.sleep(_POLL_SECONDS)
        replay = await load_replay()
    return replay


@dataclass(frozen=True, slots=True)
class _ProgressView:
    replay: Replay

    def __rich_console__(self, console: Console, _options: object) -> list[RenderableType]:
        replay = self.replay
        bar = ProgressBar(
            total=replay.selected or None,
            completed=replay.done,
            width=min(_MAX_BAR_WIDTH, console.width),
            pulse=replay.selecting,
        )
        title = Text(f"{format_id(Prefix.REPLAY, replay.id)} {replay.state}", style="bold")
        drawn = Table.grid()
        drawn.add_row(bar)
        return [Group(title, drawn, Text(format_progress(replay)))]
