"""The use cases of the event catalogue: declared by the operator, read by everybody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from delivery.domain.errors import Conflict, NotFound
from delivery.domain.validation import check_description, check_reason
from delivery.ledger.records import event_types, journal
from delivery.ledger.records.event_types import VALIDATION_OFF, EventType, EventTypeVersion
from delivery.ledger.records.journal import JournalEntry
from delivery.log import get_logger
from delivery.services.event_types.asyncapi import build_asyncapi
from delivery.services.event_types.openapi import build_openapi
from delivery.services.event_types.validation import (
    MAX_DESCRIPTION_LENGTH,
    EventTypeDetails,
    EventTypeDraft,
    validate_content,
    validate_deprecation,
    validate_name,
    validate_validation_mode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from delivery.domain.accounts import Actor
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.pipeline.schema_cache import SchemaCache
    from delivery.services.event_types.validation import Declaration, EventTypeChanges

log = get_logger()

MAX_TYPES: Final = 1_000
MAX_VERSIONS: Final = 1_000
_MAX_LISTED_VERSIONS: Final = 100
_EXPORTERS: Final = {"openapi": build_openapi, "asyncapi": build_asyncapi}
DOCUMENT_FORMATS: Final = tuple(_EXPORTERS)


class EventTypeService:
    """Event types with their schemas, examples and versions. The newest version is the one in force."""

    def __init__(self, ledger: Ledger, schema_cache: SchemaCache, *, clock: Callable[[], datetime]) -> None:
        """`schema_cache` has the schemas by which this process validates events."""
        self._ledger = ledger
        self._schema_cache = schema_cache
        self._clock = clock

    async def list_types(self, *, archived: bool = False) -> Sequence[EventType]:
        """List all types by name, archived ones on request; there are at most MAX_TYPES."""
        async with self._ledger.transaction() as tx:
            return await event_types.list_types(tx, include_archived=archived)

    async def read(self, name: str, *, version: int | None = None) -> EventTypeDetails:
        """Read a type, archived or not, with this version or the newest. Raises NotFound."""
        async with self._ledger.transaction() as tx:
            event_type = await _read(tx, name)
            number = event_type.version if version is None else version
            content = await event_types.read_version(tx, name, number)
            versions = await event_types.read_versions(tx, name, limit=_MAX_LISTED_VERSIONS)
        if content is None:
            raise NotFound("version", f"{number} of {name}")
        return EventTypeDetails(event_type, content, versions)

    async def read_example(self, name: str) -> bytes:
        """Read the JSON of a type's first example. Raises NotFound, and Conflict if it has none."""
        details = await self.read(name)
        examples = msgspec.json.decode(details.version.examples, type=list[msgspec.Raw])
        if not examples:
            raise Conflict(f"The event type {name} has no example in the catalogue.")
        return bytes(examples[0])

    async def export_document(self, document_format: str) -> Mapping[str, Any]:
        """Export the catalogue as a document in one of DOCUMENT_FORMATS."""
        async with self._ledger.transaction() as tx:
            newest = await event_types.list_newest_versions(tx)
            version = await event_types.read_catalogue_version(tx)
        return _EXPORTERS[document_format](newest, version=version)

    async def declare(
        self, name: str, declaration: Declaration, *, reason: str | None = None, actor: Actor
    ) -> tuple[EventTypeDetails, bool]:
        """Create or change a type; returns whether it is new or was archived.

        A different schema or different examples make a new version. Deprecation stays. Declaring what is
        declared already writes nothing, not even a journal entry.
        Raises Invalid, and Conflict when the catalogue is full.
        """
        reason = check_reason(reason)
        validate_name(name)
        description = check_description(declaration.description, max_length=MAX_DESCRIPTION_LENGTH)
        content = validate_content(declaration.schema, declaration.examples)
        now = self._clock()
        async with self._ledger.transaction() as tx:
            await event_types.lock_catalogue(tx)
            before = await event_types.read(tx, name)
            last = None if before is None else await event_types.read_version(tx, name, before.version)
            if before is None and await event_types.count_types(tx) >= MAX_TYPES:
                raise Conflict(f"The catalogue holds {MAX_TYPES:,} event types, and takes no more.")
            is_same = last is not None and EventTypeDraft(last.schema, last.examples) == content
            event_type = _apply_declaration(
                before or EventType(name, "", VALIDATION_OFF, 0, now, now),
                declaration,
                content,
                is_same_content=is_same,
            )
            event_type = replace(event_type, description=description)
            is_new = before is None or before.archived_at is not None
            action = "event_type.created" if is_new else "event_type.changed"
            if event_type == before:
                await tx.rollback()  # the lock must not count as a change of the catalogue
            else:
                await event_types.write(tx, replace(event_type, changed_at=now))
                if not is_same:
                    version = EventTypeVersion(
                        name, event_type.version, content.schema, content.examples, actor.name, now
                    )
                    await event_types.append_version(tx, version)
                details = {"version": event_type.version, "validation": event_type.validation}
                await journal.append(tx, [_build_entry(name, action, actor, now, reason, details)])
        if event_type != before:
            self._publish_change(action, name, actor)
        return await self.read(name), is_new

    async def change(
        self, name: str, changes: EventTypeChanges, *, reason: str | None = None, actor: Actor
    ) -> EventTypeDetails:
        """Change a type without making a new version. Raises NotFound and Invalid."""
        reason = check_reason(reason)
        now = self._clock()
        async with self._ledger.transaction() as tx:
            await event_types.lock_catalogue(tx)
            before = await _read(tx, name)
            version = await event_types.read_version(tx, name, before.version)
            changed = _apply_changes(
                before, changes, schema=None if version is None else version.schema, now=now
            )
            await event_types.write(tx, replace(changed, changed_at=now))
            details = {field: _read_field(changed, field) for field in changes}
            await journal.append(tx, [_build_entry(name, "event_type.changed", actor, now, reason, details)])
        self._publish_change("event_type.changed", name, actor)
        return await self.read(name)

    async def archive(self, name: str, *, reason: str | None = None, actor: Actor) -> None:
        """Archive a type. Its versions stay, and declaring it again restores it.

        Events of the type are still accepted, without validation. Raises NotFound.
        """
        reason = check_reason(reason)
        now = self._clock()
        async with self._ledger.transaction() as tx:
            await event_types.lock_catalogue(tx)
            before = await _read(tx, name)
            if before.archived_at is not None:
                raise NotFound("event type", name)
            await event_types.write(tx, replace(before, archived_at=now, changed_at=now))
            await journal.append(tx, [_build_entry(name, "event_type.archived", actor, now, reason, {})])
        self._publish_change("event_type.archived", name, actor)

    def _publish_change(self, action: str, name: str, actor: Actor) -> None:
        self._schema_cache.invalidate()
        log.info(action, event_type=name, actor=actor.name)


