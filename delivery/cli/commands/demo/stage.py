"""What is to be seen while the demo runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from delivery.cli.commands.demo.receivers import Arrival, Receiver

_WIDE = 100


@dataclass(slots=True)
class Stage:
    """How far the demo has come. `held` and `tried`: of the receiver that is down, read from the ledger.

    `breakers`: where each receiver's circuit breaker stands.
    """

    receivers: tuple[Receiver, ...]
    events: int
    step: str = "Starting the engine, with a PostgreSQL of its own"
    accepted: list[str] = field(default_factory=list)
    held: int = 0
    tried: int = 0
    breakers: dict[str, str] = field(default_factory=dict)
    done: bool = False
    began: float = field(default_factory=time.monotonic)

    def line(self) -> str:
        """The state of things in one line, for logs."""
        parts = [f"{len(self.accepted)}/{self.events} accepted"]
        for receiver in self.receivers:
            if receiver.down:
                parts.append(
                    f"{receiver.name}: {self.held} held, {self.tried} attempts{self._breaker(receiver)}"
                )
            else:
                refused = f", {receiver.refused} refused" if receiver.unwell else ""
                parts.append(
                    f"{receiver.name}: {len(receiver.verified)} verified{refused}{self._breaker(receiver)}"
                )
        return f"{time.monotonic() - self.began:5.1f} s  {' | '.join(parts)}"

    def _breaker(self, receiver: Receiver) -> str:
        state = self.breakers.get(receiver.name, "closed")
        return "" if state == "closed" else f", breaker {state.replace('_', ' ')}"

    def __rich_console__(self, console: Console, _options: object) -> list[RenderableType]:
        """Draw everything; called again for every frame."""
        wide = console.width >= _WIDE
        bars = Table.grid(padding=(0, 2, 0, 0))
        bars.add_column(no_wrap=True, style="bold")
        bars.add_column(no_wrap=True, style="dim")
        bars.add_column(width=40 if wide else 13)
        bars.add_column(no_wrap=True, justify="right")
        bars.add_column(no_wrap=True)
        total = self.events
        accepted = len(self.accepted)
        bars.add_row("accepted", "through the API", *_bar(accepted, total, "cyan"), "")
        for receiver in self.receivers:
            bars.add_row(receiver.name, receiver.manners, *self._of(receiver))
        return [Group(self._head(), Text(), bars, Text(), *self._latest(wide=wide))]

    def _head(self) -> RenderableType:
        passed = f"{time.monotonic() - self.began:.0f} s"
        if self.done:
            return Text(f"Ended after {passed}.", "cyan")
        return Spinner("dots", Text(f"{self.step} … {passed}"), style="cyan")

    def _of(self, receiver: Receiver) -> tuple[RenderableType, RenderableType, RenderableType]:
        if receiver.down:
            return (
                *_bar(self.held, self.events, "yellow"),
                Text(f"held after {self.tried:,} tries{self._breaker(receiver)}", "yellow"),
            )
        said = f"{receiver.refused} refused" if receiver.unwell else "verified"
        said += self._breaker(receiver)
        if receiver.forged:
            said = f"{receiver.forged} NOT GENUINE"
        return (
            *_bar(len(receiver.verified), self.events, "green"),
            Text(said, "red" if receiver.forged else ""),
        )

    def _latest(self, *, wide: bool) -> list[RenderableType]:
        arrivals = self.receivers[0].arrivals
        return [Text("Latest arrivals", style="bold"), *(_arrival(one, wide=wide) for one in arrivals)]


def _bar(done: int, total: int, style: str) -> tuple[RenderableType, RenderableType]:
    bar = ProgressBar(total=total, completed=done, complete_style=style, finished_style=style)
    return bar, Text(f"{done}/{total}")


def _arrival(one: Arrival, *, wide: bool) -> Text:
    moment = one.at.strftime("%H:%M:%S.%f")[: 12 if wide else 8]
    style = "green" if one.answer == "verified" else "yellow"
    return Text.assemble(
        (f"{moment}  ", "dim"), f"{one.receiver:<9}  {one.event_id}  ", (one.answer, style), no_wrap=True
    )
