"""What a process knows of the types whose events are held against a schema, without asking for each event."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from delivery.domain.errors import Invalid
from delivery.domain.json_schema import InvalidSchema, compile_schema
from delivery.ledger.records import event_types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from delivery.domain.json_schema import SchemaViolation, Validator
    from delivery.ledger.db.session import Ledger
    from delivery.pipeline.parsing import NewEvent

log = structlog.get_logger()

# After the catalogue was changed, another process may go by the older one for so long.
MAX_AGE: Final = timedelta(seconds=5)
# Data is looked at on the loop that answers everybody: after so many seconds of it the others have a turn.
_YIELD_INTERVAL_SECONDS: Final = 0.005
# About a millisecond at worst.
_MAX_INLINE_STEPS: Final = 5_000


class SchemaCache:
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
        self._schema_texts: Mapping[str, str] = {}
        self._version: int | None = None
        self._loaded_at: datetime | None = None
        self._load_task: asyncio.Task[bool] | None = None
        self._slow_check_lock = asyncio.Lock()

    async def check_events(self, events: Sequence[NewEvent], *, single: bool) -> None:
        """Raise Invalid for the first event that is not as its type's schema says, by the path within it.

        Raises Unavailable when the ledger does not answer.
        """
        if not self._is_fresh():
            while not await self._refresh():
                pass
        if not self._validators:
            return
        turn_ends = perf_counter() + _YIELD_INTERVAL_SECONDS
        for place, event in enumerate(events):
            validator = self._validators.get(event.type)
            if validator is None:
                continue
            fault = await self._find_violation(validator, event.data)
            if perf_counter() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = perf_counter() + _YIELD_INTERVAL_SECONDS
            if fault is not None:
                field = fault.format_path("data" if single else f"events.{place}.data")
                raise Invalid(field, f"is not as the schema of {event.type} says: {fault.why}")

    def invalidate(self) -> None:
        """Look again next time: this process has just changed the catalogue."""
        self._loaded_at = None
        self._load_task = None

    def _is_fresh(self) -> bool:
        at = self._loaded_at
        return at is not None and at <= self._clock() < at + MAX_AGE

    async def _find_violation(self, validator: Validator, data: bytes) -> SchemaViolation | None:
        """What is wrong with some data. What may take long is looked at one by one, and others between."""
        if validator.estimate_steps(data) < _MAX_INLINE_STEPS:
            return validator.find_violation(data)
        async with self._slow_check_lock:
            await asyncio.sleep(0)
            return validator.find_violation(data)

    async def _refresh(self) -> bool:
        """Ask what is expected; false if that was changed here meanwhile, and is to be asked anew."""
        if self._load_task is None:
            self._load_task = asyncio.create_task(self._load())
            self._load_task.add_done_callback(self._on_load_done)
        # Shielded: when one of those who wait gives up, the others wait on.
        return await asyncio.shield(self._load_task)

    async def _load(self) -> bool:
        now = self._clock()
        async with self._ledger.transaction() as tx:
            # Asked first: a change that comes between the two is seen the next time.
            version = await event_types.read_catalogue_version(tx)
            schemas = None if version == self._version else await event_types.load_validation_schemas(tx)
        if self._load_task is not asyncio.current_task():
            return False
        if schemas is not None:
            self._validators = {
                name: made for name, text in schemas.items() if (made := self._build_validator(name, text))
            }
            self._schema_texts = schemas
            self._version = version
        self._loaded_at = now
        return True

    def _build_validator(self, name: str, text: str) -> Validator | None:
        """A validator; None for a schema that another release took and this one does not."""
        if self._schema_texts.get(name) == text and name in self._validators:
            return self._validators[name]
        try:
            return compile_schema(msgspec.json.decode(text))
        except InvalidSchema as error:
            log.warning("event_type.not_validated", event_type=name, why=str(error))
            return None

    def _on_load_done(self, done: asyncio.Task[bool]) -> None:
        if self._load_task is done:
            self._load_task = None
        # Asking for it tells asyncio that it was seen, when all who waited have gone.
        if not done.cancelled():
            done.exception()
