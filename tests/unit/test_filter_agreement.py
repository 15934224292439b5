"""The API, the command line and the console read the same filter to the same value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import typer
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from delivery.api.http.delivery_filter import DeliveryFilterDep  # noqa: TC001  FastAPI reads it
from delivery.cli.options.delivery_filter import with_filter_options
from delivery.console.forms.delivery_filter import parse_delivery_filters
from delivery.console.forms.replay import build_query
from delivery.console.web.context import Form
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import FILTER_FIELDS, DeliveryFilter
from delivery.domain.ids import EndpointId, EventId
from delivery.domain.payload_path import PayloadEquals
from delivery.schemas.replays import ReplayIn
from retries.health import Hold
from retries.outcome import OUTCOME_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Query = Mapping[str, Sequence[str]]

NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
IDS = st.uuids()
TIMES = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  hypothesis wants naive bounds
COUNTS = st.none() | st.integers(0, 1_000_000)
KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=255).filter(
    lambda text: text == text.strip()
)


def several(values: Sequence[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(values), max_size=3, unique=True).map(tuple)


FILTERS = st.builds(
    DeliveryFilter,
    endpoints=st.lists(IDS.map(EndpointId), max_size=2, unique=True).map(tuple),
    event_id=st.none() | IDS.map(EventId),
    types=several(["*", "order.created", "order.*"]),
    statuses=several(list(DeliveryStatus)),
    outcomes=several(sorted(OUTCOME_NAMES)),
    http=several(["503", "5xx", "200"]),
    since=st.none() | TIMES,
    until=st.none() | TIMES,
    attempts_min=COUNTS,
    attempts_max=COUNTS,
    idempotency_key=st.none() | KEYS,
    payload=several(["$.order.id=1042", "$['b c'][0]=x, y", '$.a={"b": 1}']).map(
        lambda texts: tuple(map(PayloadEquals.parse, map(str, texts)))
    ),
    held_by=several(list(Hold)),
).filter(lambda built: built.since is None or built.until is None or built.since <= built.until)

app = FastAPI()
seen: list[DeliveryFilter] = []


@app.get("/")
def read_query(delivery_filter: DeliveryFilterDep) -> None:
    seen.append(delivery_filter)


@with_filter_options
def read_options(delivery_filter: DeliveryFilter) -> None:
    seen.append(delivery_filter)


command_line = typer.Typer()
command_line.command()(read_options)


async def read_by_api(query: Query) -> DeliveryFilter:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        (await client.get("/", params=dict(query))).raise_for_status()
    return seen.pop()


def read_by_json(query: Query) -> object:
    body = {
        name: list(texts) if name in FILTER_FIELDS and FILTER_FIELDS[name].max_values else texts[0]
        for name, texts in query.items()
    }
    counts = {name: int(query[name][0]) for name in ("attempts_min", "attempts_max") if name in query}
    return ReplayIn.model_validate({"selection": body | counts, "reason": "outage"}).to_command().selection


def read_by_command_line(query: Query) -> DeliveryFilter:
    arguments = [f"--{name.replace('_', '-')}={text}" for name, texts in query.items() for text in texts]
    result = CliRunner().invoke(command_line, arguments)
    assert result.exit_code == 0, result.output
    return seen.pop()


def read_by_console(query: Query) -> DeliveryFilter | None:
    return parse_delivery_filters(Form(query), now=NOW).selection


@settings(deadline=None)
@given(FILTERS)
async def test_api_command_line_and_console_read_the_same_filter(delivery_filter: DeliveryFilter) -> None:
    query = build_query(delivery_filter)
    assert await read_by_api(query) == delivery_filter
    assert read_by_json(query) == delivery_filter
    assert read_by_command_line(query) == delivery_filter
    assert read_by_console(query) == delivery_filter
