"""Retention: what is past its term goes, in steps that nobody notices; a run does so much and no more."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from delivery import retention
from delivery.ledger import thinning
from delivery.ledger.partitions import bounds
from delivery.ledger.retiring import Fate, Retiring
from delivery.ledger.thinning import AT_ONCE, NIL, Span
from delivery.model import id_floor
from delivery.retention import Content, Day, Thin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.thinning import Step
    from delivery.model import EndpointId, TenantId
    from delivery.retention import Plan, Terms

    Change = Callable[..., Awaitable[Step]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How many steps a run takes at most, how long it rests before each, how long it waits for readers."""

    steps: int = 500
    rest: timedelta = timedelta(milliseconds=50)
    patience: timedelta = timedelta(seconds=60)


@dataclass(slots=True)
class Report:
    """What a run did. `more`: it came to its bound; `owed` and `busy` are days that it left for later."""

    dropped: list[str] = field(default_factory=list)
    owed: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    payloads: int = 0
    attempts: int = 0
    deliveries: int = 0
    events: int = 0
    replays: int = 0
    more: bool = False

    def facts(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)

    @property
    def did_something(self) -> bool:
        """Whether anything is gone that was there before."""
        return any((self.dropped, self.payloads, self.attempts, self.deliveries, self.events, self.replays))


class Retention:
    """Takes away what is past its term, and remembers what it has looked through today."""

    def __init__(
        self, ledger: Ledger, terms: Terms, *, clock: Callable[[], datetime], pace: Pace | None = None
    ) -> None:
        """Nothing is read yet."""
        self._ledger = ledger
        self._terms = terms
        self._clock = clock
        self._pace = pace or Pace()
        self._seen = _Seen()

    async def look(self) -> Plan:
        """What is past its term now; nothing is changed."""
        days = await Retiring.open(self._ledger, patience=self._pace.patience)
        try:
            return await self._plan(days, self._clock())
        finally:
            await days.close()

    async def run(self) -> Report | None:
        """Take away what is past its term, up to the bound of a run. None: another process is just at it."""
        days = await Retiring.open(self._ledger, patience=self._pace.patience)
        try:
            if not await days.take_turn():
                return None
            run = _Run(self._ledger, days, self._pace, self._seen)
            await run.mend()
            now = self._clock()
            await run.follow(await self._plan(days, now), today=now.astimezone(UTC).date())
            return run.report
        finally:
            await days.close()

    async def _plan(self, days: Retiring, now: datetime) -> Plan:
        async with self._ledger.transaction() as tx:
            tenants = await thinning.tenants_terms(tx)
        return retention.plan(self._terms, now, await days.partitions(), tenants)


@dataclass(slots=True)
class _Walk:
    """How far a walk over ids came: `reached` is the last it saw, `spared` the first it had to leave."""

    reached: UUID
    changed: int = 0
    ended: bool = False
    spared: UUID | None = None

    def add(self, step: Step) -> None:
        self.reached = step.last
        self.changed += step.changed
        self.ended = not step.full
        self.spared = self.spared or step.spared


@dataclass(slots=True)
class _Seen:
    """What need not be looked through again: today, or ever for payloads that a tenant had.

    `walks` are those that a run could not end. Lost with the process: then it is looked through once more.
    """

    today: date | None = None
    days: set[Day] = field(default_factory=set)
    thin: set[Thin] = field(default_factory=set)
    bare_behind: dict[TenantId, UUID] = field(default_factory=dict)
    walks: dict[Day | Thin, _Walk] = field(default_factory=dict)

    def begin(self, today: date) -> None:
        """On another day all is looked at anew."""
        if today != self.today:
            self.today = today
            self.days.clear()
            self.thin.clear()
            self.walks.clear()


