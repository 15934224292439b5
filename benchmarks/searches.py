"""What is searched for among millions of deliveries: each kind of search, its values drawn by lot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random  # noqa: TID251  a benchmark brings its own dice, with a seed
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import UUID

from benchmarks.halves import CUSTOMERS
from benchmarks.history import (
    ACTORS,
    DAYS,
    ENDPOINTS_EACH,
    HALVES,
    NOUNS,
    RARE,
    TENANTS,
    TYPES,
    Plan,
)
from delivery.audit import Audit, AuditSelection
from delivery.deliveries import Deliveries, DeliverySelection, EventSelection
from delivery.model import DeliveryStatus, EndpointId, EventId, TenantId, id_floor
from delivery.paging import Cut
from delivery.payload import PayloadEquals
from retries.health import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.history import Target

PAGE = 50
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Engine:
    """The use cases that are asked."""

    deliveries: Deliveries
    audit: Audit


class Asked(Protocol):
    """One search, ready to be made."""

    async def of(self, engine: Engine) -> int:
        """Make it; how much was found."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of deliveries."""

    tenant: TenantId | None
    wanted: DeliverySelection
    cut: Cut

    async def of(self, engine: Engine) -> int:
        """How many are on the page."""
        return len((await engine.deliveries.page(self.tenant, self.wanted, self.cut)).items)


@dataclass(frozen=True, slots=True)
class Count:
    """How many deliveries there are."""

    tenant: TenantId | None
    wanted: DeliverySelection

    async def of(self, engine: Engine) -> int:
        """As many as were counted."""
        return (await engine.deliveries.count(self.tenant, self.wanted)).count


@dataclass(frozen=True, slots=True)
class Events:
    """A page of events."""

    tenant: TenantId | None
    wanted: EventSelection
    cut: Cut

    async def of(self, engine: Engine) -> int:
        """How many are on the page."""
        return len((await engine.deliveries.events(self.tenant, self.wanted, self.cut)).items)


@dataclass(frozen=True, slots=True)
class Entries:
    """A page of the audit."""

    tenant: TenantId | None
    wanted: AuditSelection
    cut: Cut

    async def of(self, engine: Engine) -> int:
        """How many are on the page."""
        return len((await engine.audit.page(self.tenant, self.wanted, self.cut)).items)


