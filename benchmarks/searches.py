"""Every kind of search in a ledger with millions of deliveries, with random values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random  # noqa: TID251  a benchmark has its own random numbers, with a seed
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import UUID

from benchmarks.history import (
    ACTORS,
    DAYS,
    ENDPOINTS_EACH,
    NOUNS,
    RARE_TYPE,
    TENANTS,
    TYPES,
    WRITER_COUNT,
    HistoryPlan,
)
from benchmarks.history_writer import CUSTOMERS
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.ids import EndpointId, EventId, TenantId, build_min_id
from delivery.domain.pagination import PageRequest
from delivery.domain.payload_path import PayloadEquals
from delivery.ledger.records.audit import AuditFilter
from delivery.ledger.records.events import EventFilter
from retries.health import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.history import HistoryEndpoint
    from delivery.services.audit import AuditService
    from delivery.services.deliveries import DeliveryService

PAGE_SIZE = 50
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SearchServices:
    """The use cases that run searches."""

    deliveries: DeliveryService
    audit: AuditService


class PreparedSearch(Protocol):
    """A search, ready to run."""

    async def run(self, engine: SearchServices) -> int:
        """Run it; returns the number of results."""


@dataclass(frozen=True, slots=True)
class DeliverySearch:
    """A page of deliveries."""

    tenant: TenantId | None
    selection: DeliveryFilter
    page_request: PageRequest

    async def run(self, engine: SearchServices) -> int:
        """Run it; returns the number of results."""
        return len(
            (await engine.deliveries.list_deliveries(self.tenant, self.selection, self.page_request)).items
        )


@dataclass(frozen=True, slots=True)
class DeliveryCount:
    """A count of deliveries."""

    tenant: TenantId | None
    selection: DeliveryFilter

    async def run(self, engine: SearchServices) -> int:
        """Run it; returns the count."""
        return (await engine.deliveries.count_deliveries(self.tenant, self.selection)).count


@dataclass(frozen=True, slots=True)
class EventSearch:
    """A page of events."""

    tenant: TenantId | None
    selection: EventFilter
    page_request: PageRequest

    async def run(self, engine: SearchServices) -> int:
        """Run it; returns the number of results."""
        return len(
            (await engine.deliveries.list_events(self.tenant, self.selection, self.page_request)).items
        )


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """A page of the audit log."""

    tenant: TenantId | None
    selection: AuditFilter
    page_request: PageRequest

    async def run(self, engine: SearchServices) -> int:
        """Run it; returns the number of results."""
        return len((await engine.audit.list_entries(self.tenant, self.selection, self.page_request)).items)


class SearchValues:
    """Draws random tenants, endpoints and times; those with more deliveries more often."""

    def __init__(self, plan: HistoryPlan, events: Sequence[tuple[TenantId, EventId, str | None]]) -> None:
        """`events` are existing ones, with tenants and keys."""
        self._plan = plan
        self._events = events
        self._keyed = [one for one in events if one[2] is not None]
        self._rng = Random(plan.seed)  # noqa: S311  not a secret
        self._held = [
            one for half in range(WRITER_COUNT) for one in plan.list_endpoints_in_state("paused", half)
        ]
        self._broken = [
            one for half in range(WRITER_COUNT) for one in plan.list_endpoints_in_state("broken", half)
        ]

    def draw_tenant(self) -> TenantId:
        """Draw a tenant."""
        return self._plan.tenants[int(TENANTS * self._rng.random() ** 3)]

    def draw_endpoint(self) -> tuple[TenantId, EndpointId]:
        """Draw an endpoint and its tenant."""
        choices = self._plan.endpoints_by_tenant[int(TENANTS * self._rng.random() ** 3)]
        place = int(ENDPOINTS_EACH // WRITER_COUNT * self._rng.random() ** 2) * WRITER_COUNT
        return _to_ids(choices[place + self._rng.randrange(WRITER_COUNT)])

    def draw_paused_endpoint(self) -> tuple[TenantId, EndpointId]:
        """Draw a paused endpoint and its tenant."""
        return _to_ids(self._rng.choice(self._held))

    def draw_broken_endpoint(self) -> tuple[TenantId, EndpointId]:
        """Draw an endpoint with an open breaker, and its tenant."""
        return _to_ids(self._rng.choice(self._broken))

    def draw_event(self) -> tuple[TenantId, EventId]:
        """Draw an event."""
        tenant, event, _ = self._rng.choice(self._events)
        return tenant, event

    def draw_key(self) -> tuple[TenantId, str]:
        """Draw an idempotency key."""
        tenant, _, key = self._rng.choice(self._keyed)
        return tenant, key or ""

    def draw_type(self) -> str:
        """Draw an event type."""
        return TYPES[int(len(TYPES) * self._rng.random() ** 2)]

    def draw_pattern(self) -> str:
        """Draw the pattern of all types of one noun."""
        return f"{self._rng.choice(NOUNS)}.*"

    def draw_actor(self) -> str:
        """Draw an actor."""
        return self._rng.choice(ACTORS)

    def draw_customer(self) -> PayloadEquals:
        """Draw a customer in payloads."""
        return PayloadEquals.parse(f"$.customer=c-{self._rng.randrange(CUSTOMERS)}")

    def draw_time(self) -> datetime:
        """Draw a time in the history."""
        return self._plan.now - timedelta(days=(DAYS - 1) * self._rng.random())

    def choose(self, choices: Sequence[T]) -> T:
        """Draw one of these."""
        return self._rng.choice(choices)

    def draw_page_request(self) -> PageRequest:
        """Draw the first page or one from the middle, with equal chance."""
        return PageRequest(PAGE_SIZE) if self._rng.random() < 0.5 else self.draw_deep_page()  # noqa: PLR2004  equal chance

    def draw_deep_page(self) -> PageRequest:
        """Draw a page from the middle, newest first."""
        return PageRequest(PAGE_SIZE, before=self._draw_position())

    def draw_deep_page_oldest_first(self) -> PageRequest:
        """Draw a page from the middle, oldest first."""
        return PageRequest(PAGE_SIZE, after=self._draw_position(), oldest_first=True)

    def _draw_position(self) -> UUID:
        return UUID(int=build_min_id(self.draw_time()).int | self._rng.getrandbits(64))


@dataclass(frozen=True, slots=True)
class SearchKind:
    """A kind of search; `is_indexed`: an index finds the rows, and nothing else is read."""

    name: str
    prepare: Callable[[SearchValues], PreparedSearch]
    is_indexed: bool = True


def _to_ids(one: HistoryEndpoint) -> tuple[TenantId, EndpointId]:
    return TenantId(UUID(one.tenant)), EndpointId(UUID(one.id))


def _make_delivery_search(
    tenant: Callable[[SearchValues], TenantId] | None,
    selection: Callable[[SearchValues], DeliveryFilter],
    page_request: Callable[[SearchValues], PageRequest] = SearchValues.draw_page_request,
) -> Callable[[SearchValues], DeliverySearch]:
    return lambda values: DeliverySearch(
        tenant(values) if tenant else None, selection(values), page_request(values)
    )


def _make_endpoint_search(
    draw: Callable[[SearchValues], tuple[TenantId, EndpointId]] = SearchValues.draw_endpoint,
    *,
    statuses: tuple[DeliveryStatus, ...] = (),
    held_by: tuple[Hold, ...] = (),
) -> Callable[[SearchValues], DeliverySearch]:
    def prepare(values: SearchValues) -> DeliverySearch:
        tenant, endpoint = draw(values)
        selection = DeliveryFilter(endpoints=(endpoint,), statuses=statuses, held_by=held_by)
        return DeliverySearch(
            tenant, selection, values.draw_page_request() if statuses else values.draw_deep_page()
        )

    return prepare


def _search_event(values: SearchValues) -> DeliverySearch:
    tenant, event = values.draw_event()
    return DeliverySearch(tenant, DeliveryFilter(event_id=event), PageRequest(PAGE_SIZE))


def _search_key(values: SearchValues) -> DeliverySearch:
    tenant, key = values.draw_key()
    return DeliverySearch(tenant, DeliveryFilter(idempotency_key=key), PageRequest(PAGE_SIZE))


def _search_event_by_key(values: SearchValues) -> EventSearch:
    tenant, key = values.draw_key()
    return EventSearch(tenant, EventFilter(idempotency_key=key), PageRequest(PAGE_SIZE))


def _select_hour(values: SearchValues) -> DeliveryFilter:
    since = values.draw_time()
    return DeliveryFilter(since=since, until=since + timedelta(hours=1))


def _select_type(values: SearchValues) -> DeliveryFilter:
    return DeliveryFilter(types=(values.draw_type(),))


def _select_pattern(values: SearchValues) -> DeliveryFilter:
    return DeliveryFilter(types=(values.draw_pattern(),))


def _select_payload(values: SearchValues) -> DeliveryFilter:
    return DeliveryFilter(payload=(values.draw_customer(),))


def _search_events_of_type(values: SearchValues) -> EventSearch:
    return EventSearch(
        values.draw_tenant(), EventFilter(types=(values.draw_type(),)), values.draw_page_request()
    )


def _search_events_by_payload(values: SearchValues) -> EventSearch:
    return EventSearch(
        values.draw_tenant(), EventFilter(payload=(values.draw_customer(),)), values.draw_page_request()
    )


def _make_bounded_search(name: str, prepare: Callable[[SearchValues], PreparedSearch]) -> SearchKind:
    return SearchKind(name, prepare, is_indexed=False)


_ALL = DeliveryFilter()
_RARE = DeliveryFilter(types=(RARE_TYPE,))
_FAILED = DeliveryFilter(statuses=(DeliveryStatus.FAILED,))
_PENDING = DeliveryFilter(statuses=(DeliveryStatus.PENDING,))
_TIMED_OUT = DeliveryFilter(outcomes=("timed_out",))
_5XX = DeliveryFilter(http=("5xx",))
_OFTEN = DeliveryFilter(attempts_min=5)
_PAUSED = DeliveryFilter(held_by=(Hold.PAUSED,))
_BROKEN = DeliveryFilter(held_by=(Hold.BREAKER_OPEN,))

SEARCHES = (
    SearchKind("newest", _make_delivery_search(None, lambda _: _ALL, lambda _: PageRequest(PAGE_SIZE))),
    SearchKind(
        "newest of a tenant",
        _make_delivery_search(SearchValues.draw_tenant, lambda _: _ALL, lambda _: PageRequest(PAGE_SIZE)),
    ),
    SearchKind(
        "deep, newest first", _make_delivery_search(None, lambda _: _ALL, SearchValues.draw_deep_page)
    ),
    SearchKind(
        "deep, oldest first",
        _make_delivery_search(None, lambda _: _ALL, SearchValues.draw_deep_page_oldest_first),
    ),
    SearchKind(
        "deep of a tenant, newest first",
        _make_delivery_search(SearchValues.draw_tenant, lambda _: _ALL, SearchValues.draw_deep_page),
    ),
    SearchKind(
        "deep of a tenant, oldest first",
        _make_delivery_search(
            SearchValues.draw_tenant, lambda _: _ALL, SearchValues.draw_deep_page_oldest_first
        ),
    ),
    SearchKind("endpoint", _make_endpoint_search()),
    SearchKind("failed", _make_delivery_search(None, lambda _: _FAILED)),
    SearchKind("failed of a tenant", _make_delivery_search(SearchValues.draw_tenant, lambda _: _FAILED)),
    SearchKind("failed of an endpoint", _make_endpoint_search(statuses=(DeliveryStatus.FAILED,))),
    SearchKind("pending", _make_delivery_search(None, lambda _: _PENDING)),
    SearchKind("pending of a tenant", _make_delivery_search(SearchValues.draw_tenant, lambda _: _PENDING)),
    SearchKind(
        "pending of an endpoint",
        _make_endpoint_search(SearchValues.draw_paused_endpoint, statuses=(DeliveryStatus.PENDING,)),
    ),
    SearchKind("timed out", _make_delivery_search(None, lambda _: _TIMED_OUT)),
    SearchKind(
        "timed out, of a tenant", _make_delivery_search(SearchValues.draw_tenant, lambda _: _TIMED_OUT)
    ),
    SearchKind("HTTP 5xx", _make_delivery_search(None, lambda _: _5XX)),
    SearchKind("HTTP 5xx of a tenant", _make_delivery_search(SearchValues.draw_tenant, lambda _: _5XX)),
    SearchKind("an hour", _make_delivery_search(None, _select_hour, lambda _: PageRequest(PAGE_SIZE))),
    SearchKind(
        "an hour of a tenant",
        _make_delivery_search(SearchValues.draw_tenant, _select_hour, lambda _: PageRequest(PAGE_SIZE)),
    ),
    SearchKind("event", _search_event),
    SearchKind("idempotency key", _search_key),
    SearchKind("held by a pause", _make_delivery_search(None, lambda _: _PAUSED)),
    SearchKind(
        "held by a pause, of a tenant",
        lambda values: DeliverySearch(values.draw_paused_endpoint()[0], _PAUSED, values.draw_page_request()),
    ),
    SearchKind("held by a breaker", _make_delivery_search(None, lambda _: _BROKEN)),
    SearchKind(
        "held by a breaker, of an endpoint",
        _make_endpoint_search(SearchValues.draw_broken_endpoint, held_by=(Hold.BREAKER_OPEN,)),
    ),
    SearchKind("events", lambda values: EventSearch(None, EventFilter(), values.draw_page_request())),
    SearchKind(
        "events of a tenant",
        lambda values: EventSearch(values.draw_tenant(), EventFilter(), values.draw_page_request()),
    ),
    SearchKind("event of an idempotency key", _search_event_by_key),
    SearchKind("audit", lambda values: AuditSearch(None, AuditFilter(), values.draw_page_request())),
    _make_bounded_search("a type", _make_delivery_search(None, _select_type)),
    _make_bounded_search(
        "a type, of a tenant", _make_delivery_search(SearchValues.draw_tenant, _select_type)
    ),
    _make_bounded_search(
        "all types of a noun, of a tenant", _make_delivery_search(SearchValues.draw_tenant, _select_pattern)
    ),
    _make_bounded_search("a rare type", _make_delivery_search(None, lambda _: _RARE)),
    _make_bounded_search(
        "a rare type, of a tenant", _make_delivery_search(SearchValues.draw_tenant, lambda _: _RARE)
    ),
    _make_bounded_search("5 attempts and more", _make_delivery_search(None, lambda _: _OFTEN)),
    _make_bounded_search(
        "5 attempts and more, of a tenant", _make_delivery_search(SearchValues.draw_tenant, lambda _: _OFTEN)
    ),
    _make_bounded_search(
        "payload, of a tenant", _make_delivery_search(SearchValues.draw_tenant, _select_payload)
    ),
    _make_bounded_search("events of a type, of a tenant", _search_events_of_type),
    _make_bounded_search("events by payload, of a tenant", _search_events_by_payload),
    _make_bounded_search(
        "audit of a tenant",
        lambda values: AuditSearch(values.draw_tenant(), AuditFilter(), values.draw_page_request()),
    ),
    _make_bounded_search(
        "audit of an actor",
        lambda values: AuditSearch(None, AuditFilter(actor=values.draw_actor()), values.draw_page_request()),
    ),
    _make_bounded_search("count", lambda _: DeliveryCount(None, _ALL)),
    _make_bounded_search("count of a tenant", lambda values: DeliveryCount(values.draw_tenant(), _ALL)),
    _make_bounded_search("count of failed", lambda _: DeliveryCount(None, _FAILED)),
    _make_bounded_search(
        "count of failed, of a tenant", lambda values: DeliveryCount(values.draw_tenant(), _FAILED)
    ),
    _make_bounded_search(
        "count of an hour, of a tenant",
        lambda values: DeliveryCount(values.draw_tenant(), _select_hour(values)),
    ),
)
