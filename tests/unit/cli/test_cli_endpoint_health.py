"""How the command line prints an endpoint's limits and health."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import TypeAdapter

from delivery.cli.output.endpoint_health import print_enable_preview, print_health
from delivery.cli.output.endpoints import print_endpoint
from delivery.cli.output.table import print_json
from delivery.domain.delivery import ActiveHold
from delivery.domain.endpoint import EndpointLimits, EndpointState
from delivery.domain.ids import DeliveryId, Prefix, format_id, new_id
from delivery.ledger.queue.endpoint_health import EndpointHealthRow
from delivery.ledger.stats.endpoint_stats import OwedDelivery, RecentAttempts
from delivery.schemas.endpoint_health import EnablePreviewOut, EndpointHealthOut
from delivery.schemas.endpoints import EndpointOut
from delivery.services.endpoints.health import EnablePreview, EndpointHealth
from retries.breaker import Breaker, BreakerState
from retries.health import Health, Hold
from retries.limit import InFlightLimit
from retries.rate import RateLimit
from tests.unit.cli.records import ENDPOINT

if TYPE_CHECKING:
    from pydantic import BaseModel

NOW = datetime(2026, 11, 22, 18, 27, tzinfo=UTC)
BEFORE, SOON = NOW - timedelta(hours=2), NOW + timedelta(seconds=10)
OWED = OwedDelivery(DeliveryId(new_id()), BEFORE)
OWN = EndpointLimits(
    in_flight=20,
    rate=RateLimit(100, timedelta(minutes=1)),
    breaker={"consecutive": 5, "ratio": 0.25},
    disable_after=timedelta(hours=1.5),
    permanent=(404, 422),
)
LIMITED = replace(ENDPOINT, limits=OWN, operational=True)
PAUSED = replace(
    ENDPOINT, state=EndpointState.PAUSED, state_reason="moving \x1b[31mhouse", state_changed_at=BEFORE
)
OPEN = Breaker(BreakerState.OPEN, since=BEFORE, window_since=BEFORE, openings=3, probe_at=SOON)
WELL = EndpointHealth(
    endpoint=ENDPOINT,
    record=EndpointHealthRow(ENDPOINT.id, Health.fresh(BEFORE, max_in_flight=50), 2, None, None),
    in_flight_limit=10,
    max_in_flight=50,
    hold=None,
    held=0,
    oldest_held=None,
    waiting=1,
    disabled_at=None,
    recent=RecentAttempts(0, 0, sampled=False, p50=None, p95=None, p99=None),
)
ILL = replace(
    WELL,
    record=EndpointHealthRow(
        ENDPOINT.id,
        Health(
            OPEN,
            InFlightLimit(50, ramping=False),
            waits_until=SOON,
            failing_since=BEFORE,
            failed=9,
            last_failed_at=BEFORE,
            last_succeeded_at=BEFORE,
        ),
        0,
        None,
        None,
    ),
    in_flight_limit=50,
    hold=ActiveHold(Hold.BREAKER_OPEN, since=BEFORE, until=SOON),
    held=1_200,
    oldest_held=OWED,
    waiting=3_400,
    disabled_at=SOON,
    recent=RecentAttempts(
        10_000,
        4_000,
        sampled=True,
        p50=timedelta(milliseconds=12.5),
        p95=timedelta(seconds=1),
        p99=timedelta(seconds=15),
    ),
)
PREVIEW = EnablePreview(
    replace(ENDPOINT, state=EndpointState.DISABLED), 1_200, OWED, OWED, initial_in_flight=1, max_in_flight=50
)

SHAPES = [
    EndpointOut.from_record(LIMITED),
    EndpointOut.from_record(PAUSED),
    EndpointHealthOut.from_record(WELL),
    EndpointHealthOut.from_record(ILL),
    EnablePreviewOut.from_record(PREVIEW),
    EnablePreviewOut.from_record(replace(PREVIEW, oldest=None, newest=None)),
]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_the_command_line_shows_what_the_api_shows(
    shape: BaseModel, capsys: pytest.CaptureFixture[str]
) -> None:
    print_json(shape)
    answer = TypeAdapter(type(shape)).dump_json(shape, by_alias=True)  # as FastAPI writes it
    assert json.loads(capsys.readouterr().out) == json.loads(answer)


def test_an_endpoint_that_is_well_is_told_in_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_health(WELL, now=NOW)
    output = capsys.readouterr().out
    for words in (
        "nothing holds it",
        "1 delivery that no worker has",
        "closed: since 2 h ago",
        "2 of at most 10 (of 50 at full speed), going up",
        "no attempt",
    ):
        assert words in output
    assert "failing since" not in output
    assert "took" not in output


def test_an_endpoint_in_trouble_is_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_health(ILL, now=NOW)
    output = capsys.readouterr().out
    for words in (
        "1,200 deliveries, because its endpoint's circuit breaker is open, until 2026-11-22 18:27:10 UTC",
        f"oldest: {format_id(Prefix.DELIVERY, OWED.id)}, made 2 h ago",
        "3,400 deliveries that no worker has",
        "open: since 2 h ago, probe in 10 s, opened 3 times in a row",
        "0 of at most 50\n",
        "2026-11-22 18:27:10 UTC (in 10 s), if it only fails until then",
        "the newest 10,000 attempts, 40.0% succeeded",
        "p50 12 ms, p95 1 s, p99 15 s",
    ):
        assert words in output


def test_a_preview_is_told_with_what_is_oldest_and_newest(capsys: pytest.CaptureFixture[str]) -> None:
    print_enable_preview(PREVIEW, now=NOW)
    output = capsys.readouterr().out
    assert "1,200 deliveries" in output
    assert output.count(format_id(Prefix.DELIVERY, OWED.id)) == 2
    assert "1 at first, doubling with good answers, up to 50" in output
    assert "Nothing was changed." in output
    print_enable_preview(replace(PREVIEW, endpoint=ENDPOINT), now=NOW)
    assert "is active: enabling it changes nothing." in capsys.readouterr().out


def test_an_endpoint_tells_its_own_limits_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    print_endpoint(LIMITED, (), now=NOW)
    output = capsys.readouterr().out
    for words in (
        "gets the engine's own events",
        "at most 20",
        "100 in 60 s",
        "consecutive_failures=5, failure_ratio=0.25",
        "1.5 h of failures",
        "404 422",
    ):
        assert words in output
    print_endpoint(ENDPOINT, (), now=NOW)
    output = capsys.readouterr().out
    assert not [name for name in ("breaker", "rate limit", "permanent", "operational") if name in output]


def test_who_paused_an_endpoint_and_why_is_told_without_commanding_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_endpoint(PAUSED, (), now=NOW)
    output = capsys.readouterr().out
    assert "paused: since 2 h ago, by cli:ada" in output
    assert "Moving \\x1b[31mhouse." in output


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("gone", "It answered 410 Gone."),
        ("failing", "It failed for too long without a success."),
        ("Is the shop closed?", "Is the shop closed?"),
    ],
)
def test_why_an_endpoint_is_disabled_is_a_sentence(
    capsys: pytest.CaptureFixture[str], reason: str, said: str
) -> None:
    disabled = replace(PAUSED, state=EndpointState.DISABLED, state_reason=reason, state_actor="waybill")
    print_endpoint(disabled, (), now=NOW)
    output = capsys.readouterr().out
    assert "disabled: since 2 h ago, by Waybill" in output
    assert said in output
