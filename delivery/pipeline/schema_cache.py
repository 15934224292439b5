"""What a process knows of the types whose events are held against a schema, without asking for each event."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from delivery.errors import Invalid
from delivery.ledger import event_types
from delivery.schemas import BadSchema, check_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from delivery.accept.parse import NewEvent
    from delivery.ledger import Ledger
    from delivery.schemas import Fault, Validator

log = structlog.get_logger()

# After the catalogue was changed, another process may go by the older one for so long.
AGE: Final = timedelta(seconds=5)
# Data is looked at on the loop that answers everybody: after so many seconds of it the others have a turn.
_TURN_SECONDS: Final = 0.005
# About a millisecond at worst.
_QUICK_STEPS: Final = 5_000


class Expected:
    """The validators of types that validate, as they were at most AGE ago.

    Every few seconds one of the requests asks whether the catalogue has changed, and those that come at the
    same time wait with it; the others cost a comparison of moments, and as much for each event where any
    type validates at all.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime]) -> None:
        """Nothing is known at first."""
        self._ledger = ledger
        self._clock = clock
        self._validators: Mapping[str, Validator] = {}
        self._texts: Mapping[str, str] = {}
        self._version: int | None = None
        self._looked_at: datetime | None = None
        self._looking: asyncio.Task[bool] | None = None
        self._slowly = asyncio.Lock()

    async def check(self, events: Sequence[NewEvent], *, single: bool) -> None:
        """Raise Invalid for the first event that is not as its type's schema says, by the path within it.

        Raises Unavailable when the ledger does not answer.
        """
        if not self._is_fresh():
            while not await self._look():
                pass
        if not self._validators:
            return
        turn_ends = perf_counter() + _TURN_SECONDS
        for place, event in enumerate(events):
            validator = self._validators.get(event.type)
            if validator is None:
                continue
            fault = await self._fault(validator, event.data)
            if perf_counter() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = perf_counter() + _TURN_SECONDS
            if fault is not None:
                field = fault.within("data" if single else f"events.{place}.data")
                raise Invalid(field, f"is not as the schema of {event.type} says: {fault.why}")

    def forget(self) -> None:
        """Look again next time: this process has just changed the catalogue."""
        self._looked_at = None
        self._looking = None

    def _is_fresh(self) -> bool:
        at = self._looked_at
        return at is not None and at <= self._clock() < at + AGE

    async def _fault(self, validator: Validator, data: bytes) -> Fault | None:
        """What is wrong with some data. What may take long is looked at one by one, and others between."""
        if validator.steps(data) < _QUICK_STEPS:
            return validator.fault(data)
        async with self._slowly:
            await asyncio.sleep(0)
            return validator.fault(data)

    async def _look(self) -> bool:
        """Ask what is expected; false if that was changed here meanwhile, and is to be asked anew."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._load())
            self._looking.add_done_callback(self._settle)
        # Shielded: when one of those who wait gives up, the others wait on.
        return await asyncio.shield(self._looking)

    async def _load(self) -> bool:
        now = self._clock()
        async with self._ledger.transaction() as tx:
            # Asked first: a change that comes between the two is seen the next time.
            version = await event_types.catalogue_version(tx)
            schemas = None if version == self._version else await event_types.validating(tx)
        if self._looking is not asyncio.current_task():
            return False
        if schemas is not None:
            self._validators = {
                name: made for name, text in schemas.items() if (made := self._validator(name, text))
            }
            self._texts = schemas
            self._version = version
        self._looked_at = now
        return True

    def _validator(self, name: str, text: str) -> Validator | None:
        """A validator; None for a schema that another release took and this one does not."""
        if self._texts.get(name) == text and name in self._validators:
            return self._validators[name]
        try:
            return check_schema(msgspec.json.decode(text))
        except BadSchema as error:
            log.warning("event_type.not_validated", event_type=name, why=str(error))
            return None

    def _settle(self, done: asyncio.Task[bool]) -> None:
        if self._looking is done:
            self._looking = None
        # Asking for it tells asyncio that it was seen, when all who waited have gone.
        if not done.cancelled():
            done.exception()
