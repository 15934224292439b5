from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import typer

from delivery.cli.options.common import make_id_parser, read_content, read_time
from delivery.cli.options.endpoints import (
    BreakerValue,
    EndpointOptions,
    HeaderValue,
    HoursValue,
    InFlightValue,
    RateLimitValue,
    ScheduleValue,
    StatusValue,
    TimeoutValue,
    read_breaker_value,
    read_header,
    read_hours,
    read_in_flight,
    read_rate_limit,
    read_schedule,
    read_status,
    read_timeout,
)
from delivery.cli.runtime import UsageError
from delivery.clock import clock
from delivery.domain.ids import Prefix, format_id
from tests.unit.cli.records import TENANT

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = EndpointOptions()


def test_an_id_of_another_kind_is_refused_in_a_sentence() -> None:
    read = make_id_parser(Prefix.TENANT)
    assert read(format_id(Prefix.TENANT, TENANT.id)) == TENANT.id
    with pytest.raises(typer.BadParameter, match=r"'ep_1' is not an id of the form ten_…$"):
        read("ep_1")


def test_a_moment_is_an_age_or_has_a_zone() -> None:
    assert read_time("2026-11-22T18:00:00Z") == datetime(2026, 11, 22, 18, tzinfo=UTC)
    before = clock() - timedelta(hours=2)
    assert timedelta(0) <= read_time("2h") - before < timedelta(minutes=1)


@pytest.mark.parametrize(
    "text",
    ["yesterday", "2026-11-22T18:00:00", "2 h", "", "9999999999d", "-1h", "900000d", "1969-12-31T23:59:59Z"],
)
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="neither an age"):
        read_time(text)


def test_content_is_itself_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_bytes(b'{"a":\n1}')
    assert read_content('{"ö":1}') == '{"ö":1}'.encode()
    assert read_content(f"@{tmp_path}/order.json") == b'{"a":\n1}'
    with pytest.raises(typer.BadParameter, match=r"cannot be read: No such file or directory\."):
        read_content(f"@{tmp_path}/none")


def test_content_is_standard_input_to_the_byte() -> None:
    reading = (
        "import sys; from delivery.cli.options.common import read_content; "
        "sys.stdout.buffer.write(read_content('-'))"
    )
    read = subprocess.run(
        [sys.executable, "-c", reading], input=b"\xff[1]", stdout=subprocess.PIPE, check=True
    )
    assert read.stdout == b"\xff[1]"


def test_a_header_has_a_name_and_may_have_a_value() -> None:
    assert read_header("X-Token: a:b ") == HeaderValue("X-Token", "a:b")
    assert read_header("X-Old:") == HeaderValue("X-Old", None)
    with pytest.raises(typer.BadParameter, match="not of the form"):
        read_header("X-Token")


def test_delays_may_have_units() -> None:
    assert read_schedule("0, 5s,1.5m,2h,1d") == ScheduleValue([0, 5, 90, 7_200, 86_400])
    assert read_schedule("default") == ScheduleValue(None)
    for wrong in ("", "0,", "5x", "0;5", "-1", "nan", "1e9"):
        with pytest.raises(typer.BadParameter, match="not a list of delays"):
            read_schedule(wrong)


def test_a_timeout_is_seconds() -> None:
    assert read_timeout("2.5") == TimeoutValue(2.5)
    assert read_timeout("default") == TimeoutValue(None)
    with pytest.raises(typer.BadParameter, match="not a number of seconds"):
        read_timeout("soon")


def test_a_rate_is_so_many_in_a_time() -> None:
    assert read_rate_limit("100/60s") == RateLimitValue(100, 60)
    assert read_rate_limit("10/s") == RateLimitValue(10, 1)
    assert read_rate_limit("5000/1.5h") == RateLimitValue(5_000, 5_400)
    assert read_rate_limit("none") == RateLimitValue(None)
    for wrong in ("", "100", "100/60", "/s", "-1/s", "1.5/s", "1/-1s", "1e3/s", "1/1w"):
        with pytest.raises(typer.BadParameter, match="not a rate such as"):
            read_rate_limit(wrong)


def test_a_number_of_a_breaker_has_a_name() -> None:
    whole = read_breaker_value("consecutive_failures=5")
    assert whole == BreakerValue("consecutive_failures", 5)
    assert isinstance(whole.value, int)
    assert read_breaker_value(" failure_ratio = 0.5") == BreakerValue("failure_ratio", 0.5)
    assert read_breaker_value("default") == BreakerValue(None)
    for wrong in ("", "5", "failure_ratio", "failure_ratio=", "failure_ratio=half"):
        with pytest.raises(typer.BadParameter, match="not of the form NAME=NUMBER"):
            read_breaker_value(wrong)


def test_counts_hours_and_statuses_are_numbers_or_taken_back() -> None:
    assert (read_in_flight("20"), read_in_flight("default")) == (InFlightValue(20), InFlightValue(None))
    assert (read_hours("1.5"), read_hours("default")) == (HoursValue(1.5), HoursValue(None))
    assert (read_status("404"), read_status("none")) == (StatusValue(404), StatusValue(None))
    for wrong in ("", "many", "1.5", "9" * 5_000):
        with pytest.raises(typer.BadParameter, match="not a whole number"):
            read_in_flight(wrong)
        with pytest.raises(typer.BadParameter, match="not a status"):
            read_status(wrong)
    with pytest.raises(typer.BadParameter, match="not a number of hours"):
        read_hours("2d")


def test_only_the_limits_that_were_named_are_asked_for() -> None:
    assert NOTHING.to_fields() == {}
    taken_back = EndpointOptions(
        in_flight_max=InFlightValue(None),
        rate_limit=RateLimitValue(None),
        breaker=[BreakerValue(None)],
        disable_after=HoursValue(None),
        permanent_statuses=[StatusValue(None)],
    )
    assert taken_back.to_fields() == {
        "in_flight_max": None,
        "rate_limit": None,
        "breaker": {},
        "disable_after_hours": None,
        "permanent_statuses": [],
    }
    named = EndpointOptions(
        rate_limit=RateLimitValue(10, 1),
        breaker=[BreakerValue("failure_ratio", 0.5), BreakerValue("window_seconds", 30)],
    )
    assert named.to_fields() == {
        "rate_limit": {"limit": 10, "per_seconds": 1},
        "breaker": {"failure_ratio": 0.5, "window_seconds": 30},
    }


def test_a_limit_alone_is_a_change() -> None:
    assert EndpointOptions(in_flight_max=InFlightValue(5)).to_changes() == {"in_flight_max": 5}


def test_only_what_was_named_changes() -> None:
    named = EndpointOptions(
        filter=["order.*"],
        description="",
        headers=[HeaderValue("X-Old", None)],
        schedule=ScheduleValue(None),
    )
    assert named.to_changes() == {
        "filter": ["order.*"],
        "description": "",
        "headers": {"X-Old": None},
        "schedule": None,
    }


def test_a_change_of_nothing_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="at least one thing"):
        NOTHING.to_changes()


def test_none_empties_channels_and_condition_of_a_change_only() -> None:
    named = EndpointOptions(channels=["none"], condition="none")
    assert named.to_changes() == {"channels": [], "condition": None}
    assert named.to_fields() == {"channels": ["none"], "condition": "none"}
