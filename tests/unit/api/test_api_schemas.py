from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.durations import format_rfc3339
from delivery.schemas.base import to_json_seconds

moments = st.datetimes(timezones=st.just(UTC))


@given(moments)
def test_timestamps_have_milliseconds_in_utc(moment: datetime):
    result = format_rfc3339(moment)
    if moment.year >= 1000:
        assert datetime.fromisoformat(result) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert result.endswith("Z")


def test_other_time_zones_are_converted_to_utc():
    moment = datetime(2026, 11, 22, 1, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert format_rfc3339(moment) == "2026-11-21T23:00:00.999Z"


def test_whole_seconds_have_no_fraction():
    assert repr(to_json_seconds(timedelta(minutes=5))) == "300"
    assert repr(to_json_seconds(timedelta(seconds=2.5))) == "2.5"