class Dice:
    """Draws tenants, endpoints and moments; who has more deliveries is drawn more often."""

    def __init__(self, plan: Plan, events: Sequence[tuple[TenantId, EventId, str | None]]) -> None:
        """`events` are some that are there, with their tenants and keys."""
        self._plan = plan
        self._events = events
        self._keyed = [one for one in events if one[2] is not None]
        self._lots = Random(plan.seed)  # noqa: S311  nothing is secret here
        self._held = [one for half in range(HALVES) for one in plan.standing("paused", half)]
        self._broken = [one for half in range(HALVES) for one in plan.standing("broken", half)]

    def tenant(self) -> TenantId:
        """A tenant."""
        return self._plan.tenants[int(TENANTS * self._lots.random() ** 3)]

    def endpoint(self) -> tuple[TenantId, EndpointId]:
        """An endpoint, and whose it is."""
        some = self._plan.targets[int(TENANTS * self._lots.random() ** 3)]
        place = int(ENDPOINTS_EACH // HALVES * self._lots.random() ** 2) * HALVES
        return _ids(some[place + self._lots.randrange(HALVES)])

    def paused(self) -> tuple[TenantId, EndpointId]:
        """An endpoint that is paused, and whose it is."""
        return _ids(self._lots.choice(self._held))

    def broken(self) -> tuple[TenantId, EndpointId]:
        """An endpoint whose breaker is open, and whose it is."""
        return _ids(self._lots.choice(self._broken))

    def event(self) -> tuple[TenantId, EventId]:
        """An event."""
        tenant, event, _ = self._lots.choice(self._events)
        return tenant, event

    def key(self) -> tuple[TenantId, str]:
        """An idempotency key."""
        tenant, _, key = self._lots.choice(self._keyed)
        return tenant, key or ""

    def type(self) -> str:
        """A type of event."""
        return TYPES[int(len(TYPES) * self._lots.random() ** 2)]

    def noun(self) -> str:
        """The pattern of all types of one noun."""
        return f"{self._lots.choice(NOUNS)}.*"

    def actor(self) -> str:
        """Somebody who did something."""
        return self._lots.choice(ACTORS)

    def customer(self) -> PayloadEquals:
        """A customer, as payloads name one."""
        return PayloadEquals.parse(f"$.customer=c-{self._lots.randrange(CUSTOMERS)}")

    def moment(self) -> datetime:
        """Some moment of the history."""
        return self._plan.now - timedelta(days=(DAYS - 1) * self._lots.random())

    def one_of(self, some: Sequence[T]) -> T:
        """One of these."""
        return self._lots.choice(some)

    def cut(self) -> Cut:
        """The first page, or one from the middle, as often."""
        return Cut(PAGE) if self._lots.random() < 0.5 else self.deep()  # noqa: PLR2004  a coin

    def deep(self) -> Cut:
        """A page from the middle, newest first."""
        return Cut(PAGE, before=self._place())

    def deep_oldest_first(self) -> Cut:
        """A page from the middle, oldest first."""
        return Cut(PAGE, after=self._place(), oldest_first=True)

    def _place(self) -> UUID:
        return UUID(int=id_floor(self.moment()).int | self._lots.getrandbits(64))


@dataclass(frozen=True, slots=True)
class Search:
    """A kind of search; `indexed`: an index leads to what is meant, so that nothing else is looked at."""

    name: str
    ask: Callable[[Dice], Asked]
    indexed: bool = True


def _ids(one: Target) -> tuple[TenantId, EndpointId]:
    return TenantId(UUID(one.tenant)), EndpointId(UUID(one.id))


def _page(
    tenant: Callable[[Dice], TenantId] | None,
    wanted: Callable[[Dice], DeliverySelection],
    cut: Callable[[Dice], Cut] = Dice.cut,
) -> Callable[[Dice], Page]:
    return lambda dice: Page(tenant(dice) if tenant else None, wanted(dice), cut(dice))


def _endpoints(
    draw: Callable[[Dice], tuple[TenantId, EndpointId]] = Dice.endpoint,
    *,
    statuses: tuple[DeliveryStatus, ...] = (),
    held_by: tuple[Hold, ...] = (),
) -> Callable[[Dice], Page]:
    def ask(dice: Dice) -> Page:
        tenant, endpoint = draw(dice)
        wanted = DeliverySelection(endpoints=(endpoint,), statuses=statuses, held_by=held_by)
        return Page(tenant, wanted, dice.cut() if statuses else dice.deep())

    return ask


def _of_event(dice: Dice) -> Page:
    tenant, event = dice.event()
    return Page(tenant, DeliverySelection(event_id=event), Cut(PAGE))


def _of_key(dice: Dice) -> Page:
    tenant, key = dice.key()
    return Page(tenant, DeliverySelection(idempotency_key=key), Cut(PAGE))


def _event_of_key(dice: Dice) -> Events:
    tenant, key = dice.key()
    return Events(tenant, EventSelection(idempotency_key=key), Cut(PAGE))


def _hour(dice: Dice) -> DeliverySelection:
    since = dice.moment()
    return DeliverySelection(since=since, until=since + timedelta(hours=1))


def _type(dice: Dice) -> DeliverySelection:
    return DeliverySelection(types=(dice.type(),))


def _noun(dice: Dice) -> DeliverySelection:
    return DeliverySelection(types=(dice.noun(),))


def _payload(dice: Dice) -> DeliverySelection:
    return DeliverySelection(payload=(dice.customer(),))


def _events_of_type(dice: Dice) -> Events:
    return Events(dice.tenant(), EventSelection(types=(dice.type(),)), dice.cut())


def _events_by_payload(dice: Dice) -> Events:
    return Events(dice.tenant(), EventSelection(payload=(dice.customer(),)), dice.cut())


def _bounded(name: str, ask: Callable[[Dice], Asked]) -> Search:
    return Search(name, ask, indexed=False)


_ALL = DeliverySelection()
_RARE = DeliverySelection(types=(RARE,))
_FAILED = DeliverySelection(statuses=(DeliveryStatus.FAILED,))
_PENDING = DeliverySelection(statuses=(DeliveryStatus.PENDING,))
_TIMED_OUT = DeliverySelection(outcomes=("timed_out",))
_5XX = DeliverySelection(http=("5xx",))
_OFTEN = DeliverySelection(attempts_min=5)
_PAUSED = DeliverySelection(held_by=(Hold.PAUSED,))
_BROKEN = DeliverySelection(held_by=(Hold.BREAKER_OPEN,))

KINDS = (
    Search("newest", _page(None, lambda _: _ALL, lambda _: Cut(PAGE))),
    Search("newest of a tenant", _page(Dice.tenant, lambda _: _ALL, lambda _: Cut(PAGE))),
    Search("deep, newest first", _page(None, lambda _: _ALL, Dice.deep)),
    Search("deep, oldest first", _page(None, lambda _: _ALL, Dice.deep_oldest_first)),
    Search("deep of a tenant, newest first", _page(Dice.tenant, lambda _: _ALL, Dice.deep)),
    Search("deep of a tenant, oldest first", _page(Dice.tenant, lambda _: _ALL, Dice.deep_oldest_first)),
    Search("endpoint", _endpoints()),
    Search("failed", _page(None, lambda _: _FAILED)),
    Search("failed of a tenant", _page(Dice.tenant, lambda _: _FAILED)),
    Search("failed of an endpoint", _endpoints(statuses=(DeliveryStatus.FAILED,))),
    Search("pending", _page(None, lambda _: _PENDING)),
    Search("pending of a tenant", _page(Dice.tenant, lambda _: _PENDING)),
    Search("pending of an endpoint", _endpoints(Dice.paused, statuses=(DeliveryStatus.PENDING,))),
    Search("timed out", _page(None, lambda _: _TIMED_OUT)),
    Search("timed out, of a tenant", _page(Dice.tenant, lambda _: _TIMED_OUT)),
    Search("HTTP 5xx", _page(None, lambda _: _5XX)),
    Search("HTTP 5xx of a tenant", _page(Dice.tenant, lambda _: _5XX)),
    Search("an hour", _page(None, _hour, lambda _: Cut(PAGE))),
    Search("an hour of a tenant", _page(Dice.tenant, _hour, lambda _: Cut(PAGE))),
    Search("event", _of_event),
    Search("idempotency key", _of_key),
    Search("held by a pause", _page(None, lambda _: _PAUSED)),
    Search("held by a pause, of a tenant", lambda dice: Page(dice.paused()[0], _PAUSED, dice.cut())),
    Search("held by a breaker", _page(None, lambda _: _BROKEN)),
    Search("held by a breaker, of an endpoint", _endpoints(Dice.broken, held_by=(Hold.BREAKER_OPEN,))),
    Search("events", lambda dice: Events(None, EventSelection(), dice.cut())),
    Search("events of a tenant", lambda dice: Events(dice.tenant(), EventSelection(), dice.cut())),
    Search("event of an idempotency key", _event_of_key),
    Search("audit", lambda dice: Entries(None, AuditSelection(), dice.cut())),
    _bounded("a type", _page(None, _type)),
    _bounded("a type, of a tenant", _page(Dice.tenant, _type)),
    _bounded("all types of a noun, of a tenant", _page(Dice.tenant, _noun)),
    _bounded("a rare type", _page(None, lambda _: _RARE)),
    _bounded("a rare type, of a tenant", _page(Dice.tenant, lambda _: _RARE)),
    _bounded("5 attempts and more", _page(None, lambda _: _OFTEN)),
    _bounded("5 attempts and more, of a tenant", _page(Dice.tenant, lambda _: _OFTEN)),
    _bounded("payload, of a tenant", _page(Dice.tenant, _payload)),
    _bounded("events of a type, of a tenant", _events_of_type),
    _bounded("events by payload, of a tenant", _events_by_payload),
    _bounded("audit of a tenant", lambda dice: Entries(dice.tenant(), AuditSelection(), dice.cut())),
    _bounded("audit of an actor", lambda dice: Entries(None, AuditSelection(actor=dice.actor()), dice.cut())),
    _bounded("count", lambda _: Count(None, _ALL)),
    _bounded("count of a tenant", lambda dice: Count(dice.tenant(), _ALL)),
    _bounded("count of failed", lambda _: Count(None, _FAILED)),
    _bounded("count of failed, of a tenant", lambda dice: Count(dice.tenant(), _FAILED)),
    _bounded("count of an hour, of a tenant", lambda dice: Count(dice.tenant(), _hour(dice))),
)