async def _read(tx: Transaction, name: str) -> EventType:
    event_type = await event_types.read(tx, name)
    if event_type is None:
        raise NotFound("event type", name)
    return event_type


def _apply_declaration(
    before: EventType, declaration: Declaration, content: EventTypeDraft, *, is_same_content: bool
) -> EventType:
    validation = before.validation if declaration.validation is None else declaration.validation
    number = before.version if is_same_content else before.version + 1
    if number > MAX_VERSIONS:
        raise Conflict(f"{before.name} has {MAX_VERSIONS:,} versions, and takes no more.")
    return replace(
        before,
        validation=validate_validation_mode(validation, schema=content.schema),
        version=number,
        archived_at=None,
    )


def _apply_changes(
    before: EventType, changes: EventTypeChanges, *, schema: str | None, now: datetime
) -> EventType:
    changed = before
    if "description" in changes:
        changed = replace(
            changed, description=check_description(changes["description"], max_length=MAX_DESCRIPTION_LENGTH)
        )
    if "validation" in changes:
        changed = replace(changed, validation=validate_validation_mode(changes["validation"], schema=schema))
    if "deprecated" in changes:
        deprecation = changes["deprecated"]
        if deprecation is None:
            return replace(changed, deprecated_at=None, deprecated_until=None, replaced_by=None)
        deprecation = validate_deprecation(deprecation, name=before.name, now=now)
        changed = replace(
            changed,
            deprecated_at=deprecation.since,
            deprecated_until=deprecation.until,
            replaced_by=deprecation.replaced_by,
        )
    return changed


def _read_field(event_type: EventType, field: str) -> object:
    return event_type.deprecated_at is not None if field == "deprecated" else getattr(event_type, field)


def _build_entry(
    name: str, action: str, actor: Actor, now: datetime, reason: str | None, details: Mapping[str, object]
) -> JournalEntry:
    return JournalEntry.by_actor(
        None, action, actor, at=now, reason=reason, details={"name": name, **details}
    )
