import json
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.step_latency import STEPS, DeliveryPath, follow_event, read_lines

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
NS = int(NOON.timestamp()) * 1_000_000_000
MS = 1_000_000


def log(*lines: tuple[str, float], **more: object) -> str:
    """Log lines of the engine, this many milliseconds after noon."""
    written = [
        {"event": name, "timestamp": (NOON + timedelta(milliseconds=at)).isoformat(), **more}
        for name, at in lines
    ]
    return "".join(f"{json.dumps(line)}\n" for line in written)


def whole(begin: float) -> str:
    """All lines of a delivery's way, a millisecond apart."""
    names = [*(name for _, name, _ in STEPS if name != "arrived"), "relay.published"]
    return log(*((name, begin + place) for place, name in enumerate(names, start=1)))


def sent(at: float) -> DeliveryPath:
    return DeliveryPath(
        NS + round(at * MS), {"answered": NS + round(at * MS), "arrived": NS + round((at + 7) * MS)}
    )


def test_an_event_is_followed_through_the_lines_of_all_processes():
    way = follow_event(sent(0), read_lines(whole(0)), before=NS + 50 * MS)
    assert way is not None
    assert sum(way.compute_step_ms()) == pytest.approx(9)


def test_a_missing_line_is_not_taken_from_the_next_event():
    first = "".join(line for line in whole(0).splitlines(keepends=True) if "claim.started" not in line)
    lines = read_lines(first + whole(100))
    assert follow_event(sent(0), lines, before=NS + 100 * MS) is None
    assert follow_event(sent(100), lines, before=NS + 200 * MS) is not None


def test_no_step_takes_less_than_nothing_and_the_sum_is_the_whole():
    at = {name: NS + place * MS for place, (_, name, _) in enumerate(STEPS, start=1)}
    at["accept.committed"] = NS + 5 * MS  # written after the relay had heard of it
    steps = DeliveryPath(NS, at).compute_step_ms()
    assert min(steps) == 0
    assert sum(steps) == pytest.approx(len(STEPS))


def test_what_is_not_a_line_of_ours_is_left_out():
    text = 'half a li\n{"event": "x"}\n[1]\n' + log(("relay.claimed", 1), deliveries=0)
    assert read_lines(text) == {}
