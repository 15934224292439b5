"""The chart of an endpoint's secrets."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from delivery.console.views.timeline import WIDTH, draw_secret_timeline
from delivery.domain.endpoint import SealedSecret, Signature
from delivery.domain.ids import EndpointId, SecretId, TenantId, new_id

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = "<b>key</b>"


def secret(made: timedelta, until: timedelta | None) -> SealedSecret:
    return SealedSecret(
        id=SecretId(new_id()),
        endpoint_id=EndpointId(new_id()),
        tenant_id=TenantId(new_id()),
        signature=Signature.V1,
        sealed=b"",
        key_id=KEY,
        public_key=None,
        created_at=NOW - made,
        not_after=None if until is None else NOW + until,
    )


def bars(drawn: str) -> list[tuple[float, float]]:
    """Start and end of each bar, newest secret first."""
    found = re.findall(r'<rect class="[^"]*" x="([0-9.]+)" y="[0-9]+" width="([0-9.]+)"', drawn)
    return [(float(x), float(x) + float(width)) for x, width in found]


def now_of(drawn: str) -> float:
    """Position of the line for now."""
    (x,) = re.findall(r'<line class="now" x1="([0-9.]+)"', drawn)
    return float(x)


def test_overlap_is_visible_for_any_age_of_secret() -> None:
    drawn = draw_secret_timeline([secret(2 * HOUR, None), secret(9_000 * HOUR, 22 * HOUR)], now=NOW)
    (newer, _), (_, older) = bars(drawn)
    assert older - newer > WIDTH / 4
    assert newer < now_of(drawn) < older


def test_newest_secret_extends_to_the_edge() -> None:
    ((_, end),) = bars(draw_secret_timeline([secret(HOUR, None)], now=NOW))
    assert end == WIDTH


def test_drawing_stays_inside_the_chart() -> None:
    drawn = draw_secret_timeline(
        [secret(HOUR / 60, None), secret(9_000 * HOUR, HOUR), secret(HOUR, 700 * HOUR)], now=NOW
    )
    assert all(0 <= begin < end <= WIDTH for begin, end in bars(drawn))


def test_no_secrets_draw_no_bars() -> None:
    assert not bars(draw_secret_timeline([], now=NOW))


def test_chart_text_is_escaped() -> None:
    assert KEY not in draw_secret_timeline([secret(HOUR, None)], now=NOW)
