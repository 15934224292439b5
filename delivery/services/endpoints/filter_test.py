"""Trying a filter out: whether an event would be owed to an endpoint, part by part, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.accept import NewEvent
from delivery.conditions import Answers
from delivery.errors import Invalid, NotFound
from delivery.ledger import events
from delivery.matching import judge
from delivery.model import Prefix, show_id
from delivery.payload import data_of

if TYPE_CHECKING:
    from delivery.ledger import Transaction
    from delivery.matching import Judgement, Wants
    from delivery.model import Endpoint, EventId, TenantId


@dataclass(frozen=True, slots=True)
class Part:
    """Whether a part of what an endpoint asks for lets an event pass, and why, in a sentence."""

    passes: bool
    why: str


@dataclass(frozen=True, slots=True)
class Trial:
    """Whether an event would be owed to an endpoint; each part is judged by itself.

    `pattern` asked for the type. `failed` says why the condition could not be answered: it passes then.
    """

    delivered: bool
    sentence: str
    type: Part
    channels: Part
    condition: Part
    pattern: str | None
    failed: str | None


async def past_event(tx: Transaction, tenant_id: TenantId, event_id: EventId) -> NewEvent:
    """A past event as its producer posted it, without data if that is gone; raises NotFound."""
    found = await events.read(tx, tenant_id, event_id)
    if found is None:
        raise NotFound("event", show_id(Prefix.EVENT, event_id))
    head, body = found
    return NewEvent(head.type, b"" if body is None else data_of(body), head.channels)


def trial(endpoint: Endpoint, event: NewEvent) -> Trial:
    """Judge an event as accept would if it were posted now. Raises Invalid for one whose content is gone."""
    wants = endpoint.wants
    if wants.condition is not None and not event.data:
        raise Invalid("event_id", "has no content any more that the condition could be asked about")
    judged = judge(wants, event.type, event.channels, Answers(event.data))
    parts = _type(wants, event, judged), _channels(wants, event, judged), _condition(wants, judged)
    delivered = judged.reaches and not endpoint.operational
    return Trial(
        delivered,
        _sentence(endpoint, parts, judged),
        *parts,
        judged.pattern,
        None if judged.answer is None else judged.answer.failed,
    )


def _type(wants: Wants, event: NewEvent, judged: Judgement) -> Part:
    if judged.pattern is not None:
        return Part(passes=True, why=f"Its filter asks for {judged.pattern}.")
    return Part(passes=False, why=f"Its filter asks for {', '.join(wants.types)}; not for {event.type}.")


def _channels(wants: Wants, event: NewEvent, judged: Judgement) -> Part:
    if not wants.channels:
        return Part(passes=True, why="It names no channels: it gets events of any and of none.")
    if judged.on_channel:
        shared = ", ".join(one for one in event.channels if one in wants.channels)
        return Part(passes=True, why=f"They share {shared}.")
    has = f"is on {', '.join(event.channels)}" if event.channels else "has none"
    return Part(passes=False, why=f"It asks for {', '.join(wants.channels)}; the event {has}.")


def _condition(wants: Wants, judged: Judgement) -> Part:
    if judged.answer is None:
        return Part(passes=True, why="It has no condition.")
    holds, failed = judged.answer
    if failed is not None:
        return Part(passes=True, why=f"It cannot be answered, and lets the event pass. {failed}")
    verb = "holds" if holds else "does not hold"
    return Part(holds, f"It {verb} for the event's data: {wants.condition}")


def _sentence(endpoint: Endpoint, parts: tuple[Part, ...], judged: Judgement) -> str:
    if endpoint.operational:
        return "It would not be owed to the endpoint, which is operational: it gets no tenant's events."
    refusing = next((part for part in parts if not part.passes), None)
    if refusing is not None:
        return f"It would not be owed to the endpoint. {refusing.why}"
    if judged.answer is not None and judged.answer.failed is not None:
        return "It would be owed to the endpoint, though its condition cannot be answered."
    return "It would be owed to the endpoint."
