"""The event types' schemas, cached in each process, so that events are validated without a query."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec

from delivery.domain.errors import Invalid
from delivery.domain.single_flight import SingleFlight
from delivery.ledger.records import event_types
from delivery.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from delivery.domain.json_schema import SchemaViolation, Validator
    from delivery.ledger.db.session import Ledger
    from delivery.pipeline.parsing import NewEvent

log = get_logger()

# How long another process may go by the previous catalogue after a change.
MAX_AGE: Final = timedelta(seconds=5)
# Validation runs on the event loop that serves everybody: it yields after this long.
_YIELD_INTERVAL_SECONDS: Final = 0.005
# About a millisecond at worst.
_MAX_INLINE_STEPS: Final = 5_000


class SchemaCache:
    """The validators of event types that validate, at most MAX_AGE old.

    Every few seconds one request checks whether the catalogue has changed, and concurrent ones wait with it.
    The others compare two times, and look each event's type up if any type validates at all.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._validators: Mapping[str, Validator] = {}
        self._schema_texts: Mapping[str, str] = {}
        self._version: int | None = None
        self._loaded_at: datetime | None = None
        self._loads: SingleFlight[None, bool] = SingleFlight()
        self._slow_check_lock = asyncio.Lock()

    async def check_events(self, events: Sequence[NewEvent], *, single: bool) -> None:
        """Raise Invalid for the first event that violates its type's schema, with the path of the violation.

        Raises Unavailable when the ledger does not answer.
        """
        # A load that this process has invalidated meanwhile is repeated.
        while not self._is_fresh() and not await self._loads.run(None, self._load):
            pass
        if not self._validators:
            return
        yield_at = perf_counter() + _YIELD_INTERVAL_SECONDS
        for position, event in enumerate(events):
            validator = self._validators.get(event.type)
            if validator is None:
                continue
            violation = await self._find_violation(validator, event.data)
            if perf_counter() > yield_at:
                await asyncio.sleep(0)
                yield_at = perf_counter() + _YIELD_INTERVAL_SECONDS
            if violation is not None:
                field = violation.format_path("data" if single else f"events.{position}.data")
                raise Invalid(field, f"is not as the schema of {event.type} says: {violation.why}")

    def invalidate(self) -> None:
        """Load again next time: this process has just changed the catalogue."""
        self._loaded_at = None
        self._loads.forget(None)

    def _is_fresh(self) -> bool:
        at = self._loaded_at
        return at is not None and at <= self._clock() < at + MAX_AGE

    async def _find_violation(self, validator: Validator, data: bytes) -> SchemaViolation | None:
        """Validate some data. Slow validations run one at a time, and yield to others before each."""
        if validator.estimate_steps(data) < _MAX_INLINE_STEPS:
            return validator.find_violation(data)
        async with self._slow_check_lock:
            await asyncio.sleep(0)
            return validator.find_violation(data)

    async def _load(self) -> bool:
        """Load the schemas if their version has changed; False if they were invalidated meanwhile."""
        now = self._clock()
        async with self._ledger.transaction() as tx:
            # The version first: the next load notices a change that comes between the two queries.
            version = await event_types.read_catalogue_version(tx)
            schemas = None if version == self._version else await event_types.load_validation_schemas(tx)
        if not self._loads.is_current(None):
            return False
        if schemas is not None:
            self._validators = {
                name: validator
                for name, text in schemas.items()
                if (validator := self._build_validator(name, text))
            }
            self._schema_texts = schemas
            self._version = version
        self._loaded_at = now
        return True

    def _build_validator(self, name: str, text: str) -> Validator | None:
        """Compile a schema; None for one that another release accepted and this one does not."""
        if self._schema_texts.get(name) == text and name in self._validators:
            return self._validators[name]
        from delivery.domain.json_schema import InvalidSchema, compile_schema

        try:
            return compile_schema(msgspec.json.decode(text))
        except InvalidSchema as error:
            log.warning("event_type.not_validated", event_type=name, why=str(error))
            return None
