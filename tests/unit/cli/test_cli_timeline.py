"""How the command line prints timelines: the answer first, and nothing cut off."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from delivery.cli.output.timeline import print_delivery_trace, print_event_trace
from delivery.domain.ids import Prefix, format_id
from delivery.services.timeline import delivery_entries, event_entries
from tests.unit.cli.records import DELIVERY, ENDPOINT, EVENT
from tests.unit.timeline.arrivals import ARRIVAL, NOWHERE, OTHER
from tests.unit.timeline.stories import STORY, attempt, entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.services.timeline.event_entries import EventArrival
    from delivery.services.timeline.history import DeliveryHistory

    Terminal = Callable[[int], None]
    Printed = pytest.CaptureFixture[str]

TRIED = replace(
    STORY,
    delivery=replace(STORY.delivery, attempts=1),
    attempts=[attempt(1, claimed=1, next_due=6)],
    entries_since=[entry("endpoint.paused", 3, reason="moving house")],
)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make the terminal this many columns wide."""
    return lambda columns: monkeypatch.setenv("COLUMNS", str(columns))


def print_delivery_lines(story: DeliveryHistory, printed: Printed) -> list[str]:
    print_delivery_trace(delivery_entries.build_delivery_timeline(story))
    return printed.readouterr().out.splitlines()


def event_shown(arrival: EventArrival, printed: Printed) -> list[str]:
    print_event_trace(event_entries.build_event_timeline(arrival))
    return printed.readouterr().out.splitlines()


def test_status_is_printed_before_the_steps(terminal: Terminal, capsys: Printed):
    terminal(120)
    lines = print_delivery_lines(TRIED, capsys)
    assert lines[0] == f"Delivery {format_id(Prefix.DELIVERY, DELIVERY.id)}"
    assert lines[1].startswith("Due since 2026-11-22 18:00:00 UTC")
    assert lines[3] == "What happened (UTC)"
    assert lines[4].startswith("  11-22 18:00:00  The event evt_")
    assert "  11-22 18:00:03  The endpoint was paused by cli:ada: moving house." in lines
    assert lines[-1].startswith("All attempts: waybill delivery show --tenant ten_")


def test_a_time_is_said_once(terminal: Terminal, capsys: Printed):
    terminal(120)
    lines = print_delivery_lines(TRIED, capsys)
    times = [line[2:16] for line in lines[4:] if line.startswith("  11-22")]
    assert times == ["11-22 18:00:00", "11-22 18:00:01", "11-22 18:00:03"]
    assert lines[5].startswith("                  It is owed to the endpoint ep_")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_what_happened_fits_and_is_whole(terminal: Terminal, capsys: Printed, columns: int):
    terminal(columns)
    lines = print_delivery_lines(TRIED, capsys)
    happened = lines[lines.index("What happened (UTC)") : -2]
    assert max(map(len, happened)) <= columns
    assert "it is retried on its schedule" in " ".join(" ".join(happened).split())
    assert not any("…" in line for line in happened)


def test_without_an_attempt_there_is_none_to_look_at(capsys: Printed):
    assert not any("All attempts" in line for line in print_delivery_lines(STORY, capsys))


def test_what_is_left_out_is_said(capsys: Printed):
    lines = print_delivery_lines(replace(STORY, left_out=("Only the newest 200 are shown.",)), capsys)
    assert lines[-1] == "Only the newest 200 are shown."


def test_what_strangers_wrote_commands_no_terminal(capsys: Printed):
    lines = print_delivery_lines(
        replace(STORY, entries_since=[entry("endpoint.paused", 3, reason="\x1b[31mred")]), capsys
    )
    assert "\\x1b[31mred" in lines[-1]


def test_an_event_tells_where_it_went_and_where_not(terminal: Terminal, capsys: Printed):
    terminal(120)
    lines = event_shown(ARRIVAL, capsys)
    assert lines[0] == f"Event {format_id(Prefix.EVENT, EVENT.id)}"
    assert lines[1].endswith(" It was owed to 1 endpoint, and not to 1 other.")
    assert lines[3:5] == [
        "It was owed to",
        f"  {ENDPOINT.url} ({format_id(Prefix.ENDPOINT, ENDPOINT.id)})",
    ]
    assert lines[7:] == [
        "It was not owed to",
        f"  {OTHER.url} ({format_id(Prefix.ENDPOINT, OTHER.id)})",
        "    Its filter includes invoice.*, user.left, but not order.created.",
    ]


def test_an_event_that_went_nowhere_has_no_empty_list(capsys: Printed):
    assert "It was owed to" not in event_shown(NOWHERE, capsys)
    assert len(event_shown(replace(NOWHERE, others=[]), capsys)) == 2
