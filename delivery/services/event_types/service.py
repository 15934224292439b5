"""The catalogue: declared by the operator, read by everybody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from delivery.catalogue.asyncapi import asyncapi
from delivery.catalogue.openapi import openapi
from delivery.catalogue.terms import (
    Content,
    Told,
    checked_content,
    checked_deprecation,
    checked_description,
    checked_name,
    checked_validation,
)
from delivery.checks import checked_reason
from delivery.errors import Conflict, NotFound
from delivery.ledger import event_types, journal
from delivery.ledger.event_types import OFF, EventType, Version
from delivery.ledger.journal import NOBODYS, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from delivery.accept.expected import Expected
    from delivery.catalogue.terms import Declaration, TypeChanges
    from delivery.ledger import Ledger, Transaction
    from delivery.model import Actor

log = structlog.get_logger()

MOST_TYPES: Final = 1_000
MOST_VERSIONS: Final = 1_000
_SHOWN_VERSIONS: Final = 100
_EXPORTS: Final = {"openapi": openapi, "asyncapi": asyncapi}
FORMATS: Final = tuple(_EXPORTS)


class Catalogue:
    """Event types with their schemas, examples and versions. The newest version is the one in force."""

    def __init__(self, ledger: Ledger, expected: Expected, *, clock: Callable[[], datetime]) -> None:
        """`expected` is what this process holds events against."""
        self._ledger = ledger
        self._expected = expected
        self._clock = clock

    async def types(self, *, archived: bool = False) -> Sequence[EventType]:
        """All types by name, archived ones only if they are wanted; there are at most MOST_TYPES."""
        async with self._ledger.transaction() as tx:
            return await event_types.every(tx, archived=archived)

    async def read(self, name: str, *, version: int | None = None) -> Told:
        """One type, archived or not, with a version of it: the newest, or this one. Raises NotFound."""
        async with self._ledger.transaction() as tx:
            one = await _read(tx, name)
            number = one.version if version is None else version
            found = await event_types.version(tx, name, number)
            versions = await event_types.versions(tx, name, most=_SHOWN_VERSIONS)
        if found is None:
            raise NotFound("version", f"{number} of {name}")
        return Told(one, found, versions)

    async def example(self, name: str) -> bytes:
        """The JSON of a type's first example. Raises NotFound, and Conflict where it has none."""
        told = await self.read(name)
        examples = msgspec.json.decode(told.version.examples, type=list[msgspec.Raw])
        if not examples:
            raise Conflict(f"The event type {name} has no example in the catalogue.")
        return bytes(examples[0])

    async def export(self, form: str) -> Mapping[str, Any]:
        """The catalogue as a document in one of FORMATS."""
        async with self._ledger.transaction() as tx:
            newest = await event_types.newest(tx)
            version = await event_types.catalogue_version(tx)
        return _EXPORTS[form](newest, version=version)

    async def declare(
        self, name: str, declared: Declaration, *, reason: str | None = None, actor: Actor
    ) -> tuple[Told, bool]:
        """Have a type be so from now on; whether it is new, or there again.

        Another schema or other examples make a new version, and the rest does not. Deprecation stays. What
        is so already is not written, and nothing is noted.
        Raises Invalid, and Conflict where the catalogue is full.
        """
        reason = checked_reason(reason)
        checked_name(name)
        description = checked_description(declared.description)
        content = checked_content(declared.schema, declared.examples)
        now = self._clock()
        async with self._ledger.transaction() as tx:
            await event_types.take_turn(tx)
            before = await event_types.read(tx, name)
            last = None if before is None else await event_types.version(tx, name, before.version)
            if before is None and await event_types.count(tx) >= MOST_TYPES:
                raise Conflict(f"The catalogue holds {MOST_TYPES:,} event types, and takes no more.")
            same = last is not None and Content(last.schema, last.examples) == content
            one = _declared(before or EventType(name, "", OFF, 0, now, now), declared, content, same=same)
            one = replace(one, description=description)
            is_new = before is None or before.archived_at is not None
            what = "event_type.created" if is_new else "event_type.changed"
            if one == before:
                await tx.rollback()  # its turn was no change
            else:
                await event_types.write(tx, replace(one, changed_at=now))
                if not same:
                    made = Version(name, one.version, content.schema, content.examples, actor.name, now)
                    await event_types.append(tx, made)
                details = {"version": one.version, "validation": one.validation}
                await journal.append(tx, [_entry(name, what, actor, now, reason, details)])
        if one != before:
            self._changed(what, name, actor)
        return await self.read(name), is_new

    async def change(
        self, name: str, changes: TypeChanges, *, reason: str | None = None, actor: Actor
    ) -> Told:
        """Change what is named and nothing else; no new version comes of it. Raises NotFound and Invalid."""
        reason = checked_reason(reason)
        now = self._clock()
        async with self._ledger.transaction() as tx:
            await event_types.take_turn(tx)
            before = await _read(tx, name)
            version = await event_types.version(tx, name, before.version)
            changed = _changed(before, changes, schema=None if version is None else version.schema, now=now)
            await event_types.write(tx, replace(changed, changed_at=now))
            details = {field: _shown(changed, field) for field in changes}
            await journal.append(tx, [_entry(name, "event_type.changed", actor, now, reason, details)])
        self._changed("event_type.changed", name, actor)
        return await self.read(name)

    async def archive(self, name: str, *, reason: str | None = None, actor: Actor) -> None:
        """Take a type out of the catalogue. Its versions stay; declared again, it is back.

        Events of the type go on being accepted, and no schema holds them. Raises NotFound.
        """
        reason = checked_reason(reason)
        now = self._clock()
        async with self._ledger.transaction() as tx:
            await event_types.take_turn(tx)
            before = await _read(tx, name)
            if before.archived_at is not None:
                raise NotFound("event type", name)
            await event_types.write(tx, replace(before, archived_at=now, changed_at=now))
            await journal.append(tx, [_entry(name, "event_type.archived", actor, now, reason, {})])
        self._changed("event_type.archived", name, actor)

    def _changed(self, what: str, name: str, actor: Actor) -> None:
        self._expected.forget()
        log.info(what, event_type=name, actor=actor.name)