class _Run:
    """One run: follows a plan until it is done or its steps are spent."""

    def __init__(self, ledger: Ledger, days: Retiring, pace: Pace, seen: _Seen) -> None:
        self._ledger = ledger
        self._days = days
        self._rest = pace.rest.total_seconds()
        self._left = pace.steps
        self._seen = seen
        self._busy: set[Day] = set()
        self.report = Report()

    async def mend(self) -> None:
        """End what an earlier run has left half done."""
        for day, fate in await self._days.mend():
            self._note(day, fate)

    async def follow(self, plan: Plan, *, today: date) -> None:
        """Do what the plan says, whole days first: they cost next to nothing."""
        self._seen.begin(today)
        for group in plan.drops:
            await self._drop(group)
        for day in plan.bodies:
            await self._strip(day)
        for thin in plan.thin:
            await self._thin(thin)
        await self._forget_replays(plan.replays)

    async def _drop(self, group: tuple[Day, ...]) -> None:
        # What finds deliveries stays for as long as they do. While one day of a table is half taken out, no
        # other day of it can be taken.
        for day in group:
            if any(busy.table == day.table or busy.day == day.day for busy in self._busy):
                return
            fate = await self._days.retire(day)
            self._note(day, fate)
            if fate is not Fate.DROPPED:
                return

    def _note(self, day: Day, fate: Fate) -> None:
        match fate:
            case Fate.DROPPED:
                self.report.dropped.append(day.name)
            case Fate.OWED:
                self.report.owed.append(day.name)
            case Fate.BUSY:
                self._busy.add(day)
                self.report.busy.append(day.name)

    async def _strip(self, day: Day) -> None:
        if day in self._seen.days:
            return
        walk = await self._walk_events(day, Span(*bounds(day.day)), thinning.forget_bodies)
        self.report.payloads += walk.changed
        if walk.ended:
            self._seen.days.add(day)
            if walk.spared is None:
                await self._days.note_bare(day)

    async def _thin(self, thin: Thin) -> None:
        if thin in self._seen.thin:
            return
        span = Span(NIL, bounds(thin.before)[0], thin.tenant_id)
        match thin.content:
            case Content.PAYLOAD:
                ended = await self._strip_of_tenant(thin, span)
            case Content.ATTEMPTS:
                ended = await self._thin_attempts(thin.tenant_id, span)
            case Content.DELIVERIES:
                walk = await self._walk(thin, span, thinning.forget_deliveries)
                self.report.deliveries += walk.changed
                ended = await self._forget_replays(thin.before, thin.tenant_id) and walk.ended
            case Content.EVENTS:
                walk = await self._walk_events(thin, span, thinning.forget_events)
                self.report.events += walk.changed
                ended = walk.ended
            case _:
                raise AssertionError(thin)  # tenants have no more
        if ended:
            self._seen.thin.add(thin)

    async def _strip_of_tenant(self, thin: Thin, span: Span) -> bool:
        begin = self._seen.bare_behind.get(thin.tenant_id, span.after)
        walk = await self._walk_events(thin, replace(span, after=begin), thinning.forget_bodies)
        self.report.payloads += walk.changed
        bare = walk.reached if walk.spared is None else _before(walk.spared)
        self._seen.bare_behind[thin.tenant_id] = max(begin, bare)
        return walk.ended

    async def _thin_attempts(self, tenant_id: TenantId, span: Span) -> bool:
        endpoints: list[EndpointId] = []
        while await self._may():
            async with self._ledger.transaction() as tx:
                after = endpoints[-1] if endpoints else NIL
                endpoints = await thinning.endpoints_of(tx, tenant_id, after=after)
            if not endpoints:
                return True
            if not await self._thin_attempts_at(endpoints, before=span.before):
                return False
        return False

    async def _thin_attempts_at(self, endpoints: list[EndpointId], *, before: UUID) -> bool:
        while await self._may():
            async with self._ledger.transaction() as tx:
                gone = await thinning.forget_attempts(tx, endpoints, before=before)
            self.report.attempts += gone
            if gone < AT_ONCE:
                return True
        return False

    async def _forget_replays(self, before: date, tenant_id: TenantId | None = None) -> bool:
        moment = datetime.combine(before, time(), tzinfo=UTC)
        while await self._may():
            async with self._ledger.transaction() as tx:
                old = await thinning.old_replay(
                    tx, floor=id_floor(moment), before=moment, tenant_id=tenant_id
                )
                if old is None:
                    return True
                self.report.replays += await thinning.forget_replay(tx, old)
        return False

    async def _walk_events(self, key: Day | Thin, span: Span, change: Change) -> _Walk:
        """Walk over events and spare those that are still owed, of which so many are kept in mind at once."""
        walk = self._begin(key, span)
        while not walk.ended and await self._may():
            async with self._ledger.transaction() as tx:
                owed, known = await thinning.owed_events(tx, replace(span, after=walk.reached))
            part = replace(span, before=min(span.before, _behind(known)))
            await self._go_on(walk, part, partial(change, owed=owed))
            if walk.ended and known < span.before:
                walk.ended, walk.reached = False, known
        return self._keep(key, walk)

    async def _walk(
        self, key: Thin, span: Span, step: Callable[[Transaction, Span], Awaitable[Step]]
    ) -> _Walk:
        walk = self._begin(key, span)
        await self._go_on(walk, span, step)
        return self._keep(key, walk)

    async def _go_on(
        self, walk: _Walk, span: Span, step: Callable[[Transaction, Span], Awaitable[Step]]
    ) -> None:
        while not walk.ended and await self._may():
            async with self._ledger.transaction() as tx:
                walk.add(await step(tx, replace(span, after=walk.reached)))

    def _begin(self, key: Day | Thin, span: Span) -> _Walk:
        """Begin a walk, or go on with one that an earlier run did not end."""
        earlier = self._seen.walks.pop(key, None)
        return _Walk(span.after) if earlier is None else replace(earlier, changed=0)

    def _keep(self, key: Day | Thin, walk: _Walk) -> _Walk:
        if not walk.ended:
            self._seen.walks[key] = walk
        return walk

    async def _may(self) -> bool:
        """Whether there is a step left; before each comes a rest, so that others come first."""
        if not self._left:
            self.report.more = True
            return False
        self._left -= 1
        await asyncio.sleep(self._rest)
        return True


def _behind(id_: UUID) -> UUID:
    return UUID(int=id_.int + 1)


def _before(id_: UUID) -> UUID:
    return UUID(int=id_.int - 1)
