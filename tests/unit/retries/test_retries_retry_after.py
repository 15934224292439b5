"""Retry-After is parsed in all forms of RFC 9110, and no value can do harm."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retries.retry_after import MAX_RETRY_AFTER, parse_retry_after

# The date that RFC 9110, section 5.6.7, writes in three ways, and ten seconds before it.
MOMENT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
NOW = MOMENT - timedelta(seconds=10)
ZERO = timedelta(0)


def test_seconds_are_seconds():
    assert parse_retry_after("120", now=NOW) == timedelta(seconds=120)


def test_bytes_are_parsed_like_text():
    assert parse_retry_after(b"120", now=NOW) == timedelta(seconds=120)


def test_surrounding_white_space_is_ignored():
    assert parse_retry_after(" \t120 ", now=NOW) == timedelta(seconds=120)


def test_leading_zeros_are_ignored():
    assert parse_retry_after("0" * 5000 + "7", now=NOW) == timedelta(seconds=7)


def test_zero_is_zero():
    assert parse_retry_after("0", now=NOW) == ZERO


def test_a_negative_number_is_zero():
    assert parse_retry_after("-30", now=NOW) == ZERO


@pytest.mark.parametrize("value", ["86401", "99999999999", "9" * 5000])
def test_no_wait_is_longer_than_a_day(value: str):
    assert parse_retry_after(value, now=NOW) == MAX_RETRY_AFTER == timedelta(hours=24)


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "sun, 06 nov 1994 08:49:37 gmt",
    ],
)
def test_each_form_of_date_is_understood(value: str):
    assert parse_retry_after(value, now=NOW) == timedelta(seconds=10)


def test_a_date_is_measured_from_now_in_any_time_zone():
    east = datetime.fromisoformat("1994-11-06T10:49:27+02:00")
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now=east) == timedelta(seconds=10)


def test_a_date_that_has_passed_is_zero():
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now=MOMENT + timedelta(days=9000)) == ZERO


def test_a_date_far_ahead_is_a_day():
    assert parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", now=NOW) == MAX_RETRY_AFTER


def test_a_leap_second_is_understood():
    now = datetime(2016, 12, 31, 23, 59, 58, tzinfo=UTC)
    assert parse_retry_after("Sat, 31 Dec 2016 23:59:60 GMT", now=now) == timedelta(seconds=1)


def test_two_digit_year_means_the_next_century_when_near():
    now = datetime(1999, 12, 31, 23, 59, 50, tzinfo=UTC)
    assert parse_retry_after("Saturday, 01-Jan-00 00:00:00 GMT", now=now) == timedelta(seconds=10)


@pytest.mark.parametrize(("digits", "wait"), [("76", MAX_RETRY_AFTER), ("77", ZERO), ("94", ZERO)])
def test_two_digit_year_more_than_fifty_years_ahead_means_the_past(digits: str, wait: timedelta):
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert parse_retry_after(f"Sunday, 06-Nov-{digits} 08:49:37 GMT", now=now) == wait


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "soon",
        "1.5",
        "+5",
        "1e3",
        "--5",
        "12 0",
        "120, 120",
        "\uff11\uff12\uff10",
        "120\n",
        "\x00120",
        b"\xff\xfe",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 31 Feb 2027 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
    ],
)
def test_unparsable_retry_after_is_ignored(value: str | bytes | None):
    assert parse_retry_after(value, now=NOW) is None


@given(
    now=st.datetimes(timezones=st.just(UTC)),
    value=st.text()
    | st.binary()
    | st.text("0123456789-")
    | st.from_regex(r"\A[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\Z")
    | st.from_regex(r"\A[A-Z][a-z]{5}, [0-9]{2}-(Jan|Feb)-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\Z")
    | st.from_regex(r"\A[A-Z][a-z]{2} (Feb|Dec) [0-9 ][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}\Z"),
)
def test_any_value_is_within_bounds_and_never_raises(now: datetime, value: str | bytes):
    wait = parse_retry_after(value, now=now)
    assert wait is None or ZERO <= wait <= MAX_RETRY_AFTER


@given(
    moment=st.datetimes(min_value=datetime(1, 1, 3), timezones=st.just(UTC)),  # noqa: DTZ001  a bound, in no zone
    wait=st.integers(0, 86_400),
)
def test_a_date_means_the_same_as_its_seconds(moment: datetime, wait: int):
    moment = moment.replace(microsecond=0)
    written = format_datetime(moment, usegmt=True)
    assert parse_retry_after(written, now=moment - timedelta(seconds=wait)) == timedelta(seconds=wait)


@pytest.mark.parametrize("form", ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"])
@given(
    now=st.datetimes(
        min_value=datetime(1900, 1, 1),  # noqa: DTZ001  a bound, in no zone
        max_value=datetime(2400, 1, 1),  # noqa: DTZ001  a bound, in no zone
        timezones=st.just(UTC),
    ),
    wait=st.integers(0, 86_400),
)
def test_the_obsolete_forms_mean_the_same_too(form: str, now: datetime, wait: int):
    now = now.replace(microsecond=0)
    written = (now + timedelta(seconds=wait)).strftime(form)
    assert parse_retry_after(written, now=now) == timedelta(seconds=wait)