async def _read(tx: Transaction, name: str) -> EventType:
    found = await event_types.read(tx, name)
    if found is None:
        raise NotFound("event type", name)
    return found


def _declared(before: EventType, declared: Declaration, content: Content, *, same: bool) -> EventType:
    validation = before.validation if declared.validation is None else declared.validation
    number = before.version if same else before.version + 1
    if number > MOST_VERSIONS:
        raise Conflict(f"{before.name} has {MOST_VERSIONS:,} versions, and takes no more.")
    return replace(
        before,
        validation=checked_validation(validation, schema=content.schema),
        version=number,
        archived_at=None,
    )


def _changed(before: EventType, changes: TypeChanges, *, schema: str | None, now: datetime) -> EventType:
    changed = before
    if "description" in changes:
        changed = replace(changed, description=checked_description(changes["description"]))
    if "validation" in changes:
        changed = replace(changed, validation=checked_validation(changes["validation"], schema=schema))
    if "deprecated" in changes:
        asked = changes["deprecated"]
        if asked is None:
            return replace(changed, deprecated_at=None, deprecated_until=None, replaced_by=None)
        told = checked_deprecation(asked, name=before.name, now=now)
        changed = replace(
            changed,
            deprecated_at=told.since,
            deprecated_until=told.until,
            replaced_by=told.replaced_by,
        )
    return changed


def _shown(one: EventType, field: str) -> object:
    return one.deprecated_at is not None if field == "deprecated" else getattr(one, field)


def _entry(
    name: str, what: str, actor: Actor, now: datetime, reason: str | None, details: Mapping[str, object]
) -> Entry:
    told = {"name": name, **details}
    return Entry(NOBODYS, what, actor.name, now, reason, details=told, address=actor.address)
